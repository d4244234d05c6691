"""The models of one rlvr stage: which of them an algorithm has, how they start, who works in a step, at what rate."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rl.algorithms.presets import columns
from rl.workers.group import Absent

if TYPE_CHECKING:
    from pathlib import Path

    from rl.stages.context import Context
    from rl.stages.rlvr.config import Config
    from rl.workers.optimizer import OptimizerConfig
    from rl.workers.roles import Critic, Policy, Reference, Trainee


class Learner:
    """Policy, critic and reference. What the algorithm does without is an `Absent` object, so the loop asks no `if`."""

    def __init__(self, config: Config, context: Context) -> None:
        self.config, self.context = config, context
        objective = config.build_objective()
        batch_columns = columns(objective)
        self.policy: Policy = context.cluster.policy
        self.critic: Critic = context.cluster.critic if objective.critic else Absent()
        self.reference: Reference = context.cluster.reference if "ref" in batch_columns else Absent()
        # After a single update on its own samples the policy is still the one that wrote them: the loss takes its
        # logprobs as the old ones, and the pass over the batch that would compute them is spared.
        self.spares_old_logprobs = config.optimiser_steps == 1 and "old" not in batch_columns

    def load(self, checkpoint: Path | None) -> None:
        """Load the models of a checkpoint, or those that the stage starts with."""
        config, context = self.config, self.context
        model = context.cluster.model
        policy, critic = context.model, context.model
        if config.critic:
            critic = context.artifact("model", config.critic)
        if checkpoint:
            policy, critic = checkpoint / "policy", checkpoint / "critic"
        self.policy.load(policy, model, config.optimizer)
        self.critic.load(critic, model, config.critic_optimizer)
        # The reference never learns, so its encoder is frozen even where the policy's trains.
        self.reference.load(context.model, replace(model, train_encoder=False), config.optimizer)
        if checkpoint:
            self.policy.restore_optimizer(policy)
            self.critic.restore_optimizer(critic)
        self.policy.temperature = self.reference.temperature = config.temperature

    def save(self, folder: Path) -> None:
        """Write what `load` reads."""
        self.policy.save(folder / "policy")
        self.critic.save(folder / "critic")

    def old_policy(self, step: int) -> Reference:
        """Return who gives the logprobs before the step's update: the policy, or nobody where its single update does."""
        return Absent() if self.spares_old_logprobs and self.policy_learns(step) else self.policy

    def trained_policy(self, step: int) -> Trainee:
        """Return who is updated: the policy, or nobody while the critic warms up."""
        return self.policy if self.policy_learns(step) else Absent()

    def policy_learns(self, step: int) -> bool:
        """Return whether the policy learns in this step, or waits for the critic to warm up."""
        return step > self.config.critic_warmup_steps

    def policy_rates(self, step: int) -> list[float]:
        """Return the learning rate of each of the policy's updates in this step, by a schedule that begins with its first
        one; none while the critic warms up."""
        warmup = self.config.critic_warmup_steps
        if not self.policy_learns(step):
            return []
        return self._rates(self.config.optimizer, step - warmup, self.config.steps - warmup)

    def critic_rates(self, step: int) -> list[float]:
        """Return the learning rate of each of the critic's updates in this step."""
        return self._rates(self.config.critic_optimizer, step, self.config.steps)

    def _rates(self, optimizer: OptimizerConfig, step: int, steps: int) -> list[float]:
        updates = self.config.optimiser_steps
        return [optimizer.rate((step - 1) * updates + i, steps * updates) for i in range(updates)]
