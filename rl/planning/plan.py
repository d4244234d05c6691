"""Plans a recipe without running it: batch arithmetic in words, placement, memory, disk, notes and problems.

Arithmetic and `stat` only: `rl check` answers in about a second and imports no torch, ray or transformers.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from models.shape import Shape, read_shape
from models.supported import find_unsupported_key
from rl.data.inspection import DataFacts, inspect
from rl.data.mixture import weights_of
from rl.planning import (
    chains,
    checks,
    disk,
    duration,
    engine_options,
    golds,
    judges,
    lag,
    lengths,
    lora,
    origins,
    requirements,
    sharing,
    teachers,
    thinking,
    workload,
)
from rl.planning.environments import describe_environments
from rl.planning.fit import add_memory
from rl.planning.result import Plan
from rl.planning.routes import add_transfer
from rl.units import amount, size
from rl.workers.machine import Machine, find_shadowing_modules
from rl.workers.nodes import arrange, describe_divided, describe_fragments, planned_nodes
from rl.workers.placement import Devices, Role, bundles, describe_misfit, describe_shortage, roles

if TYPE_CHECKING:
    from rl.recipe import Recipe


def plan(recipe: Recipe, out: Path | None = None, devices: Devices | None = None) -> Plan:
    """Return the plan of running `recipe` into `out`. Without `out` nothing is run yet, and a recipe that says which
    machines it expects is planned for those. `devices` are those of a cluster elsewhere, where that was asked. A user's
    mistake is not raised: it becomes one of `problems`."""
    header, here = recipe.header, Machine.detect()
    address, expect = header.cluster.running_cluster(), header.cluster.expect
    # What a cluster elsewhere has is known once a run connects; bfloat16 is what one trains in on GPUs.
    present = None if address or (expect and out is None) else here
    devices = devices or (present.devices if present else expect.devices if expect else None)
    gpu = devices.gpus > 0 if devices else here.gpus > 0 or header.model.dtype == "bfloat16"
    result = Plan(recipe.name, "", "", origins.describe(recipe), address, present, devices, expect, gpu)
    result.placement, result.gpu_memory = header.cluster.placement, devices.gpu_memory if devices else 0.0
    result.problems += [
        f"{file}: has the name of a package of ours and would be imported in its place; rename it or run from elsewhere"
        for file in find_shadowing_modules()
    ]
    missing_packages = requirements.packages(recipe.roles, here) if present else []
    # A check of a recipe for another machine only notes what this one lacks.
    (result.notes if out is None else result.problems).extend(missing_packages)
    if present:
        result.problems += requirements.libraries(recipe)
    result.problems += engine_options.check(recipe)
    # Models of a recipe that is planned for other machines need be whole there, not here.
    (result.problems if present or out else result.notes).extend(requirements.models(recipe))
    shape = _model(recipe, result)
    for name, judge in header.judges.items():
        _present(judge.model, f"judges.{name}.model", result)
    facts = _facts(recipe, result, runs=bool(present or out))
    _check(recipe, shape, facts, gpu, result)
    result.thinking = thinking.describe(recipe, facts)
    _stages(recipe, shape, facts, result)
    result.notes += judges.notes(recipe, result.stages, facts)
    actors = roles(recipe.roles, header.engines, header.trainer, gpu, header.judges)
    placement = header.cluster.placement
    result.placed = bundles(actors, placement)
    if devices:
        _nodes(recipe, actors, devices, result)
    ray = sys.modules.get("ray")  # a notebook's own Ray may declare more than this machine has; the cluster checks that
    if expect and not present:
        result.problems += filter(None, [describe_misfit(actors, placement, expect.devices)])
    if present and not (ray and ray.is_initialized()):
        result.problems += filter(None, [describe_shortage(actors, placement, here.cpus, here.gpus)])
    if address and not devices and recipe.open_counts:
        result.notes.append(
            f"cluster: {' and '.join(recipe.open_counts)} follow the GPUs at {address}, which a run asks for; --on 8x80 plans for "
            "such as you name"
        )
    if shape is not None:
        add_memory(recipe, shape, result)
        add_transfer(recipe, shape, result)
        _disk(recipe, shape, result, out or Path("runs"))
        duration.add_durations(recipe, shape, result)
    result.notes += lag.describe_times(recipe, result)  # last: it reads the stages' seconds
    return result


def _nodes(recipe: Recipe, actors: Mapping[str, Role], devices: Devices, plan: Plan) -> None:
    """Add the node of each bundle, with a problem where they fit into no single node, and a note on ranks that are far apart."""
    nodes = planned_nodes(devices)
    sharing = recipe.header.trainer.sequence_parallel
    places = arrange(plan.placed, nodes, recipe.header.cluster.spread, sharing)
    if places is not None:
        plan.places = places
        names = [node.id for node in nodes]
        plan.notes += filter(None, [describe_divided(plan.placed, places, sharing, names)])
    # The nodes of a running cluster may differ, and `devices` has the smallest of them: there the reservation looks.
    elif not plan.address and not describe_misfit(actors, recipe.header.cluster.placement, devices):
        plan.problems.append(describe_fragments(plan.placed, nodes, "expected"))


def _check(recipe: Recipe, shape: Shape | None, facts: judges.Facts, gpu: bool, plan: Plan) -> None:
    """Add what checks of the whole recipe find."""
    check_lengths = partial(lengths.check, token_rate=shape.token_rate if shape else 0.0)
    check_sharing = partial(sharing.check, heads=shape.heads if shape else 0)
    check_lag = partial(lag.check, gpu=gpu, listens=bool(shape and shape.token_rate))
    recipe_checks = (
        golds.check,
        chains.check,
        thinking.check,
        check_lengths,
        lora.check,
        check_sharing,
        check_lag,
        teachers.check,
    )
    for check in (checks.foreign_difficulties, *recipe_checks):
        problems, notes = check(recipe, facts)
        plan.problems += problems
        plan.notes += notes


def _facts(recipe: Recipe, plan: Plan, runs: bool) -> dict[tuple[str, str | None], DataFacts]:
    """Return the facts of each data set and split, and add what is wrong with them. An unset GROUNDTONE_DATA is a problem
    where the recipe `runs` here, else a note."""
    without_folder, lines = requirements.unnamed_folder(recipe)
    (plan.problems if runs else plan.notes).extend(lines)
    facts: dict[tuple[str, str | None], DataFacts] = {}
    for read in recipe.loads():
        if read.data in without_folder:
            facts[read.data, read.split] = DataFacts(None, [])
        else:
            facts[read.data, read.split] = inspect(recipe.header.data[read.data], read.split, f"data.{read.data}")
    problems = dict.fromkeys(problem for fact in facts.values() for problem in fact.problems)
    plan.problems += [line for line in problems if line not in plan.problems]  # a library may be among them already
    plan.notes += dict.fromkeys(note for fact in facts.values() for note in fact.notes)
    plan.notes += checks.same_rows(facts)
    return facts


def _stages(recipe: Recipe, shape: Shape | None, facts: judges.Facts, plan: Plan) -> None:
    """Add the plan of every stage, with its problems and notes."""
    rows_written: dict[str, int | None] = {}
    lengths = {name: data.expect_tokens for name, data in recipe.header.data.items()}
    for stage in recipe.stages:
        names = [name for name in weights_of(stage.config.data) if name in recipe.header.data]
        rows = rows_written | {name: facts[name, stage.config.split].rows for name in names}
        stage_plan = workload.stage_plan(stage, recipe, rows, lengths)
        plan.stages.append(stage_plan)
        # Later stages may read what this one writes.
        rows_written[stage.base], lengths[stage.base] = stage_plan.rows_made, stage_plan.sequence_tokens
        # Iterations of a block repeat their lines.
        problems = checks.problems(stage, recipe, stage_plan.rows, shape.positions if shape else None)
        plan.problems += [line for line in problems if line not in plan.problems]
        plan.notes += [line for line in checks.notes(stage, stage_plan.rows) if line not in plan.notes]
    plan.environments, problems = describe_environments(recipe, bool(shape.token_rate) if shape else None)
    plan.problems += problems


def _model(recipe: Recipe, plan: Plan) -> Shape | None:
    """Describe the model in the plan; return its shape, or None where that is not known here."""
    model = recipe.header.model
    place, path = next(iter(model.sources.items()), ("model", ""))
    plan.model = f"{model.title}, {model.dtype}"
    absent = [place for place, source in model.sources.items() if not _present(source, place, plan)]
    if absent and model.expect is None:
        return None
    try:
        shape = read_shape(model)
        foreign = find_unsupported_key(model.shape()) if recipe.roles & {"policy", "critic", "reference"} else None
    except ValueError as error:
        if str(error) not in plan.problems:  # `requirements.models` may have said it
            plan.problems.append(str(error))
        return None
    if foreign:  # which an engine alone may be able to serve
        plan.problems.append(f"{place}: {path}: {foreign}; choose another model")
    if shape is None and not any(line.startswith(f"{place}:") for line in plan.problems + plan.notes):
        plan.notes.append(f"{place}: {path} holds no decoder that is known here; memory and disk are not estimated")
    elif shape is not None:
        plan.model = f"{amount(shape.parameters)} parameters, {plan.model}"
    config = model.shape() or model.expect
    if model.train_encoder and config and not {"audio_encoder_config", "audio_config"} & config.keys():
        plan.problems.append(f"model.train_encoder: {path} reads text only and has no encoder to train; remove it")
    return replace(shape, frozen=0) if shape and model.train_encoder else shape


def _present(path: str, place: str, plan: Plan) -> bool:
    """Return whether the model is on this machine; add a note or a problem where it is not."""
    lines, is_problem = origins.explain_absence(path, place)
    (plan.problems if is_problem else plan.notes).extend(lines)
    return not lines


def _disk(recipe: Recipe, shape: Shape, plan: Plan, out: Path) -> None:
    """Add the bytes that the run writes at most, and a note where the disk has too little free."""
    plan.disk = disk.upper_bounds(recipe, shape, plan.stages)
    existing = next(folder for folder in (out.absolute(), *out.absolute().parents) if os.path.exists(folder))
    need, free = sum(plan.disk.values()), shutil.disk_usage(existing).free
    if plan.present:
        plan.disk["free"] = free
        if need > free:
            plan.notes.append(f"disk: up to {size(need)} needed, {size(free)} free in {existing}")
