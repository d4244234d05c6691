"""Checks and times of samples that are written while the policy learns, and of how many prompts these take, for `rl check`."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import TYPE_CHECKING

from rl.data.mixture import limits, weights_of
from rl.planning.duration import format_duration
from rl.stages.rlvr.config import Config

if TYPE_CHECKING:
    from rl.planning.judges import Facts
    from rl.planning.result import Plan
    from rl.recipe import Recipe


def check(recipe: Recipe, facts: Facts, gpu: bool, listens: bool) -> tuple[list[str], list[str]]:
    """Return (problems, notes) of `rlvr.max_lag`, `engines.kv` and `curriculum: pass_rate`."""
    problems, notes = [*_short_sources(recipe, facts)], list[str]()
    lagging = [s for s in recipe.stages if isinstance(s.config, Config) and s.config.max_lag]
    if lagging and gpu and recipe.header.cluster.placement == "colocated":
        problems.append(
            f"{lagging[0].place}.max_lag: engines rest while trainers use the same GPUs, so nothing can be written "
            "meanwhile; set cluster.placement=split, or max_lag: 0"
        )
    if recipe.header.engines.kv == "keep":
        if recipe.header.engines.vllm.get("async_scheduling"):
            problems.append(
                "engines.vllm.async_scheduling: a step would be under way as weights change, and its tokens would count as the new "
                "ones'; remove it, or set engines.kv=recompute"
            )
        if listens:
            problems.append(
                "engines.kv: what a listening model has heard is encoded anew with new weights, and cannot be kept in part; "
                "set engines.kv=recompute"
            )
        if not lagging:
            notes.append("engines.kv: no stage has a max_lag, so nothing is in flight when weights change")
    return problems, notes


def _short_sources(recipe: Recipe, facts: Facts) -> Iterator[str]:
    """Yield a line for each source of a stage that draws by pass rates and has fewer prompts than wait for a result at once."""
    for stage in recipe.stages:
        config = stage.config
        if not isinstance(config, Config) or config.curriculum != "pass_rate":
            continue
        most = limits(config.data, config.limit)
        at_once = (1 + config.max_lag) * config.prompts_per_step
        for name, share in weights_of(config.data).items():
            fact = facts.get((name, config.split))
            counts = [count for count in (fact.rows if fact else None, most[name]) if count is not None]
            prompts_at_once = ceil(round(at_once * share, 6))  # 0.1 + 0.2 asks for no prompt more than 0.3
            # One that waits is drawn by no pass rate: steps would be smaller than the recipe says, and nobody would know.
            if counts and 0 < min(counts) < prompts_at_once:
                yield (
                    f"{stage.place}.curriculum: by pass_rate a prompt waits for its result before it comes again; {prompts_at_once} of "
                    f"'{name}' are under way at once, of {min(counts)}; lower prompts_per_step or max_lag, or set shuffled"
                )


def describe_times(recipe: Recipe, plan: Plan) -> list[str]:
    """Return a note for each stage with a `max_lag`: whether its engines and trainers work at the same time, and how much that is."""
    notes = list[str]()
    for stage, stage_plan in zip(recipe.stages, plan.stages, strict=True):
        if not isinstance(stage.config, Config) or not stage.config.max_lag:
            continue
        if plan.shares_devices:
            devices = "GPUs" if plan.gpu else "cores"
            notes.append(
                f"{stage.place}.max_lag: engines and trainers share {devices}, so the time is that of both, one after the other; "
                "running ahead saves no more than waits for the last samples (cluster.placement=split: devices of their own)"
            )
        elif stage_plan.seconds:
            sides = sorted([(stage_plan.training_seconds, "training"), (stage_plan.sampling_seconds, "sampling")])
            quicker, slower = (f"{name}, {format_duration(seconds)}" for seconds, name in sides)
            notes.append(
                f"{stage.place}.max_lag: engines and trainers have devices of their own, so a step takes as long as the slower "
                f"of them: {slower} in all, with {quicker}, at the same time"
            )
    return notes
