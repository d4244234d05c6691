"""Samples to learn from, step by step: prompts are drawn, answered by the engines, and judged while others are still
being written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rl.stages.scoring import by_prompt
from rl.units import many
from rollouts.sampler import seed_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from rewards.combine import RewardConfig
    from rl.data.mixture import Mixture
    from rl.stages.context import Context
    from rl.stages.rlvr.config import Config
    from rl.stages.scoring import Scorer
    from rl.types import Prompt, Scored

MAX_DRAWS = 10
"""Most rounds of draws in a step, as in DAPO's published recipe."""


class SampleStream:
    """The scored samples of each step of one rlvr stage."""

    def __init__(self, config: Config, context: Context, curriculum: Mixture[Prompt], scorer: Scorer) -> None:
        self.config, self.context = config, context
        self.curriculum, self.scorer = curriculum, scorer
        self.objective = config.build_objective()
        self.draws: list[list[Scored]] = []
        """All samples of the step, draw by draw, those of dropped groups too."""
        self.group_share = 1.0
        """Groups of the step that are learned from, as a share of `prompts_per_step`."""

    def take(self, step: int) -> list[Scored]:
        """Return the step's samples. With dynamic sampling, groups whose samples are all equally right are dropped, and
        further prompts drawn in their place (DAPO, arXiv 2503.14476, section 3.2). Where they run short after `MAX_DRAWS`
        rounds, the step has the groups that were found. Raises ValueError without any sample to learn from."""
        group_count = self.config.prompts_per_step
        samples: list[Scored] = []
        self.scorer.seconds.clear()
        self.draws = []
        # In rounds, not one group at a time: what is drawn must not depend on which group finishes first.
        for draw in range(MAX_DRAWS):
            prompts = self.draw(group_count - len(by_prompt(samples)), samples)
            if not prompts:  # a small source may have none but those that are answered already
                continue
            scored = self.answer(prompts, seed_of(self.context.seed, step, draw))
            self.draws.append(scored)
            samples += self.informative(scored) if self.objective.filter_zero_variance else scored
            if len(by_prompt(samples)) == group_count:
                break
        if not any(s.verdict.error is None for s in samples):
            raise ValueError(f"rlvr '{self.context.name}', step {step}: {self._describe_nothing()}")
        self.group_share = len(by_prompt(samples)) / group_count
        return samples

    def loss_scale(self, scored: Sequence[Scored]) -> Tensor | None:
        """Return [A] the factor of each action's loss, for samples in the order of their batch; None where all are 1.

        A step of fewer groups than asked for is scaled by their share. Means over its actions or sequences would give
        the few the weight of a whole step; so they have the weight that they have in one whose other groups teach nothing,
        which is what the dropped groups taught. With `mask_truncated` the factor of truncated samples is 0."""
        import torch

        factors = [0.0 if self.masks(s) else self.group_share for s in scored]
        if all(factor == 1.0 for factor in factors):
            return None
        actions_N = torch.tensor([int(s.rollout.action_mask.sum()) for s in scored])
        return torch.tensor(factors).repeat_interleave(actions_N)

    def placed_rewards(self, scored: Sequence[Scored]) -> Tensor | None:
        """Return [A] the rewards that are paid before the ends of their samples, as `objective.reward_at` says; None for none."""
        from rl.data.placed_rewards import place_rewards

        return place_rewards(scored, self.objective.reward_at, self.context.cluster.chat.written)

    def masks(self, sample: Scored) -> bool:
        """Return whether the sample is left out of the losses for its length."""
        return self.objective.mask_truncated and sample.rollout.truncated

    def informative(self, scored: Sequence[Scored]) -> list[Scored]:
        """Return the samples of the groups whose samples are not all equally right, by the part `accuracy` of the reward;
        by the score where the reward has no such part."""
        return with_variance(scored, self.scorer.rewards.config)

    def draw(self, count: int, samples: Sequence[Scored]) -> list[Prompt]:
        """Draw the next `count` prompts of the curriculum, without those that `samples` answer."""
        answers = by_prompt(samples)
        # A dict: where a round takes more than a small source has left, a prompt comes twice, and its two groups would run
        # together.
        return list({p.id: p for p in self.curriculum.draw(count) if p.id not in answers}.values())

    def answer(self, prompts: Sequence[Prompt], seed: int) -> list[Scored]:
        """Return `samples_per_prompt` judged answers of each prompt; each goes to the verifiers the moment it ends."""
        rollouts = self.context.cluster.sampler.generate(
            prompts,
            samples=self.config.samples_per_prompt,
            temperature=self.config.temperature,
            max_sequence_tokens=self.config.max_sequence_tokens,
            seed=seed,
        )
        return self.scorer.collect(rollouts)

    @property
    def all_samples(self) -> list[Scored]:
        """All samples of the step, those of dropped groups too."""
        return [sample for draw in self.draws for sample in draw]

    @property
    def dropped_groups(self) -> int:
        """Groups of the step that were dropped: all samples equally right, or no verdict."""
        return sum(len(by_prompt(draw)) - len(by_prompt(self.informative(draw))) for draw in self.draws)

    def _describe_nothing(self) -> str:
        """Return why the step has nothing to learn from, with what was drawn."""
        groups = [group for draw in self.draws for group in by_prompt(draw).values()]
        equal = sum(bool(group) for group in groups)
        drawn = f"{many(len(groups), 'group')} in {many(len(self.draws), 'draw')}"
        errors = [s.verdict.error for s in self.all_samples if s.verdict.error is not None]
        first_error = f" (the first: {errors[0]})" if errors else ""
        if not equal:
            return f"no sample of {drawn} could be judged{first_error}; mend what judges them"
        unjudged = f", of {len(groups) - equal} none could be judged{first_error}" if equal < len(groups) else ""
        return (
            f"nothing to learn from {drawn}: of {equal} all samples are equally right{unjudged}; curate prompts of medium "
            "difficulty (a curate stage, and its `difficulty` here), or train the model first"
        )


def with_variance(scored: Sequence[Scored], reward: RewardConfig) -> list[Scored]:
    """Return the samples of the groups that differ in what the reward holds for success (`RewardConfig.success`)."""
    informative = {
        id
        for id, group in by_prompt(scored).items()
        if len({reward.success(s.rollout.prompt, s.verdict) for s in group}) > 1
    }
    return [s for s in scored if s.rollout.prompt.id in informative]
