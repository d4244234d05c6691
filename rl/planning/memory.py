"""Estimates the memory of every actor of a recipe, and of the devices that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import floor
from typing import TYPE_CHECKING, Any

from models.folder import folder_of
from models.shape import BYTES, Shape, folder_shape
from rl.planning import teachers
from rl.planning.formulas import Memory
from rl.planning.lora import trained_parameters
from rl.planning.trainer_memory import CUDA_CONTEXT, Settings, host_bytes, trainer_memory
from rl.units import GIB, amount, size
from rl.workers.deepspeed_settings import offloads_optimizer
from rl.workers.placement import roles
from rollouts.engine_options import running_samples

if TYPE_CHECKING:
    from rl.recipe import Recipe
    from rollouts.judge_engine import JudgeConfig
    from rollouts.serving import ServingConfig

PROCESS = {"engine": 0.6 * GIB, "driver": 1.0 * GIB}
"""Bytes that libraries take on a CPU, measured: an engine with vLLM, the driver with Ray's own processes."""
SAMPLING = 8 * 4
"""Bytes that a CPU engine's sampler takes for each running sample and entry of the vocabulary, measured: logits, probabilities,
noise and their copies."""
VERSIONS = 2
"""Versions of the weights that are on their way to engines on a CPU: one is written while the one before is still held."""
GRAPHS = 1.0 * GIB
"""Bytes of a GPU that an engine's CUDA graphs and kernels' workspaces take; they stay while it sleeps."""
LARGEST_SHARE = 0.9
"""Largest share that is chosen for an engine which shares its GPU."""
RESERVE = 0.04
"""Share of a GPU that is left free beside an engine whose share is chosen here: what allocators waste."""
SHARE, CACHE = "gpu_memory_utilization", "kv_cache_memory_bytes"
"""Options of vLLM: the share of a GPU's memory that an engine takes, and the size of its cache."""
DEFAULT_SHARE = 0.92
"""vLLM's default for the share."""


@dataclass(frozen=True)
class RolePlan:
    """Memory of the actors of one role."""

    role: str
    count: int
    parts: dict[str, float]
    """Bytes of one actor by what they hold (on each of its GPUs, where it has any)."""
    formulas: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    """Formulas of the parts, with their numbers."""
    rests_with: float | None = None
    """Bytes that stay on a GPU while others have their turn; None: all but activations."""
    host: float = 0.0
    """Bytes of the host's memory that an actor on a GPU takes beside."""

    @property
    def bytes(self) -> float:
        """Bytes of one actor."""
        return sum(self.parts.values())

    @property
    def certain(self) -> float:
        """Bytes that no setting of the batch changes."""
        return sum(self.parts[name] for name in ("weights", "gradients", "optimizer", "kv"))

    @property
    def resting(self) -> float:
        """Bytes that stay on a GPU while the actor does not work: of an engine what a sleeping one keeps."""
        if self.role == "engine":
            return self.parts["other"]
        return self.bytes - self.parts["activations"] if self.rests_with is None else self.rests_with


def role_plans(
    recipe: Recipe, shape: Shape, micro_batch: int, gpu: bool, gpu_memory: float = 0.0, share: float | None = None
) -> list[RolePlan]:
    """Return the memory of every role of the recipe but judges, when a rank trains on at most `micro_batch` tokens at once, on
    GPUs of `gpu_memory` bytes (0: not known), of which an engine takes the `share`, where that is chosen."""
    header, model = recipe.header, recipe.header.model
    # An encoder that learns in some stage is counted with what learns.
    shape = replace(shape, frozen=0) if any(stage.facts.teaches_encoder for stage in recipe.stages) else shape
    settings = trainer_settings(recipe, shape, micro_batch, gpu)
    plans: list[RolePlan] = []
    for name, role in roles(recipe.roles, header.engines, header.trainer, gpu, {}).items():
        if name == "engine":
            options = header.engines.vllm if share is None else {SHARE: share} | header.engines.vllm
            memory = served(shape, model.dtype, header.engines, options, recipe.max_sequence_tokens, gpu_memory, gpu)
            plans.append(RolePlan(name, role.count, memory.parts, formulas=memory.formulas))
            continue
        # Neither trains an adapter; and a teacher may have another size.
        of_role = settings if name not in ("reward_model", "teacher") else replace(settings, trained=None)
        role_shape = teachers.largest_shape(recipe) or shape if name == "teacher" else shape
        memory = trainer_memory(name, role_shape, of_role)
        host = host_bytes(name, role_shape, of_role)
        plans.append(RolePlan(name, role.count, memory.parts, memory.formulas, memory.resting, host))
    return plans


def trainer_settings(recipe: Recipe, shape: Shape, micro_batch: int, gpu: bool) -> Settings:
    """Return what the memory of the recipe's trainers depends on."""
    header, trainer = recipe.header, recipe.header.trainer
    return Settings(
        dtype=header.model.dtype,
        zero_stage=trainer.zero_stage,
        ranks=trainer.ranks,
        tokens=micro_batch,
        checkpointing=header.model.gradient_checkpointing,
        gpu=gpu,
        trained=trained_parameters(shape, header.model.lora) if header.model.lora else None,
        longest=min(micro_batch * trainer.sequence_parallel, recipe.max_sequence_tokens),
        leaves=gpu and trainer.offload_between_turns and header.cluster.placement == "colocated",
        cpu_optimizer=offloads_optimizer(trainer.deepspeed),
        offloads_inputs=trainer.offload_activations and header.model.gradient_checkpointing,
    )


def judge_plan(name: str, judge: JudgeConfig, gpu: bool, gpu_memory: float) -> RolePlan:
    """Return the memory of a judge: that of an engine which never sleeps. All 0 where its model is not here, or is broken."""
    try:
        shape = folder_shape(folder_of(judge.model), f"judges.{name}.model")
    except ValueError:
        shape = None  # `rl.planning.requirements` names the mistake
    memory = Memory()
    if shape is not None:
        memory = served(shape, judge.dtype, judge, judge.vllm, judge.max_sequence_tokens, gpu_memory, gpu)
    return RolePlan(f"judge {name}", 1, memory.parts, formulas=memory.formulas, rests_with=sum(memory.parts.values()))


def device(actors: Sequence[RolePlan], gpu: bool) -> float:
    """Return the bytes needed on a device that these actors share."""
    if not gpu:
        return sum(actor.bytes for actor in actors)
    # What rests always stays. Beside it one works at a time: the engine, while a reward model may score, or one trainer.
    working = {actor.role: actor.bytes - actor.resting for actor in actors}
    awake = sum(amount for role, amount in working.items() if role == "engine") + working.pop("reward_model", 0.0)
    return _resting(actors) + max([awake, *working.values()])


def _resting(actors: Sequence[RolePlan]) -> float:
    """Return the bytes that stay on a GPU while no actor works."""
    return sum(actor.resting for actor in actors)


def engine_share(actors: Sequence[RolePlan], gpu_memory: float) -> float:
    """Return the share of a GPU that an engine may take beside these actors at rest, in hundredths."""
    beside = sum(actor.resting for actor in actors if actor.role != "engine")
    scoring = sum(actor.bytes - actor.resting for actor in actors if actor.role == "reward_model")
    # Rounded down below, so that the reserve stays whole.
    share = 1 - RESERVE - (beside + scoring) / gpu_memory
    return max(0.0, min(LARGEST_SHARE, floor(share * 100) / 100))


def served(
    shape: Shape,
    dtype: str,
    config: ServingConfig,
    options: Mapping[str, Any],
    longest: int,
    gpu_memory: float,
    gpu: bool,
) -> Memory:
    """Return the bytes of an engine or a judge, on each of its GPUs where it has any: weights, cache, and what vLLM takes
    beside. The cache is as configured on a CPU; on GPUs it is what vLLM's share of the memory leaves, or, where the memory is
    not known, that of one sequence of the `longest` tokens. `options` are those of vLLM."""
    memory, gpus, b = Memory(), config.gpus if gpu else 1, BYTES[dtype]
    over = f" / {gpus} GPUs" if gpus > 1 else ""
    memory.add("weights", b * shape.parameters / gpus, f"{b} B × {amount(shape.parameters)} parameters{over}")
    if gpu:
        memory.add("other", CUDA_CONTEXT + GRAPHS, "CUDA, graphs and workspaces")
    else:
        memory.add("other", PROCESS["engine"], "process")
        samples = running_samples(gpu, options)
        formula = f"{SAMPLING} B × {samples} samples × {amount(shape.vocabulary)} tokens of the vocabulary"
        memory.add("other", SAMPLING * samples * shape.vocabulary, formula)
    if (cache := options.get(CACHE)) is not None:
        memory.add("kv", float(cache), f"vllm.{CACHE}")
    elif not gpu:
        memory.add("kv", float(config.kv_cache_mb << 20), "kv_cache_mb")
    elif gpu_memory:
        share = options.get(SHARE, DEFAULT_SHARE)
        left = max(0.0, share * gpu_memory - sum(memory.parts.values()))
        memory.add("kv", left, f"{share:g} of {size(gpu_memory)} less weights and other")
    else:
        per_token = shape.kv_per_token(dtype)
        memory.add("kv", longest * per_token / gpus, f"{per_token:,} B × {longest:,} tokens of one sequence{over}")
    return memory


def object_store_notes(weights: float, shm_free: float) -> list[str]:
    """Return a note if Ray's object store cannot hold one version of the weights; both in bytes."""
    if weights <= shm_free * 4 // 5:
        return []
    return [
        f"memory: a version of the weights takes {size(weights)}, {size(shm_free)} of /dev/shm are free: with every step "
        "they go through the disk; give the container more (docker run --shm-size)"
    ]
