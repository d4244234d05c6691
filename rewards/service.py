"""The reward service: judges rollouts by every part of the configured reward and combines the parts into one verdict.

A part is a verifier with its arguments. Most verifiers compute: they run in the killable worker processes of
`rewards.pool`, since they may be a user's code. Some ask a model (`judge`, `reward_model`) and mostly wait: they run in
this process, on the event loop of `rewards.served`. A rollout goes through these steps:

    submit / score -> _judge: which parts apply (PartialVerdict) -> _ask: to the pool and to the models
                   -> verdicts come back in the pool's and the loop's threads -> perhaps gated parts are asked
                   -> combine() -> Scored, for take_finished / score

Three kinds of threads meet here: the callers', the pool's and the event loop's. One lock guards everything that they
share: the condition `changed` of the pool, which is notified whenever verdicts have come.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from rewards import resolve
from rewards.combine import RewardConfig
from rewards.contract import Case, GoldCase, describe_mismatch
from rewards.gating import PartialVerdict
from rewards.pool.pool import Pool, Results
from rewards.pool.worker import Call
from rewards.served import Loop, Model, connect
from rl.types import Rollout, Scored, Verdict

_RECENT = 256  # samples over which the share of errors is taken
_FEWEST = 8  # with fewer samples than this the share of errors says nothing
_PROBE = Case("yes", "yes", question="Say yes.")  # what a verifier without GOLD is tried on
Result = TypeVar("Result")


class RewardService:
    """Judges rollouts by a reward.

    Example:
        with RewardService(config, recipe_folder) as service:
            service.check_verifiers()
            scored = service.score(rollouts)  # or `submit` each as it ends, and `take_finished` between steps

    Thread-safe. Its processes start at once, and end with `close` or with this process.
    """

    def __init__(
        self, config: RewardConfig, folder: Path | None = None, models: Mapping[str, Model] | None = None
    ) -> None:
        """Start judging by `config`. `folder` is the recipe's: there a verifier `file.py:fn` is looked up. `models` are
        those that the run serves itself (`rewards.served`). Raises ConfigError for a verifier that does not exist, does
        not take its arguments, or has no model to ask."""
        args = [
            resolve.check(part.verifier, f"reward.parts[{i}].verifier", folder, part.args)
            for i, part in enumerate(config.parts)
        ]
        self.config = config
        self.scored = self.errors = 0
        """Number of rollouts judged so far, and of those that could not be judged."""
        self._recent = deque[str | None](maxlen=_RECENT)  # the error of each recent rollout; None where it has none
        self._results = deque[Scored]()  # submitted and judged, not yet taken
        self._pending = 0
        # Everywhere below a part is named by its index in the recipe's list.
        model_parts = [i for i, part in enumerate(config.parts) if resolve.asks_a_model(part.verifier)]
        self._model_verifiers = {
            i: connect(config.parts[i].verifier, config.parts[i].args, models or {}) for i in model_parts
        }
        self._loop = Loop() if model_parts else None

        # The pool numbers its calls by itself: call c is the reward's part `_pool_parts[c]`.
        self._pool_parts = [i for i in range(len(config.parts)) if i not in self._model_verifiers]
        self._pool = Pool(
            [Call(config.parts[i].verifier, args[i]) for i in self._pool_parts],
            folder,
            # Where every part asks a model the pool has nothing to judge, but its lock and its start are still used.
            workers=config.workers if self._pool_parts else 1,
            deadline_s=config.deadline_s,
            memory_mb=config.memory_mb,
        )

    def __enter__(self) -> RewardService:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the processes and the connections; what is pending is dropped."""
        if self._loop is not None:
            self._loop.close(self._model_verifiers.values())
        self._pool.close()

    def metrics(self) -> dict[str, float]:
        """Return what the parts that ask a model have spent so far (requests, tokens, cost), as `part/metric`."""
        return {
            f"{self.config.parts[i].name}/{metric}": float(value)
            for i, verifier in self._model_verifiers.items()
            for metric, value in verifier.metrics().items()
        }

    @property
    def pending(self) -> int:
        """Number of rollouts submitted and not yet returned by `take_finished`."""
        return self._pending

    @property
    def restarts(self) -> int:
        """Number of worker processes lost to a deadline, a crash or their memory limit."""
        return self._pool.restarts

    @property
    def timeouts(self) -> int:
        """Number of worker processes killed at the deadline."""
        return self._pool.timeouts

    @property
    def error_share(self) -> float:
        """Share of the recent rollouts that could not be judged."""
        return sum(error is not None for error in self._recent) / max(1, len(self._recent))

    def submit(self, rollout: Rollout) -> None:
        """Judge one rollout in the background; `take_finished` returns it. Raises ValueError if the verifiers cannot
        be started."""
        with self._pool.condition:
            self._judge(rollout, self._results.append)
            self._pending += 1

    def take_finished(self, timeout_s: float = 0.0) -> list[Scored]:
        """Return the submitted rollouts that are judged by now, in order of completion. Wait up to `timeout_s` seconds for
        the first one if there is none; return at once if nothing is pending. Raises ValueError if the verifiers cannot be
        started."""
        with self._pool.condition:
            self._wait(lambda: self._results or not self._pending, timeout_s)
            results = list(self._results)
            self._results.clear()
            self._pending -= len(results)
        return results

    def score(self, rollouts: Sequence[Rollout]) -> list[Scored]:
        """Judge rollouts and return them all, in the order given. Raises ValueError if the verifiers cannot be started."""
        return self._collect([partial(self._judge, rollout) for rollout in rollouts])

    def start(self) -> None:
        """Wait until the verifiers are loaded. Raises ValueError if they cannot be."""
        with self._pool.condition:
            self._wait(lambda: self._pool.gold is not None, None)  # a worker reports its cases once it has loaded

    def judge_parts(self, parts: Sequence[int], rollouts: Sequence[Rollout]) -> list[Verdict]:
        """Judge rollout i by the one part `parts[i]` and return these verdicts in order, without weights, `when` and gates.
        They enter neither the counts nor the share of errors. Raises ValueError if the verifiers cannot be started."""
        pairs = zip(parts, rollouts, strict=True)
        return self._collect([partial(self._judge_part, part, rollout) for part, rollout in pairs])

    def is_timeout(self, verdict: Verdict) -> bool:
        """Return whether a verdict of `judge_parts` is an error because the deadline passed."""
        return verdict.error in self._pool.deadline.reasons

    def check_errors(self) -> None:
        """Raise ValueError, with the commonest error, when too many of the recent rollouts could not be judged."""
        with self._pool.condition:
            errors = Counter(error for error in self._recent if error is not None)
            if len(self._recent) < _FEWEST or self.error_share <= self.config.max_error_share:
                return
            text, count = errors.most_common(1)[0]
            raise ValueError(
                f"{errors.total()} of the last {len(self._recent)} samples could not be judged "
                f"(reward.max_error_share: {self.config.max_error_share:g}); {count} times: {text}"
            )

    def check_verifiers(self) -> list[str]:
        """Let every verifier judge its own GOLD under the run's deadline, and return a warning for each that has none.

        One without GOLD judges a probe answer: it must answer in time, and where it asks a model, without an error. Raises
        ValueError naming the verifier and the case that it judges wrong.
        """
        self.start()
        warnings: list[str] = []
        for part, (cases, config) in enumerate(zip(self._gold_cases(), self.config.parts, strict=True)):
            verdicts = self._judge_gold(part, len(cases))
            for i, (case, verdict) in enumerate(zip(cases, verdicts, strict=True)):
                if mismatch := describe_mismatch(case, verdict):
                    raise ValueError(f"verifier '{config.verifier}' fails its GOLD[{i}]: {mismatch}")
            if error := self._find_args_error(part, len(cases)):
                raise ValueError(f"verifier '{config.verifier}' cannot judge with its args {config.args}: {error}")
            if not cases:
                (verdict,) = self.judge_parts([part], [_PROBE.rollout()])
                # Another error is no fault of a user's verifier: the probe lacks the columns of the real data.
                if self.is_timeout(verdict) or (part in self._model_verifiers and verdict.error):
                    raise ValueError(f"verifier '{config.verifier}' cannot judge the answer 'yes': {verdict.error}")
                warnings.append(f"verifier '{config.verifier}' has no GOLD: nothing shows that it judges right")
        return warnings

    def _gold_cases(self) -> list[Sequence[GoldCase]]:
        """Return the gold cases of each part; none for a verifier without GOLD."""
        cases: dict[int, Sequence[GoldCase] | None] = dict(zip(self._pool_parts, self._pool.gold or (), strict=True))
        for i, verifier in self._model_verifiers.items():
            cases[i] = [(case.pred, case.gold, *case.bounds) for case in verifier.gold or ()]
        return [cases[i] or () for i in range(len(self.config.parts))]

    def _judge_gold(self, part: int, count: int) -> list[Verdict]:
        if part in self._model_verifiers:
            cases = self._model_verifiers[part].gold or ()
            return self.judge_parts([part] * count, [case.rollout() for case in cases])
        return self._collect([partial(self._judge_case, part, i) for i in range(count)])

    def _find_args_error(self, part: int, count: int) -> str | None:
        """Return the first error of a part that judges none of its gold cases by the recipe's arguments alone, else None.

        The arguments of a case override those of the recipe, so that GOLD alone may never try a wrong one of the recipe.
        """
        error: str | None = None
        if part in self._model_verifiers:  # `connect` has checked its arguments
            return None
        for i in range(count):
            # `~i` is the pool's number for case i without its own arguments
            (verdict,) = self._collect([partial(self._judge_case, part, ~i)])
            if verdict.error is None:
                return None  # a score of any size will do: without its own arguments a case may well come out otherwise
            error = error or verdict.error
        return error

    def _judge_case(self, part: int, case: int, take: Callable[[Verdict], None]) -> None:
        # The case is sent as its number: its own arguments and clips are in the worker, where the module is loaded.
        call = self._pool_parts.index(part)
        self._pool.submit(case, (call,), lambda results: take(results[call]))

    def _judge_part(self, part: int, rollout: Rollout, take: Callable[[Verdict], None]) -> None:
        self._ask(rollout, [part], lambda verdicts: take(verdicts[part]))

    def _judge(self, rollout: Rollout, take: Callable[[Scored], None]) -> None:
        """Let every part that applies judge a rollout. `take` is called with the lock held when the verdict is whole:
        in the pool's or the loop's thread, or at once where there is nothing to ask."""

        def finish(verdict: Verdict) -> None:
            self.scored += 1
            self.errors += verdict.error is not None
            self._recent.append(verdict.error)
            take(Scored(rollout, verdict))

        partial_verdict = PartialVerdict(self.config, rollout, set(self._model_verifiers), finish)

        def add(verdicts: Mapping[int, Verdict]) -> None:
            self._ask(rollout, partial_verdict.add(verdicts), add)  # the parts whose gates these verdicts open, if any

        with self._pool.condition:  # re-entrant: `submit` holds it already
            if partial_verdict.first:
                self._ask(rollout, partial_verdict.first, add)
            else:  # no part applies, which is an error, or every part waits behind a gate
                add({})
                self._pool.condition.notify_all()

    def _ask(self, rollout: Rollout, parts: Sequence[int], take: Callable[[Mapping[int, Verdict]], None]) -> None:
        """Let `parts` judge a rollout, without waiting. `take` is called with the lock held as verdicts come, several
        times: with those of all the pool's parts together, and with that of each model alone."""
        pool_parts = [i for i in parts if i not in self._model_verifiers]
        if pool_parts:

            def take_results(results: Results) -> None:
                verdicts = {self._pool_parts[call]: verdict for call, verdict in results.items()}
                take(verdicts)
                # A part that crashed or was killed took its process along before the parts after it had judged: these
                # are missing in the results and are sent again, so that one part's error costs the others nothing.
                self._ask(rollout, [i for i in pool_parts if i not in verdicts], take)

            self._pool.submit(rollout, tuple(map(self._pool_parts.index, pool_parts)), take_results)
        for i in parts:
            if i in self._model_verifiers and self._loop is not None:

                def take_verdict(verdict: Verdict, i: int = i) -> None:  # `i = i`: each callback keeps its own part
                    with self._pool.condition:  # the pool's thread holds the lock in its callbacks, the loop's does not
                        take({i: verdict})
                        self._pool.condition.notify_all()

                self._loop.submit(self._model_verifiers[i], rollout, take_verdict)

    def _collect(self, jobs: Sequence[Callable[[Callable[[Result], None]], None]]) -> list[Result]:
        """Start every job with a callback for its result, wait for all, and return the results in order."""
        results: dict[int, Result] = {}
        for i, job in enumerate(jobs):
            job(partial(results.__setitem__, i))
        with self._pool.condition:
            self._wait(lambda: len(results) == len(jobs), None)
        return [results[i] for i in range(len(jobs))]

    def _wait(self, condition: Callable[[], object], timeout_s: float | None) -> None:
        """Wait, with the lock held, until the condition is true or `timeout_s` seconds are over (None: for ever). Raises
        ValueError if the pool has failed: no verdict would come any more."""
        due = None if timeout_s is None else time.monotonic() + timeout_s
        while not condition():
            if self._pool.failure is not None:
                raise self._pool.failure
            remaining = None if due is None else due - time.monotonic()
            # `wait` releases the lock and returns at every notification: most are about other rollouts
            if (remaining is not None and remaining <= 0) or not self._pool.condition.wait(remaining):
                return
