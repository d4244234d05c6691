"""Groundtone's side: the `rlvr` stage as a recipe runs it, on the actors a recipe starts. Only the tracker is wrapped, so
that the loop waits between its steps while it is another library's turn.

    python scripts/benchmarks/ours.py LOAD FOLDER [key=value …]       (started by peer.py)
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import workload
from turns import Finished, Turns

from models.load import load_tokenizer
from rewards.service import RewardService
from rl.data.chat import Chat
from rl.data.sources import load as load_data
from rl.recipe import Recipe, load
from rl.run.tracker import Tracker
from rl.stages.context import Context
from rl.stages.rlvr import loop
from rl.types import Message, Scored
from rl.workers.cluster import Cluster

PHASES = ("generate", "verify", "logprobs", "update", "sync")
STEPS = 10_000  # more than any run takes: the parent says when it is enough


def recipe(load_: workload.Load, folder: Path, overrides: Sequence[str], steps: int = STEPS, **stage: Any) -> Recipe:
    """The same work as the peer's, as a recipe."""
    data = folder / "data.jsonl"
    workload.write_data(data, 512)
    model = workload.write_model(folder / "model", load_)
    question = Chat(load_tokenizer(model)).prompt([Message("user", workload.questions(1)[0][0])])
    parts = [
        {"verifier": "text", "weight": 0.5},
        {"verifier": f"{Path(__file__).parent / 'letters.py'}:verify", "name": "letters", "weight": 0.5},
    ]
    settings: dict[str, Any] = {
        "data": "words",
        "split": None,
        "algorithm": "grpo",
        "steps": steps,
        "prompts_per_step": workload.PROMPTS_PER_STEP,
        "samples_per_prompt": workload.SAMPLES,
        "max_sequence_tokens": len(question) + load_.max_new,
        "optimizer": {"learning_rate": workload.LEARNING_RATE},
        "checkpoint_every": steps,
    }
    values = {
        "name": f"bench-{load_.name}",
        "model": {"path": str(model)},
        "data": {"words": {"source": "jsonl", "path": str(data)}},
        "reward": {"parts": parts},
        "engines": {"count": 2},
        "trainer": {"ranks": 2},
        "stages": [{"rlvr": {**settings, **stage}}],
    }
    return load(values, overrides)


class TurnTracker(Tracker):
    """Records as ever, and ends each step's turn."""

    def __init__(self, folder: Path, turns: Turns) -> None:
        super().__init__(folder, "rlvr")
        self.turns = turns

    def record(self, step: int, metrics: Mapping[str, Any]) -> None:
        super().record(step, metrics)
        self.phases = {name: float(metrics[f"time/{name}"]) for name in PHASES}

    def record_rollouts(self, step: int, scored: Sequence[Scored]) -> None:
        super().record_rollouts(step, scored)
        lengths = [int(s.rollout.action_mask.sum()) for s in scored]
        counts = {"samples": len(scored), "tokens": sum(lengths), "longest": max(lengths)}
        self.turns.step({**self.phases, **counts})


def run(what: Recipe, folder: Path, tracker: Tracker, ready: Any = lambda cluster: None) -> None:
    """Runs the recipe's one stage on actors of its own."""
    header, (stage,) = what.header, what.stages
    model = Path(str(header.model.path))
    with (
        RewardService(header.reward, what.folder) as rewards,
        Cluster(
            what.roles, header.cluster, header.engines, header.trainer, header.model, model, what.max_sequence_tokens
        ) as cluster,
    ):
        context = Context(
            name=stage.name,
            seed=header.seed,
            folder=folder,
            model=model,
            cluster=cluster,
            rewards=rewards,
            tracker=tracker,
            data=lambda name, split, limit: load_data(header.data[name], split, limit),
            lookup=lambda maker: lambda name, split: load_data(header.data[name], split, None),
            artifact=lambda kind, name: Path(name),
        )
        ready(cluster)
        loop.run(stage.config, context)


def main(load_name: str, folder: str, *overrides: str) -> None:
    turns, where = Turns(), Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    what = recipe(workload.LOADS[load_name], where, overrides)
    facts = {"engines": what.header.engines.count, "ranks": what.header.trainer.ranks}
    with suppress(Finished):
        run(what, where, TurnTracker(where, turns), lambda cluster: turns.wait(**facts))


if __name__ == "__main__":
    main(*sys.argv[1:])
