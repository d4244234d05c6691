"""The cluster of a run, made from its recipe and from what its first stage starts with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from models.folder import on_disk
from rl.recipe import Recipe
from rl.recipe.thinking import choose_thinking
from rl.runner.artifacts import Artifacts

if TYPE_CHECKING:
    from rl.recipe.stage_list import Stage
    from rl.workers.cluster import Cluster


def build_cluster(
    recipe: Recipe,
    artifacts: Artifacts,
    out: Path,
    stages: Sequence[Stage],
    report_loss: Callable[[str], None],
    say: Callable[[str], None],
) -> Cluster:
    """Return the cluster that these stages of the run in `out` need, not started yet; it calls `report_loss` as `Cluster`
    says."""
    from rl.workers.cluster import Cluster
    from rl.workers.storage import RunSite

    header, initial_model = recipe.header, artifacts.initial_model()
    return Cluster(
        recipe.roles,
        header.cluster,
        header.engines,
        header.trainer,
        replace(header.model, think=_decide_thinking(recipe, artifacts, initial_model, say)),
        initial_model,
        recipe.max_sequence_tokens,
        {name: replace(judge, model=str(on_disk(judge.model))) for name, judge in recipe.judges.items()},
        report_loss,
        header.seed,
        RunSite(out, artifacts.read_by_actors(stages), say),
    )


def _decide_thinking(recipe: Recipe, artifacts: Artifacts, initial_model: Path, say: Callable[[str], None]) -> bool:
    """Return whether the model thinks, and say why where the recipe leaves it open."""
    choice = choose_thinking(
        recipe,
        lambda read: artifacts.read_prompts(read.data, read.split, read.limit, place=read.place),
        initial_model,
    )
    assert choice.think is not None, "all rows and the chat template have been read"
    if recipe.header.model.think == "auto":
        say(f"thinking is {choice}")
    return choice.think
