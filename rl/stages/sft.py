"""`sft`: the warm start. Next-token loss on demonstrations, the prompt masked, in the standard think format."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from rl.stages.context import Context, Outcome
from rl.stages.kind import Kind
from rl.stages.pruning import PruneConfig
from rl.stages.settings import CheckpointConfig, TrainingConfig
from rl.stages.workload import StagePlan, Work, steps_in_words
from rl.units import many
from rollouts.environments.config import EnvironmentConfig

if TYPE_CHECKING:
    from rl.data.mixture import Mixture
    from rl.run.checkpoint import Checkpoints
    from rl.types import Prompt

RECENT_STEPS = 10
"""Steps over which the loss is averaged, for `stop_at_loss` and for the stage's result."""


@dataclass
class Config(CheckpointConfig, TrainingConfig):
    """Settings of `sft`. Its data: a data set whose rows have a demonstration, a `distill` stage, or several."""

    sequences_per_step: int = 128
    """Demonstrations in each optimiser step."""
    max_sequence_tokens: int = 10240
    """Tokens of the longest sequence, prompt and response together."""
    train: Literal["all", "adapter"] = "all"
    """The weights that learn. `adapter`: those between ear and decoder alone, to warm up a composed model whose adapter is
    new (`model.compose`); the decoder stays as it was pretrained."""
    environment: str | EnvironmentConfig | None = None
    """The environment that answers calls within demonstrations, whose answers carry no loss; default: the recipe's; `none`: none."""
    stop_at_loss: float | None = None
    """Ends the stage early, once the mean loss of the last ten steps is below: a model that imitates perfectly leaves
    RL nothing to explore. On answers with one right wording, exp(-loss × tokens) is about the accuracy of a sample."""

    prune: PruneConfig | None = None
    """Chains that are cut short at random while their answers stay whole, for a model that is to answer before it has thought to the
    end (think-incomplete SFT). None: chains stay whole."""

    rows_key: ClassVar[str] = "sequences_per_step"

    def notes(self, place: str, rows: int | None) -> list[str]:
        lines = super().notes(place, rows)
        if self.train == "adapter" and self.optimizer.learning_rate < 1e-4:
            rate = f"{self.optimizer.learning_rate:g}"
            lines.append(f"{place}.optimizer.learning_rate: {rate} is little for an adapter that is new; 1e-3 is usual")
        return lines


def plan(config: Config, work: Work) -> StagePlan:
    """Return the plan of `sft`."""
    micro_batches, largest = work.optimiser_step(config.sequences_per_step, config.max_sequence_tokens)
    steps = config.steps(work.epoch) if work.epoch else 0
    summary = (
        f"{many(config.epochs, 'epoch')} of {work.prompts} → {steps_in_words(steps)} "
        f"of {many(config.sequences_per_step, 'sequence')}, {micro_batches}"
    )
    if config.train == "adapter":
        summary += "; the adapter alone learns"
    return work.plan(
        summary,
        steps * config.sequences_per_step,
        config.max_sequence_tokens,
        steps=steps,
        micro_batch=largest,
        updates=1,
        checkpoints=config.keep if config.checkpoint_every else 0,
        learners=1 if config.checkpoint_every else 0,
    )


def run(config: Config, context: Context) -> Outcome:
    """Train from `context.model` and leave `model/` in the stage's folder."""
    from rl.data.mixture import Mixture, weights_of
    from rl.run.checkpoint import Checkpoints

    sources = context.sources(config.data, config.split, config.limit)
    curriculum = Mixture(sources, weights_of(config.data), context.seed)
    policy = context.cluster.policy
    checkpoints = Checkpoints(context.folder / "checkpoints", config.keep, context.say, context.record)
    checkpoint = checkpoints.latest()
    start = checkpoint[1]["step"] if checkpoint else 0
    folder, adapter_only = checkpoint[0] if checkpoint else context.model, config.train == "adapter"
    # `context.model` beside a checkpoint, which of an adapter does not hold the model that it belongs to.
    policy.load(folder, context.cluster.model, config.optimizer, context.model, adapter_only)
    if checkpoint:
        policy.restore_optimizer(checkpoint[0])
        curriculum.state = checkpoint[1]["drawn"]
    context.tracker.rewind(start)
    recent = deque[float](checkpoint[1]["recent"] if checkpoint else (), maxlen=RECENT_STEPS)
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
    """Imitate, from step `start` on. `recent` holds the last losses."""
    from rl.algorithms.objective import Objective
    from rl.run.progress import Progress
    from rl.stages.pruning import prune_demonstrations
    from rl.stages.rehearsal import Rehearsal

    policy, limit = context.cluster.policy, config.max_sequence_tokens
    rehearsal = Rehearsal(context.cluster.chat, context.environment, limit)
    # Of the other settings only the mean matters here, by default one over all learned tokens of the step.
    imitation = Objective(policy_loss="nll")
    total = config.steps(len(curriculum))
    stop_at_loss = float("-inf") if config.stop_at_loss is None else config.stop_at_loss
    with Progress(context.name, total) as progress:
        for step in range(start + 1, total + 1):
            # Asked before a step, so that a resumed stage whose window is low already takes no further one.
            if len(recent) == RECENT_STEPS and sum(recent) / RECENT_STEPS < stop_at_loss:
                break
            began = time.monotonic()
            # The prompt is masked: only the tokens of the demonstration are actions, so only they carry loss.
            prompts = curriculum.draw(config.sequences_per_step)
            if config.prune is not None:
                prompts = prune_demonstrations(prompts, config.prune, context.seed, (step - 1) * len(prompts))
            batch = rehearsal.collate(prompts)
            rate = config.optimizer.rate(step - 1, total)
            policy_metrics = policy.update(batch, [range(len(batch))], [rate], imitation, limit).get()
            recent.append(policy_metrics["loss"])
            metrics = {
                "loss": policy_metrics["loss"],
                "grad_norm/policy": policy_metrics["grad_norm"],
                "learning_rate": rate,
            }
            metrics["time/step"] = time.monotonic() - began
            metrics["tokens_per_second/step"] = batch.tokens_T.numel() / metrics["time/step"]
            context.tracker.record(step, metrics)
            progress.advance(step, metrics)
            if config.is_due(step, total):
                state = {"recent": list(recent), "drawn": curriculum.state}
                checkpoints.save(step, state, policy.save, counts(config, context))


def counts(config: Config, context: Context) -> dict[str, int]:
    """Return how much was learned from so far, before a resume and after it."""
    from rl.run.tracker import read_stage_metrics

    rows = read_stage_metrics(context.tracker.run_dir, context.name)
    # Tokens are not recorded themselves: a step's pace times its seconds gives them back.
    tokens = sum(round(row["tokens_per_second/step"] * row["time/step"]) for row in rows)
    return {"sequences": len(rows) * config.sequences_per_step, "tokens": tokens, "steps": len(rows)}


def metric_names(config: Config) -> list[str]:
    """Return the beginnings of the names of its metrics."""
    return ["loss"]


KIND = Kind(
    Config,
    run,
    plan,
    makes=("model",),
    reads="demonstrations",
    length="epochs",
    metric_names=metric_names,
)
