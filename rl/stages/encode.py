"""`encode`: teaches the audio encoder of a model built from scratch to hear, before SFT and RL freeze it.

Linear heads on the encoder's mean frame predict what is known of each clip (its digit, speaker, pitch, …); the heads are
thrown away afterwards. A pretrained model needs no such stage.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from models.augment import AugmentConfig
from rl.config import ConfigError, did_you_mean
from rl.data.mixture import Data
from rl.stages.context import Context, Outcome
from rl.workers.optimizer import OptimizerConfig

if TYPE_CHECKING:
    from rl.types import Prompt


@dataclass
class Config:
    data: Data
    """Of its rows are used those with one clip and `labels` (name: class) among their fields."""
    split: str | None = "train"
    limit: int | None = None
    model: str | None = None
    """An earlier stage or a path; default: the model so far."""
    labels: list[str] | None = None
    """Names of the labels to learn; default: all there are."""
    held_out: str | None = "validation"
    """Split on which the heads' accuracy is measured at the end."""
    epochs: float = 20.0
    """Of a mixture: until the first of its sources has been seen once."""
    clips_per_step: int = 32
    augment: AugmentConfig | None = None
    """How clips are changed each time they are heard; default: not at all."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=1e-3, warmup_steps=50, schedule="cosine")
    )

    def validate(self, place: str) -> None:
        if self.epochs <= 0 or self.clips_per_step < 1:
            raise ConfigError(f"{place}: epochs and clips_per_step must be positive")

    def steps(self, rows: int) -> int:
        """Optimiser steps over `rows` clips."""
        return max(1, round(self.epochs * rows / self.clips_per_step))


def metric_names(config: Config) -> list[str]:
    """What its metrics' names begin with, up to a `/`."""
    return ["loss", "accuracy"]


def run(config: Config, context: Context) -> Outcome:
    """Trains from `context.model` and leaves `model/` in the stage's folder; its encoder is frozen from then on."""
    from rl.data.mixture import Mixture, weights_of
    from rl.run.progress import Progress

    sources = {
        name: labelled(prompts, config.labels, context.name)
        for name, prompts in context.sources(config.data, config.split, config.limit).items()
    }
    curriculum = Mixture(sources, weights_of(config.data), context.seed)
    classes = classes_of([prompt for prompts in sources.values() for prompt in prompts], config.labels)
    policy, total = context.cluster.policy, config.steps(len(curriculum))
    policy.load_encoder(context.model, context.cluster.model, config.optimizer, [len(c) for c in classes.values()])
    context.tracker.rewind(0)
    loss = float("nan")
    with Progress(context.name, total) as progress:
        for step in range(1, total + 1):
            began, rate = time.monotonic(), config.optimizer.rate(step - 1, total)
            drawn = curriculum.draw(config.clips_per_step)
            clips, seed = [p.clips[0] for p in drawn], context.seed + step
            learned = policy.fit_encoder(clips, targets(drawn, classes), rate, config.augment, seed).get()
            loss = learned["loss"]
            metrics = {"loss": loss, "grad_norm/encoder": learned["grad_norm"], "learning_rate": rate}
            context.tracker.record(step, metrics | {"time/step": time.monotonic() - began})
            progress.advance(step, metrics)
    policy.export(context.folder / "model")
    counts = {"clips": total * config.clips_per_step, "steps": total}
    metrics = {"loss": loss} | measure(config, context, classes)
    return Outcome(metrics, {"model": str(context.folder / "model")}, counts)


def measure(config: Config, context: Context, classes: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """`accuracy/LABEL` of the heads on held-out clips; classes never seen in training count as wrong."""
    if config.held_out is None:
        return {}
    prompts = labelled(context.prompts(config.data, config.held_out, None), list(classes), context.name)
    right = context.cluster.policy.classify([p.clips[0] for p in prompts], targets(prompts, classes)).get()
    has = [[name in p.fields["labels"] for name in classes] for p in prompts]
    return {
        f"accuracy/{name}": sum(row[i] for row in right) / count
        for i, name in enumerate(classes)
        if (count := sum(row[i] for row in has))
    }


def labelled(prompts: Sequence[Prompt], labels: Sequence[str] | None, stage: str) -> list[Prompt]:
    """The prompts with one clip and at least one of the labels. Raises ValueError when there are none."""
    found = [p for p in prompts if len(p.clips) == 1 and p.fields.get("labels")]
    found = [p for p in found if labels is None or any(name in p.fields["labels"] for name in labels)]
    if not found:
        wanted = f"one of the labels {', '.join(labels)}" if labels else "`labels`"
        raise ValueError(f"encode '{stage}': no row has one clip and {wanted}; name a data set whose rows do")
    return found


def classes_of(prompts: Sequence[Prompt], labels: Sequence[str] | None) -> dict[str, list[str]]:
    """Label → its classes, in a fixed order. Raises ValueError for one of `labels` that no prompt has."""
    classes: dict[str, set[str]] = {}
    for prompt in prompts:
        for name, value in prompt.fields["labels"].items():
            classes.setdefault(name, set()).add(str(value))
    for name in labels or ():
        if name not in classes:
            raise ValueError(f"encode.labels: no clip has a label '{name}'{did_you_mean(name, classes)}")
    return {name: sorted(classes[name]) for name in sorted(labels or classes)}


def targets(prompts: Sequence[Prompt], classes: Mapping[str, Sequence[str]]) -> list[list[int]]:
    """[N][L] index of each clip's class; -1 where it has no such label, or a class that was not in training."""
    index = {name: {value: i for i, value in enumerate(values)} for name, values in classes.items()}
    return [[index[n].get(str(p.fields["labels"].get(n)), -1) for n in classes] for p in prompts]
