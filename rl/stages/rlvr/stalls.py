"""Finds steps of which nothing or little can be learned: no answer ever begins, every group has one score, or dynamic
sampling finds too few groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

STEPS = 3
"""Steps in a row whose groups all have equal scores before that is said: one such step may be chance."""
DIVERGED = (
    "{name}, step {step}: group {group} was written otherwise than in the repeated run, and so will be what follows; an environment "
    "must reply to the same turns in the same way, and a GPU rounds otherwise in other company (engines.batch_invariant)"
)
"""Warning of a repeated run that has become another one."""


@dataclass
class Stalls:
    """The stalls that one stage has been warned of, a function of the metrics of its steps."""

    stage: str
    samples_per_prompt: int
    max_sequence_tokens: int
    warned_kinds: set[str] = field(default_factory=set[str])
    """Kinds of warnings that were given."""
    equal_steps: int = 0
    """Steps in a row, up to the latest, in which every group had equal scores."""

    def observe(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        """Return a warning for each kind of stall that this step shows for the first time."""
        # A group of one sample has no variance to miss, and a teacher tells tokens apart where scores are equal.
        is_compared = self.samples_per_prompt > 1 and "kl/teacher" not in metrics
        is_equal = metrics["zero_variance_groups"] == 1.0 and is_compared
        self.equal_steps = self.equal_steps + 1 if is_equal else 0
        warnings: dict[str, str] = {}
        if metrics.get("closed_chains") == 0.0:  # recorded only for a model that thinks
            warnings["chains"] = f"step {step}: {self._describe_chains(metrics['truncation_rate'])}"
        if self.equal_steps >= STEPS:
            warnings["scores"] = f"steps {step - STEPS + 1} to {step}: {_describe_scores(metrics['reward'])}"
        if metrics.get("group_share", 1.0) < 1.0:
            warnings["groups"] = f"step {step}: {_describe_groups(metrics['group_share'])}"
        if metrics.get("truncated_masked/sequences") == 1.0:
            warnings["masked"] = (
                f"step {step}: every sample reached max_sequence_tokens ({self.max_sequence_tokens}) and mask_truncated leaves "
                "none to learn from; raise max_sequence_tokens, or teach shorter answers by an sft stage first"
            )
        # Once for each kind: a resumed run reads its old metrics, and is not warned again either.
        new = {kind: text for kind, text in warnings.items() if kind not in self.warned_kinds}
        self.warned_kinds |= new.keys()
        return [f"rlvr '{self.stage}', {text}" for text in new.values()]

    def _describe_chains(self, truncation_rate: float) -> str:
        if truncation_rate == 1.0:
            return (
                f"every sample reached max_sequence_tokens ({self.max_sequence_tokens}) before its chain closed with "
                "</think>, so none has an answer; raise max_sequence_tokens, or teach shorter chains by an sft stage first"
            )
        return (
            "no sample closed its chain with </think>, so none has an answer; teach chains by an sft stage first, or set "
            "model.think: false for a model that answers at once"
        )


def _describe_groups(share: float) -> str:
    return (
        f"dynamic sampling found {share:.0%} of the step's groups, the others that it drew are equally right in all samples "
        "or could not be judged; the step's gradient is scaled by that share; curate prompts of medium difficulty (a curate "
        "stage, and its `difficulty` here) or lower prompts_per_step"
    )


def _describe_scores(reward: float) -> str:
    if reward >= 0.5:
        fix = "the prompts are too easy: curate harder ones (a curate stage, and its `difficulty` here)"
    else:
        fix = "read samples in the report, check the reward and its golds, warm-start by an sft stage or curate easier prompts"
    return f"in every group all samples have one score ({reward:.3g} in the mean), so there is nothing to learn; {fix}"
