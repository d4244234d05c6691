"""Plans a recipe without running it: batch arithmetic in words, placement, memory, disk, notes and problems.

Arithmetic and `stat` only: `rl check` answers in about a second and imports no torch, ray or transformers.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from models.shape import BYTES, Shape, read_shape
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
    lengths,
    lora,
    memory,
    origins,
    requirements,
    sharing,
    thinking,
    workload,
)
from rl.planning.machine import Machine, find_shadowing_modules
from rl.planning.memory import RolePlan
from rl.stages.workload import StagePlan
from rl.units import GIB, amount, size
from rl.workers.placement import Bundle, ExpectConfig, bundles, describe_misfit, describe_shortage, roles

if TYPE_CHECKING:
    from rl.recipe import Recipe


@dataclass
class Plan:
    """Everything that `rl check` tells about a recipe."""

    recipe: str
    model: str
    thinking: str = ""
    """A line that says whether the model thinks, and why, where the recipe leaves that open."""
    origins: list[str] = field(default_factory=list[str])
    """Origins of models and data, a line each: `from disk`, or `from the hub`."""
    address: str | None = None
    """Address of the cluster that runs it; None for this machine (`present`) or for machines as `expected`."""
    present: Machine | None = None
    expected: ExpectConfig | None = None
    gpu: bool = False
    placement: str = "colocated"
    placed: list[Bundle] = field(default_factory=list[Bundle])
    stages: list[StagePlan] = field(default_factory=list[StagePlan])
    roles: list[RolePlan] = field(default_factory=list[RolePlan])
    """Memory of every role; empty where the model's shape is not known."""
    kv_tokens: int = 0
    """Tokens that one engine's cache holds; 0 where that is not known."""
    disk: dict[str, float] = field(default_factory=dict[str, float])
    """Upper bounds in bytes of `models`, `checkpoints` and `rollouts`, and what is `free` on the run's disk."""
    notes: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])
    """Mistakes that keep the recipe from running, each with its place and fix."""

    @property
    def devices(self) -> list[float]:
        """Bytes needed on the fullest device of each bundle, while it works."""
        return [max(memory.device(seat, self.gpu) for seat in seats) for seats in self._seats()]

    @property
    def loading(self) -> list[float]:
        """Bytes needed on the fullest device of each bundle while models are loaded; 0 where loading needs no more than what
        stays."""
        return [max(map(memory.loading, seats)) for seats in self._seats()]

    def _seats(self) -> list[list[list[RolePlan]]]:
        """Return the actors on each device of each bundle."""
        of = {role.role: role for role in self.roles}
        return [[[of[name] for name, _ in seat if name in of] for seat in bundle.devices] for bundle in self.placed]

    @property
    def memory(self) -> float:
        """Bytes of all devices together; on a CPU with the driver's and Ray's own."""
        return sum(self.devices) + (0 if self.gpu else memory.PROCESS["driver"])


def plan(recipe: Recipe, out: Path | None = None) -> Plan:
    """Return the plan of running `recipe` into `out`. Without `out` nothing is run yet, and a recipe that says which
    machines it expects is planned for those. A user's mistake is not raised: it becomes one of `problems`."""
    header, here = recipe.header, Machine.detect()
    address, expect = header.cluster.running_cluster(), header.cluster.expect
    # What a cluster elsewhere has is known once a run connects; bfloat16 is what one trains in on GPUs.
    gpu = expect.gpus > 0 if expect else here.gpus > 0 or (address is not None and header.model.dtype == "bfloat16")
    present = None if address or (expect and out is None) else here
    result = Plan(recipe.name, "", "", origins.describe(recipe), address, present, expect, gpu)
    result.placement = header.cluster.placement
    result.problems += [
        f"{file}: has the name of a package of ours and would be imported in its place; rename it or run from elsewhere"
        for file in find_shadowing_modules()
    ]
    missing_packages = requirements.packages(recipe.roles, here.gpus > 0) if present else []
    # A check of a recipe for another machine only notes what this one lacks.
    (result.notes if out is None else result.problems).extend(missing_packages)
    if present:
        result.problems += requirements.libraries(recipe)
    result.problems += engine_options.check(recipe)
    (result.problems if present or out else result.notes).extend(requirements.models(recipe))
    shape = _model(recipe, result)
    for name, judge in header.judges.items():
        _present(judge.model, f"judges.{name}.model", result)
    facts = _facts(recipe, result, runs=bool(present or out))
    check_lengths = partial(lengths.check, token_rate=shape.token_rate if shape else 0.0)
    check_sharing = partial(sharing.check, heads=shape.heads if shape else 0)
    recipe_checks = golds.check, chains.check, thinking.check, check_lengths, lora.check, check_sharing
    for check in (checks.foreign_difficulties, *recipe_checks):
        problems, notes = check(recipe, facts)
        result.problems += problems
        result.notes += notes
    result.thinking = thinking.describe(recipe, facts)
    _stages(recipe, shape, facts, result)
    result.notes += judges.notes(recipe, result.stages, facts)
    actors = roles(recipe.roles, header.engines, header.trainer, gpu, header.judges)
    result.placed = bundles(actors, header.cluster.placement)
    ray = sys.modules.get("ray")  # a notebook's own Ray may declare more than this machine has; the cluster checks that
    if expect:
        result.problems += filter(None, [describe_misfit(result.placed, expect)])
    if present and not (ray and ray.is_initialized()):
        result.problems += filter(None, [describe_shortage(result.placed, here.cpus, here.gpus)])
    if shape is not None:
        _engines(recipe, shape, result)
        _memory(recipe, shape, result)
        if result.present and {"engine", "policy"} <= recipe.roles and os.path.isdir("/dev/shm"):
            weights = BYTES[header.model.dtype] * shape.parameters
            result.notes += memory.object_store_notes(weights, shutil.disk_usage("/dev/shm").free)
        _disk(recipe, shape, result, out or Path("runs"))
    if shape is not None and expect is not None:
        _fits(recipe, shape, result, expect)
        result.stages = [duration.add_durations(stage_plan, recipe, shape, expect) for stage_plan in result.stages]
    return result


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


def _engines(recipe: Recipe, shape: Shape, plan: Plan) -> None:
    """Add the size of an engine's KV cache, and a problem where it cannot hold the longest sequence."""
    engines, dtype = recipe.header.engines, recipe.header.model.dtype
    if "engine" not in recipe.roles:
        return
    if plan.gpu and shape.heads % engines.gpus:
        plan.problems.append(f"engines.gpus: {shape.heads} attention heads do not divide over {engines.gpus} GPUs")
    kv_tokens = int(memory.kv_bytes(recipe, shape, plan.gpu) // shape.kv_per_token(dtype))
    plan.kv_tokens = 0 if plan.gpu and plan.expected is None else kv_tokens
    if kv_tokens < recipe.max_sequence_tokens and plan.gpu:
        plan.problems.append(
            f"engines.gpus: beside the weights an engine's cache holds {kv_tokens:,} tokens, one sequence has up to "
            f"{recipe.max_sequence_tokens:,}; give it more GPUs or a larger vllm.gpu_memory_utilization"
        )
    elif kv_tokens < recipe.max_sequence_tokens:
        least = size(recipe.max_sequence_tokens * shape.kv_per_token(dtype))
        plan.problems.append(
            f"engines.kv_cache_mb: {engines.kv_cache_mb} hold {kv_tokens:,.0f} tokens, one sequence has up to "
            f"{recipe.max_sequence_tokens:,}; give at least {least}"
        )


def _memory(recipe: Recipe, shape: Shape, plan: Plan) -> None:
    """Add the memory of every role, and a problem or a note where this machine has too little."""
    model = recipe.header.model
    micro_batch = max((stage.micro_batch for stage in plan.stages), default=0)
    plan.roles = memory.role_plans(recipe, shape, micro_batch, plan.gpu)
    judges = {name: memory.judge_plan(name, judge, plan.gpu, plan.expected) for name, judge in recipe.judges.items()}
    unknown = [f"judges.{name}.model" for name, judge in judges.items() if not judge.bytes]
    plan.notes += [f"{place}: the model is not here; its memory is not estimated" for place in unknown]
    plan.roles += judges.values()
    demands = ", ".join(f"{r.role} {f'{r.count} × ' if r.count > 1 else ''}{size(r.certain)}" for r in plan.roles)
    certain = sum(role.certain * role.count for role in plan.roles)
    if plan.present and not plan.gpu and certain > plan.present.memory:
        plan.problems.append(
            f"memory: {size(certain)} asked for by weights, optimizers and caches alone ({demands}), "
            f"{size(plan.present.memory)} present; choose a smaller model or a cluster (cluster.address)"
        )
    elif plan.present and not plan.gpu and plan.memory > plan.present.memory:
        plan.notes.append(
            f"memory: about {size(plan.memory)} needed, {size(plan.present.memory)} present; lower "
            "trainer.tokens_per_microbatch or max_sequence_tokens"
        )
    activations = max((role.parts["activations"] for role in plan.roles), default=0)
    if activations > 8 * GIB and not model.gradient_checkpointing:
        plan.notes.append(
            f"activations take {size(activations)} a rank; model.gradient_checkpointing=true keeps far less"
        )


def _fits(recipe: Recipe, shape: Shape, plan: Plan, expect: ExpectConfig) -> None:
    """Add a problem where the fullest of the expected GPUs does not hold its actors, at work or while models are loaded."""
    capacity = expect.gpu_memory_gb * GIB
    need = max(plan.devices) if plan.gpu else 0
    if need > capacity:
        plan.problems.append(
            f"memory: about {size(need)} needed on a GPU, {size(capacity)} expected; lower vllm.gpu_memory_utilization (of "
            "engines and judges) or trainer.tokens_per_microbatch, or raise trainer.ranks (zero_stage 3) or engines.gpus"
        )
    if not any(loads := plan.loading if plan.gpu else []):
        return
    weights = size(BYTES[recipe.header.model.dtype] * shape.parameters)
    whole = f"every rank builds the whole model, {weights}, before ZeRO-3 divides it"
    if max(loads) > capacity:
        plan.problems.append(
            f"memory: about {size(max(loads))} needed on a GPU while a model is loaded ({whole}), {size(capacity)} expected; "
            "use GPUs with more memory, raise trainer.ranks or set cluster.placement=split"
        )
    plan.notes.append(
        f"loading: {whole}: {size(max(loads))} of its GPU for a moment, and of a node's memory the model for each of its "
        "ranks"
    )


def _disk(recipe: Recipe, shape: Shape, plan: Plan, out: Path) -> None:
    """Add the bytes that the run writes at most, and a note where the disk has too little free."""
    plan.disk = disk.upper_bounds(recipe, shape, plan.stages)
    existing = next(folder for folder in (out.absolute(), *out.absolute().parents) if os.path.exists(folder))
    need, free = sum(plan.disk.values()), shutil.disk_usage(existing).free
    if plan.present:
        plan.disk["free"] = free
        if need > free:
            plan.notes.append(f"disk: up to {size(need)} needed, {size(free)} free in {existing}")
