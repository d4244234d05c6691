"""`sft`: the warm start. Next-token loss on demonstrations, the prompt masked, in the standard think format."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rl.config import ConfigError
from rl.stages.context import Context, Outcome
from rl.workers.trainer import OptimizerConfig

if TYPE_CHECKING:
    from rl.types import Prompt


@dataclass
class Config:
    data: str
    """Name of a data set of the recipe; its rows need a demonstration."""
    split: str | None = "train"
    limit: int | None = None
    model: str | None = None
    """An earlier stage or a path; default: the model so far."""
    epochs: float = 1.0
    sequences_per_step: int = 128
    max_sequence_tokens: int = 10240
    checkpoint_every: int = 0
    """Steps; 0: only the finished model is kept."""
    keep: int = 1
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=1e-5))

    def validate(self, place: str) -> None:
        if self.epochs <= 0 or self.sequences_per_step < 1:
            raise ConfigError(f"{place}: epochs and sequences_per_step must be positive")

    def steps(self, rows: int) -> int:
        """Optimiser steps over `rows` demonstrations."""
        return max(1, round(self.epochs * rows / self.sequences_per_step))


def run(config: Config, context: Context) -> Outcome:
    """Trains from `context.model` and leaves `model/` in the stage's folder."""
    from rl.run.checkpoint import Checkpoints

    prompts = context.data(config.data, config.split, config.limit)
    policy = context.cluster.policy
    checkpoints = Checkpoints(context.folder / "checkpoints", config.keep, context.say)
    restored = checkpoints.latest()
    start = restored[1]["step"] if restored else 0
    policy.load(restored[0] if restored else context.model, context.cluster.model, config.optimizer)
    if restored:
        policy.restore_optimizer(restored[0])
    context.tracker.rewind(start)
    loss = train(config, context, prompts, checkpoints, start)
    policy.export(context.folder / "model")
    return Outcome({"loss": loss}, {"model": str(context.folder / "model")})


def train(config: Config, context: Context, prompts: list[Prompt], checkpoints, start: int) -> float:
    """The loop; returns the last loss."""
    from rl.algorithms.objective import Objective
    from rl.data.collate import demonstrations
    from rl.data.curriculum import Curriculum
    from rl.run.progress import Progress

    policy, chat = context.cluster.policy, context.cluster.chat
    objective = Objective(advantage="none", policy_loss="nll", critic=False)
    curriculum = Curriculum(prompts, context.seed)
    curriculum.draw(start * config.sequences_per_step) if start else None
    total = config.steps(len(prompts))
    metrics: dict[str, float] = {"loss": float("nan")}
    with Progress(context.name, total) as progress:
        for step in range(start + 1, total + 1):
            began = time.monotonic()
            batch = demonstrations(curriculum.draw(config.sequences_per_step), chat, config.max_sequence_tokens)
            rate = config.optimizer.rate(step - 1, total)
            metrics = policy.update(batch, [range(len(batch))], [rate], objective, config.max_sequence_tokens).get()
            metrics = {"loss": metrics["loss"], "grad_norm/policy": metrics["grad_norm"], "learning_rate": rate}
            seconds = time.monotonic() - began
            timings = {"time/step": seconds, "tokens_per_second/step": batch.tokens_T.numel() / seconds}
            context.tracker.record(step, {**metrics, **timings})
            progress.advance(step, {**metrics, **timings})
            if config.checkpoint_every and step % config.checkpoint_every == 0 and step < total:
                checkpoints.save(step, {}, policy.save)
    return metrics["loss"]
