"""`reward_model`: a scalar for every answer, from preferences (Bradley and Terry; Ouyang et al. 2022, arXiv 2203.02155).

The trunk is the model's, the head one number where the answer ends. A later reward part `reward_model` asks it.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rl.config import ConfigError
from rl.run.files import replacing
from rl.stages.context import Context, Outcome
from rl.stages.kind import Kind
from rl.stages.settings import PairTrainingConfig
from rl.stages.workload import StagePlan, Work, pair_training_plan

if TYPE_CHECKING:
    import numpy as np

    from rl.data.pairs import Pair

SCALE = "scale.json"


@dataclass
class Config(PairTrainingConfig):
    """Settings of `reward_model`. It starts from the trunk of its `model`."""

    held_out: float = 0.1
    """Share of the prompts whose pairs are not trained on: accuracy and calibration are measured there."""

    def validate(self, place: str) -> None:
        super().validate(place)
        if not 0 < self.held_out < 1:
            raise ConfigError(f"{place}.held_out: must lie between 0 and 1; got {self.held_out}")

    @property
    def roles(self) -> set[str]:
        return {"critic", "policy"}  # the policy lends its ears: a value model hears through its encoder

    def steps(self, rows: int) -> int:
        return max(1, round(self.epochs * rows * (1 - self.held_out) / self.pairs_per_step))


def plan(config: Config, work: Work) -> StagePlan:
    """Return the plan of `reward_model`."""
    return pair_training_plan(config, work, "Bradley–Terry")


def run(config: Config, context: Context) -> Outcome:
    """Leave `reward_model/` (config.json, critic.safetensors, scale.json). Raises ValueError when too few pairs are
    left to learn from or to measure on."""
    from rl.stages.scoring import digest

    pairs = context.pairs(config.data, config.split, config.limit)
    training, held_out = split_pairs(pairs, config.held_out)
    if not (training and held_out):
        raise ValueError(
            f"reward_model '{context.name}': {len(pairs)} pairs of '{config.data}' leave {len(training)} to learn from and "
            f"{len(held_out)} to measure on; make more pairs or change held_out"
        )
    if any(pair.prompt.clips for pair in pairs):  # its encoder is what hears
        context.cluster.policy.load(context.model, context.cluster.model, config.optimizer)
    group = context.cluster.critic
    group.load(context.model, context.cluster.model, config.optimizer)
    context.tracker.rewind(0)  # without checkpoints a stage that was killed begins again
    steps = train(config, context, training)
    # On the pairs that it has learned from: as a part of a reward it is centred at the mean of these.
    folder, rewards_N = context.folder / "reward_model", _rewards(config, context, training)
    group.export(folder)
    with replacing(folder / SCALE) as temporary:
        temporary.write_text(json.dumps({"mean": float(rewards_N.mean())}))
    metrics = agreement(_rewards(config, context, held_out), [digest(pair.prompt) for pair in held_out])
    context.say(f"{context.name}: accuracy {metrics['accuracy']:.3f} on {len(held_out)} pairs held out")
    counts = {"pairs": len(pairs), "learned from": len(training), "held out": len(held_out), "steps": steps}
    return Outcome(metrics, {"reward_model": str(folder)}, counts)


def train(config: Config, context: Context, pairs: Sequence[Pair]) -> int:
    """Learn from the pairs; return the number of steps."""
    from rl.data.curriculum import Curriculum
    from rl.data.pairs import last_token_batch, pair_batch
    from rl.run.progress import Progress

    curriculum = Curriculum(pairs, context.seed)
    # `Config.steps` is the plan's estimate, from all pairs: how many of them are held out is known only here.
    total = max(1, round(config.epochs * len(pairs) / config.pairs_per_step))
    with Progress(context.name, total) as progress:
        for step in range(1, total + 1):
            began = time.monotonic()
            step_pairs = curriculum.draw(config.pairs_per_step)
            batch = last_token_batch(pair_batch(step_pairs, context.cluster.chat, config.max_sequence_tokens))
            rate = config.optimizer.rate(step - 1, total)
            critic_metrics = context.cluster.critic.update_pairs(batch, [range(len(batch))], [rate]).get()
            metrics = {"grad_norm/critic": critic_metrics.pop("grad_norm"), "learning_rate": rate, **critic_metrics}
            context.tracker.record(step, metrics | {"time/step": time.monotonic() - began})
            progress.advance(step, metrics)
    return total


def split_pairs(pairs: Sequence[Pair], share: float) -> tuple[list[Pair], list[Pair]]:
    """Return (pairs to learn from, pairs to measure on). What is asked decides, its turns and its sound, so that no prompt is on
    both sides."""
    from rl.data.rows import rank
    from rl.stages.scoring import digest

    sides: tuple[list[Pair], list[Pair]] = [], []
    for pair in pairs:
        # `rank` is in [0, 1) and depends on the text alone, so a prompt is on the same side in every run. The
        # comparison is the index of the side: 0 to learn from, 1 to measure on.
        sides[rank(f"held out {digest(pair.prompt)}") < share].append(pair)
    return sides


def agreement(rewards_N: Sequence[float] | np.ndarray, prompts_P: Sequence[str]) -> dict[str, float]:
    """Return how often the chosen answer is ahead (`accuracy`, mean over prompts, with its interval) and how far from
    the truth the model's confidence is (`calibration_error`), from the rewards [N] of pairs it has not seen, chosen and
    rejected in turn, and the prompt of each pair [P]. A tie is half right."""
    import numpy as np

    from rl.run.metrics import bootstrap_interval, calibration_error

    # P pairs, N = 2P answers.
    margins_P = np.asarray(rewards_N[0::2]) - np.asarray(rewards_N[1::2])
    right_P = 0.5 * (np.sign(margins_P) + 1)
    # Pairs of one prompt are not independent: the bootstrap draws prompts.
    by_prompt = defaultdict[str, list[float]](list)
    for prompt, right in zip(prompts_P, right_P.tolist(), strict=True):
        by_prompt[prompt].append(right)
    mean, low, high = bootstrap_interval([sum(shares) / len(shares) for shares in by_prompt.values()])
    # Bradley and Terry's probability that the answer with the higher reward is the better one: never below 0.5.
    confidence_P = 1 / (1 + np.exp(-np.abs(margins_P)))
    return {
        "accuracy": mean,
        "accuracy/low": low,
        "accuracy/high": high,
        "calibration_error": calibration_error(confidence_P, right_P),
        "loss": float(np.logaddexp(0, -margins_P).mean()),
        "margin": float(margins_P.mean()),
        "prompts": float(len(by_prompt)),
    }


def _rewards(config: Config, context: Context, pairs: Sequence[Pair]) -> np.ndarray:
    """Return [N] rewards of the pairs' answers, chosen and rejected in turn."""
    from rl.data.pairs import last_token_batch, pair_batch

    batch = last_token_batch(pair_batch(pairs, context.cluster.chat, config.max_sequence_tokens))
    return context.cluster.critic.values(batch).get().numpy().astype(float)


KIND = Kind(Config, run, plan, makes=("reward_model",), reads="pairs")
