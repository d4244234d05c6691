"""Samples to learn from, step by step: prompts are drawn, answered by the engines, and judged while others are still
being written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rl.stages.scoring import by_prompt
from rollouts.sampler import seed_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rl.data.mixture import Mixture
    from rl.stages.context import Context
    from rl.stages.rlvr.config import Config
    from rl.stages.scoring import Scorer
    from rl.types import Prompt, Scored

MAX_DRAWS = 10
"""Most rounds of draws in a step. After them the step goes on with the groups it has, fewer than `prompts_per_step`."""


class SampleStream:
    """The scored samples of each step of one rlvr stage."""

    def __init__(self, config: Config, context: Context, curriculum: Mixture[Prompt], scorer: Scorer) -> None:
        self.config, self.context = config, context
        self.curriculum, self.scorer = curriculum, scorer
        self.draws: list[list[Scored]] = []
        """All samples of the step, draw by draw, those of dropped groups too."""

    def take(self, step: int) -> list[Scored]:
        """Return the step's samples. With dynamic sampling, groups whose scores are all equal teach nothing (their
        advantages are 0): they are dropped, and further prompts drawn in their place (DAPO, arXiv 2503.14476, section 3.2). Raises ValueError without any sample
        to learn from."""
        config = self.config
        drops_equal_groups = config.build_objective().filter_zero_variance
        samples: list[Scored] = []
        self.scorer.seconds.clear()
        self.draws = []
        # In rounds, not one group at a time: what is drawn must not depend on which group finishes first.
        for draw in range(MAX_DRAWS):
            prompts = self.draw(config.prompts_per_step - len(by_prompt(samples)), samples)
            scored = self.answer(prompts, seed_of(self.context.seed, step, draw))
            self.draws.append(scored)
            samples += with_variance(scored) if drops_equal_groups else scored
            if len(by_prompt(samples)) == config.prompts_per_step:
                break
        if not any(s.verdict.error is None for s in samples):
            raise ValueError(
                f"rlvr '{self.context.name}', step {step}: no sample to learn from after {len(self.draws)} draws; every "
                "group has equal scores or erred; curate the prompts or train the model first"
            )
        return samples

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
        """Groups of the step that were dropped: equal scores, or no verdict."""
        return sum(len(by_prompt(draw)) - len(by_prompt(with_variance(draw))) for draw in self.draws)


def with_variance(scored: Sequence[Scored]) -> list[Scored]:
    """Return the samples of the groups whose scores are not all equal."""
    groups = by_prompt(scored)
    informative = {id for id, group in groups.items() if len({s.verdict.score for s in group}) > 1}
    return [s for s in scored if s.rollout.prompt.id in informative]
