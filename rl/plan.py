"""What a recipe will do, before it does it: batch arithmetic in words, placement, memory, disk, and what is missing.

Arithmetic and `stat` only: `rl check` answers in about a second and imports no torch, ray or transformers.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl import arithmetic, memory
from rl.arithmetic import StagePlan
from rl.data.mixture import weights_of
from rl.data.sources import inspect
from rl.machine import Machine, shadowed
from rl.memory import GIB, RolePlan, Shape, amount, many, size
from rl.workers.placement import Bundle, bundles, roles, shortage, total

if TYPE_CHECKING:
    from rich.console import RenderableType

    from rl.recipe import Recipe

BYTES_PER_TOKEN = 8
"""Of a saved sample at most: its id and its text."""


@dataclass
class Plan:
    recipe: str
    model: str
    address: str | None = None
    """Of the cluster it goes to; None: this machine, `present`."""
    present: Machine | None = None
    gpu: bool = False
    placement: str = "colocated"
    placed: list[Bundle] = field(default_factory=list[Bundle])
    stages: list[StagePlan] = field(default_factory=list[StagePlan])
    roles: list[RolePlan] = field(default_factory=list[RolePlan])
    """Memory; empty where the model's shape is not known."""
    disk: dict[str, float] = field(default_factory=dict[str, float])
    """Bytes at most by what they hold, and `free` where the run would lie."""
    notes: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])
    """What keeps the recipe from running, each with its place and fix."""

    @property
    def devices(self) -> list[float]:
        """Bytes needed on the device of each of `placed`. On a CPU all actors stay. Colocated on a GPU they take
        turns: what trainers keep, and the larger of the engine and one trainer's activations."""
        of = {role.role: role for role in self.roles}
        actors = [[of[name] for name, _ in bundle.actors if name in of] for bundle in self.placed]
        if not self.gpu:
            return [sum(actor.bytes for actor in together) for together in actors]
        kept = [sum(a.bytes - a.parts["activations"] for a in some if a.role != "engine") for some in actors]
        turns = [[a.bytes if a.role == "engine" else a.parts["activations"] for a in some] for some in actors]
        return [stays + max(turn, default=0) for stays, turn in zip(kept, turns, strict=True)]

    @property
    def memory(self) -> float:
        """Bytes of everything, with what the driver and Ray take on a CPU."""
        return sum(self.devices) + (0 if self.gpu else memory.PROCESS["driver"])


def plan(recipe: Recipe, out: Path | None = None) -> Plan:
    """The plan of running `recipe` into `out`. A user's mistake is not raised: it becomes one of `problems`."""
    header, here = recipe.header, Machine.here()
    address = header.cluster.address or os.environ.get("RAY_ADDRESS")
    # What a cluster elsewhere has is known once a run connects; bfloat16 is what one trains in on GPUs.
    gpu = here.gpus > 0 or (address is not None and header.model.dtype == "bfloat16")
    made = Plan(recipe.name, "", address, None if address else here, gpu, header.cluster.placement)
    made.problems += [
        f"{file}: has the name of a package of ours and would be imported in its place; rename it or run from elsewhere"
        for file in shadowed()
    ]
    shape = _model(recipe, made)
    facts = {(name, split): inspect(header.data[name], split, f"data.{name}") for _, name, split, *_ in recipe.loads()}
    made.problems += dict.fromkeys(problem for fact in facts.values() for problem in fact.problems)
    made.notes += dict.fromkeys(note for fact in facts.values() for note in fact.notes)
    written: dict[str, int | None] = {}
    for stage in recipe.stages:
        read = written | {
            name: facts[name, stage.config.split].rows for name in weights_of(stage.config.data) if name in header.data
        }
        told = arithmetic.stage_plan(stage, recipe, read)
        made.stages.append(told)
        written[stage.base] = arithmetic.leaves(stage, told)
        wrong = arithmetic.problems(stage, recipe, told.rows, shape.positions if shape else None)
        made.problems += [line for line in wrong if line not in made.problems]  # iterations of a block have the same
        made.notes += [line for line in arithmetic.notes(stage) if line not in made.notes]
    made.placed = bundles(roles(recipe.roles, header.engines, header.trainer, gpu), header.cluster.placement)
    ray = sys.modules.get("ray")  # a notebook's own Ray may say that it has more than this machine; it is asked later
    if address is None and not (ray and ray.is_initialized()):
        made.problems += filter(None, [shortage(made.placed, here.cpus, here.gpus)])
    if shape is not None:
        _engines(recipe, shape, made)
        _memory(recipe, shape, made)
        _disk(recipe, shape, made, out or Path("runs"))
    return made


def _model(recipe: Recipe, made: Plan) -> Shape | None:
    """Fills in what the model is; its shape where that is known here."""
    model = recipe.header.model
    path, name = str(model.path), "built by the recipe" if model.build else str(model.path)
    made.model = f"{name}, {model.dtype}"
    if model.build is None and memory.folder_of(path) is None:
        hub = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path) and not path.startswith(".")
        if not hub:
            made.problems.append(f"model.path: no such folder: {path}; correct it or name a model of the hub")
        elif os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
            made.problems.append(f"model.path: '{path}' is no folder and not in the hub's cache; HF_HUB_OFFLINE is set")
        else:
            made.notes.append(f"model.path: '{path}' is not here; it will be fetched from the hub when the run starts")
        return None
    try:
        shape = memory.read(model)
    except ValueError as error:
        made.problems.append(str(error))
        return None
    if shape is None:
        why = f"{path} holds no config.json of a decoder that is known here"
        made.notes.append(f"model.path: {why}; memory and disk are not estimated")
    else:
        made.model = f"{amount(shape.parameters)} parameters, {made.model}"
    return shape


def _engines(recipe: Recipe, shape: Shape, made: Plan) -> None:
    engines, dtype = recipe.header.engines, recipe.header.model.dtype
    if "engine" not in recipe.roles:
        return
    if made.gpu and shape.heads % engines.gpus:
        made.problems.append(f"engines.gpus: {shape.heads} attention heads do not divide over {engines.gpus} GPUs")
    holds = memory.kv_bytes(recipe, shape, made.gpu) // shape.kv_per_token(dtype)
    if holds < recipe.max_sequence_tokens:
        wanted = size(recipe.max_sequence_tokens * shape.kv_per_token(dtype))
        made.problems.append(
            f"engines.kv_cache_mb: {engines.kv_cache_mb} hold {holds:,.0f} tokens, one sequence has up to "
            f"{recipe.max_sequence_tokens:,}; give at least {wanted}"
        )


def _memory(recipe: Recipe, shape: Shape, made: Plan) -> None:
    model = recipe.header.model
    micro_batch = max((stage.micro_batch for stage in made.stages), default=0)
    made.roles = memory.role_plans(recipe, shape, micro_batch, made.gpu)
    asked = ", ".join(f"{r.role} {f'{r.count} × ' if r.count > 1 else ''}{size(r.certain)}" for r in made.roles)
    certain = sum(role.certain * role.count for role in made.roles)
    if made.present and not made.gpu and certain > made.present.memory:
        made.problems.append(
            f"memory: {size(certain)} asked for by weights, optimizers and caches alone ({asked}), "
            f"{size(made.present.memory)} present; choose a smaller model or a cluster (cluster.address)"
        )
    elif made.present and not made.gpu and made.memory > made.present.memory:
        made.notes.append(
            f"memory: about {size(made.memory)} needed, {size(made.present.memory)} present; lower "
            "trainer.tokens_per_microbatch or max_sequence_tokens"
        )
    stored = max((role.parts["activations"] for role in made.roles), default=0)
    if stored > 8 * GIB and not model.gradient_checkpointing:
        made.notes.append(f"activations take {size(stored)} a rank; model.gradient_checkpointing=true keeps far less")


def _disk(recipe: Recipe, shape: Shape, made: Plan, out: Path) -> None:
    """Models, checkpoints (one more than are kept exists while the newest is written) and samples, at most. A
    checkpoint is the model, its fp32 master and AdamW's two moments: (b + 12) P, for policy and critic each."""
    b, count = memory.BYTES[recipe.header.model.dtype], shape.parameters
    models, checkpoints, tokens = int(recipe.header.model.build is not None), 0, 0
    for stage, told in zip(recipe.stages, made.stages, strict=True):
        models += stage.kind in ("encode", "sft", "rlvr", "dpo", "reward_model")
        tokens += 0 if stage.kind in ("sft", "dpo", "reward_model", "curate") else told.tokens
        if stage.kind == "rlvr":
            kept = stage.config.keep + 1 + bool(stage.config.eval_every)
            checkpoints += kept * (2 if stage.config.resolved().critic else 1)
        elif stage.kind in ("sft", "dpo") and stage.config.checkpoint_every:
            checkpoints += stage.config.keep + 1
    made.disk = {"models": models * b * count, "checkpoints": checkpoints * (b + 12) * count}
    made.disk["rollouts"] = tokens * BYTES_PER_TOKEN
    existing = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    wanted, free = sum(made.disk.values()), shutil.disk_usage(existing).free
    if made.present:
        made.disk["free"] = free
        if wanted > free:
            made.notes.append(f"disk: up to {size(wanted)} needed, {size(free)} free in {existing}")


# --- showing it ----------------------------------------------------------------------------------------------------


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain values; memory and disk in bytes, `bundles` grouped by what sits on them."""
    values = asdict(plan)
    values["roles"] = [{**asdict(role), "bytes": role.bytes} for role in plan.roles]
    groups = _groups(plan)
    values["bundles"] = [
        {"count": n, "cpus": cpus, "gpus": gpus, "actors": list(actors), "bytes": need}
        for (cpus, gpus, actors, need), n in groups.items()
    ]
    del values["placed"]
    return values


def render(plan: Plan, brief: bool = False) -> RenderableType:
    """The plan for a terminal; `brief` leaves out the memory by role. Problems are the caller's to print."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    def table(*columns: str) -> Table:
        made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for i, column in enumerate(columns):
            made.add_column(column, overflow="fold", justify="right" if i > 1 and len(columns) > 4 else "left")
        return made

    stages = table("stage", "kind", "what it does", "tokens")
    for stage in plan.stages:
        stages.add_row(
            Text(stage.name), stage.kind, Text(stage.says), f"≤ {amount(stage.tokens)}" if stage.tokens else ""
        )
    lines = [f"placement  {_placement(plan)}"]
    if plan.roles:
        here = f" of {size(plan.present.memory)}" if plan.present else ""
        lines.append(f"memory     {_per_gpu(plan) if plan.gpu else f'about {size(plan.memory)}{here}'}")
        each = ", ".join(f"{name} {size(plan.disk[name])}" for name in ("models", "checkpoints", "rollouts"))
        free = f"; {size(plan.disk['free'])} free" if "free" in plan.disk else ""
        lines.append(f"disk       up to {each}{free}")
    title = Text.assemble((plan.recipe, "bold"), f"  {plan.model}")
    told = [Text(line) for line in lines] + [Text(f"note: {note}", "yellow") for note in plan.notes]
    if brief or not plan.roles:
        return Group(title, stages, *told)
    parts = ("weights", "gradients", "optimizer", "kv", "activations", "other")
    roles_table = table("memory of", "actors", *("KV cache" if part == "kv" else part for part in parts), "each")
    for role in plan.roles:
        cells = (size(role.parts[part]) if role.parts[part] else "" for part in parts)
        roles_table.add_row(role.role, str(role.count), *cells, size(role.bytes))
    return Group(title, stages, roles_table, *told)


def _groups(plan: Plan) -> Counter[tuple[float, int, tuple[str, ...], float]]:
    """Bundles that are alike, with their number."""
    return Counter(
        (bundle.cpus, bundle.gpus, tuple(name for name, _ in bundle.actors), need)
        for bundle, need in zip(plan.placed, plan.devices, strict=True)
    )


def _placement(plan: Plan) -> str:
    groups = "; ".join(
        f"{f'{n} × ' if n > 1 else ''}[{cpus:g} CPU{f' + {gpus} GPU' if gpus else ''}: {' '.join(actors)}]"
        for (cpus, gpus, actors, _), n in _groups(plan).items()
    )
    cpus, gpus = total(plan.placed)
    asked = f"{many(gpus, 'GPU')} and {many(cpus, 'CPU')}" if plan.gpu else many(cpus, "CPU")
    if plan.present is None:
        return f"{plan.placement}, {asked} of the cluster at {plan.address}: {groups}"
    have = f"{plan.present.gpus} and {plan.present.cpus}" if plan.gpu else str(plan.present.cpus)
    return f"{plan.placement}, {asked} of {have} here: {groups}"


def _per_gpu(plan: Plan) -> str:
    return "; ".join(
        f"about {size(need)} {f'a GPU of {n} ×' if n > 1 else 'on the GPU of'} [{' '.join(actors)}]"
        for (_, _, actors, need), n in _groups(plan).items()
    ) + ("; engines fill what is left with KV cache" if any(role.role == "engine" for role in plan.roles) else "")
