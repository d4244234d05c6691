"""Demonstrations that call an environment: it replies to them as it would to the policy.

A demonstration holds what the policy is to write: `345+678 = <calc>345+678</calc> 1023`. What the environment puts behind a call
is asked of it here, once for each prompt, and stands among the tokens as it will in a rollout: no action, so that it carries
no loss. The code is that of rollouts (`rollouts.episodes`), with the demonstration in the policy's place.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rl.data.collate import collate, collate_demonstrations
from rl.types import Scored, Verdict
from rollouts.episodes import Environment, Episodes, Key
from rollouts.requests import Completion, Request

if TYPE_CHECKING:
    from rl.data.chat import Chat
    from rl.types import Batch, Prompt, Rollout


class Rehearsal:
    """Batches of demonstrations, with what an environment replies to them."""

    def __init__(self, chat: Chat, environment: Environment | None, max_sequence_tokens: int) -> None:
        self.chat, self.environment, self.limit = chat, environment, max_sequence_tokens
        self.rollouts: dict[str, Rollout] = {}
        """Demonstrations that were rehearsed, by their prompt: none is pruned anew where an environment answers."""

    def collate(self, prompts: Sequence[Prompt]) -> Batch:
        """Return a batch to imitate. Raises ValueError as `collate_demonstrations` does, and where the environment cannot reply
        to a demonstration."""
        if self.environment is None or not self.environment.stop:  # nothing is put into a turn
            tools = () if self.environment is None else self.environment.tools
            return collate_demonstrations(prompts, self.chat, self.limit, tools)
        missing = {prompt.id: prompt for prompt in prompts if prompt.id not in self.rollouts}
        rehearsed = self._rehearse([*missing.values()], self.environment)
        self.rollouts |= {rollout.prompt.id: rollout for rollout in rehearsed}
        return collate([Scored(self.rollouts[prompt.id], Verdict()) for prompt in prompts])

    def _rehearse(self, prompts: Sequence[Prompt], environment: Environment) -> list[Rollout]:
        """Return each prompt's demonstration as a rollout."""
        episodes = Episodes(self.chat, environment)
        pieces: dict[Key, deque[list[int]]] = {}
        rollouts: list[Rollout] = []
        for i, prompt in enumerate(prompts):
            # Checks that it has one which fits.
            batch = collate_demonstrations([prompt], self.chat, self.limit)
            tokens = batch.tokens_T.tolist()
            start = int(batch.action_mask_T.int().argmax())
            pieces[i, 0] = deque(self._cut(tokens[start:], environment.stop))
            episodes.begin(prompt, Request((i, 0), (), 0, self.limit, 0.0, prompt.clips), 0, self.limit)
            self._write((i, 0), tokens[:start], pieces, episodes)
        while episodes.waiting:
            requests, finished = episodes.advance(1.0)
            for request in requests:
                episode = episodes.open[request.key]
                reply = episode.exchanges[-1].reply
                last_id = int(episode.tokens[-1])
                added = self.chat.reply(reply.messages, last_id, reply.clips, expand=True)
                if pieces[request.key]:
                    self._write(request.key, [*episode.tokens.tolist(), *added], pieces, episodes)
                else:  # it was the last word of the demonstration: what is replied to it is not heard any more
                    episode.exchanges.pop()
                    rollouts.append(episode.rollout("stop"))
            rollouts += finished.values()
        left = {prompts[i].id for (i, _), rest in pieces.items() if rest}
        for rollout in rollouts:
            self._check(rollout, rollout.prompt.id in left)
        return rollouts

    def _write(self, key: Key, before: list[int], pieces: dict[Key, deque[list[int]]], episodes: Episodes) -> None:
        """Let the next piece of a demonstration stand for what the policy writes."""
        piece = pieces[key].popleft()
        # No engine sampled it: zeros, as in `collate_demonstrations`.
        logprobs = np.zeros(len(piece), dtype=np.float32)
        episodes.add(Completion(key, np.array([*before, *piece]), len(before), logprobs, "stop", ((0, len(piece)),)))

    def _cut(self, ids: list[int], stop: Sequence[str]) -> list[list[int]]:
        """Return the ids in pieces that each end as an engine would pause: with the token in which a text to stop at ends."""
        pieces: list[list[int]] = []
        while ids:
            text = self.chat.written(ids)
            ends = [place + len(s) for s in stop if (place := text.find(s)) >= 0]
            if not ends:
                break
            # By halves, since decoding every beginning would be quadratic in the length.
            count = bisect_left(range(1, len(ids) + 1), min(ends), key=lambda n: len(self.chat.written(ids[:n]))) + 1
            pieces.append(ids[:count])
            ids = ids[count:]
        return [*pieces, ids] if ids else pieces

    def _check(self, rollout: Rollout, goes_on: bool) -> None:
        """Raise ValueError where the environment did not go along to the end of a demonstration."""
        prompt = rollout.prompt.id
        if rollout.error is not None:
            raise ValueError(f"prompt '{prompt}': its demonstration: {rollout.error}")
        if rollout.finish_reason == "length" or len(rollout.tokens) > self.limit:
            raise ValueError(
                f"prompt '{prompt}': its demonstration and what is replied to it leave no room; raise max_sequence_tokens "
                f"({self.limit}) or drop the row"
            )
        if goes_on:
            raise ValueError(
                f"prompt '{prompt}': the environment ends the rollout ({rollout.finish_reason}) before its demonstration does; "
                "raise max_turns, or correct the demonstration"
            )
