"""`dpo`: preferences without a reward model, by the policy's own likelihood ratios to where it started.

The reference's logprobs are computed once, before the first update, by the policy itself: no second model is held.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rl.algorithms.preference_losses import Preference
from rl.config import first_line
from rl.json_files import read_bytes
from rl.stages.context import Context, Outcome
from rl.stages.kind import Kind
from rl.stages.settings import CheckpointConfig, PairTrainingConfig
from rl.stages.workload import StagePlan, Work, pair_training_plan
from rl.workers.optimizer import OptimizerConfig

if TYPE_CHECKING:
    from torch import Tensor

    from rl.data.pairs import Pair
    from rl.run.checkpoint import Checkpoints
    from rl.types import Batch

REFERENCE = "reference.safetensors"
RECENT_STEPS = 10
"""Steps over which the stage's result is averaged."""


@dataclass
class Config(CheckpointConfig, PairTrainingConfig):
    """Settings of `dpo`. The model that it starts from is the reference too."""

    loss: Literal["dpo", "ipo"] = "dpo"
    """DPO's loss (arXiv 2305.18290) on whole answers, or IPO's (arXiv 2310.12036) on means over an answer's tokens."""
    beta: float = 0.1
    """Strength of the tie to the reference: DPO's β, IPO's τ. IPO aims at a margin of 1 / 2β nats per token."""
    label_smoothing: float = 0.0
    """Share of pairs that are thought to be labelled the wrong way round (DPO alone)."""
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=5e-7))

    def validate(self, place: str) -> None:
        super().validate(place)
        self.preference.validate(place)

    @property
    def preference(self) -> Preference:
        """The loss with its settings."""
        return Preference(self.loss, self.beta, self.label_smoothing)

    def counts(self, steps: int) -> dict[str, int]:
        """Return what was learned from in so many steps."""
        return {"pairs": steps * self.pairs_per_step, "steps": steps}


def plan(config: Config, work: Work) -> StagePlan:
    """Return the plan of `dpo`: beside its updates one pass forward for the reference's logprobs."""
    checkpoints = config.keep if config.checkpoint_every else 0
    return pair_training_plan(
        config, work, config.loss, forwards=1, checkpoints=checkpoints, learners=1 if checkpoints else 0
    )


def run(config: Config, context: Context) -> Outcome:
    """Train from `context.model` and leave `model/` in the stage's folder."""
    from rl.data.pairs import pair_batch
    from rl.run.checkpoint import Checkpoints

    pairs = context.pairs(config.data, config.split, config.limit)
    cluster, policy = context.cluster, context.cluster.policy
    batch = pair_batch(pairs, cluster.chat, config.max_sequence_tokens)
    # First as the stage starts, also where a checkpoint follows: the reference's logprobs are those of this model.
    policy.load(context.model, cluster.model, config.optimizer)
    batch = batch.add(ref=_reference(context, batch))
    checkpoints = Checkpoints(context.folder / "checkpoints", config.keep, context.say, context.record)
    checkpoint = checkpoints.latest()
    if checkpoint:
        policy.load(checkpoint[0], cluster.model, config.optimizer, base=context.model)
        policy.restore_optimizer(checkpoint[0])
    state = checkpoint[1] if checkpoint else {"step": 0, "drawn": 0, "recent": []}
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
    """Learn from the pairs, from where `state` was left; return the means of the last ten steps."""
    from rl.data.curriculum import Curriculum
    from rl.run.progress import Progress

    policy, total = context.cluster.policy, config.steps(len(pairs))
    row_of = {pair.id: row for row, pair in enumerate(pairs)}
    curriculum = Curriculum(pairs, context.seed)
    curriculum.position = state["drawn"]
    recent = deque[dict[str, float]](state["recent"], maxlen=RECENT_STEPS)
    with Progress(context.name, total) as progress:
        for step in range(state["step"] + 1, total + 1):
            began = time.monotonic()
            rows = [row_of[pair.id] for pair in curriculum.draw(config.pairs_per_step)]
            # Pair i is the batch's sequences 2i (chosen) and 2i + 1 (rejected).
            step_batch = batch.select([sequence for i in rows for sequence in (2 * i, 2 * i + 1)])
            rate = config.optimizer.rate(step - 1, total)
            # One optimiser step, over all rows of the step's batch.
            policy_metrics = policy.update_pairs(step_batch, [range(len(step_batch))], [rate], config.preference).get()
            metrics = {"grad_norm/policy": policy_metrics.pop("grad_norm"), "learning_rate": rate, **policy_metrics}
            recent.append(policy_metrics)
            context.tracker.record(step, metrics | {"time/step": time.monotonic() - began})
            progress.advance(step, metrics)
            if config.is_due(step, total):
                # With the last metrics: the stage's result is a mean over steps, some of which may lie before a resume.
                state = {"drawn": curriculum.position, "recent": list(recent)}
                checkpoints.save(step, state, policy.save, config.counts(step))
    if not recent:
        return {}
    return {name: sum(row[name] for row in recent) / len(recent) for name in recent[-1]}


def _reference(context: Context, batch: Batch) -> Tensor:
    """Return [A] logprobs under the model the stage starts from, which the policy still is. They are stored, since a
    resumed policy has moved on."""
    import safetensors.torch

    from rl.run.files import replacing

    file = context.folder / REFERENCE
    if not os.path.lexists(file):
        logprobs_A = context.cluster.policy.logprobs(batch).get()
        with replacing(file) as temporary:
            safetensors.torch.save_file({"logprobs_A": logprobs_A}, temporary)
    return read_logprobs(file, batch.rollout_logprobs_A.numel())


def read_logprobs(file: Path, count: int) -> Tensor:
    """Return `count` stored logprobs. Raises ValueError for another file."""
    import safetensors.torch
    import torch

    fix = "delete it, and the reference's logprobs are computed again"
    try:
        tensors = safetensors.torch.load(read_bytes(file, fix))
    except safetensors.SafetensorError as error:
        raise ValueError(f"{file}: cannot be read as safetensors ({first_line(error)}); {fix}") from error
    logprobs_A = tensors.get("logprobs_A")
    if logprobs_A is None or logprobs_A.shape != (count,) or logprobs_A.dtype != torch.float32:
        raise ValueError(f"{file}: holds something else than {count:,} numbers of 32 bits; {fix}")
    if not logprobs_A.isfinite().all():
        raise ValueError(f"{file}: holds a value that is no finite number; {fix}")
    return logprobs_A


KIND = Kind(Config, run, plan, makes=("model",), reads="pairs", length="epochs")
