"""`encode`: teaches the audio encoder of a model built from scratch to hear, before SFT and RL freeze it.

Linear heads on the encoder's mean frame predict what is known of each clip (its digit, speaker, pitch, …); the heads are
thrown away afterwards. A pretrained model needs no such stage.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, cast

from models.augment import AugmentConfig
from rl.config import did_you_mean, shorten
from rl.stages.context import Context, Outcome
from rl.stages.kind import Kind
from rl.stages.settings import Read, TrainingConfig
from rl.stages.workload import StagePlan, Work, steps_in_words
from rl.units import many
from rl.workers.optimizer import OptimizerConfig

if TYPE_CHECKING:
    from rl.types import Prompt


@dataclass
class Config(TrainingConfig):
    """Settings of `encode`. Of its data those rows are used that have one clip and `labels` (name: class) as a field."""

    labels: list[str] | None = None
    """Names of the labels to learn; default: all there are."""
    held_out: str | None = "validation"
    """Split on which the heads' accuracy is measured at the end."""
    epochs: float = 20.0
    clips_per_step: int = 32
    """Clips in each optimiser step."""
    augment: AugmentConfig | None = None
    """Random changes to a clip each time it is heard; default: none."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=1e-3, warmup_steps=50, schedule="cosine")
    )

    rows_key: ClassVar[str] = "clips_per_step"

    @property
    def reads(self) -> Sequence[Read]:
        reads = [*super().reads]
        if self.held_out is not None:
            reads.append(Read(self.data, self.held_out, None, "held_out"))
        return reads


def plan(config: Config, work: Work) -> StagePlan:
    """Return the plan of `encode`."""
    steps = config.steps(work.epoch) if work.epoch else 0
    summary = (
        f"{many(config.epochs, 'epoch')} of {work.count('clip')} → "
        f"{steps_in_words(steps)} of {many(config.clips_per_step, 'clip')}; "
        f"learns {', '.join(config.labels) if config.labels else 'all labels'}"
    )
    # No sequences: clips go through the encoder alone, and there are no tokens to count.
    return work.plan(summary, steps=steps)


def run(config: Config, context: Context) -> Outcome:
    """Train from `context.model` and leave `model/` in the stage's folder; its encoder is frozen from then on."""
    from rl.data.mixture import Mixture, weights_of
    from rl.run.progress import Progress

    sources = {
        name: prompts_with_labels(prompts, config.labels, context.name)
        for name, prompts in context.sources(config.data, config.split, config.limit).items()
    }
    curriculum = Mixture(sources, weights_of(config.data), context.seed)
    classes = classes_of([prompt for prompts in sources.values() for prompt in prompts], config.labels)
    held_out: list[Prompt] = []
    if config.held_out is not None:  # before training, which a split without labels would cost
        # Only labels that have a head: one that no clip in training had cannot be predicted.
        prompts = context.prompts(config.data, config.held_out, None)
        held_out = prompts_with_labels(
            prompts, list(classes), f"{context.name}.held_out", "name a split whose rows do, or null"
        )
    policy, total = context.cluster.policy, config.steps(len(curriculum))
    policy.load_encoder(context.model, context.cluster.model, config.optimizer, [len(c) for c in classes.values()])
    context.tracker.rewind(0)  # without checkpoints a stage that was killed begins again
    loss = float("nan")
    with Progress(context.name, total) as progress:
        for step in range(1, total + 1):
            began, rate = time.monotonic(), config.optimizer.rate(step - 1, total)
            prompts = curriculum.draw(config.clips_per_step)
            # A seed for each step: a clip that comes again is changed otherwise.
            clips, seed = [p.clips[0] for p in prompts], context.seed + step
            encoder_metrics = policy.fit_encoder(clips, targets(prompts, classes), rate, config.augment, seed).get()
            loss = encoder_metrics["loss"]
            metrics = {"loss": loss, "grad_norm/encoder": encoder_metrics["grad_norm"], "learning_rate": rate}
            context.tracker.record(step, metrics | {"time/step": time.monotonic() - began})
            progress.advance(step, metrics)
    policy.export(context.folder / "model")
    counts = {"clips": total * config.clips_per_step, "steps": total}
    metrics = {"loss": loss} | measure(held_out, context, classes)
    return Outcome(metrics, {"model": str(context.folder / "model")}, counts)


def measure(prompts: Sequence[Prompt], context: Context, classes: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return `accuracy/LABEL` of the heads on held-out clips; classes never seen in training count as wrong."""
    if not prompts:
        return {}
    right = context.cluster.policy.classify([p.clips[0] for p in prompts], targets(prompts, classes)).get()
    metrics: dict[str, float] = {}
    for i, name in enumerate(classes):
        # Of the clips that have the label: those without it have target -1, which is no class, and are not right.
        count = sum(name in labels_of(prompt) for prompt in prompts)
        if count:
            metrics[f"accuracy/{name}"] = sum(row[i] for row in right) / count
    return metrics


def labels_of(prompt: Prompt) -> dict[str, str]:
    """Return {label: class} of a prompt. Raises ValueError where `labels` is something else."""
    labels: object = prompt.fields.get("labels") or {}
    if not isinstance(labels, Mapping):
        raise ValueError(
            f"prompt '{prompt.id}': labels is {shorten(labels)}, not names with their classes, such as {{digit: 7}}; "
            "correct the row, or map another column in data.fields"
        )
    # A parquet file has null where a row lacks a label that others have.
    pairs = cast("Mapping[str, object]", labels).items()
    return {name: str(value) for name, value in pairs if value is not None}


def prompts_with_labels(
    prompts: Sequence[Prompt], labels: Sequence[str] | None, place: str, fix: str = "name a data set whose rows do"
) -> list[Prompt]:
    """Return the prompts with one clip and at least one of the labels. Raises ValueError when there are none."""
    matches = [p for p in prompts if len(p.clips) == 1 and labels_of(p)]
    if labels is not None:
        # One of them suffices: a head learns nothing from a clip without its label (target -1).
        matches = [p for p in matches if any(name in labels_of(p) for name in labels)]
    if not matches:
        requirement = f"one of the labels {', '.join(labels)}" if labels else "`labels`"
        raise ValueError(f"encode '{place}': no row has one clip and {requirement}; {fix}")
    return matches


def classes_of(prompts: Sequence[Prompt], labels: Sequence[str] | None) -> dict[str, list[str]]:
    """Return {label: its classes, in a fixed order}. Raises ValueError for one of `labels` that no prompt has."""
    classes: dict[str, set[str]] = {}
    for prompt in prompts:
        for name, value in labels_of(prompt).items():
            classes.setdefault(name, set()).add(value)
    for name in labels or ():
        if name not in classes:
            raise ValueError(f"encode.labels: no clip has a label '{name}'{did_you_mean(name, classes)}")
    return {name: sorted(classes[name]) for name in sorted(labels or classes)}


def targets(prompts: Sequence[Prompt], classes: Mapping[str, Sequence[str]]) -> list[list[int]]:
    """Return [N][L], the index of each clip's class; -1 without such a label, or for a class that was not in training."""
    index = {name: {value: i for i, value in enumerate(values)} for name, values in classes.items()}
    rows = [labels_of(prompt) for prompt in prompts]
    return [[index[name].get(row[name], -1) if name in row else -1 for name in classes] for row in rows]


def metric_names(config: Config) -> list[str]:
    """Return the beginnings of the names of its metrics."""
    return ["loss", "accuracy"]


KIND = Kind(Config, run, plan, makes=("model",), teaches_encoder=True, metric_names=metric_names)
