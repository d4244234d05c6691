"""Conversations to token ids and back, with the tokenizer's own chat template.

User text is text: what stands in a message is encoded apart from the template and without any control token, so
`<think>` or `<|EOT|>` typed by a user stays letters, and `<audio_patch>` too in a prompt without clips. Tokens in,
tokens out: text is only for showing.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rl.types import AUDIO_PATCH, THINK_CLOSE, THINK_OPEN, Clip, Demonstration, Message

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SLOT = "\ue000{}\ue001"  # stands for a message's content while the template is rendered; private-use characters
SOUNDS = (("<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>"), ("<audio_start>", AUDIO_PATCH, "<audio_end>"))
"""The control tokens that stand for a clip, in Qwen2-Audio's vocabulary and in Step-Audio's."""


class Chat:
    """`tokenizer`: a fast Hugging Face tokenizer with a chat template. With `think`, every assistant turn is opened
    by `<think>` in the prompt, so the policy starts inside its chain. `heard(clip)` says how many tokens the model hears
    of a clip; None for a model of text only."""

    def __init__(self, tokenizer: Any, think: bool = True, heard: Callable[[Clip], int] | None = None) -> None:
        self.tokenizer = tokenizer
        self.think = think
        self.heard = heard
        self.skeletons: dict[tuple[str, ...], list[list[int] | int]] = {}

    @cached_property
    def plain(self) -> Tokenizer:
        """The same tokenizer without added tokens: it cannot make a control token."""
        from tokenizers import Tokenizer

        layout = json.loads(self.tokenizer.backend_tokenizer.to_str())
        return Tokenizer.from_str(json.dumps({**layout, "added_tokens": [], "post_processor": None}))

    @property
    def end(self) -> int:
        """Id of the token that ends a turn."""
        return int(self.tokenizer.eos_token_id)

    @cached_property
    def sound(self) -> list[int]:
        """Ids that stand for a clip, the audio token in the middle; none when the tokenizer has no such tokens."""
        vocabulary = self.tokenizer.get_vocab()
        return next(([vocabulary[token] for token in names] for names in SOUNDS if vocabulary.keys() >= {*names}), [])

    @cached_property
    def closing(self) -> list[int]:
        """Ids that end a chain."""
        return self._control(f"\n{THINK_CLOSE}\n")

    def prompt(self, messages: Sequence[Message], clips: Sequence[Clip] = (), expand: bool = False) -> list[int]:
        """Ids of the conversation up to where the policy goes on. Each clip has one audio token, as an engine is sent
        them, or with `expand` as many as the model hears, as the engine makes of them and the trainer learns on.
        Raises ValueError unless the messages say, for as many clips as there are, where they are heard."""
        places = sum(message.content.count(AUDIO_PATCH) for message in messages)
        if clips and places != len(clips):
            raise ValueError(
                f"{len(clips)} clips for {places} {AUDIO_PATCH} in the messages; put one where each is heard"
            )
        if clips and not (self.heard and self.sound):
            raise ValueError("it has audio, and the model reads text only; use a model that listens")
        patches = iter([self.heard(clip) if expand and self.heard else 1 for clip in clips])
        roles = tuple(message.role for message in messages)
        if roles not in self.skeletons:
            self.skeletons[roles] = self._skeleton(roles)
        ids: list[int] = []
        for piece in self.skeletons[roles]:
            ids += piece if isinstance(piece, list) else self._content(messages[piece].content, patches)
        return ids

    def demonstration(self, demonstration: Demonstration) -> list[int]:
        """Ids of an assistant turn in the standard format, end token included; an absent chain is the empty chain."""
        if not self.think:
            return [*self._text(demonstration.response), self.end]
        chain = self._text(demonstration.reasoning)
        return [*chain, *self.closing, *self._text(demonstration.response), self.end]

    def turn(self, ids: Sequence[int]) -> str:
        """Return the text of what the policy wrote, from the `<think>` that the prompt opened, without the end token."""
        ids = ids[:-1] if len(ids) and ids[-1] == self.end else ids
        return f"{THINK_OPEN}\n{self._shown(ids)}" if self.think else self._shown(ids)

    def chain_length(self, ids: Sequence[int]) -> int:
        """Tokens of the chain: those before the last `</think>`, or all when it never closes; 0 when no chain is opened.
        Found in the text, as `rl.types.split_think` does: many tokenizers write the tag in several tokens."""
        if not self.think:
            return 0
        close = self._shown(ids).rfind(THINK_CLOSE)
        if close < 0:
            return len(ids)
        return bisect_right(range(len(ids)), close, key=lambda n: len(self._shown(ids[:n]))) - 1

    def _skeleton(self, roles: tuple[str, ...]) -> list[list[int] | int]:
        """The template rendered once for these roles: ids of its own pieces, and between them message indices."""
        from jinja2 import TemplateError

        slots = [{"role": role, "content": SLOT.format(i)} for i, role in enumerate(roles)]
        try:
            rendered: str = self.tokenizer.apply_chat_template(slots, add_generation_prompt=True, tokenize=False)
        except TemplateError as error:
            raise ValueError(f"the chat template refuses the turns {', '.join(roles)}: {error}") from error
        opening = f"{THINK_OPEN}\n"
        rendered = rendered.removesuffix(opening) + opening * self.think
        pieces: list[list[int] | int] = []
        for i in range(len(roles)):
            before, found, rendered = rendered.partition(SLOT.format(i))
            if not found:
                raise ValueError(f"the chat template drops or reorders the turns {', '.join(roles)}; use other roles")
            pieces += [self._control(before), i]
        return [*pieces, self._control(rendered)]

    def _content(self, content: str, patches: Iterator[int]) -> list[int]:
        """`patches`: audio tokens of each clip still to come; without clips the mark is text."""
        ids: list[int] = []
        while AUDIO_PATCH in content and (count := next(patches, 0)):
            before, _, content = content.partition(AUDIO_PATCH)
            opening, patch, closing = self.sound
            ids += [*self._text(before), opening, *[patch] * count, closing]
        return ids + self._text(content)

    def _text(self, text: str) -> list[int]:
        return self.plain.encode(text, add_special_tokens=False).ids

    def _shown(self, ids: Sequence[int]) -> str:
        return self.tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False)

    def _control(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids
