"""The chat format of a model, as the sampler and its callers use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Protocol

from rl.types import Clip, Message


class ChatFormat(Protocol):
    """Encoder of conversations as token ids and decoder of what an engine wrote; `rl.data.chat.Chat` is one.

    The sampler itself calls `prompt`, `ends`, `turn`, and for samples of several turns `reply`, `written`,
    `drops_chain` and `audio_token`. `closing` and `chain_length` serve its callers that cut chains of thought
    short (`rl.stages.budgets`)."""

    def prompt(
        self,
        messages: Sequence[Message],
        clips: Sequence[Clip] = (),
        expand: bool = False,
        tools: Sequence[Mapping[str, object]] = (),
    ) -> list[int]:
        """Return the ids of a conversation: one audio token a clip, or with `expand` as many as the model hears. `tools` are
        what the model is told that it may call."""
        ...

    @cached_property  # a plain property would not admit the cached one of `Chat` to a type checker
    def closing(self) -> list[int]:
        """Ids that end a chain of thought."""
        ...

    @cached_property
    def ends(self) -> list[int]:
        """Ids of the tokens that end a turn."""
        ...

    @property
    def audio_token(self) -> int | None:
        """The id that stands for sound; None for a model that reads text only."""
        ...

    def reply(
        self, messages: Sequence[Message], last_id: int, clips: Sequence[Clip] = (), expand: bool = False
    ) -> list[int]:
        """Return the ids with which a conversation goes on behind what the policy wrote, whose last token is `last_id`."""
        ...

    def drops_chain(self, role: str) -> bool:
        """Return whether the template would drop the chain of a turn behind which a message of the role stands."""
        ...

    def written(self, ids: Sequence[int]) -> str:
        """Return the text of a piece of a turn, without the end token."""
        ...

    def turn(self, ids: Sequence[int]) -> str:
        """Return the text of what the policy wrote."""
        ...

    def chain_length(self, ids: Sequence[int]) -> int:
        """Return the number of tokens in the chain of thought."""
        ...
