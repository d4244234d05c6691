"""Verdicts for rollouts: the parts of the configured reward, judged in isolated processes, combined."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from rewards import resolve
from rewards.combine import RewardConfig
from rewards.contract import WRONG, Case
from rewards.gating import PartialVerdict
from rewards.pool.pool import Pool, Results
from rewards.pool.worker import Call
from rewards.served import Loop, Model, serve
from rl.types import Rollout, Scored, Verdict

_RECENT = 256  # samples over which the share of errors is taken
_FEWEST = 8  # below this many a share says nothing
_PROBE = Case("yes", "yes", question="Say yes.")
Gold = tuple[str, str | None, float, float]
"""(pred, gold, least and greatest score that is right)."""


class RewardService:
    """`submit` rollouts as they end and take what is `ready`, or `score` a list. Thread-safe. Processes start at once
    and end with `close` or with the parent. Parts that ask a model are judged in this process, all the others in the
    pool."""

    def __init__(
        self, config: RewardConfig, folder: Path | None = None, served: Mapping[str, Model] | None = None
    ) -> None:
        """`folder` is the recipe's, for `file.py:fn`; `served` are the models that the run serves, each a function
        over a batch (`rewards.served`). Raises ConfigError for a verifier that does not exist or cannot be asked."""
        args = [
            resolve.check(part.verifier, f"reward.parts[{i}].verifier", folder, part.args)
            for i, part in enumerate(config.parts)
        ]
        self.config = config
        self.scored = self.errors = 0
        self._recent = deque[str | None](maxlen=_RECENT)
        self._finished = deque[Scored]()
        self._pending = 0
        asks = [i for i, part in enumerate(config.parts) if resolve.asks_a_model(part.verifier)]
        self._served = {i: serve(config.parts[i].verifier, config.parts[i].args, served or {}) for i in asks}
        self._pooled = [i for i in range(len(config.parts)) if i not in self._served]
        self._loop = Loop() if self._served else None
        self._pool = Pool(
            [Call(config.parts[i].verifier, args[i]) for i in self._pooled],
            folder,
            workers=config.workers if self._pooled else 1,
            deadline_s=config.deadline_s,
            memory_mb=config.memory_mb,
        )

    def __enter__(self) -> RewardService:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._loop is not None:
            self._loop.close(self._served.values())
        self._pool.close()

    def metrics(self) -> dict[str, float]:
        """What the parts that ask a model have spent so far, as `part/what`."""
        return {
            f"{self.config.parts[i].name}/{what}": float(value)
            for i, part in self._served.items()
            for what, value in part.metrics().items()
        }

    @property
    def pending(self) -> int:
        """Submitted and not yet taken by `ready`."""
        return self._pending

    @property
    def restarts(self) -> int:
        """Workers lost to a deadline, a crash or their memory limit."""
        return self._pool.restarts

    @property
    def timeouts(self) -> int:
        return self._pool.timeouts

    @property
    def error_share(self) -> float:
        """Of the recent samples, those that could not be judged."""
        return sum(error is not None for error in self._recent) / max(1, len(self._recent))

    def submit(self, rollout: Rollout) -> None:
        """Have one rollout judged; `ready` hands it out."""
        with self._pool.changed:
            self._judge(rollout, self._finished.append)
            self._pending += 1

    def ready(self, timeout_s: float = 0.0) -> list[Scored]:
        """What is finished, in order of arrival; waits up to `timeout_s` for the first. Raises ValueError if the
        verifiers cannot be started."""
        with self._pool.changed:
            self._wait(lambda: self._finished or not self._pending, timeout_s)
            taken = list(self._finished)
            self._finished.clear()
            self._pending -= len(taken)
        return taken

    def score(self, rollouts: Sequence[Rollout]) -> list[Scored]:
        """All of them, in the order given. Raises ValueError if the verifiers cannot be started."""
        scored: list[Scored | None] = [None] * len(rollouts)
        left = len(rollouts)

        for i, rollout in enumerate(rollouts):

            def place(result: Scored, i: int = i) -> None:
                nonlocal left
                scored[i] = result
                left -= 1

            self._judge(rollout, place)
        with self._pool.changed:
            self._wait(lambda: left == 0, None)
        return [result for result in scored if result is not None]

    def start(self) -> None:
        """Wait until the verifiers are loaded. Raises ValueError if they cannot be."""
        with self._pool.changed:
            self._wait(lambda: self._pool.gold is not None, None)

    def ask(self, parts: Sequence[int], rollouts: Sequence[Rollout]) -> list[Verdict]:
        """What for each rollout one part alone (its index) says, in the order given, weight and `when` apart; counted
        nowhere. Raises ValueError if the verifiers cannot be started."""
        verdicts: dict[int, Verdict] = {}
        for i, (part, rollout) in enumerate(zip(parts, rollouts, strict=True)):

            def place(heard: Mapping[int, Verdict], part: int = part, i: int = i) -> None:
                verdicts[i] = heard[part]

            self._ask(rollout, [part], place)
        with self._pool.changed:
            self._wait(lambda: len(verdicts) == len(rollouts), None)
        return [verdicts[i] for i in range(len(rollouts))]

    def timed_out(self, verdict: Verdict) -> bool:
        """Whether `ask` says so because the deadline passed."""
        return verdict.error in self._pool.deadline.reasons

    def check_errors(self) -> None:
        """Raise ValueError, with the commonest error, when too many of the recent samples could not be judged."""
        with self._pool.changed:
            errors = Counter(error for error in self._recent if error is not None)
            if len(self._recent) < _FEWEST or self.error_share <= self.config.max_error_share:
                return
            text, count = errors.most_common(1)[0]
            raise ValueError(
                f"{errors.total()} of the last {len(self._recent)} samples could not be judged "
                f"(reward.max_error_share: {self.config.max_error_share:g}); {count} times: {text}"
            )

    def prove(self) -> list[str]:
        """Have every verifier judge its own GOLD under its deadline, or one answer where it has none: that must not hang,
        and a model must be there to be asked. Raises ValueError naming verifier and case where it errs; returns warnings
        for verifiers without GOLD."""
        self.start()
        warnings: list[str] = []
        for part, (gold, config) in enumerate(zip(self._gold(), self.config.parts, strict=True)):
            verdicts = self._judge_gold(part, gold)
            for i, (case, verdict) in enumerate(zip(gold, verdicts, strict=True)):
                if fault := _fault(case, verdict):
                    raise ValueError(f"verifier '{config.verifier}' fails its GOLD[{i}]: {fault}")
            if error := self._refused(part, len(gold)):
                raise ValueError(f"verifier '{config.verifier}' cannot judge with its args {config.args}: {error}")
            if not gold:
                (verdict,) = self.ask([part], [_PROBE.rollout()])
                if self.timed_out(verdict) or (part in self._served and verdict.error):
                    raise ValueError(f"verifier '{config.verifier}' cannot judge the answer 'yes': {verdict.error}")
                warnings.append(f"verifier '{config.verifier}' has no GOLD: nothing shows that it judges right")
        return warnings

    def _gold(self) -> list[Sequence[Gold]]:
        """The cases of each part."""
        pooled = dict(zip(self._pooled, self._pool.gold or (), strict=True))
        served = {
            i: [(case.pred, case.gold, *case.bounds) for case in part.gold or ()] for i, part in self._served.items()
        }
        return [pooled.get(i) or served.get(i) or () for i in range(len(self.config.parts))]

    def _judge_gold(self, part: int, gold: Sequence[Gold]) -> list[Verdict]:
        if part in self._served:
            cases = self._served[part].gold or ()
            return self.ask([part] * len(cases), [case.rollout() for case in cases])
        return self._judge_cases(part, range(len(gold)))

    def _refused(self, part: int, cases: int) -> str | None:
        """The error with which a part judges all of its GOLD once the cases' own arguments do not cover the recipe's."""
        error: str | None = None
        for i in range(cases) if part not in self._served else ():
            (verdict,) = self._judge_cases(part, [~i])
            error = error or verdict.error
            if verdict.error is None:
                return None
        return error

    def _judge_cases(self, part: int, cases: Sequence[int]) -> list[Verdict]:
        verdicts: dict[int, Verdict] = {}
        call = self._pooled.index(part)
        for i in cases:

            def place(results: Results, i: int = i) -> None:
                verdicts[i] = results[call]

            self._pool.submit(i, (call,), place)
        with self._pool.changed:
            self._wait(lambda: len(verdicts) == len(cases), None)
        return [verdicts[i] for i in cases]

    def _judge(self, rollout: Rollout, take: Callable[[Scored], None]) -> None:
        def done(verdict: Verdict) -> None:
            self.scored += 1
            self.errors += verdict.error is not None
            self._recent.append(verdict.error)
            take(Scored(rollout, verdict))

        hearing = PartialVerdict(self.config, rollout, set(self._served), done)

        def heard(verdicts: Mapping[int, Verdict]) -> None:
            self._ask(rollout, hearing.heard(verdicts), heard)

        with self._pool.changed:
            if hearing.first:
                self._ask(rollout, hearing.first, heard)
            else:
                heard({})
                self._pool.changed.notify_all()

    def _ask(self, rollout: Rollout, parts: Sequence[int], heard: Callable[[Mapping[int, Verdict]], None]) -> None:
        """`heard` is called, with `changed` held, as verdicts come: once for all of the pool, once for each model."""
        pooled = [i for i in parts if i not in self._served]
        if pooled:

            def judged(results: Results) -> None:
                verdicts = {self._pooled[call]: verdict for call, verdict in results.items()}
                heard(verdicts)  # where one part has ended its process, the others are asked again
                self._ask(rollout, [i for i in pooled if i not in verdicts], heard)

            self._pool.submit(rollout, tuple(map(self._pooled.index, pooled)), judged)
        for i in parts:
            if i in self._served and self._loop is not None:

                def answered(verdict: Verdict, i: int = i) -> None:
                    with self._pool.changed:
                        heard({i: verdict})
                        self._pool.changed.notify_all()

                self._loop.submit(self._served[i], rollout, answered)

    def _wait(self, until: Callable[[], object], timeout_s: float | None) -> None:
        """Until something holds, with `changed` held."""
        due = None if timeout_s is None else time.monotonic() + timeout_s
        while not until():
            if self._pool.failure is not None:
                raise self._pool.failure
            left = None if due is None else due - time.monotonic()
            if (left is not None and left <= 0) or not self._pool.changed.wait(left):
                return


def _fault(case: Gold, verdict: Verdict) -> str:
    pred, gold, low, high = case
    if verdict.error is None and low <= verdict.score <= high:
        return ""
    wanted = "1.0" if low == 1.0 else "below 1.0" if (low, high) == WRONG else f"in [{low:g}, {high:g}]"
    got = verdict.error or f"scored {verdict.score:g}" + (f" ({verdict.reason})" if verdict.reason else "")
    return f"'{pred[:80]}' against gold '{(gold or '')[:80]}' should score {wanted}; {got}"
