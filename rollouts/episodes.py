"""Continues samples over several turns: what the policy writes, what an environment replies, and the engine's next
request.

    Request -> engine -> Completion -> Episodes.add -> a finished Rollout, or the environment is asked
                                       Episodes.advance -> the Request that goes on, or a finished Rollout

Token ids are continued, never encoded again: what the policy wrote and the tokens to which the engine expanded the
clips stay as they are, and only a reply is encoded (`rl.data.chat.Chat.reply`). A turn's seed depends on that of the
call, the prompt, the sample and the turn, so no result depends on the order in which environments answer.

Every end of a sample has a reason: `stop` and `length` as without an environment, `turns` at the most turns, `audio_token`
where the policy has written the token that stands for sound, behind which no engine can go on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from rl.finite import NonFiniteError, is_finite
from rl.messages import Exchange, Reply, open_turn
from rl.think import THINK_CLOSE
from rl.types import Prompt, Rollout, Spans
from rollouts.chat_format import ChatFormat
from rollouts.requests import Completion, Request
from rollouts.seeds import seed_of
from rollouts.sources import Finished as Finished
from rollouts.sources import Key as Key

CHAIN_KEPT = "chain_kept"
"""Note of a reply that follows a turn whose chain of thought the chat template would have stripped."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer of an environment to a rollout so far."""

    reply: Reply | None = None
    """The reply; None where the rollout is over."""
    state: bytes | None = None
    """Memory of the environment about this rollout, until its next turn."""
    error: str | None = None
    """Reason for which the environment could not answer; None if it did."""


class Environment(Protocol):
    """Anything that replies to the policy; `rollouts.environments.service.EnvironmentService` does."""

    @property
    def max_turns(self) -> int:
        """Most times that the policy writes in one rollout."""
        ...

    @property
    def max_turn_tokens(self) -> int | None:
        """Most tokens that the policy writes in a turn; None: as many as the sequence leaves."""
        ...

    @property
    def stop(self) -> Sequence[str]:
        """Texts behind which the policy pauses."""
        ...

    @property
    def tools(self) -> Sequence[Mapping[str, object]]:
        """JSON schemas of the tools that the chat template is to show."""
        ...

    @property
    def pending(self) -> int:
        """Rollouts submitted and not yet returned by `take_answers`."""
        ...

    def submit(self, key: Key, rollout: Rollout, state: bytes | None) -> None:
        """Ask for a reply to a rollout so far, without waiting."""
        ...

    def take_answers(self, timeout_s: float) -> list[tuple[Key, Answer]]:
        """Return the answers that have come; wait up to `timeout_s` for the first one if there is none."""
        ...


@dataclass(slots=True)
class Episode:
    """One sample in the making."""

    prompt: Prompt
    seed: int
    """Seed of the call."""
    limit: int
    """Tokens of the longest sequence."""
    request: Request
    """The newest request: its tokens have one audio token for each clip."""
    opening: int = 0
    """Ids at the end of the first request that are part of the turn's text."""
    cuts: Spans = ()
    """The cuts of the first request."""
    completions: list[Completion] = field(default_factory=list[Completion])
    exchanges: list[Exchange] = field(default_factory=list[Exchange])
    text: str = ""
    """Text of the newest completion."""
    state: bytes | None = None

    @property
    def sample(self) -> int:
        """Index of the sample in its group."""
        return self.request.key[1]

    @property
    def head(self) -> str:
        """Text of the open turn before the newest completion."""
        return open_turn(self.exchanges)

    @property
    def tokens(self) -> np.ndarray:
        """All tokens so far, as the engine saw them."""
        return self.completions[-1].tokens

    def add(self, completion: Completion, chat: ChatFormat) -> None:
        """Take in what the policy has written. Raises NonFiniteError for logprobs of a broken model."""
        if not is_finite(completion.logprobs):
            raise NonFiniteError(
                f"sample {self.sample} of prompt '{self.prompt.id}': the engine's logprobs are not finite numbers: its model "
                "is broken"
            )
        # The ids before the reply must be the same as in the last completion, expanded audio included.
        if self.completions:
            written = self.tokens[: self.exchanges[-1].start]
            assert np.array_equal(completion.tokens[: len(written)], written), "the engine has changed what was written"
        self.completions.append(completion)
        # An opening is sent as the end of the prompt, but it is part of the turn's text.
        first = completion.prompt_length - (0 if self.exchanges else self.opening)
        ids = completion.tokens[first:].tolist()
        goes_on = bool(self.exchanges) and self.exchanges[-1].is_inside
        self.text = chat.written(ids) if goes_on else chat.turn(ids)

    def rollout(self, finish_reason: str, error: str | None = None) -> Rollout:
        """Return the sample as it is now."""
        action_mask = np.zeros(len(self.tokens), dtype=bool)
        for completion in self.completions:
            action_mask[completion.prompt_length : len(completion.tokens)] = True
        spans = self._spans()
        return Rollout(
            prompt=self.prompt,
            sample=self.sample,
            tokens=self.tokens,
            action_mask=action_mask,
            logprobs=np.concatenate([completion.logprobs for completion in self.completions]),
            finish_reason=finish_reason,
            version=spans[0][0],
            text=self.head + self.text,
            spans=spans if len(spans) > 1 else (),
            exchanges=tuple(self.exchanges),
            error=error,
        )

    def _spans(self) -> Spans:
        """Return how many tokens each version wrote, over all turns."""
        spans: list[tuple[int, int]] = []
        for version, count in (span for completion in self.completions for span in completion.spans):
            before = spans.pop()[1] if spans and spans[-1][0] == version else 0
            spans.append((version, before + count))
        return tuple(spans)

    def _cuts_ahead(self) -> Spans:
        """Return (version, number of tokens) of the tokens that are still to be written."""
        written, cuts = sum(len(completion.logprobs) for completion in self.completions), list[tuple[int, int]]()
        for version, count in self.cuts:
            if count > written:
                cuts.append((version, count - written))
            written = max(0, written - count)
        return tuple(cuts)

    def go_on(self, reply: Reply, chat: ChatFormat, environment: Environment) -> str:
        """Build the request that continues after the reply and return "", or return the reason for which the sample
        ends here. Raises ValueError for a reply that cannot be encoded."""
        ended = int(self.tokens[-1]) in chat.ends
        if reply.last or (ended and not reply.messages):
            return self._end(reply, self.completions[-1].finish_reason)
        if len(self.completions) == environment.max_turns:
            return self._end(reply, "turns")
        written = self.tokens[self.completions[-1].prompt_length :].tolist()
        # Here each clip has one audio token, which the engine expands anew; `self.tokens` has them expanded.
        sent = (*self.request.tokens, *written)
        ids = chat.reply(reply.messages, written[-1], reply.clips)
        added = len(chat.reply(reply.messages, written[-1], reply.clips, expand=True)) if reply.clips else len(ids)
        start = len(self.tokens)
        space = self.limit - start - added
        if space < 1:
            return self._end(reply, "length")
        # A chain that the template would strip from an earlier turn stays, since the policy has seen it; this is
        # counted.
        if THINK_CLOSE in self.text and any(m.role != "assistant" and chat.drops_chain(m.role) for m in reply.messages):
            reply = replace(reply, note=f"{reply.note} {CHAIN_KEPT}".strip())
        self.exchanges.append(Exchange(self.text, reply, start, start + added))
        self.request = replace(
            self.request,
            tokens=(*sent, *ids),
            seed=seed_of(self.seed, self.prompt.id, self.sample, len(self.exchanges)),
            max_tokens=min(space, environment.max_turn_tokens or space),
            clips=(*self.request.clips, *reply.clips),
            cuts=self._cuts_ahead(),
        )
        return ""

    def _end(self, reply: Reply, reason: str) -> str:
        """Record a last reply that the policy does not read, for its reward and its note; return the reason."""
        end = len(self.tokens)
        if reply.reward is not None or reply.note:
            self.exchanges.append(Exchange(self.text, replace(reply, messages=(), clips=(), last=True), end, end))
        return reason


class Episodes:
    """The samples in the making of one sampler, with or without an environment."""

    begins_with_prompt = True

    def __init__(self, chat: ChatFormat, environment: Environment | None = None) -> None:
        self.chat, self.environment = chat, environment
        self.open: dict[Key, Episode] = {}

    @property
    def tools(self) -> Sequence[Mapping[str, object]]:
        """Tools that prompts tell the policy of."""
        return () if self.environment is None else self.environment.tools

    def begin(self, prompt: Prompt, request: Request, seed: int, limit: int, opening: int = 0) -> Request:
        """Take note of a sample that begins, and return its first request."""
        if self.environment is not None:
            most = self.environment.max_turn_tokens or request.max_tokens
            request = replace(request, max_tokens=min(request.max_tokens, most), stop=tuple(self.environment.stop))
        self.open[request.key] = Episode(prompt, seed, limit, request, opening, request.cuts)
        return request

    def drop(self, keys: Collection[Key]) -> set[Key]:
        """Forget samples, whose answers nobody waits for any more; return the keys of their requests."""
        for key in keys:
            self.open.pop(key, None)
        return set(keys)

    def take_abandoned(self) -> set[Key]:
        """Return the keys of requests in flight whose answers nobody waits for any more: an environment leaves none."""
        return set()

    def add(self, completion: Completion, engine: int | None = None) -> Rollout | None:
        """Take in what an engine has written, and return the finished rollout; None where the environment was asked."""
        episode = self.open[completion.key]
        episode.request = replace(episode.request, engine=engine)
        episode.add(completion, self.chat)
        if self.environment is None or completion.finish_reason == "length":
            del self.open[completion.key]
            return episode.rollout(completion.finish_reason)
        # No engine can continue after the token that stands for sound, and in the text it would pass for the place of a
        # clip: the environment is not asked.
        if self.chat.audio_token in completion.tokens[completion.prompt_length :]:
            del self.open[completion.key]
            return episode.rollout("audio_token")
        self.environment.submit(completion.key, episode.rollout(completion.finish_reason), episode.state)
        return None

    @property
    def waiting(self) -> bool:
        """True while a sample waits for the environment."""
        return self.environment is not None and self.environment.pending > 0

    def advance(self, timeout_s: float = 0.0) -> tuple[list[Request], Finished]:
        """Return (the requests that go on, the rollouts that are finished) by the environment's newest answers."""
        requests: list[Request] = []
        rollouts: dict[Key, Rollout] = {}
        if self.environment is None:
            return requests, rollouts
        for key, answer in self.environment.take_answers(timeout_s):
            episode = self.open.get(key)
            if episode is None:  # its caller has left
                continue
            finished = self._continue(episode, answer, self.environment)
            if finished is None:
                requests.append(episode.request)
            else:
                del self.open[key]
                rollouts[key] = finished
        return requests, rollouts

    def _continue(self, episode: Episode, answer: Answer, environment: Environment) -> Rollout | None:
        """Return the finished rollout, or None if the sample continues with `episode.request`."""
        reason = episode.completions[-1].finish_reason
        if answer.error is not None:
            return episode.rollout(reason, answer.error)
        if answer.reply is None:
            return episode.rollout(reason)
        episode.state = answer.state
        try:
            end = episode.go_on(answer.reply, self.chat, environment)
        except ValueError as error:  # a reply that the template cannot hold, a clip that the model cannot hear
            return episode.rollout(reason, f"environment: {error}")
        return episode.rollout(end) if end else None
