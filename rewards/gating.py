"""Leads one rollout through the parts of the reward.

Parts that compute are cheap and judge at once. Parts that ask a model may cost money, so one behind a gate (`only_if`)
waits until the verdicts that decide its gate are there, and is asked only where it can still count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rewards.combine import PartConfig, RewardConfig, add_opinions, combine, is_open
from rewards.contract import NO_OPINION
from rl.types import Rollout, Verdict


class PartialVerdict:
    """The verdicts on one rollout so far.

    The caller has the parts `first` judge the rollout and hands each verdict to `add`, which names the parts to ask
    next; `take` is called with the combined verdict when none is missing. Not thread-safe: one call at a time.
    """

    def __init__(
        self, config: RewardConfig, rollout: Rollout, model_parts: set[int], take: Callable[[Verdict], None]
    ) -> None:
        """Sort the parts that apply to the rollout's prompt; `model_parts` are the indices of those that ask a model."""
        self._config, self._rollout, self._take = config, rollout, take
        self._judging = config.judging
        self._applying = config.applying(rollout.prompt)
        # A gated part of the pool runs at once all the same: it costs CPU time and no money, and its score is
        # logged even where combine() does not count it.
        self._gated_parts = [i for i in self._applying if i in model_parts and self._judging[i].gates]
        self.first = [i for i in self._applying if i not in self._gated_parts]
        """Indices of the parts that judge the rollout at once."""
        self._verdicts: dict[int, Verdict] = {}
        self._missing = set(self.first)  # asked, without a verdict yet

    def add(self, verdicts: Mapping[int, Verdict]) -> Sequence[int]:
        """Take the verdicts of some parts (by index) and return the parts that are to judge the rollout now."""
        self._verdicts |= verdicts
        self._missing -= verdicts.keys()
        if self._missing:
            return ()
        # All that were asked have answered: the gates of the parts still waiting can be decided.
        next_parts = [i for i in self._gated_parts if i not in self._verdicts and self._may_count(self._judging[i])]
        self._gated_parts = []  # the second round is the last: a part that is not asked now never is
        self._missing = set(next_parts)
        if not next_parts:
            results = [(i, (self._judging[i], self._verdicts.get(i))) for i in self._applying]
            count = len(self._config.parts)
            verdict = combine([r for i, r in results if i < count], self._rollout.prompt, self._config.clip)
            self._take(add_opinions(verdict, [r for i, r in results if i >= count]))
        return next_parts

    def _may_count(self, part: PartConfig) -> bool:
        """Return False where the verdicts so far close the part's gate."""
        scores: dict[str, float] = {}
        for i, verdict in self._verdicts.items():
            if verdict.error is None and NO_OPINION not in verdict.parts:
                name = self._judging[i].name
                scores[name] = verdict.score
                scores |= {f"{name}/{inner}": value for inner, value in verdict.parts.items()}
        # A gate on another gated part cannot be decided yet: both are asked, and combine() decides.
        undecided_parts = {self._judging[i].name for i in self._gated_parts}
        return is_open(part, scores) or any(gate.partition("/")[0] in undecided_parts for gate in part.gates)
