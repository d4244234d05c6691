"""`sft`: the warm start. Next-token loss on demonstrations, the prompt masked, in the standard think format."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rl.config import ConfigError
from rl.data.mixture import Data, weights_of
from rl.stages.context import Context, Outcome
from rl.workers.optimizer import OptimizerConfig

if TYPE_CHECKING:
    from rl.data.mixture import Mixture
    from rl.run.checkpoint import Checkpoints
    from rl.types import Prompt


@dataclass
class Config:
    data: Data
    """A data set of the recipe, whose rows need a demonstration, a `distill` stage, or several with weights."""
    split: str | None = "train"
    limit: int | None = None
    model: str | None = None
    """An earlier stage or a path; default: the model so far."""
    epochs: float = 1.0
    """Of a mixture: until the first of its sources has been seen once."""
    sequences_per_step: int = 128
    max_sequence_tokens: int = 10240
    stop_at_loss: float | None = None
    """Ends the stage early, once the mean loss of the last ten steps is below: a model that imitates perfectly leaves
    RL nothing to explore. On answers with one right wording, exp(-loss × tokens) is about the accuracy of a sample."""
    checkpoint_every: int = 0
    """Steps; 0: only the finished model is kept."""
    keep: int = 1
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=1e-5))

    def validate(self, place: str) -> None:
        if self.epochs <= 0 or self.sequences_per_step < 1:
            raise ConfigError(f"{place}: epochs and sequences_per_step must be positive")
        if self.checkpoint_every < 0:
            raise ConfigError(f"{place}.checkpoint_every: must not be negative; got {self.checkpoint_every}")

    def steps(self, rows: int) -> int:
        """Optimiser steps when an epoch has `rows` demonstrations."""
        return max(1, round(self.epochs * rows / self.sequences_per_step))


def metric_names(config: Config) -> list[str]:
    """What its metrics' names begin with, up to a `/`."""
    return ["loss"]


def run(config: Config, context: Context) -> Outcome:
    """Trains from `context.model` and leaves `model/` in the stage's folder."""
    from rl.data.mixture import Mixture
    from rl.run.checkpoint import Checkpoints

    sources = context.sources(config.data, config.split, config.limit)
    curriculum = Mixture(sources, weights_of(config.data), context.seed)
    policy = context.cluster.policy
    checkpoints = Checkpoints(context.folder / "checkpoints", config.keep, context.say, context.record)
    restored = checkpoints.latest()
    start = restored[1]["step"] if restored else 0
    policy.load(restored[0] if restored else context.model, context.cluster.model, config.optimizer)
    if restored:
        policy.restore_optimizer(restored[0])
        curriculum.state = restored[1]["drawn"]
    context.tracker.rewind(start)
    recent = deque(restored[1]["recent"] if restored else (), maxlen=10)
    train(config, context, curriculum, checkpoints, start, recent)
    policy.export(context.folder / "model")
    metrics = {"loss": sum(recent) / len(recent)}
    return Outcome(metrics, {"model": str(context.folder / "model")}, counts(config, context))


def train(
    config: Config,
    context: Context,
    curriculum: Mixture[Prompt],
    checkpoints: Checkpoints,
    start: int,
    recent: deque[float],
) -> None:
    """The loop, from step `start` on. `recent` holds the last losses."""
    from rl.algorithms.presets import Objective
    from rl.data.collate import collate_demonstrations
    from rl.run.progress import Progress

    policy, chat, limit = context.cluster.policy, context.cluster.chat, config.max_sequence_tokens
    imitation = Objective(policy_loss="nll")
    total = config.steps(len(curriculum))
    with Progress(context.name, total) as progress:
        for step in range(start + 1, total + 1):
            if config.stop_at_loss is not None and len(recent) == 10 and sum(recent) / 10 < config.stop_at_loss:
                break
            began = time.monotonic()
            batch = collate_demonstrations(curriculum.draw(config.sequences_per_step), chat, limit)
            rate = config.optimizer.rate(step - 1, total)
            learned = policy.update(batch, [range(len(batch))], [rate], imitation, limit).get()
            recent.append(learned["loss"])
            metrics = {"loss": learned["loss"], "grad_norm/policy": learned["grad_norm"], "learning_rate": rate}
            metrics["time/step"] = time.monotonic() - began
            metrics["tokens_per_second/step"] = batch.tokens_T.numel() / metrics["time/step"]
            context.tracker.record(step, metrics)
            progress.advance(step, metrics)
            if config.checkpoint_every and step % config.checkpoint_every == 0 and step < total:
                state = {"recent": list(recent), "drawn": curriculum.state}
                checkpoints.save(step, state, policy.save, counts(config, context))


def counts(config: Config, context: Context) -> dict[str, int]:
    """What was learned from so far, before a resume and after it. A step's pace times its seconds is its tokens."""
    from rl.run.tracker import recorded

    rows = recorded(context.tracker.run_dir, context.name)
    tokens = sum(round(row["tokens_per_second/step"] * row["time/step"]) for row in rows)
    return {"sequences": len(rows) * config.sequences_per_step, "tokens": tokens, "steps": len(rows)}
