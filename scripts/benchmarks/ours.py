"""Runs Groundtone's side: the `rlvr` stage as a recipe runs it, on the actors that a recipe starts.

Only the tracker is wrapped, so that the loop waits between two steps while another library has its turn, and the
curriculum, which reports the order of its draws: in this order samples are dealt to the engines.

    python scripts/benchmarks/ours.py LOAD FOLDER [key=value …]       (started by peer.py)
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import workload
from turns import NoMoreTurns, Turns

from rewards.service import RewardService
from rl.data.mixture import Mixture
from rl.data.sources import load as load_data
from rl.recipe import Recipe
from rl.recipe import load as load_recipe
from rl.run.tracker import Tracker
from rl.stages.context import Context
from rl.stages.rlvr import loop
from rl.types import Scored
from rl.workers.cluster import Cluster

PHASES = ("generate", "verify", "logprobs", "update", "sync", "proof")
STEPS = 10_000  # more than any run takes: the parent ends it


def build_recipe(
    load: workload.Load, folder: Path, overrides: Sequence[str], steps: int = STEPS, **stage: Any
) -> Recipe:
    """Return a recipe of the same work as the peer's."""
    data = folder / "data.jsonl"
    workload.write_data(data, 512)
    model = workload.write_model(folder / "model", load)
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
        "max_sequence_tokens": workload.prompt_tokens(model) + load.max_new,
        "optimizer": {"learning_rate": workload.LEARNING_RATE},
        "checkpoint_every": steps,
    }
    values = {
        "name": f"bench-{load.name}",
        "model": {"path": str(model), "think": True},
        "data": {"words": {"source": "jsonl", "path": str(data)}},
        "reward": {"parts": parts},
        "engines": {"count": 2},
        "trainer": {"ranks": 2},
        "stages": [{"rlvr": {**settings, **stage}}],
    }
    return load_recipe(values, overrides)


class TurnTracker(Tracker):
    """A tracker that also ends the contestant's turn after each step."""

    def __init__(self, folder: Path, turns: Turns) -> None:
        super().__init__(folder, "rlvr")
        self.turns, self.place_of = turns, record_draws()

    def record_rollouts(self, step: int, scored: Sequence[Scored]) -> None:
        super().record_rollouts(step, scored)
        in_order = sorted(scored, key=lambda s: (self.place_of[s.rollout.prompt.id], s.rollout.sample))
        lengths = [int(s.rollout.action_mask.sum()) for s in in_order]
        self.counts = {"samples": len(scored), "tokens": sum(lengths), "longest": max(lengths), "lengths": lengths}

    def record(self, step: int, metrics: Mapping[str, Any]) -> None:
        super().record(step, metrics)  # the last thing that a step does
        phases = {name: float(metrics[f"time/{name}"]) for name in PHASES}
        self.turns.step({**phases, **self.counts})


def record_draws() -> dict[str, int]:
    """Return a mapping that will have the place of each prompt's last draw."""
    place_of: dict[str, int] = {}
    draw = Mixture.draw

    def draw_and_record(mixture: Mixture[Any], count: int) -> list[Any]:
        prompts = draw(mixture, count)
        for prompt in prompts:
            place_of[prompt.id] = 1 + max(place_of.values(), default=0)
        return prompts

    Mixture.draw = draw_and_record
    return place_of


def run(recipe: Recipe, folder: Path, tracker: Tracker, ready: Any = lambda cluster: None) -> None:
    """Run the recipe's only stage on actors of its own; `ready(cluster)` is called before the first step."""
    header, (stage,) = recipe.header, recipe.stages
    model = Path(str(header.model.path))
    with (
        RewardService(header.reward, recipe.folder) as rewards,
        Cluster(
            recipe.roles,
            header.cluster,
            header.engines,
            header.trainer,
            header.model,
            model,
            recipe.max_sequence_tokens,
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
    turns, run_dir = Turns(), Path(folder)
    run_dir.mkdir(parents=True, exist_ok=True)
    recipe = build_recipe(workload.LOADS[load_name], run_dir, overrides)
    facts = {"engines": recipe.header.engines.count, "ranks": recipe.header.trainer.ranks}
    with suppress(NoMoreTurns):
        run(recipe, run_dir, TurnTracker(run_dir, turns), lambda cluster: turns.wait(**facts))


if __name__ == "__main__":
    main(*sys.argv[1:])
