"""Memory of a trainer's rank, as arithmetic on its model's shape.

Legend: P parameters (of which those of a LoRA adapter learn), b bytes of a number, T tokens of a micro-batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from models.shape import BYTES, Shape
from rl.planning.formulas import Memory
from rl.units import GIB, amount

VALUES = ("critic", "reward_model")
"""Roles that answer with one number in place of a head over the vocabulary, and hear through the policy's encoder."""
FROZEN = ("reference", "teacher", "reward_model")
"""Roles that never learn."""
PROCESS = 0.4 * GIB
"""Bytes that a trainer with DeepSpeed takes on a CPU before it has a model, measured."""
CUDA_CONTEXT = 1.0 * GIB
"""Bytes of a GPU that a process takes with CUDA, cuBLAS and NCCL."""
CHUNK_BYTES, SLICE_BYTES = 96 << 20, 1 << 30
"""Sizes of the head's logits in float32: of a chunk on a CPU (`models/logprobs.py`), of a slice on a GPU
(`models/sliced_logprobs.py`)."""
WORKING = {"all": 0.4, "inputs": 1.2, "two inputs": 1.2, "none": 0.5}
"""Share of a layer's activations that exists beside what is kept, while one layer works: measured on meta tensors."""
REDUCE_BUCKET, GPU_BUCKETS = 5e8, 2e8
"""Parameters in DeepSpeed's gradient bucket (ZeRO 1 to 3) on a CPU, and in the two of a GPU, which are sent in float32
(`rl/workers/deepspeed_settings.py`)."""
LIVE, SUB_GROUP = 1e9, 1e9
"""Parameters gathered at once and stepped on at once (ZeRO 3), by DeepSpeed's defaults."""


@dataclass(frozen=True)
class Settings:
    """Settings of a trainer that its memory depends on."""

    dtype: str
    zero_stage: int
    ranks: int
    tokens: int
    """Tokens of a micro-batch that are the rank's."""
    checkpointing: bool
    gpu: bool
    trained: int | None = None
    """Parameters of a LoRA adapter, which learn beside the model's; None where the model's own learn."""
    longest: int = 0
    """Tokens of the longest sequence, for attention that keeps its scores."""
    leaves: bool = False
    """Optimizer states and gradients go to the host's memory between turns."""
    cpu_optimizer: bool = False
    """The optimizer's states stay in the host's memory, and it steps there."""
    offloads_inputs: bool = False
    """The inputs of checkpointed layers wait in the host's memory for the backward pass."""

    @property
    def stage(self) -> int:
        """The ZeRO stage that DeepSpeed is given: in bfloat16 at least 1."""
        return max(1, self.zero_stage) if self.dtype == "bfloat16" or self.cpu_optimizer else self.zero_stage


def trainer_memory(role: str, shape: Shape, settings: Settings) -> Memory:
    """Return the bytes on one rank of policy, critic or reference.

    As Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054, section 3) for weights bP, AdamW's two moments 8P and fp32 master
    weights 4P (in float32 only where ZeRO keeps a partition of its own): stage 1 divides optimizer states by the ranks,
    stage 2 gradients too, stage 3 weights too. Gradients are not the paper's 2P: DeepSpeed adds them up in float32 (see
    rl/workers/trainer.py), 4P, in buffers that a reference has too under stage 3 and in bfloat16 under stage 1, which is
    what stage 0 is there; the latter has those of the backward beside, 2P in bfloat16, whole. The frozen encoder has
    neither gradients nor states and is outside of ZeRO. What is there while the optimizer steps takes the place of
    activations, where it is more."""
    s, memory = settings, Memory()
    b, learns, count, stage = BYTES[s.dtype], role not in FROZEN, zero_parameters(role, shape), s.stage
    resident, live = count + (s.trained or 0), min(count, LIVE)
    over = f" / {s.ranks} ranks" if s.ranks > 1 else ""
    share = s.ranks if stage >= 3 else 1
    memory.add("weights", b * resident / share, f"{b} B × {amount(resident)} parameters{over if stage >= 3 else ''}")
    if s.trained is not None:
        count = s.trained  # what has gradients and states; the frozen weights have none
    _add_gradients(memory, s, count, learns)
    _add_states(memory, s, count, learns)
    _add_activations(memory, s, shape, count, learns, role in VALUES)
    _add_other(memory, s, role, shape, count, learns, b * live if stage == 3 else 0)
    return memory


def _add_gradients(memory: Memory, s: Settings, count: int, learns: bool) -> None:
    plain = s.dtype == "bfloat16" and s.stage == 1  # DeepSpeed's BF16_Optimizer
    share = s.ranks if s.stage >= 2 else 1
    over = f" / {s.ranks} ranks" if share > 1 else ""
    if (learns or plain or s.stage == 3) and not s.cpu_optimizer:
        memory.add("gradients", 4 * count / share, f"4 B × {amount(count)} in float32{over}", rests=not s.leaves)
    if plain and learns:
        memory.add("gradients", 2 * count, f"2 B × {amount(count)} of the backward", rests=not s.leaves)


def _add_states(memory: Memory, s: Settings, count: int, learns: bool) -> None:
    over = f" / {s.ranks} ranks" if s.ranks > 1 and s.stage else ""
    if s.cpu_optimizer:
        return  # see `host_bytes`
    per_parameter = (4 if s.stage else 0) + (8 if learns else 0)
    words = " and ".join(["master weights 4"] * bool(s.stage) + ["AdamW's moments 8"] * learns)
    formula = f"{per_parameter} B × {amount(count)}{over} ({words})"
    memory.add("optimizer", per_parameter * count / (s.ranks if s.stage else 1), formula, rests=not s.leaves)


def _add_activations(memory: Memory, s: Settings, shape: Shape, count: int, learns: bool, values: bool) -> None:
    """Add what a micro-batch keeps until its backward and what the layer or the head at work takes; or what exists while the
    optimizer steps, where that is more."""
    keep = "none" if not learns else "all" if not s.checkpointing else "two inputs" if s.offloads_inputs else "inputs"
    per_layer = shape.activations(s.dtype, keep, s.longest)
    layer = WORKING[keep] * shape.layer_activations(s.dtype, s.longest) * s.tokens
    head = 0.0 if values else _head_bytes(s, shape, learns)
    stepping = _stepping(count, s) if learns else 0.0
    # The step begins when activations are gone, and torch gives it their memory: the larger of the two counts.
    if stepping > per_layer * s.tokens + max(layer, head) and s.gpu:
        return memory.add("activations", stepping, "while the optimizer steps", rests=False)
    parts = {
        "all": "",
        "inputs": ", checkpointed",
        "two inputs": ", checkpointed, with inputs on the host",
        "none": ", forward alone",
    }[keep]
    formula = f"{per_layer / 1e3:,.1f} kB × {s.tokens:,.0f} tokens{parts}"
    memory.add("activations", per_layer * s.tokens, formula, rests=False)
    memory.add("activations", max(layer, head), "a layer at work" if layer > head else "the head at work", rests=False)
    if not s.gpu:  # malloc keeps what small tensors took
        memory.add("activations", stepping, "while the optimizer steps", rests=False)


def _head_bytes(s: Settings, shape: Shape, learns: bool) -> float:
    """Return the bytes of the head at work: logits and their gradients, a piece at a time, and the weight's gradient."""
    b, logits, matrix = BYTES[s.dtype], 4 * s.tokens * shape.vocabulary, shape.vocabulary * shape.hidden
    trains = learns and s.trained is None
    if s.gpu:
        # A slice's logits in float32 and their gradient in the model's type, the states' gradient in float32, and the
        # head's own, as `models/sliced_logprobs.py` keeps them.
        piece = logits / max(1, ceil(logits / SLICE_BYTES))
        return piece * (1 + b / 4 * learns) + 4 * s.tokens * shape.hidden * learns + b * matrix * trains
    # Two buffers of a chunk serve all of them (`models/logprobs.py`); the head's gradient is summed in float32.
    piece, is_rounded = min(CHUNK_BYTES, logits), b < 4  # in bfloat16 products exist beside their copies in float32
    return piece * (2 + 0.5 * is_rounded) + (4 + 2 * is_rounded) * matrix * trains


def _add_other(memory: Memory, s: Settings, role: str, shape: Shape, count: int, learns: bool, gathered: float) -> None:
    b, stage = BYTES[s.dtype], s.stage
    memory.add("other", CUDA_CONTEXT if s.gpu else PROCESS, "CUDA, NCCL" if s.gpu else "process")
    if role not in VALUES:
        memory.add("other", b * shape.frozen, f"{b} B × {amount(shape.frozen)} of the frozen encoder")
    plain = s.dtype == "bfloat16" and stage == 1
    if stage == 3 or (stage and learns and not plain):
        # On a CPU what is not touched takes nothing.
        bucket, per_item = (GPU_BUCKETS, 4) if s.gpu else (min(count, REDUCE_BUCKET), b)
        memory.add(
            "other", per_item * bucket, f"{per_item} B × {amount(bucket)} in DeepSpeed's buckets", rests=not s.leaves
        )
    memory.add("other", gathered, f"{b} B × {amount(gathered / b)} gathered at once", rests=False)


def _stepping(count: int, s: Settings) -> float:
    """Return the bytes that exist while the optimizer steps, when activations are gone. Under ZeRO a flat copy of the gradient of
    what it steps on at once, 4 a parameter, and on a CPU a root and a quotient of AdamW's, 8 (on GPUs its kernel is fused);
    before that in bfloat16, under stage 1, the gradients as they are sent. Without ZeRO it steps on one tensor after another."""
    if s.cpu_optimizer or not s.stage:
        return 0.0
    if s.stage == 3:
        return (4 if s.gpu else 12) * min(count / s.ranks, SUB_GROUP)
    plain = s.dtype == "bfloat16" and s.stage == 1
    return max((4 if s.gpu else 8) * count / s.ranks, 2 * count if plain else 0)


def host_bytes(role: str, shape: Shape, settings: Settings) -> float:
    """Return the bytes of the host's memory that a rank on a GPU takes: what left the GPU, or an optimizer that lives there;
    and layers' inputs that wait for the backward pass."""
    s, learns = settings, role not in FROZEN
    count = zero_parameters(role, shape) if s.trained is None else s.trained
    if not s.gpu:
        return 0.0
    inputs = shape.layers * BYTES[s.dtype] * shape.hidden * s.tokens if s.offloads_inputs and learns else 0.0
    if not (s.leaves or s.cpu_optimizer):
        return inputs
    # Master weights 4, which only ZeRO has; of what learns AdamW's moments 8 and gradients in float32 4.
    return inputs + ((4 if s.stage else 0) + (12 if learns else 0)) * count / (s.ranks if s.stage else 1)


def zero_parameters(role: str, shape: Shape) -> int:
    """Return the parameters of a trainer that ZeRO divides: all but the frozen encoder's, and a critic has no LM head."""
    head = shape.vocabulary * shape.hidden if role in VALUES and not shape.tied else 0
    return shape.parameters - shape.frozen - head
