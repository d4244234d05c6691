"""`dpo`: preferences without a reward model, by the policy's own likelihood ratios to where it started.

The reference's logprobs are computed once, before the first update, by the policy itself: no second model is held.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rl.algorithms.preference_losses import Preference
from rl.config import ConfigError
from rl.stages.context import Context, Outcome
from rl.workers.optimizer import OptimizerConfig

if TYPE_CHECKING:
    from torch import Tensor

    from rl.data.pairs import Pair
    from rl.run.checkpoint import Checkpoints
    from rl.types import Batch

REFERENCE = "reference.npy"


@dataclass
class Config:
    data: str
    """A `pairs` stage, or a data set whose rows have `chosen` and `rejected`."""
    split: str | None = "train"
    limit: int | None = None
    model: str | None = None
    """An earlier stage or a path; default: the model so far. It is the reference too."""
    loss: Literal["dpo", "ipo"] = "dpo"
    beta: float = 0.1
    label_smoothing: float = 0.0
    epochs: float = 1.0
    pairs_per_step: int = 64
    max_sequence_tokens: int = 10240
    checkpoint_every: int = 0
    """Steps; 0: only the finished model is kept."""
    keep: int = 1
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=5e-7))

    def validate(self, place: str) -> None:
        if self.epochs <= 0 or self.pairs_per_step < 1:
            raise ConfigError(f"{place}: epochs and pairs_per_step must be positive")
        if self.checkpoint_every < 0:
            raise ConfigError(f"{place}.checkpoint_every: must not be negative; got {self.checkpoint_every}")
        self.preference.validate(place)

    @property
    def preference(self) -> Preference:
        return Preference(self.loss, self.beta, self.label_smoothing)

    @property
    def sequences_per_step(self) -> int:
        return 2 * self.pairs_per_step

    def steps(self, rows: int) -> int:
        """Optimiser steps over `rows` pairs."""
        return max(1, round(self.epochs * rows / self.pairs_per_step))

    def counts(self, steps: int) -> dict[str, int]:
        """What was learned from in so many steps."""
        return {"pairs": steps * self.pairs_per_step, "steps": steps}


def run(config: Config, context: Context) -> Outcome:
    """Trains from `context.model` and leaves `model/` in the stage's folder."""
    from rl.data.pairs import pair_batch
    from rl.run.checkpoint import Checkpoints

    pairs = context.pairs(config.data, config.split, config.limit)
    cluster, policy = context.cluster, context.cluster.policy
    batch = pair_batch(pairs, cluster.chat, config.max_sequence_tokens)
    policy.load(context.model, cluster.model, config.optimizer)
    batch = batch.add(ref=_reference(context, batch))
    checkpoints = Checkpoints(context.folder / "checkpoints", config.keep, context.say, context.record)
    restored = checkpoints.latest()
    if restored:
        policy.load(restored[0], cluster.model, config.optimizer)
        policy.restore_optimizer(restored[0])
    state = restored[1] if restored else {"step": 0, "drawn": 0, "recent": []}
    context.tracker.rewind(state["step"])
    metrics = train(config, context, pairs, batch, checkpoints, state)
    policy.export(context.folder / "model")
    counts = config.counts(config.steps(len(pairs)))
    return Outcome(metrics, {"model": str(context.folder / "model")}, counts)


def train(
    config: Config,
    context: Context,
    pairs: Sequence[Pair],
    batch: Batch,
    checkpoints: Checkpoints,
    state: dict[str, Any],
) -> dict[str, float]:
    """The loop, from where `state` was left. Returns the means of the last ten steps."""
    from rl.data.curriculum import Curriculum
    from rl.run.progress import Progress

    policy, total = context.cluster.policy, config.steps(len(pairs))
    place = {pair.id: row for row, pair in enumerate(pairs)}
    curriculum = Curriculum(pairs, context.seed)
    curriculum.position = state["drawn"]
    recent = deque[dict[str, float]](state["recent"], maxlen=10)
    with Progress(context.name, total) as progress:
        for step in range(state["step"] + 1, total + 1):
            began = time.monotonic()
            drawn = [place[pair.id] for pair in curriculum.draw(config.pairs_per_step)]
            chosen = batch.select([row for i in drawn for row in (2 * i, 2 * i + 1)])
            rate = config.optimizer.rate(step - 1, total)
            learned = policy.update_pairs(chosen, [range(len(chosen))], [rate], config.preference).get()
            metrics = {"grad_norm/policy": learned.pop("grad_norm"), "learning_rate": rate, **learned}
            recent.append(learned)
            context.tracker.record(step, metrics | {"time/step": time.monotonic() - began})
            progress.advance(step, metrics)
            if config.checkpoint_every and step % config.checkpoint_every == 0 and step < total:
                state = {"drawn": curriculum.position, "recent": list(recent)}
                checkpoints.save(step, state, policy.save, config.counts(step))
    return {name: sum(row[name] for row in recent) / len(recent) for name in recent[-1]} if recent else {}


def _reference(context: Context, batch: Batch) -> Tensor:
    """[A] logprobs under the model the stage starts from, which the policy still is; kept, since a resumed policy is
    not."""
    import numpy as np
    import torch

    from rl.run.files import replacing

    file = context.folder / REFERENCE
    if not file.exists():
        with replacing(file) as temporary, temporary.open("wb") as out:
            np.save(out, context.cluster.policy.logprobs(batch).get().numpy(), allow_pickle=False)
    return torch.from_numpy(np.load(file, allow_pickle=False))
