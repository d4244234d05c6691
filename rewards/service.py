"""Verdicts for rollouts: the parts of the configured reward, judged in isolated processes, combined."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from rewards import resolve
from rewards.combine import RewardConfig, combine
from rewards.isolation import Pool, Results, passed
from rewards.verifiers import WRONG
from rewards.worker import Call
from rl.types import Rollout, Scored, Verdict

_RECENT = 256  # samples over which the share of errors is taken
_FEWEST = 8  # below this many a share says nothing


class RewardService:
    """`submit` rollouts as they end and take what is `ready`, or `score` a list. Thread-safe. Processes start at once
    and end with `close` or with the parent."""

    def __init__(self, config: RewardConfig, folder: Path | None = None) -> None:
        """`folder` is the recipe's, for `file.py:fn`. Raises ConfigError for a verifier that does not exist."""
        for i, part in enumerate(config.parts):
            resolve.check(part.verifier, f"reward.parts[{i}].verifier", folder, part.args)
        self.config = config
        self.scored = self.errors = 0
        self._recent = deque[str | None](maxlen=_RECENT)
        self._finished = deque[Scored]()
        self._pending = 0
        self._pool = Pool(
            [Call(part.verifier, part.args) for part in config.parts],
            folder,
            workers=config.workers,
            deadline_s=config.deadline_s,
            memory_mb=config.memory_mb,
        )

    def __enter__(self) -> RewardService:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._pool.close()

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

            def place(results: Results, part: int = part, i: int = i) -> None:
                verdicts[i] = results[part]

            self._pool.submit(rollout, (part,), place)
        with self._pool.changed:
            self._wait(lambda: len(verdicts) == len(rollouts), None)
        return [verdicts[i] for i in range(len(rollouts))]

    def timed_out(self, verdict: Verdict) -> bool:
        """Whether `ask` says so because the deadline passed."""
        return verdict.error == passed(self.config.deadline_s)

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
        """Have every verifier judge its own GOLD, in the workers and under the deadline. Raises ValueError naming
        verifier and case where it errs; returns warnings for verifiers without GOLD."""
        self.start()
        gold = self._pool.gold
        assert gold is not None
        verdicts: dict[tuple[int, int], Verdict] = {}
        cases = [(part, i) for part, of_part in enumerate(gold) for i in range(len(of_part or ()))]
        for part, i in cases:

            def place(results: Results, part: int = part, i: int = i) -> None:
                verdicts[part, i] = results[part]

            self._pool.submit(i, (part,), place)
        with self._pool.changed:
            self._wait(lambda: len(verdicts) == len(cases), None)
        for part, i in cases:
            fault = _fault((gold[part] or [])[i], verdicts[part, i])
            if fault:
                raise ValueError(f"verifier '{self.config.parts[part].verifier}' fails its GOLD[{i}]: {fault}")
        return [
            f"verifier '{part.verifier}' has no GOLD: nothing shows that it judges right"
            for part, of_part in zip(self.config.parts, gold, strict=True)
            if not of_part
        ]

    def _judge(self, rollout: Rollout, take: Callable[[Scored], None]) -> None:
        calls = self.config.applying(rollout.prompt)

        def done(results: Results) -> None:
            parts = [(self.config.parts[i], results[i]) for i in calls if i in results]
            verdict = combine(parts, rollout.prompt, self.config.clip)
            self.scored += 1
            self.errors += verdict.error is not None
            self._recent.append(verdict.error)
            take(Scored(rollout, verdict))

        if calls:
            self._pool.submit(rollout, calls, done)
            return
        with self._pool.changed:
            done({})
            self._pool.changed.notify_all()

    def _wait(self, until: Callable[[], object], timeout_s: float | None) -> None:
        """Until something holds, with `changed` held."""
        due = None if timeout_s is None else time.monotonic() + timeout_s
        while not until():
            if self._pool.failure is not None:
                raise self._pool.failure
            left = None if due is None else due - time.monotonic()
            if (left is not None and left <= 0) or not self._pool.changed.wait(left):
                return


def _fault(case: tuple[str, str | None, float, float], verdict: Verdict) -> str:
    pred, gold, low, high = case
    if verdict.error is None and low <= verdict.score <= high:
        return ""
    wanted = "1.0" if low == 1.0 else "below 1.0" if (low, high) == WRONG else f"in [{low:g}, {high:g}]"
    got = verdict.error or f"scored {verdict.score:g}" + (f" ({verdict.reason})" if verdict.reason else "")
    return f"'{pred[:80]}' against gold '{(gold or '')[:80]}' should score {wanted}; {got}"
