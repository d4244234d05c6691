"""The models of one rlvr stage: which of them an algorithm has, how they start, which run in a given step, at what rate."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rl.algorithms.presets import columns
from rl.data.collate import collate
from rl.data.teacher_prompts import reread
from rl.workers.group import Absent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rl.stages.context import Context
    from rl.stages.rlvr.config import Config
    from rl.types import Batch, Scored
    from rl.workers.optimizer import OptimizerConfig
    from rl.workers.roles import Critic, Policy, Reference, Trainee


class Learner:
    """Policy, critic, reference and teacher. A model that the algorithm does not use is an `Absent` object, so the loop needs no
    `if`."""

    def __init__(self, config: Config, context: Context) -> None:
        self.config, self.context = config, context
        objective = config.build_objective()
        self.policy: Policy = context.cluster.policy
        self.critic: Critic = context.cluster.critic if objective.critic else Absent()
        self.reference: Reference = context.cluster.reference if "ref" in columns(objective) else Absent()
        self.teacher: Reference = context.cluster.teacher if config.teacher else Absent()

    def load(self, checkpoint: Path | None) -> None:
        """Load the models of a checkpoint, or those that the stage starts with."""
        config, context = self.config, self.context
        model = context.cluster.model
        policy_path, critic_path = context.model, context.model
        if config.critic:
            critic_path = context.artifact("model", config.critic)
        critic_start = critic_path
        if checkpoint:
            policy_path, critic_path = checkpoint / "policy", checkpoint / "critic"
        # A checkpoint of adapters does not hold the models that they belong to, which the stage started with.
        self.policy.load(policy_path, model, config.optimizer, base=context.model)
        self.critic.load(critic_path, model, config.critic_optimizer, base=critic_start)
        # The reference is the model that the stage started with, also after a resume. It never learns, so its encoder is
        # frozen even where the policy's trains; DeepSpeed wants an optimizer's settings all the same.
        self.reference.load(context.model, replace(model, train_encoder=False), config.optimizer)
        if config.teacher:
            # Of a size of its own, and whole: the recipe's adapter is the policy's.
            frozen = replace(model, train_encoder=False, lora=None)
            self.teacher.load(context.artifact("model", config.teacher), frozen, config.optimizer)
        if checkpoint:
            self.policy.restore_optimizer(policy_path)
            self.critic.restore_optimizer(critic_path)
        # After `load`, which sets it to 1: logprobs are those of the distribution that was sampled from. The teacher's too:
        # at another temperature a policy equal to its teacher would be pushed away from it.
        for role in (self.policy, self.reference, self.teacher):
            role.temperature = config.temperature

    def save(self, folder: Path) -> None:
        """Write what `load` reads."""
        self.policy.save(folder / "policy")
        self.critic.save(folder / "critic")

    def teacher_batch(self, batch: Batch, scored: Sequence[Scored]) -> Batch:
        """Return the samples of the batch as the teacher reads them: its own prompts, where `teacher_template` gives it some,
        before the same answers."""
        if self.config.teacher_template is None:
            return batch
        environment = self.context.environment
        tools = environment.tools if environment else ()
        return collate(reread(scored, self.config.teacher_template, self.context.cluster.chat, tools))

    def old_logprob_source(self, step: int) -> Reference:
        """Return the policy, whose logprobs before the update are the old ones; or Absent where the update computes them
        itself (see `Config.spares_old_logprobs`)."""
        # Without an update, while the critic warms up, nobody else would measure the gap between engine and trainer.
        return Absent() if self.config.spares_old_logprobs and self.policy_learns(step) else self.policy

    def trained_policy(self, step: int) -> Trainee:
        """Return the policy, or Absent while the critic warms up."""
        return self.policy if self.policy_learns(step) else Absent()

    def policy_learns(self, step: int) -> bool:
        """Return whether the policy learns in this step, or waits for the critic to warm up."""
        return step > self.config.critic_warmup_steps

    def policy_rates(self, step: int) -> list[float]:
        """Return the learning rate of each of the policy's updates in this step, by a schedule that begins with its first
        one; none while the critic warms up."""
        warmup = self.config.critic_warmup_steps
        # Counted from its first update, or a warm-up as long as the critic's would be over before the policy moves.
        if not self.policy_learns(step):
            return []
        return _rates(self.config.optimizer, step - warmup, self.config.steps - warmup, self.config.optimiser_steps)

    def critic_rates(self, step: int, updates: int) -> list[float]:
        """Return the learning rate of each of the critic's `updates` in this step."""
        # The critic's own, since it takes more and smaller steps on the same batch than the policy.
        return _rates(self.config.critic_optimizer, step, self.config.steps, updates)


def _rates(optimizer: OptimizerConfig, step: int, steps: int, updates: int) -> list[float]:
    """Return the rates of the optimiser steps that step `step` of `steps` takes; the schedule counts optimiser steps."""
    return [optimizer.rate((step - 1) * updates + i, steps * updates) for i in range(updates)]
