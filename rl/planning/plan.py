"""What a recipe will do, before it does it: batch arithmetic in words, placement, memory, disk, and what is missing.

Arithmetic and `stat` only: `rl check` answers in about a second and imports no torch, ray or transformers.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from models.shape import BYTES, Shape, folder_of, read_shape
from models.supported import find_unsupported_key
from rl.data.mixture import weights_of
from rl.data.sources import DataFacts, inspect
from rl.planning import checks, duration, judges, memory, requirements, workload
from rl.planning.machine import Machine, find_shadowing_modules
from rl.planning.memory import RolePlan
from rl.stages.workload import StagePlan
from rl.units import GIB, amount, size
from rl.workers.placement import Bundle, ExpectConfig, bundles, describe_misfit, describe_shortage, roles

if TYPE_CHECKING:
    from rl.recipe import Recipe

BYTES_PER_TOKEN = 8
"""Of a saved sample at most: its id and its text."""


@dataclass
class Plan:
    recipe: str
    model: str
    address: str | None = None
    """Of the cluster it goes to; None: this machine, `present`, or machines as they are `expected`."""
    present: Machine | None = None
    expected: ExpectConfig | None = None
    gpu: bool = False
    placement: str = "colocated"
    placed: list[Bundle] = field(default_factory=list[Bundle])
    stages: list[StagePlan] = field(default_factory=list[StagePlan])
    roles: list[RolePlan] = field(default_factory=list[RolePlan])
    """Memory; empty where the model's shape is not known."""
    kv_tokens: int = 0
    """Tokens that one engine's cache holds; 0 where that is not known."""
    disk: dict[str, float] = field(default_factory=dict[str, float])
    """Bytes at most by what they hold, and `free` where the run would lie."""
    notes: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])
    """What keeps the recipe from running, each with its place and fix."""

    @property
    def devices(self) -> list[float]:
        """Bytes needed on the fullest device of each of `placed`, while it works."""
        return [max(memory.device(seat, self.gpu) for seat in seats) for seats in self._seats()]

    @property
    def loading(self) -> list[float]:
        """The same while models are loaded; 0 where that takes no more than what is kept."""
        return [max(map(memory.loading, seats)) for seats in self._seats()]

    def _seats(self) -> list[list[list[RolePlan]]]:
        """The actors on each device of each of `placed`."""
        of = {role.role: role for role in self.roles}
        return [[[of[name] for name, _ in seat if name in of] for seat in bundle.devices] for bundle in self.placed]

    @property
    def memory(self) -> float:
        """Bytes of everything, with what the driver and Ray take on a CPU."""
        return sum(self.devices) + (0 if self.gpu else memory.PROCESS["driver"])


def plan(recipe: Recipe, out: Path | None = None) -> Plan:
    """The plan of running `recipe` into `out`; None: nothing is run yet, and where the recipe says which machines it
    expects, the plan is for those. A user's mistake is not raised: it becomes one of `problems`."""
    header, here = recipe.header, Machine.detect()
    address = header.cluster.address or os.environ.get("RAY_ADDRESS")
    expect = header.cluster.expect
    # What a cluster elsewhere has is known once a run connects; bfloat16 is what one trains in on GPUs.
    gpu = expect.gpus > 0 if expect else here.gpus > 0 or (address is not None and header.model.dtype == "bfloat16")
    present = None if address or (expect and out is None) else here
    made = Plan(recipe.name, "", address, present, expect, gpu, header.cluster.placement)
    made.problems += [
        f"{file}: has the name of a package of ours and would be imported in its place; rename it or run from elsewhere"
        for file in find_shadowing_modules()
    ]
    lacking = requirements.packages(recipe.roles, here.gpus > 0) if present else []
    (made.notes if out is None else made.problems).extend(lacking)
    made.problems += requirements.libraries(recipe) if present else []
    (made.problems if present or out else made.notes).extend(requirements.models(recipe))
    shape = _model(recipe, made)
    for name, judge in header.judges.items():
        _present(judge.model, f"judges.{name}.model", made)
    facts = _facts(recipe, made, runs=bool(present or out))
    for lines, more in zip((made.problems, made.notes), checks.foreign_difficulties(recipe, facts), strict=True):
        lines += more
    written: dict[str, int | None] = {}
    lengths = {name: data.expect_tokens for name, data in header.data.items()}
    for stage in recipe.stages:
        read = written | {
            name: facts[name, stage.config.split].rows for name in weights_of(stage.config.data) if name in header.data
        }
        stage_plan = workload.stage_plan(stage, recipe, read, lengths)
        made.stages.append(stage_plan)
        written[stage.base], lengths[stage.base] = stage_plan.rows_made, stage_plan.sequence_tokens
        wrong = checks.problems(stage, recipe, stage_plan.rows, shape.positions if shape else None)
        made.problems += [line for line in wrong if line not in made.problems]  # iterations of a block have the same
        made.notes += [line for line in checks.notes(stage, stage_plan.rows) if line not in made.notes]
    made.notes += judges.notes(recipe, made.stages, facts)
    made.placed = bundles(
        roles(recipe.roles, header.engines, header.trainer, gpu, header.judges), header.cluster.placement
    )
    ray = sys.modules.get("ray")  # a notebook's own Ray may say that it has more than this machine; it is asked later
    if expect:
        made.problems += filter(None, [describe_misfit(made.placed, expect)])
    if present and not (ray and ray.is_initialized()):
        made.problems += filter(None, [describe_shortage(made.placed, here.cpus, here.gpus)])
    if shape is not None:
        _engines(recipe, shape, made)
        _memory(recipe, shape, made)
        if made.present and {"engine", "policy"} <= recipe.roles and os.path.isdir("/dev/shm"):
            weights = BYTES[header.model.dtype] * shape.parameters
            made.notes += spilled(weights, shutil.disk_usage("/dev/shm").free)
        _disk(recipe, shape, made, out or Path("runs"))
    if shape is not None and expect is not None:
        _fits(recipe, shape, made, expect)
        made.stages = [duration.add_durations(stage_plan, recipe, shape, expect) for stage_plan in made.stages]
    return made


def _facts(recipe: Recipe, made: Plan, runs: bool) -> dict[tuple[str, str | None], DataFacts]:
    """Return what each data set and split holds, and tell what is wrong with them; a folder that is not named is only
    worth a note where nothing `runs` here."""
    unnamed, lines = requirements.unnamed_folder(recipe)
    (made.problems if runs else made.notes).extend(lines)
    facts: dict[tuple[str, str | None], DataFacts] = {}
    for read in recipe.loads():
        if read.data in unnamed:
            facts[read.data, read.split] = DataFacts(None, [])
        else:
            facts[read.data, read.split] = inspect(recipe.header.data[read.data], read.split, f"data.{read.data}")
    wrong = dict.fromkeys(problem for fact in facts.values() for problem in fact.problems)
    made.problems += [line for line in wrong if line not in made.problems]  # a library may be among them already
    made.notes += dict.fromkeys(note for fact in facts.values() for note in fact.notes)
    made.notes += checks.same_rows(facts)
    return facts


def _model(recipe: Recipe, made: Plan) -> Shape | None:
    """Fills in what the model is; its shape where that is known here."""
    model = recipe.header.model
    path, name = str(model.path), "built by the recipe" if model.build else str(model.path)
    made.model = f"{name}, {model.dtype}"
    if model.build is None and not _present(path, "model.path", made) and model.expect is None:
        return None
    try:
        shape = read_shape(model)
        foreign = find_unsupported_key(model.shape()) if recipe.roles & {"policy", "critic", "reference"} else None
    except ValueError as error:
        made.problems += [str(error)] if str(error) not in made.problems else []
        return None
    if foreign:  # an engine alone may well serve it
        made.problems.append(f"model.path: {path}: {foreign}; choose another model")
    if shape is None and not any(line.startswith("model.path:") for line in made.problems + made.notes):
        why = f"{path} holds no config.json of a decoder that is known here"
        made.notes.append(f"model.path: {why}; memory and disk are not estimated")
    elif shape is not None:
        made.model = f"{amount(shape.parameters)} parameters, {made.model}"
    config = model.shape() or model.expect
    if model.train_encoder and config and not {"audio_encoder_config", "audio_config"} & config.keys():
        made.problems.append(f"model.train_encoder: {path} reads text only and has no encoder to train; remove it")
    return replace(shape, frozen=0) if shape and model.train_encoder else shape


def _present(path: str, place: str, made: Plan) -> bool:
    """Whether a model lies here; a note or a problem where it does not."""
    if folder_of(path) is not None:
        return True
    hub = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path) and not path.startswith(".")
    if not hub:
        made.problems.append(f"{place}: no such folder: {path}; correct it or name a model of the hub")
    elif os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        made.problems.append(f"{place}: '{path}' is no folder and not in the hub's cache; HF_HUB_OFFLINE is set")
    else:
        made.notes.append(f"{place}: '{path}' is not here; it will be fetched from the hub when the run starts")
    return False


def _engines(recipe: Recipe, shape: Shape, made: Plan) -> None:
    engines, dtype = recipe.header.engines, recipe.header.model.dtype
    if "engine" not in recipe.roles:
        return
    if made.gpu and shape.heads % engines.gpus:
        made.problems.append(f"engines.gpus: {shape.heads} attention heads do not divide over {engines.gpus} GPUs")
    holds = int(memory.kv_bytes(recipe, shape, made.gpu) // shape.kv_per_token(dtype))
    made.kv_tokens = 0 if made.gpu and made.expected is None else holds
    if holds < recipe.max_sequence_tokens and made.gpu:
        made.problems.append(
            f"engines.gpus: beside the weights an engine's cache holds {holds:,} tokens, one sequence has up to "
            f"{recipe.max_sequence_tokens:,}; give it more GPUs or a larger vllm.gpu_memory_utilization"
        )
    elif holds < recipe.max_sequence_tokens:
        wanted = size(recipe.max_sequence_tokens * shape.kv_per_token(dtype))
        made.problems.append(
            f"engines.kv_cache_mb: {engines.kv_cache_mb} hold {holds:,.0f} tokens, one sequence has up to "
            f"{recipe.max_sequence_tokens:,}; give at least {wanted}"
        )


def _memory(recipe: Recipe, shape: Shape, made: Plan) -> None:
    model = recipe.header.model
    micro_batch = max((stage.micro_batch for stage in made.stages), default=0)
    made.roles = memory.role_plans(recipe, shape, micro_batch, made.gpu)
    judges = {name: memory.judge_plan(name, judge, made.gpu, made.expected) for name, judge in recipe.judges.items()}
    unknown = [f"judges.{name}.model" for name, judge in judges.items() if not judge.bytes]
    made.notes += [f"{place}: the model is not here; its memory is not estimated" for place in unknown]
    made.roles += judges.values()
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


def spilled(weights: float, shared: float) -> list[str]:
    """A note where Ray's object store cannot hold one version of the weights."""
    if weights <= shared * 4 // 5:
        return []
    return [
        f"memory: a version of the weights takes {size(weights)}, {size(shared)} of /dev/shm are free: with every step "
        "they go through the disk; give the container more (docker run --shm-size)"
    ]


def _fits(recipe: Recipe, shape: Shape, made: Plan, expect: ExpectConfig) -> None:
    """Whether the fullest of the expected GPUs holds what is on it, while it works and while models are loaded."""
    most = expect.gpu_memory_gb * GIB
    need = max(made.devices) if made.gpu else 0
    if need > most:
        made.problems.append(
            f"memory: about {size(need)} needed on a GPU, {size(most)} expected; lower vllm.gpu_memory_utilization (of "
            "engines and judges) or trainer.tokens_per_microbatch, or raise trainer.ranks (zero_stage 3) or engines.gpus"
        )
    if not any(loads := made.loading if made.gpu else []):
        return
    model = recipe.header.model
    whole = (
        f"every rank builds the whole model, {size(BYTES[model.dtype] * shape.parameters)}, before ZeRO-3 divides it"
    )
    if max(loads) > most:
        made.problems.append(
            f"memory: about {size(max(loads))} needed on a GPU while a model is loaded ({whole}), {size(most)} expected; "
            "use GPUs with more memory, raise trainer.ranks or set cluster.placement=split"
        )
    made.notes.append(
        f"loading: {whole}: {size(max(loads))} of its GPU for a moment, and of a node's memory the model for each of its "
        "ranks"
    )


def _disk(recipe: Recipe, shape: Shape, made: Plan, out: Path) -> None:
    """Add the bytes of models, checkpoints and samples, at most. A checkpoint is the model, its fp32 master and AdamW's two
    moments: (b + 12) P, for policy and critic each."""
    b, count = BYTES[recipe.header.model.dtype], shape.parameters
    models = sum(bool({"model", "reward_model"} & {*stage.facts.makes}) for stage in recipe.stages)
    if recipe.header.model.build is not None:
        models += 1
    checkpoints = sum(stage_plan.checkpoints for stage_plan in made.stages)
    # One more than a stage keeps exists while its newest is written; stages write one after the other.
    checkpoints += max((stage_plan.learners for stage_plan in made.stages), default=0)
    tokens = sum(stage_plan.tokens for stage_plan in made.stages if stage_plan.records)
    made.disk = {
        "models": models * b * count,
        "checkpoints": checkpoints * (b * count + 12 * (count - shape.frozen)),
        "rollouts": tokens * BYTES_PER_TOKEN,
    }
    existing = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    wanted, free = sum(made.disk.values()), shutil.disk_usage(existing).free
    if made.present:
        made.disk["free"] = free
        if wanted > free:
            made.notes.append(f"disk: up to {size(wanted)} needed, {size(free)} free in {existing}")
