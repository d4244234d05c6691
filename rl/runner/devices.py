"""Fits a recipe to the machines that run it: counts that it leaves open, and what the engines may take of each GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rl.config import ConfigError
from rl.planning.plan import Plan, plan
from rl.recipe import Recipe
from rl.workers.machine import Machine


def plan_run(recipe: Recipe, out: Path) -> tuple[Recipe, Plan]:
    """Return the recipe as the real machines run it, with its plan. A cluster elsewhere is asked what it has, once nothing else
    is wrong with the recipe."""
    if not recipe.header.cluster.running_cluster():
        recipe = recipe.on(Machine.detect().devices)
    run_plan = plan(recipe, out)
    if recipe.header.cluster.running_cluster() and not run_plan.problems:
        from rl.workers.inventory import read_devices

        devices = read_devices(recipe.header.cluster)
        recipe = recipe.on(devices)
        run_plan = plan(recipe, out, devices)
    if run_plan.engine_share is None:
        return recipe, run_plan
    engines = recipe.header.engines
    # The share goes first: what the recipe itself says of `gpu_memory_utilization` replaces it.
    engines = replace(engines, vllm={"gpu_memory_utilization": run_plan.engine_share} | engines.vllm)
    return replace(recipe, header=replace(recipe.header, engines=engines)), run_plan


def plan_again(recipe: Recipe, out: Path) -> Recipe:
    """Return a planned recipe for what is left of its machines after a loss: on a cluster elsewhere counts that it leaves open follow
    the nodes that are there. Raises ConfigError where it does not fit any more."""
    if not recipe.header.cluster.running_cluster():
        return recipe
    recipe, run_plan = plan_run(recipe, out)
    if run_plan.problems:
        raise ConfigError(run_plan.problems[0])
    return recipe
