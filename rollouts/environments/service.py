"""Runs the environment of a stage, which replies to rollouts in the background, in processes that can be killed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import cast

from rewards.pool.pool import Pool, Results
from rewards.pool.work import Call
from rl.types import Rollout
from rollouts.environments.config import EnvironmentConfig
from rollouts.environments.contract import Pause
from rollouts.environments.toolbox import TOOLBOX, stop_texts, toolbox_args
from rollouts.environments.work import Replying
from rollouts.episodes import Answer, Key


class EnvironmentService:
    """Replies to rollouts by an environment of a recipe, whose file lies in `folder`. Its processes start at once, and end
    with `close` or with this process. Methods that wait for an answer raise ValueError when none will come."""

    def __init__(self, config: EnvironmentConfig, folder: Path | None = None) -> None:
        self.config = config
        name, args = (config.step, config.args) if config.step else (TOOLBOX, toolbox_args(config))
        self._pool = Pool(
            [Call(name, args)],
            folder,
            workers=config.process_count,
            deadline_s=config.deadline_s,
            memory_mb=config.memory_mb,
            work=Replying(),
        )
        self._condition = self._pool.condition
        self._answers = deque[tuple[Key, Answer]]()
        self._pending = 0
        self._stop = (*config.stop, *stop_texts(config))

    def __repr__(self) -> str:
        return f"EnvironmentService({self.config})"

    def __enter__(self) -> EnvironmentService:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the processes and drop what is pending."""
        self._pool.close()

    def start(self) -> None:
        """Wait until the environment is loaded. Raises ValueError where it cannot be."""
        with self._condition:
            # A pool has gold cases once a process has loaded its calls; here the tools' schemas take their place.
            while self._pool.gold is None:
                self._check()
                self._condition.wait()

    @property
    def max_turns(self) -> int:
        """Most times that the policy writes in one rollout."""
        return self.config.max_turns

    @property
    def max_turn_tokens(self) -> int | None:
        """Tokens that the policy writes in a turn at most."""
        return self.config.max_turn_tokens

    @property
    def stop(self) -> Sequence[str]:
        """Texts behind which the policy pauses."""
        return self._stop

    @property
    def tools(self) -> Sequence[Mapping[str, object]]:
        """JSON schemas of the tools that the chat template is to show. Known once it has started."""
        reports = cast("list[list[Mapping[str, object]]]", self._pool.gold or [[]])
        return reports[0]

    @property
    def pending(self) -> int:
        """Rollouts submitted and not yet returned by `take_answers`."""
        return self._pending

    def submit(self, key: Key, rollout: Rollout, state: bytes | None) -> None:
        """Ask for a reply to a rollout so far, without waiting."""

        def deliver(results: Results) -> None:
            answer = cast("Answer", results[0])
            if answer.error is not None:
                answer = replace(answer, error=f"environment: {answer.error}")
            self._answers.append((key, answer))

        with self._condition:
            # `(0,)`: the only call of this pool. Its lock is held over both lines, so that no answer is taken before it is
            # counted as pending.
            self._pool.submit(Pause(rollout, state), (0,), deliver)
            self._pending += 1

    def take_answers(self, timeout_s: float) -> list[tuple[Key, Answer]]:
        """Return the answers that have come; wait up to `timeout_s` for the first one if there is none."""
        due = time.monotonic() + timeout_s
        with self._condition:
            while self._pending and not self._answers:
                self._check()
                remaining = due - time.monotonic()
                if remaining <= 0 or not self._condition.wait(remaining):
                    break
            answers = list(self._answers)
            self._answers.clear()
            self._pending -= len(answers)
        return answers

    def _check(self) -> None:
        if self._pool.failure is not None:
            raise self._pool.failure
