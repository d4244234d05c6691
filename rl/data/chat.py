"""Encode conversations as token ids and decode them, with the tokenizer's own chat template.

User text is text: the content of a message is encoded apart from the template and without any control token, so
`<think>` or `<|EOT|>` typed by a user stays letters, and so does `<audio_patch>` in a prompt without clips. Tokens in,
tokens out: text is only for people.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rl.think import THINK_CLOSE, THINK_OPEN
from rl.types import AUDIO_PATCH, Clip, Demonstration, Message

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SLOT = "\ue000{}\ue001"
"""Stands for a message's content while the template is template_text; private-use characters, which no template holds."""
CLIP_TOKENS = (("<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>"), ("<audio_start>", AUDIO_PATCH, "<audio_end>"))
"""The control tokens that stand for a clip, in Qwen2-Audio's vocabulary and in Step-Audio's."""


class Chat:
    """A chat template applied to prompts and demonstrations.

    `tokenizer` is a fast Hugging Face tokenizer with a chat template. With `think`, every assistant turn is opened by
    `<think>` in the prompt, so the policy starts inside its chain. `count_audio_tokens` returns how many tokens of the
    model a clip takes; None for a model of text only."""

    def __init__(
        self,
        tokenizer: Any,  # transformers has no common type for fast tokenizers of all models
        think: bool = True,
        count_audio_tokens: Callable[[Clip], int] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.think = think
        self.count_audio_tokens = count_audio_tokens
        self.skeletons: dict[tuple[str, ...], list[list[int] | int]] = {}

    @cached_property
    def text_tokenizer(self) -> Tokenizer:
        """A copy of the tokenizer without its added tokens, which cannot produce a control token."""
        from tokenizers import Tokenizer

        layout = json.loads(self.tokenizer.backend_tokenizer.to_str())
        # A post-processor would add tokens such as BOS to every message.
        return Tokenizer.from_str(json.dumps({**layout, "added_tokens": [], "post_processor": None}))

    @property
    def end(self) -> int:
        """The id of the token that ends a turn."""
        return int(self.tokenizer.eos_token_id)

    @cached_property
    def clip_ids(self) -> list[int]:
        """The three ids that stand for a clip, the audio token in the middle; empty where the tokenizer lacks them."""
        vocabulary = self.tokenizer.get_vocab()
        for names in CLIP_TOKENS:
            if vocabulary.keys() >= {*names}:
                return [vocabulary[name] for name in names]
        return []

    @cached_property
    def closing(self) -> list[int]:
        """The ids that end a chain: the closing tag between line breaks."""
        return self._control(f"\n{THINK_CLOSE}\n")

    def prompt(self, messages: Sequence[Message], clips: Sequence[Clip] = (), expand: bool = False) -> list[int]:
        """Return the ids of the conversation up to where the policy goes on. Each clip has one audio token, as engines
        take them (vLLM expands it), or with `expand` as many as it takes in the model, as the trainer needs them.
        Raises ValueError unless the messages hold one `<audio_patch>` for each clip."""
        places = sum(message.content.count(AUDIO_PATCH) for message in messages)
        if clips and places != len(clips):
            raise ValueError(
                f"{len(clips)} clips for {places} {AUDIO_PATCH} in the messages; put one where each is heard"
            )
        if clips and not (self.count_audio_tokens and self.clip_ids):
            raise ValueError("it has audio, and the model reads text only; use a model that listens")
        if expand and self.count_audio_tokens:
            patches = iter([self.count_audio_tokens(clip) for clip in clips])
        else:
            patches = iter([1] * len(clips))
        roles = tuple(message.role for message in messages)
        if roles not in self.skeletons:
            self.skeletons[roles] = self._skeleton(roles)
        ids: list[int] = []
        for piece in self.skeletons[roles]:
            ids += piece if isinstance(piece, list) else self._content(messages[piece].content, patches)
        return ids

    def demonstration(self, demonstration: Demonstration) -> list[int]:
        """Return the ids of an assistant turn in the standard format, end token included; no chain is an empty chain."""
        if not self.think:
            return [*self._text(demonstration.response), self.end]
        chain = self._text(demonstration.reasoning)
        return [*chain, *self.closing, *self._text(demonstration.response), self.end]

    def turn(self, ids: Sequence[int]) -> str:
        """Return the text of what the policy wrote, from the `<think>` that the prompt opened, without the end token."""
        ids = ids[:-1] if len(ids) and ids[-1] == self.end else ids  # `len`: an array has no truth value
        return f"{THINK_OPEN}\n{self._decode(ids)}" if self.think else self._decode(ids)

    def chain_length(self, ids: Sequence[int]) -> int:
        """Return the number of tokens before the last `</think>`, or of all when the chain never closes; 0 without
        `think`."""
        if not self.think:
            return 0
        # Searched in the text, as `rl.think.split_think` does: many tokenizers write the tag in several tokens.
        close = self._decode(ids).rfind(THINK_CLOSE)
        if close < 0:
            return len(ids)
        # Bisection, since decoding each prefix would be quadratic in the length of the chain.
        return bisect_right(range(len(ids)), close, key=lambda n: len(self._decode(ids[:n]))) - 1

    def _skeleton(self, roles: tuple[str, ...]) -> list[list[int] | int]:
        """Render the template once for these roles: return the ids of its own pieces, and between them the indices of the
        messages whose content goes there."""
        from jinja2 import TemplateError

        slots = [{"role": role, "content": SLOT.format(i)} for i, role in enumerate(roles)]
        try:
            template_text: str = self.tokenizer.apply_chat_template(slots, add_generation_prompt=True, tokenize=False)
        except TemplateError as error:
            raise ValueError(f"the chat template refuses the turns {', '.join(roles)}: {error}") from error
        opening = f"{THINK_OPEN}\n"
        template_text = template_text.removesuffix(opening)  # some templates open the chain themselves
        if self.think:
            template_text += opening
        pieces: list[list[int] | int] = []
        for i in range(len(roles)):
            before, slot, template_text = template_text.partition(SLOT.format(i))
            if not slot:
                raise ValueError(f"the chat template drops or reorders the turns {', '.join(roles)}; use other roles")
            pieces += [self._control(before), i]
        return [*pieces, self._control(template_text)]

    def _content(self, content: str, patches: Iterator[int]) -> list[int]:
        """Encode a message; `patches` are the numbers of audio tokens of the clips still to come."""
        ids: list[int] = []
        while AUDIO_PATCH in content:
            count = next(patches, 0)
            if not count:
                break  # a prompt without clips: the mark is text
            before, _, content = content.partition(AUDIO_PATCH)
            opening, patch, closing = self.clip_ids
            ids += [*self._text(before), opening, *[patch] * count, closing]
        return ids + self._text(content)

    def _text(self, text: str) -> list[int]:
        return self.text_tokenizer.encode(text, add_special_tokens=False).ids

    def _decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False)

    def _control(self, text: str) -> list[int]:
        """Encode text of the template, in which control tokens are control tokens."""
        return self.tokenizer(text, add_special_tokens=False).input_ids
