"""Estimates the memory of every actor of a recipe, as arithmetic on its model's shape.

Legend: P parameters, b bytes of a number (4 in float32, 2 in bfloat16).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from models.folder import folder_of
from models.shape import BYTES, Shape, folder_shape
from rl.planning.lora import trained_parameters
from rl.units import GIB, size
from rl.workers.placement import ExpectConfig, roles

if TYPE_CHECKING:
    from rl.recipe import Recipe
    from rl.recipe.header import Header
    from rollouts.judge_engine import JudgeConfig
    from rollouts.serving import ServingConfig

VALUES = ("critic", "reward_model")
"""Roles that answer with one number in place of a head over the vocabulary, and hear through the policy's encoder."""
PROCESS = {"trainer": 0.4 * GIB, "engine": 0.6 * GIB, "driver": 1.0 * GIB}
"""Bytes that libraries take on a CPU, measured: a trainer with DeepSpeed, an engine with vLLM, the driver with Ray's own
processes."""
CUDA_CONTEXT = 1.0 * GIB
UTILIZATION = 0.92
"""Share of a GPU's memory that an engine takes, vLLM's default."""
LOGIT_CHUNKS = 2 * (96 << 20)
"""Bytes of the two chunks of logits that exist at once (`CHUNK_BYTES` of models/logprobs.py)."""
REDUCE_BUCKET, LIVE, SUB_GROUP = 5e8, 1e9, 1e9
"""Parameters in DeepSpeed's gradient bucket (ZeRO 1 to 3), gathered at once and stepped on at once (ZeRO 3), by its
defaults."""


@dataclass(frozen=True)
class RolePlan:
    """Memory of the actors of one role."""

    role: str
    count: int
    parts: dict[str, float]
    """Bytes of one actor by what they hold (on each of its GPUs, where it has any)."""
    loading: float = 0.0
    """Bytes of a GPU that it takes for a moment, in place of all these, while its model is loaded; 0 where that is not
    more."""

    @property
    def bytes(self) -> float:
        """Bytes of one actor."""
        return sum(self.parts.values())

    @property
    def certain(self) -> float:
        """Bytes that no setting of the batch changes."""
        return sum(self.parts[name] for name in ("weights", "gradients", "optimizer", "kv"))


def role_plans(recipe: Recipe, shape: Shape, micro_batch: int, gpu: bool) -> list[RolePlan]:
    """Return the memory of every role of the recipe, when a rank trains on at most `micro_batch` tokens at once."""
    header, model = recipe.header, recipe.header.model
    shape = replace(shape, frozen=0) if any(stage.facts.teaches_encoder for stage in recipe.stages) else shape
    settings = header.trainer.zero_stage, header.trainer.ranks, micro_batch, _kept(header), gpu
    is_split = gpu and header.trainer.zero_stage == 3 and header.trainer.ranks > 1
    plans: list[RolePlan] = []
    for name, role in roles(recipe.roles, header.engines, header.trainer, gpu, {}).items():
        if name == "engine":
            kv = kv_bytes(recipe, shape, gpu)
            plans.append(RolePlan(name, role.count, engine(shape, model.dtype, header.engines.gpus, kv, gpu)))
            continue
        whole_model = 0.0
        if is_split:  # every rank builds the whole model before ZeRO-3 divides it
            whole_model = BYTES[model.dtype] * zero_parameters(name, shape) + CUDA_CONTEXT
            if name not in VALUES:
                whole_model += BYTES[model.dtype] * shape.frozen
        trained = trained_parameters(shape, model.lora) if model.lora and name != "reward_model" else None
        parts = trainer(name, shape, model.dtype, *settings, trained)
        plans.append(RolePlan(name, role.count, parts, whole_model))
    return plans


def _kept(header: Header) -> str:
    """Return what of a rank's activations stays on its device until the backward pass, as `Shape.activations` calls it."""
    if not header.model.gradient_checkpointing:
        return "all"
    return "two inputs" if header.trainer.offload_activations else "inputs"


def judge_plan(name: str, judge: JudgeConfig, gpu: bool, expect: ExpectConfig | None) -> RolePlan:
    """Return the memory of a judge: that of an engine which never sleeps. All 0 where its model is not here, or is broken."""
    try:
        shape = folder_shape(folder_of(judge.model), f"judges.{name}.model")
    except ValueError:
        shape = None  # `rl.planning.requirements` names the mistake
    if shape is None:
        parts = dict.fromkeys(("weights", "gradients", "optimizer", "kv", "activations", "other"), 0.0)
    else:
        capacity_gb = expect.gpu_memory_gb if expect else None
        kv = served_kv(shape, judge.dtype, judge, judge.max_sequence_tokens, capacity_gb, gpu)
        parts = engine(shape, judge.dtype, judge.gpus, kv, gpu)
    return RolePlan(f"judge {name}", 1, parts)


def device(actors: Sequence[RolePlan], gpu: bool) -> float:
    """Return the bytes needed on a device that these actors share."""
    if not gpu:
        return sum(actor.bytes for actor in actors)
    # Trainers' weights and states, judges, and what a sleeping engine keeps always stay. Beside them either the engine is
    # awake, while a reward model may score, or all trainers work at once.
    working = {actor.role: actor.parts["activations"] for actor in actors}
    awake = sum(actor.bytes - actor.parts["other"] for actor in actors if actor.role == "engine")
    awake += working.pop("reward_model", 0.0)
    return _resting(actors) + max(awake, sum(working.values()))


def loading(actors: Sequence[RolePlan]) -> float:
    """Return the bytes needed on a GPU that these actors share while one of its trainers loads a model and the others have
    theirs, as from the second stage on; 0 where loading takes no more than what stays."""
    peaks = [
        _resting([neighbour for neighbour in actors if neighbour != actor]) + actor.loading
        for actor in actors
        if actor.loading
    ]
    return max(peaks, default=0.0)


def _resting(actors: Sequence[RolePlan]) -> float:
    """Return the bytes that stay on a GPU while no actor works."""
    asleep = sum(actor.parts["other"] for actor in actors if actor.role == "engine")
    return asleep + sum(actor.bytes - actor.parts["activations"] for actor in actors if actor.role != "engine")


def zero_parameters(role: str, shape: Shape) -> int:
    """Return the parameters of a trainer that ZeRO divides: all but the frozen encoder's, and a critic has no LM head."""
    head = shape.vocabulary * shape.hidden if role in VALUES and not shape.tied else 0
    return shape.parameters - shape.frozen - head


def kv_bytes(recipe: Recipe, shape: Shape, gpu: bool) -> float:
    """Return the bytes of an engine's cache: as configured on CPU; on GPUs what vLLM's gpu_memory_utilization leaves beside the
    weights, where the recipe says how much memory it expects, else at least the longest sequence."""
    engines, dtype, expect = recipe.header.engines, recipe.header.model.dtype, recipe.header.cluster.expect
    return served_kv(shape, dtype, engines, recipe.max_sequence_tokens, expect.gpu_memory_gb if expect else None, gpu)


def served_kv(
    shape: Shape, dtype: str, config: ServingConfig, longest: int, gpu_memory_gb: float | None, gpu: bool
) -> float:
    """Return `kv_bytes` of an engine or a judge whose sequences have at most `longest` tokens."""
    amount: float = config.kv_cache_mb << 20
    if gpu and gpu_memory_gb is None:
        amount = longest * shape.kv_per_token(dtype)
    elif gpu and gpu_memory_gb:
        used = config.vllm.get("gpu_memory_utilization", UTILIZATION) * gpu_memory_gb * GIB
        amount = max(0.0, used - sum(engine(shape, dtype, config.gpus, 0, gpu).values())) * config.gpus
    return float(config.vllm.get("kv_cache_memory_bytes", amount))


def trainer(
    role: str,
    shape: Shape,
    dtype: str,
    zero_stage: int,
    ranks: int,
    tokens: int,
    kept: str,
    gpu: bool,
    trained: int | None = None,
) -> dict[str, float]:
    """Return the bytes on one rank of policy, critic or reference, for micro-batches of `tokens`. `trained` parameters, those of
    a LoRA adapter, learn beside the model's, which are frozen; None where the model's own do.

    As Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054, section 3) for weights bP, AdamW's two moments 8P and fp32 master
    weights 4P (in float32 only where ZeRO keeps a partition of its own): stage 1 divides optimizer states by the ranks,
    stage 2 gradients too, stage 3 weights too. Gradients are not the paper's 2P: DeepSpeed adds them up in float32 (see
    rl/workers/trainer.py), 4P, in buffers that a reference has too under stage 3 and in bfloat16 under stage 1, which is
    what stage 0 is there; the latter has those of the backward beside, 2P in bfloat16, whole. The frozen encoder has
    neither gradients nor states and is outside of ZeRO. What is there while the optimizer steps takes the place of
    activations, where it is more."""
    b, learns, count = BYTES[dtype], role not in ("reference", "reward_model"), zero_parameters(role, shape)
    weights = b * (count + (trained or 0)) / (ranks if zero_stage >= 3 else 1)
    gathered = min(count, LIVE)
    if trained is not None:
        count = trained  # what has gradients and states; the frozen weights have none
    stage = max(1, zero_stage) if dtype == "bfloat16" else zero_stage
    plain = dtype == "bfloat16" and stage == 1  # DeepSpeed's BF16_Optimizer
    gradients = 4 * count / (ranks if stage >= 2 else 1) if learns or plain or stage == 3 else 0
    masters = 4 if stage else 0
    working = shape.activations(dtype, kept if learns else "none") * tokens
    bucket = REDUCE_BUCKET if gpu else min(count, REDUCE_BUCKET)  # on a CPU what is not touched takes nothing
    other = CUDA_CONTEXT if gpu else PROCESS["trainer"]
    other += 0 if role in VALUES else LOGIT_CHUNKS + b * shape.frozen
    other += b * bucket if stage == 3 or (stage and learns and not plain) else 0
    other += b * gathered if stage == 3 else 0
    return {
        "weights": weights,
        "gradients": gradients + (2 * count if plain and learns else 0),
        "optimizer": (masters + (8 if learns else 0)) * count / (ranks if stage >= 1 else 1),
        "kv": 0,
        "activations": max(working, _stepping(count, stage, ranks, plain) if learns else 0),
        "other": other,
    }


def _stepping(count: int, stage: int, ranks: int, plain: bool) -> float:
    """Return the bytes that exist while the optimizer steps, when activations are gone: a root and a quotient of AdamW's, 8 a
    parameter of what it steps on at once, with a copy of its gradient under stage 3; before that in bfloat16, under
    stage 1, the gradients as they are sent. Without ZeRO it steps on one tensor after another."""
    if stage == 3:
        return 12 * min(count / ranks, SUB_GROUP)
    return max(8 * count / ranks if stage else 0.0, 2 * count if plain else 0)


def engine(shape: Shape, dtype: str, gpus: int, kv_bytes: float, gpu: bool) -> dict[str, float]:
    """Return the bytes of one engine, on each of its `gpus` where it has any; `kv_bytes` over all of them."""
    share = gpus if gpu else 1
    return {
        "weights": BYTES[dtype] * shape.parameters / share,
        "gradients": 0,
        "optimizer": 0,
        "kv": kv_bytes / share,
        "activations": 0,
        "other": CUDA_CONTEXT if gpu else PROCESS["engine"],
    }


def object_store_notes(weights: float, shm_free: float) -> list[str]:
    """Return a note if Ray's object store cannot hold one version of the weights; both in bytes."""
    if weights <= shm_free * 4 // 5:
        return []
    return [
        f"memory: a version of the weights takes {size(weights)}, {size(shm_free)} of /dev/shm are free: with every step "
        "they go through the disk; give the container more (docker run --shm-size)"
    ]
