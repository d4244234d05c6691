"""Encodes conversations as token ids and decodes them, with the tokenizer's own chat template.

The template renders each conversation as the model's own tools do, so a prompt has the ids of
`tokenizer.apply_chat_template`. User text is text: `<think>` or `<|EOT|>` typed by a user stays letters (see
`rl.data.control_tokens`), and so does `<audio_patch>` in a prompt without clips. Tokens in, tokens out: text is only for
people.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

from rl.data.chat_reply import TOOL, ReplyFormat, join_tools
from rl.data.chat_template import SLOT, ChatTemplate, TurnFormat, find_turn_format, template_thinks
from rl.data.control_tokens import ControlTokens
from rl.think import THINK_CLOSE, THINK_OPEN
from rl.types import AUDIO_PATCH, Clip, Demonstration, Message

CLIP_TOKENS = (("<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>"), ("<audio_start>", AUDIO_PATCH, "<audio_end>"))
"""The control tokens that stand for a clip, in Qwen2-Audio's vocabulary and in Step-Audio's."""

NO_PATCHES: Iterator[int] = iter(())


class Chat:
    """A chat template applied to prompts and demonstrations.

    `tokenizer` is a fast Hugging Face tokenizer with a chat template. With `think`, every assistant turn is opened by
    `<think>` in the prompt, so the policy starts inside its chain; None asks the template. `count_audio_tokens` returns
    how many tokens of the model a clip takes; None for a model of text only. `end_ids` are the tokens at which engines
    stop beside the template's own end of turn, as the model's files declare them."""

    def __init__(
        self,
        tokenizer: Any,  # transformers has no common type for fast tokenizers of all models
        think: bool | None = None,
        count_audio_tokens: Callable[[Clip], int] | None = None,
        end_ids: Collection[int] = (),
    ) -> None:
        self.tokenizer = tokenizer
        self.given_think = think
        self.count_audio_tokens = count_audio_tokens
        self.end_ids = end_ids
        self.controls = ControlTokens(tokenizer)
        self.checked_roles: set[tuple[str, ...]] = set()
        self.dropped_chains: dict[str, bool] = {}

    @cached_property
    def think(self) -> bool:
        """Return whether every assistant turn is opened by `<think>`."""
        return template_thinks(self.tokenizer) if self.given_think is None else self.given_think

    @cached_property
    def template(self) -> ChatTemplate:
        """The tokenizer's chat template, rendered for a model that thinks or does not."""
        return ChatTemplate(self.tokenizer, self.think)

    @cached_property
    def turn_format(self) -> TurnFormat:
        """The format of an assistant's turn in this template."""
        return find_turn_format(self.template, self.controls, self.end_ids)

    @property
    def end(self) -> int:
        """The id of the token that ends a turn: the one with which the template ends the assistant's."""
        return self.turn_format.end

    @cached_property
    def ends(self) -> list[int]:
        """Ids of all tokens at which a turn is over, `end` first."""
        return list(dict.fromkeys([self.end, *self.end_ids, int(self.tokenizer.eos_token_id)]))

    @cached_property
    def template_length(self) -> int:
        """Number of tokens in a prompt of one turn that says nothing: the template's own, with its default system turn."""
        return len(self.prompt([Message("user", "")]))

    @cached_property
    def clip_ids(self) -> list[int]:
        """The three ids that stand for a clip, the audio token in the middle; empty where the tokenizer lacks them."""
        vocabulary = self.tokenizer.get_vocab()
        for names in CLIP_TOKENS:
            if vocabulary.keys() >= {*names}:
                return [vocabulary[name] for name in names]
        return []

    @property
    def audio_token(self) -> int | None:
        """The id that stands for sound; None for a model that reads text only."""
        return self.clip_ids[1] if self.count_audio_tokens and self.clip_ids else None

    @cached_property
    def closing(self) -> list[int]:
        """The ids that end a chain: the closing tag between line breaks."""
        # After a letter, so that a tokenizer that marks the beginnings of texts marks none here.
        return self._continue(f"{self.turn_format.start}x", self.turn_format.closing)

    def prompt(
        self,
        messages: Sequence[Message],
        clips: Sequence[Clip] = (),
        expand: bool = False,
        tools: Sequence[Mapping[str, object]] = (),
    ) -> list[int]:
        """Return the ids of the conversation up to where the policy goes on. Each clip has one audio token, as engines
        take them (vLLM expands it), or with `expand` as many as it takes in the model, as the trainer needs them. `tools` are
        shown as the template shows them. Raises ValueError unless the messages hold one `<audio_patch>` for each clip, and for
        tools where the template shows none."""
        self._check_places(messages, clips)
        return self.controls.encode(self.prompt_text(messages, self._patches(clips, expand), tools))

    def reply(
        self, messages: Sequence[Message], last_id: int, clips: Sequence[Clip] = (), expand: bool = False
    ) -> list[int]:
        """Return the ids with which a conversation goes on behind what the policy wrote, whose last token is `last_id`, up to
        where the policy goes on again; clips as in `prompt`. A single message of the assistant's is put into its open turn.
        Raises ValueError for messages that the template cannot hold, and as `prompt` does for clips."""
        self._check_places(messages, clips)
        patches = self._patches(clips, expand)
        if [message.role for message in messages] == ["assistant"]:
            if last_id in self.ends:
                raise ValueError("the policy has ended its turn; reply with a message of the role user or tool")
            return self._continue(f"{self.turn_format.start}x", self._content(messages[0], patches))
        if not messages:
            return []
        role_of = {TOOL: self.tool_role}
        said = join_tools(messages) if self.joins_tools else messages
        guarded = [Message(role_of.get(m.role, m.role), self._content(m, patches)) for m in said]
        return self._continue(*self.reply_format.render(guarded, last_id))

    @cached_property
    def reply_format(self) -> ReplyFormat:
        """The form of what follows an assistant's turn in this template."""
        return ReplyFormat(self.template, self.controls, self.turn_format, frozenset(self.ends))

    @cached_property
    def tool_role(self) -> str:
        """The role of a tool's answer: `tool` where the template has it, else `user`."""
        return TOOL if self.reply_format.has_tools else "user"

    @cached_property
    def joins_tools(self) -> bool:
        """Return whether the answers of several tools become one message: as a user's, of which many templates take one
        in a row."""
        return self.tool_role != TOOL or not self.reply_format.has_tools_in_a_row

    def drops_chain(self, role: str) -> bool:
        """Return whether the template would drop the chain of an assistant's turn behind which a message of the role stands. In
        a rollout it stays, as the policy wrote it."""
        if role not in self.dropped_chains:
            role_of = {TOOL: self.tool_role}
            self.dropped_chains[role] = self.think and not self.reply_format.keeps_chains(role_of.get(role, role))
        return self.dropped_chains[role]

    def _patches(self, clips: Sequence[Clip], expand: bool) -> Iterator[int]:
        """Return the number of audio tokens of each clip: one, or with `expand` as many as it takes in the model."""
        if expand and self.count_audio_tokens:
            return iter([self.count_audio_tokens(clip) for clip in clips])
        return iter([1] * len(clips))

    def _check_places(self, messages: Sequence[Message], clips: Sequence[Clip]) -> None:
        """Raise ValueError unless there is a place for each clip, and a model that hears it."""
        places = sum(message.content.count(AUDIO_PATCH) for message in messages)
        if clips and places != len(clips):
            raise ValueError(
                f"{len(clips)} clips for {places} {AUDIO_PATCH} in the messages; put one where each is heard"
            )
        if clips and not (self.count_audio_tokens and self.clip_ids):
            raise ValueError("it has audio, and the model reads text only; use a model that listens")

    def prompt_text(
        self,
        messages: Sequence[Message],
        patches: Iterator[int] = NO_PATCHES,
        tools: Sequence[Mapping[str, object]] = (),
    ) -> str:
        """Return the text of a prompt, with the signs of `rl.data.control_tokens` in it; `patches` are the numbers of audio
        tokens of its clips."""
        roles = tuple(message.role for message in messages)
        if roles not in self.checked_roles:
            self._check_roles(roles)
            self.checked_roles.add(roles)
        guarded_messages = [Message(message.role, self._content(message, patches)) for message in messages]
        # The template shows tools as they are, so that a control token in them would be one to the model.
        if control := next(filter(None, map(self.controls.first, texts_of(tools))), None):
            raise ValueError(f"tools: a text holds the control token '{control[0]}'; write it otherwise")
        text = self.template.render(guarded_messages, open_turn=True, tools=tools)
        # A template that knows no tools leaves them out without an error: the model would never learn of them.
        if tools and text == self.template.render(guarded_messages, open_turn=True):
            raise ValueError("the chat template shows no tools; let them be called by tags (environment.calls: tags)")
        return text.removesuffix(self.turn_format.dropped) + self.turn_format.opening

    def demonstration(self, demonstration: Demonstration) -> list[int]:
        """Return the ids of an assistant turn in the template's format, end token included; no chain is an empty chain."""
        chain, answer = self.controls.guard(demonstration.reasoning), self.controls.guard(demonstration.response)
        form = self.turn_format
        content = f"{THINK_OPEN}\n{chain}\n{THINK_CLOSE}\n{answer}" if self.think else answer
        text = self._rendered_turn(content)
        if text is None:  # a template that keeps no chain, or has no such turn
            text = f"{chain}{form.closing}{answer}{form.ending}" if self.think else f"{answer}{form.ending}"
        return self._continue(form.start, text)

    def turn(self, ids: Sequence[int]) -> str:
        """Return the text of what the policy wrote, from the `<think>` that the prompt opened, without the end token."""
        return f"{self.turn_format.chain_start}{self.written(ids)}"

    def written(self, ids: Sequence[int]) -> str:
        """Return the text of a piece of a turn, without the end token."""
        return self._decode(
            ids[:-1] if len(ids) and ids[-1] in self.ends else ids
        )  # `len`: an array has no truth value

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

    def closing_in(self, ids: Sequence[int]) -> slice:
        """Return the place of a turn's tokens from the last word of its chain to the last `</think>`; an empty one without it."""
        text, length = self._decode(ids), lambda count: len(self._decode(ids[:count]))
        close = text.rfind(THINK_CLOSE)
        if close < 0:
            return slice(0, 0)
        counts = range(len(ids) + 1)
        first = bisect_right(counts, len(text[:close].rstrip()), key=length) - 1
        return slice(first, bisect_left(counts, close + len(THINK_CLOSE), key=length))

    def _check_roles(self, roles: Sequence[str]) -> None:
        """Raise ValueError for turns that the template cannot hold."""
        for role in roles:
            if self.controls.first(role):
                raise ValueError(f"the role '{role}' holds a control token; write user, assistant or system")
        ChatTemplate(self.tokenizer, self.given_think).check_roles(roles)  # before any other conversation is rendered

    def _content(self, message: Message, patches: Iterator[int]) -> str:
        """Return a message's content as the template gets it; `patches` are the numbers of audio tokens of the clips still
        to come."""
        *heard, rest = message.content.split(AUDIO_PATCH)
        pieces: list[str] = []
        while heard and (count := next(patches, 0)):  # 0: a prompt without clips, whose marks are text
            opening, patch, closing = (self.controls.mark(i) for i in self.clip_ids)
            pieces.append(f"{self.controls.guard(heard.pop(0))}{opening}{patch * count}{closing}")
        text = AUDIO_PATCH.join([*heard, rest])
        return "".join(pieces) + (self._guard_turn(text) if message.role == "assistant" else self.controls.guard(text))

    def _guard_turn(self, text: str) -> str:
        """Guard an earlier turn of the assistant, all but the tags of its chain: the model itself has written those."""
        head, close, answer = text.rpartition(THINK_CLOSE)
        opening = THINK_OPEN if (head or answer).startswith(THINK_OPEN) else ""
        if not close:
            return opening + self.controls.guard(answer.removeprefix(opening))
        return opening + self.controls.guard(head.removeprefix(opening)) + close + self.controls.guard(answer)

    def _rendered_turn(self, content: str) -> str | None:
        """Return what the template itself writes for an assistant turn after a prompt, end token included; None where
        that does not begin as the prompt ends."""
        turns = [Message("user", SLOT.format(0)), Message("assistant", content)]
        text = self.template.render(turns, open_turn=False)
        if not text.startswith(self.turn_format.start):
            return None
        text = text.removeprefix(self.turn_format.start)
        for token in self.controls.literals.finditer(text):
            if self.controls.ids[token[0]] == self.end:
                return text[: token.end()]
        return text.rstrip() + self.turn_format.ending

    def _continue(self, start: str, text: str) -> list[int]:
        """Return the ids of a text that follows another."""
        # Behind the other, since merges look across the border; alone where that would change the ids before it.
        before, whole = self.controls.encode(start), self.controls.encode(start + text)
        return whole[len(before) :] if whole[: len(before)] == before else self.controls.encode(text)

    def _decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False)


def texts_of(value: object) -> Iterator[str]:
    """Yield the texts in a value for JSON, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in cast("Mapping[str, object]", value).items():
            yield key
            yield from texts_of(inner)
    elif isinstance(value, list | tuple):
        for inner in cast("Sequence[object]", value):
            yield from texts_of(inner)
