"""Judges rollouts by every part of the configured reward and combines the parts into one verdict: the reward service.

A part is a verifier with its arguments. Most verifiers compute: they run in the worker processes of `rewards.pool`, which
can be killed, since they may be a user's code. Some ask a model (`judge`, `reward_model`) and mostly wait: they run in
this process, on the event loop of `rewards.served`. A rollout goes through these steps (gate: a part's `only_if`):

    submit / score -> _judge: which parts apply (PartialVerdict) -> Dispatcher.ask: to the pool and to the models
                   -> verdicts come in the pool's and the loop's threads -> the parts whose gates open are asked
                   -> combine() -> Scored, for take_finished / score
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

from rewards.combine import RewardConfig, is_over_deadline
from rewards.contract import OVER_DEADLINE, Case, describe_mismatch
from rewards.exchanges import add_turn_rewards
from rewards.gating import PartialVerdict
from rewards.pool.dispatch import Dispatcher
from rewards.served import Model, add_metrics
from rl.types import Rollout, Scored, Verdict

_RECENT = 256  # samples over which the share of errors is taken
_FEWEST = 8  # with fewer samples than this the share of errors says nothing
_PROBE = Case("yes", "yes", question="Say yes.")  # a verifier without GOLD is tried on it


class RewardService:
    """Judges rollouts by a reward.

    Example:
        with RewardService(config, recipe_folder) as service:
            service.check_verifiers()
            scored = service.score(rollouts)  # or `submit` each as it ends, and `take_finished` between steps

    Any thread may call any method. Its processes start at once, and end with `close` or with this process. A method that
    starts or awaits verdicts raises ValueError when none will come: the verifiers cannot be started, or the service is
    closed.
    """

    def __init__(
        self,
        config: RewardConfig,
        folder: Path | None = None,
        models: Mapping[str, Model] | None = None,
        output: Path | None = None,
    ) -> None:
        """Start the processes that judge by `config`.

        `folder` is the recipe's, in which verifiers written `file.py:function` are found; `models` are those that the
        run serves itself (`rewards.served`); the output of verifiers is written to files in the folder `output`, if one
        is given. Raises ConfigError for a verifier that does not exist, does not take its arguments, or has no model to
        ask."""
        self.config, self.folder = config, folder
        self.scored = 0
        """Number of rollouts judged so far."""
        self.errors = 0
        """Number of them that could not be judged."""
        self.over_deadline = 0
        """Number of them with a part that scored 0 because it used up its CPU time or memory (`on_timeout: zero`)."""
        self._recent = deque[str | None](maxlen=_RECENT)  # the error of each recent rollout; None where it has none
        self._results = deque[Scored]()  # submitted and judged, not yet taken
        self._pending = 0
        self._dispatcher = Dispatcher(config, folder, models or {}, output)
        self._condition = self._dispatcher.condition  # the one lock of all threads; see `rewards.pool.dispatch`

    def __enter__(self) -> RewardService:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the processes and the connections. What is pending is dropped: who waits for it gets ValueError."""
        self._dispatcher.close()

    def metrics(self) -> dict[str, float]:
        """Return what the parts that ask a model have spent so far (requests, tokens, cost), as `part/metric`. Parts of
        one name, which judge different prompts, are taken together."""
        named_metrics = [
            {f"{self.config.judging[i].name}/{metric}": float(value) for metric, value in verifier.metrics().items()}
            for i, verifier in self._dispatcher.model_verifiers.items()
        ]
        return add_metrics(named_metrics)

    @property
    def pending(self) -> int:
        """Number of rollouts submitted and not yet returned by `take_finished`."""
        return self._pending

    @property
    def restarts(self) -> int:
        """Number of worker processes lost to a deadline, a crash or their memory limit."""
        return self._dispatcher.pool.restarts

    @property
    def timeouts(self) -> int:
        """Number of worker processes killed at the deadline."""
        return self._dispatcher.pool.timeouts

    @property
    def error_share(self) -> float:
        """Share of the recent rollouts that could not be judged."""
        with self._condition:
            return sum(error is not None for error in self._recent) / max(1, len(self._recent))

    def submit(self, rollout: Rollout) -> None:
        """Judge one rollout in the background; `take_finished` returns it."""
        with self._condition:
            self._dispatcher.check_failure()
            self._judge(rollout, self._results.append)
            self._pending += 1

    def take_finished(self, timeout_s: float = 0.0) -> list[Scored]:
        """Return the submitted rollouts that are judged by now, in order of completion. Wait up to `timeout_s` seconds for
        the first one if there is none; return at once if nothing is pending."""
        with self._condition:
            self._dispatcher.wait(lambda: self._results or not self._pending, timeout_s)
            results = list(self._results)
            self._results.clear()
            self._pending -= len(results)
        return results

    def score(self, rollouts: Sequence[Rollout]) -> list[Scored]:
        """Judge rollouts and return them all, in the order given."""
        return self._dispatcher.collect([partial(self._judge, rollout) for rollout in rollouts])

    def start(self) -> None:
        """Wait until the verifiers are loaded."""
        with self._condition:
            # A worker reports its gold cases once it has loaded the verifiers.
            self._dispatcher.wait(lambda: self._dispatcher.pool.gold is not None)

    def judge_parts(self, parts: Sequence[int], rollouts: Sequence[Rollout]) -> list[Verdict]:
        """Judge rollout i by the one part `parts[i]`, ignoring weights, `when` and gates, and return the verdicts in order.
        They enter neither the counts nor the share of errors."""
        pairs = zip(parts, rollouts, strict=True)
        return self._dispatcher.collect([partial(self._judge_part, part, rollout) for part, rollout in pairs])

    def is_timeout(self, verdict: Verdict) -> bool:
        """Return whether a verdict of `judge_parts` is an error because the deadline passed."""
        # Told by its text, which the pool writes. An exception's text begins with its type, so only a verifier that
        # returns this very text as its error could be mistaken, and it would mislabel only itself.
        return verdict.error in self._dispatcher.pool.deadline.reasons

    def check_errors(self) -> None:
        """Raise ValueError, with the commonest error, when too many of the recent rollouts could not be judged."""
        with self._condition:
            errors = Counter(error for error in self._recent if error is not None)
            if len(self._recent) < _FEWEST or self.error_share <= self.config.max_error_share:
                return
            text, count = errors.most_common(1)[0]
            raise ValueError(
                f"{errors.total()} of the last {len(self._recent)} samples could not be judged "
                f"(reward.max_error_share: {self.config.max_error_share:g}); {count} times: {text}"
            )

    def check_verifiers(self) -> list[str]:
        """Let every verifier judge its GOLD (cases with known scores that its module lists) under the run's deadline, and
        return a warning for each that has none.

        One without GOLD judges a probe answer: it must answer in time, and where it asks a model, without an error. Raises
        ValueError naming the verifier and the case that it judges wrong.
        """
        self.start()
        warnings: list[str] = []
        for part, (cases, config) in enumerate(zip(self._dispatcher.gold_cases(), self.config.judging, strict=True)):
            verdicts = self._judge_gold(part, len(cases))
            for i, (case, verdict) in enumerate(zip(cases, verdicts, strict=True)):
                if mismatch := describe_mismatch(case, verdict):
                    raise ValueError(f"verifier '{config.verifier}' fails its GOLD[{i}]: {mismatch}")
            error = self._find_args_error(part, len(cases))
            if error is not None:
                raise ValueError(f"verifier '{config.verifier}' cannot judge with its args {config.args}: {error}")
            if not cases:
                (verdict,) = self.judge_parts([part], [_PROBE.rollout()])
                # Other errors are accepted: the probe lacks columns that real rows have.
                if self.is_timeout(verdict) or (part in self._dispatcher.model_verifiers and verdict.error):
                    raise ValueError(f"verifier '{config.verifier}' cannot judge the answer 'yes': {verdict.error}")
                warnings.append(f"verifier '{config.verifier}' has no GOLD: nothing shows that it judges right")
        return warnings

    def _judge_gold(self, part: int, count: int) -> list[Verdict]:
        if part in self._dispatcher.model_verifiers:
            cases = self._dispatcher.model_verifiers[part].gold or ()
            return self.judge_parts([part] * count, [case.rollout() for case in cases])
        return self._dispatcher.collect([partial(self._dispatcher.ask_case, part, i, True) for i in range(count)])

    def _find_args_error(self, part: int, count: int) -> str | None:
        """Return the part's first error if none of its gold cases can be judged with the recipe's arguments alone, else
        None. Needed because a case's own arguments override the recipe's, so a wrong one might never be tried."""
        if part in self._dispatcher.model_verifiers:  # `connect` has checked its arguments
            return None
        first_error: str | None = None
        for i in range(count):
            (verdict,) = self._dispatcher.collect([partial(self._dispatcher.ask_case, part, i, False)])
            if verdict.error is None:
                return None  # whatever its score: without its own arguments a case may come out otherwise
            first_error = first_error or verdict.error
        return first_error

    def _judge_part(self, part: int, rollout: Rollout, deliver: Callable[[Verdict], None]) -> None:
        self._dispatcher.ask(rollout, [part], lambda verdicts: deliver(verdicts[part]))

    def _settle_timeout(self, part: int, verdict: Verdict) -> Verdict:
        """Return the score 0 for an error that the part's policy calls the answer's fault: used-up CPU time or memory.
        Waiting or crashing is never taken for the answer's fault."""
        pool = self._dispatcher.pool
        # The pool's own texts, as in `is_timeout`.
        adjectives = {pool.deadline.reasons[0]: "slow", pool.memory_reason: "large"}
        if verdict.error not in adjectives or self._dispatcher.timeout_policies[part] != "zero":
            return verdict
        reason = f"too {adjectives[verdict.error]} to judge: {verdict.error} (on_timeout: zero)"
        return Verdict(0.0, {OVER_DEADLINE: 1.0}, reason=reason)

    def _judge(self, rollout: Rollout, deliver: Callable[[Scored], None]) -> None:
        """Let every part that applies judge a rollout, without waiting. `deliver` is called with the lock held when the
        verdict is whole: in the pool's or the loop's thread, or at once where there is nothing to ask."""

        def finish(verdict: Verdict) -> None:
            verdict = add_turn_rewards(verdict, rollout)
            self.scored += 1
            self.errors += verdict.error is not None
            self.over_deadline += is_over_deadline(verdict)
            self._recent.append(verdict.error)
            deliver(Scored(rollout, verdict))

        partial_verdict = PartialVerdict(self.config, rollout, set(self._dispatcher.model_verifiers), finish)

        def add(verdicts: Mapping[int, Verdict]) -> None:
            settled_verdicts = {part: self._settle_timeout(part, verdict) for part, verdict in verdicts.items()}
            # Ask the parts whose gates these verdicts open, if any.
            self._dispatcher.ask(rollout, partial_verdict.add(settled_verdicts), add)

        with self._condition:  # re-entrant: `submit` holds it already
            if rollout.error is not None:  # its environment failed: it is not what it might have become
                finish(Verdict(error=rollout.error))
                self._condition.notify_all()
            elif rollout.verdict is not None:  # its harness has judged it
                finish(rollout.verdict)
                self._condition.notify_all()
            elif partial_verdict.first:
                self._dispatcher.ask(rollout, partial_verdict.first, add)
            else:  # no part applies, which is an error, or every part waits behind a gate
                add({})
                self._condition.notify_all()
