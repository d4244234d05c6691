"""One rollout on its way through the parts of the reward: the pool's and the ungated served ones at once, then those
served ones whose gates turn out to be open. A question that cannot count is not asked: it may cost money."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rewards.combine import PartConfig, RewardConfig, combine, is_open
from rl.types import Rollout, Verdict


class PartialVerdict:
    """`heard` is called by whoever has a verdict, one at a time; `take` gets the combined one."""

    def __init__(self, config: RewardConfig, rollout: Rollout, asks: set[int], take: Callable[[Verdict], None]) -> None:
        """`asks`: the parts that ask a model."""
        self._config, self._rollout, self._take = config, rollout, take
        self._calls = config.applying(rollout.prompt)
        self._later = [i for i in self._calls if i in asks and config.parts[i].gates]
        self.first = [i for i in self._calls if i not in self._later]
        self._verdicts: dict[int, Verdict] = {}
        self._missing = set(self.first)

    def heard(self, verdicts: Mapping[int, Verdict]) -> Sequence[int]:
        """Take note of some parts' verdicts; the parts that are to be asked now."""
        self._verdicts |= verdicts
        self._missing -= verdicts.keys()
        if self._missing:
            return ()
        due = [i for i in self._later if i not in self._verdicts and self._may_count(self._config.parts[i])]
        self._later = []
        self._missing = set(due)
        if not due:
            results = [(self._config.parts[i], self._verdicts.get(i)) for i in self._calls]
            self._take(combine(results, self._rollout.prompt, self._config.clip))
        return due

    def _may_count(self, part: PartConfig) -> bool:
        """False where its gate is shut by what is known already."""
        known: dict[str, float] = {}
        for i, verdict in self._verdicts.items():
            if verdict.error is None:
                name = self._config.parts[i].name
                known |= {name: verdict.score, **{f"{name}/{inner}": v for inner, v in verdict.parts.items()}}
        pending = {self._config.parts[i].name for i in self._later}
        return is_open(part, known) or any(gate.partition("/")[0] in pending for gate in part.gates)
