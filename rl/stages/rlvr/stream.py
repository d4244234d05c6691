"""Samples to learn from, step by step: prompts are drawn, answered by the engines, and judged while others are still
being written; with `max_lag`, while the policy learns from those before."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from rl.run.cuts import CutLog
from rl.stages.scoring import by_prompt
from rl.types import Scored
from rl.units import many
from rollouts.sampler import seed_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from rewards.combine import RewardConfig
    from rl.data.mixture import Mixture
    from rl.data.pass_rates import Rates
    from rl.stages.context import Context
    from rl.stages.rlvr.config import Config
    from rl.stages.scoring import Scorer
    from rl.types import Prompt, Rollout, Spans

Ahead = tuple[int, str, int]
"""A group in a checkpoint: (number, prompt's id, seed)."""
MAX_DRAWS = 10
"""Most rounds of draws in a step, as in DAPO's published recipe."""


@dataclass(eq=False)
class Group:
    """A prompt that was drawn, with the samples of its answers that are judged by now."""

    number: int
    """Place of its draw, from 1 on over the whole stage."""
    prompt: Prompt
    seed: int
    ended: int = 0
    """Samples that are written; not all of them may be judged."""
    samples: list[Scored] = field(default_factory=list[Scored])


class SampleStream:
    """The scored samples of each step of one rlvr stage.

    Groups are learned from in the order in which their prompts were drawn, whichever ends first, and none is passed over for
    its age: so what is learned from is what was drawn, long answers too. Step s draws until `prompts_per_step` groups for
    itself and as many for each of the `max_lag` steps after it are there or under way. A group is therefore at most
    `max_lag` versions old when it is learned from."""

    def __init__(self, config: Config, context: Context, curriculum: Mixture[Prompt], scorer: Scorer) -> None:
        self.config, self.context = config, context
        self.curriculum, self.scorer = curriculum, scorer
        self.objective = config.build_objective()
        self.queue = deque[Group]()
        """Groups that were drawn and not yet learned from, in draw order."""
        self.drawn = 0
        """Groups drawn so far."""
        self.cuts: Mapping[int, Mapping[int, Spans]] = {}
        """Course of another run, which this one repeats: {group: {sample: which version wrote how much of it}}."""
        if config.replay is not None:
            self.cuts = CutLog(Path(config.replay) / "stages" / context.folder.name).read()
        self.taken: list[Group] = []
        """The groups that the step took, dropped ones too."""
        self.draws: list[list[Scored]] = []
        """Their samples, draw by draw."""
        self.group_share = 1.0
        """Groups of the step that are learned from, as a share of `prompts_per_step`."""

    def take(self, step: int) -> list[Scored]:
        """Return the step's samples, and let the engines write on what was drawn ahead. With dynamic sampling, groups whose
        samples are all equally right are dropped, and further ones take their place (DAPO, arXiv 2503.14476, section 3.2).
        Where they run short after `MAX_DRAWS` rounds, the step has the groups that were found. Raises ValueError without any
        sample to learn from."""
        group_count = self.config.prompts_per_step
        samples: list[Scored] = []
        self.scorer.seconds.clear()  # an evaluation after the step before has added to them
        self.taken, self.draws = [], []
        # In rounds, not one group at a time: what is drawn must not depend on which group finishes first.
        for draw in range(MAX_DRAWS):
            self.fill(step, draw, samples)
            # From the front, though groups behind may have ended first: those are the short ones.
            groups = [self.queue.popleft() for _ in range(min(group_count - len(by_prompt(samples)), len(self.queue)))]
            if not groups:  # a small source may have none but those that are answered already
                continue
            scored = self.wait(groups)
            self.taken += groups
            self.draws.append(scored)
            samples += self.informative(scored) if self.objective.filter_zero_variance else scored
            if len(by_prompt(samples)) == group_count:
                break
        if not any(s.verdict.error is None for s in samples):
            raise ValueError(f"rlvr '{self.context.name}', step {step}: {self._describe_nothing()}")
        self.group_share = len(by_prompt(samples)) / group_count
        # Here and not while groups end: what is drawn during step s rests on the results of steps before s, whoever was first.
        self.curriculum.observe(self.successes)
        self.context.cluster.sampler.run_on()  # ends at once where nothing is drawn ahead
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

    def fill(self, step: int, draw: int, samples: Sequence[Scored]) -> None:
        """Draw what the step lacks beside `samples`, and what the steps after it may lag behind with."""
        # Nothing for steps that will not come: it would be written and thrown away.
        ahead = min(self.config.max_lag, self.config.steps - step)
        answered = by_prompt(samples)
        count = (1 + ahead) * self.config.prompts_per_step - len(answered) - len(self.queue)
        if count <= 0:
            return
        # A prompt whose answers are under way is passed over: its two groups would get one name and mix.
        taken = answered.keys() | {group.prompt.id for group in self.queue}
        # A dict: where a round takes more than a small source has left, a prompt comes twice, and its two groups would run
        # together.
        prompts = {p.id: p for p in self.curriculum.draw(count) if p.id not in taken}
        # By step and round: a prompt that comes again is answered otherwise, and a resumed run draws the same.
        seed = seed_of(self.context.seed, step, draw)
        groups = [Group(number, prompt, seed) for number, prompt in enumerate(prompts.values(), self.drawn + 1)]
        self.drawn += len(groups)
        self.start(groups)

    def start(self, groups: Sequence[Group]) -> None:
        """Put groups, all of one seed, at the end of the queue and have them answered: `samples_per_prompt` answers to each
        prompt, which go to the verifiers the moment they end."""
        self.queue.extend(groups)
        by_id = {group.prompt.id: group for group in groups}

        def receive(rollouts: Sequence[Rollout]) -> None:
            for rollout in rollouts:
                group = by_id[rollout.prompt.id]
                self.scorer.submit([rollout], group.samples.append)
                group.ended += 1  # its verdict comes later: `samples` grows then

        if groups:
            self.context.cluster.sampler.start(
                [group.prompt for group in groups],
                samples=self.config.samples_per_prompt,
                temperature=self.config.temperature,
                max_sequence_tokens=self.config.max_sequence_tokens,
                seed=groups[0].seed,
                receive=receive,
                # By the number of the draw, which a prompt that comes again does not share with its first group.
                cuts={(g.prompt.id, s): cuts for g in groups for s, cuts in self.cuts.get(g.number, {}).items()},
            )

    def wait(self, groups: Sequence[Group]) -> list[Scored]:
        """Return all samples of the groups, judged, samples of a prompt together in their order: nothing in the result depends
        on who finished first. Raises ValueError when too many verifiers err."""
        count, start = self.config.samples_per_prompt, time.monotonic()
        while any(group.ended < count for group in groups):
            self.context.cluster.sampler.advance()
            self.scorer.deliver()  # without waiting: verifiers work beside the engines
        end_of_generation = time.monotonic()
        while any(len(group.samples) < count for group in groups):
            self.scorer.deliver(1.0)
        self.scorer.seconds["generate"] += end_of_generation - start
        self.scorer.seconds["verify"] += time.monotonic() - end_of_generation
        self.scorer.rewards.check_errors()
        # By id, not by draw: with it a batch's rows, and the sums over them, are the same however the run goes.
        samples = sorted((s for g in groups for s in g.samples), key=lambda s: (s.rollout.prompt.id, s.rollout.sample))
        return [rollout for sample in samples for rollout in whole_session(sample)]

    @property
    def written_by(self) -> dict[int, dict[int, Spans]]:
        """Tokens of each sample that the step took, by the version that wrote them: {group: {sample: spans}}."""
        return {
            group.number: {
                s.rollout.sample: s.rollout.spans or ((s.rollout.version, len(s.rollout.logprobs)),)
                for s in group.samples
            }
            for group in self.taken
        }

    @property
    def diverged_group(self) -> int | None:
        """Number of the first group of the step whose samples are not cut where those of the repeated run are; None where all
        are, or no run is repeated."""
        if not self.cuts:
            return None
        return next((number for number, spans in self.written_by.items() if spans != self.cuts.get(number)), None)

    @property
    def ahead(self) -> list[Ahead]:
        """Groups that were drawn and not yet learned from, for a checkpoint: (number, prompt's id, seed). A run that goes on from
        there has it answered anew, so that none is lost and none is learned from twice."""
        return [(group.number, group.prompt.id, group.seed) for group in self.queue]

    def restore(
        self,
        position: Mapping[str, Sequence[int]],
        ahead: Sequence[Ahead],
        drawn: int,
        rates: Mapping[str, tuple[Rates, Sequence[str]]] | None = None,
    ) -> None:
        """Go on from a checkpoint: from the curriculum's `position` and pass `rates`, after `drawn` draws, with what was drawn
        `ahead`."""
        self.curriculum.state, self.curriculum.rates, self.drawn = position, rates or {}, drawn
        # Over all of the source, since what was drawn ahead is behind the position.
        prompts = {p.id: p for part in self.curriculum.parts.values() for p in part.prompts} if ahead else {}
        if missing := [id for _, id, _ in ahead if id not in prompts]:
            raise ValueError(
                f"rlvr '{self.context.name}': prompt '{missing[0]}', which was drawn before the checkpoint, is not in the "
                "data any more; bring it back, or begin anew"
            )
        groups = [Group(number, prompts[id], seed) for number, id, seed in ahead]
        # A round's groups lie side by side and have one seed, with which its samples come again as they were.
        for _, of_seed in groupby(groups, key=lambda group: group.seed):
            self.start(list(of_seed))

    @property
    def successes(self) -> dict[str, list[float]]:
        """Successes of the samples that the step took, {prompt's id: successes}; errored ones are left out."""
        success = self.scorer.rewards.config.success
        return {
            group.prompt.id: [success(group.prompt, s.verdict) for s in group.samples if s.verdict.error is None]
            for group in self.taken
        }

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


def whole_session(sample: Scored) -> list[Scored]:
    """Return all rollouts of a sample's session, of which a harness may have begun several: each is learned from by the session's
    score."""
    verdict = replace(sample.verdict, spans=())  # which are places in the sample's own tokens
    return [*(Scored(rollout, verdict) for rollout in sample.rollout.siblings), sample]


def with_variance(scored: Sequence[Scored], reward: RewardConfig) -> list[Scored]:
    """Return the samples of the groups that differ in what the reward holds for success (`RewardConfig.success`)."""
    informative = {
        id
        for id, group in by_prompt(scored).items()
        if len({reward.success(s.rollout.prompt, s.verdict) for s in group}) > 1
    }
    return [s for s in scored if s.rollout.prompt.id in informative]
