"""Dispatches rollouts to single parts of a reward, and waits for their verdicts.

Three kinds of threads meet here: the callers', the pool's and the event loop's. One lock guards everything that they
share: the pool's own condition, which the reward service locks and waits on too. It is notified whenever verdicts have
come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from rewards import resolve
from rewards.combine import RewardConfig
from rewards.contract import GoldCase
from rewards.pool.pool import Pool, Results
from rewards.pool.work import Call
from rewards.served import Loop, Model, connect
from rl.types import Rollout, Verdict

Result = TypeVar("Result")


class Dispatcher:
    """The pool and the event loop in which the parts of a reward judge. A part is named by its index in
    `config.judging`, which has the second opinions too."""

    def __init__(
        self, config: RewardConfig, folder: Path | None, models: Mapping[str, Model], output: Path | None = None
    ) -> None:
        """Start the pool and the loop. The arguments and errors are those of `RewardService`."""
        parts = config.judging
        args = [
            resolve.check(part.verifier, f"reward.{config.place(i)}.verifier", folder, part.args)
            for i, part in enumerate(parts)
        ]
        self.timeout_policies = [
            resolve.settle_timeout(
                part.verifier, part.on_timeout, f"reward.parts[{i}].on_timeout", folder, part.is_penalty
            )
            for i, part in enumerate(config.parts)
        ] + ["error"] * len(config.watch)
        """Treatment of a sample on which a part uses up its CPU time, by part; errors of second opinions never
        matter."""
        self.model_verifiers = {
            i: connect(part.verifier, part.args, models)
            for i, part in enumerate(parts)
            if resolve.asks_a_model(part.verifier)
        }
        """Connections of the parts that ask a model, by part; the pool judges by the others."""
        pool_parts = [i for i in range(len(parts)) if i not in self.model_verifiers]
        self._call_of = {part: call for call, part in enumerate(pool_parts)}  # part → its number in the pool's list
        self.pool = Pool(
            [Call(parts[i].verifier, args[i]) for i in pool_parts],
            folder,
            # Where every part asks a model the pool has nothing to judge, but its lock and its start are still used.
            workers=config.workers if pool_parts else 1,
            deadline_s=config.deadline_s,
            memory_mb=config.memory_mb,
            output=output,
        )
        self.condition = self.pool.condition  # one lock for all: the pool holds it when it delivers a verdict
        self._closed = False
        self._failure: ValueError | None = None  # why no more verdicts come, where it is not the pool's own failure
        self._loop = Loop(self._fail) if self.model_verifiers else None

    def close(self) -> None:
        """End processes, connections and threads. What is pending is dropped: who waits for it gets ValueError."""
        with self.condition:
            if self._closed:
                return
            self._closed = True
            self._fail(ValueError("the reward service was closed before all verdicts had come"))
        # After the lock is released: both calls wait for threads that may be waiting for it.
        if self._loop is not None:
            self._loop.close(self.model_verifiers.values())
        self.pool.close()

    def gold_cases(self) -> list[Sequence[GoldCase]]:
        """Return the gold cases of each part; none for a verifier without GOLD. Known once `pool.gold` is set."""
        pool_gold = self.pool.gold or []
        cases: dict[int, Sequence[GoldCase] | None] = {part: pool_gold[call] for part, call in self._call_of.items()}
        for part, verifier in self.model_verifiers.items():
            cases[part] = [(case.pred, case.gold, *case.bounds) for case in verifier.gold or ()]
        return [cases[part] or () for part in sorted(cases)]

    def ask(self, rollout: Rollout, parts: Sequence[int], on_verdicts: Callable[[Mapping[int, Verdict]], None]) -> None:
        """Let `parts` judge a rollout, without waiting. `on_verdicts` is called with the lock held: for each model's
        verdict alone, and for those of the pool's parts together, in several pieces if one killed its process."""
        with self.condition:  # re-entrant: callbacks hold it already
            if self._failure is not None:  # nobody waits any more: `wait` raises it
                return
            pool_parts = [part for part in parts if part in self._call_of]
            if pool_parts:
                self._ask_pool(rollout, pool_parts, on_verdicts)
            for part in parts:
                if part in self.model_verifiers:
                    self._ask_model(rollout, part, on_verdicts)

    def _ask_pool(
        self, rollout: Rollout, parts: Sequence[int], on_verdicts: Callable[[Mapping[int, Verdict]], None]
    ) -> None:
        def on_results(results: Results) -> None:
            verdicts = {part: results[self._call_of[part]] for part in parts if self._call_of[part] in results}
            on_verdicts(verdicts)
            # If a part crashed or was killed, its process ended before the parts after it had judged: these are missing
            # in the results and are sent again, so that one part's error costs the others nothing.
            self.ask(rollout, [part for part in parts if part not in verdicts], on_verdicts)

        self.pool.submit(rollout, tuple(self._call_of[part] for part in parts), on_results)

    def _ask_model(self, rollout: Rollout, part: int, on_verdicts: Callable[[Mapping[int, Verdict]], None]) -> None:
        def on_verdict(verdict: Verdict) -> None:
            with self.condition:  # the pool's thread holds the lock in its callbacks, the loop's does not
                on_verdicts({part: verdict})
                self.condition.notify_all()

        assert self._loop is not None, "there is a loop where any part asks a model"
        self._loop.submit(self.model_verifiers[part], rollout, on_verdict)

    def ask_case(self, part: int, case: int, own_arguments: bool, on_verdict: Callable[[Verdict], None]) -> None:
        """Let a part of the pool judge its gold case number `case`, without waiting; unless `own_arguments`, with the
        recipe's arguments alone."""
        call = self._call_of[part]
        # The case is sent as a number, since the worker has its content already. `~case` stands for the case without
        # its own arguments (see `rewards.pool.judging`).
        number = case if own_arguments else ~case
        with self.condition:
            if self._failure is None:  # as in `ask`
                self.pool.submit(number, (call,), lambda results: on_verdict(results[call]))

    def collect(self, jobs: Sequence[Callable[[Callable[[Result], None]], None]]) -> list[Result]:
        """Start every job with a callback for its result, wait for all, and return the results in order. Raises
        ValueError as `wait` does."""
        results: dict[int, Result] = {}
        for i, job in enumerate(jobs):
            job(partial(results.__setitem__, i))
        with self.condition:
            self.wait(lambda: len(results) == len(jobs))
        return [results[i] for i in range(len(jobs))]

    def wait(self, is_done: Callable[[], object], timeout_s: float | None = None) -> None:
        """Wait, with the lock held, until `is_done()` is true or `timeout_s` seconds are over (None: for ever). Raises
        ValueError if no verdict will come any more."""
        due = None if timeout_s is None else time.monotonic() + timeout_s
        while not is_done():
            self.check_failure()
            remaining = None if due is None else due - time.monotonic()
            # `condition.wait` releases the lock and returns at every notification, most of which are about other
            # rollouts.
            if (remaining is not None and remaining <= 0) or not self.condition.wait(remaining):
                return

    def check_failure(self) -> None:
        """Raise ValueError if no verdict will come any more: the pool or the loop has failed, or all is closed."""
        failure = self.pool.failure or self._failure
        if failure is not None:
            raise failure

    def _fail(self, failure: ValueError) -> None:
        """Raise `failure` in all who wait or will wait, unless there is an earlier one."""
        with self.condition:
            self._failure = self._failure or failure
            self.condition.notify_all()
