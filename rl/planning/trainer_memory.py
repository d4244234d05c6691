"""Memory of a trainer's rank, as arithmetic on its model's shape.

Legend: P parameters (of which those of a LoRA adapter learn), b bytes of a number, T tokens of a micro-batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.shape import BYTES, Shape
from rl.planning.formulas import Memory
from rl.units import GIB, amount

VALUES = ("critic", "reward_model")
"""Roles that answer with one number in place of a head over the vocabulary, and hear through the policy's encoder."""
FROZEN = ("reference", "reward_model")
"""Roles that never learn."""
PROCESS = 0.4 * GIB
"""Bytes that a trainer with DeepSpeed takes on a CPU before it has a model, measured."""
CUDA_CONTEXT = 1.0 * GIB
"""Bytes of a GPU that a process takes with CUDA, cuBLAS and NCCL."""
LOGIT_CHUNKS = {False: 2 * (96 << 20), True: 2 * (1 << 30)}
"""Bytes of the two chunks of logits that exist at once, on a CPU and on a GPU (`models/logprobs.py`)."""
REDUCE_BUCKET, LIVE, SUB_GROUP = 5e8, 1e9, 1e9
"""Parameters in DeepSpeed's gradient bucket (ZeRO 1 to 3), gathered at once and stepped on at once (ZeRO 3), by its
defaults."""


@dataclass(frozen=True)
class Settings:
    """Settings of a trainer that its memory depends on."""

    dtype: str
    zero_stage: int
    ranks: int
    tokens: int
    """Tokens of a micro-batch."""
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
    sequence_ranks: int = 1
    """Ranks that share one sequence."""

    @property
    def stage(self) -> int:
        """The ZeRO stage that DeepSpeed is given: in bfloat16 at least 1, and 2 where states leave the GPU, which 1 cannot."""
        if self.dtype == "bfloat16" and self.gpu and (self.leaves or self.cpu_optimizer):
            return max(2, self.zero_stage)
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
    held, gathered = count + (s.trained or 0), min(count, LIVE)
    over = f" / {s.ranks} ranks" if s.ranks > 1 else ""
    share = s.ranks if stage >= 3 else 1
    memory.add("weights", b * held / share, f"{b} B × {amount(held)} parameters{over if stage >= 3 else ''}")
    if s.trained is not None:
        count = s.trained  # what has gradients and states; the frozen weights have none
    _add_gradients(memory, s, count, learns)
    _add_states(memory, s, count, learns)
    _add_activations(memory, s, shape, count, learns, role in VALUES)
    _add_other(memory, s, role, shape, count, learns, b * gathered if stage == 3 else 0)
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
    each = (4 if s.stage else 0) + (8 if learns else 0)
    words = " and ".join(["master weights 4"] * bool(s.stage) + ["AdamW's moments 8"] * learns)
    formula = f"{each} B × {amount(count)}{over} ({words})"
    memory.add("optimizer", each * count / (s.ranks if s.stage else 1), formula, rests=not s.leaves)


def _add_activations(memory: Memory, s: Settings, shape: Shape, count: int, learns: bool, values: bool) -> None:
    """Add what a micro-batch keeps until its backward, or what exists while the optimizer steps, where that is more."""
    keep = "none" if not learns else "inputs" if s.checkpointing else "all"
    tokens = s.tokens / s.sequence_ranks
    each = shape.activations(s.dtype, keep, s.longest)
    stepping = _stepping(count, s) if learns else 0.0
    if stepping > each * tokens:
        return memory.add("activations", stepping, "while the optimizer steps", rests=False)
    kept = {"all": "", "inputs": ", checkpointed", "none": ", forward alone"}[keep]
    formula = f"{each / 1e3:,.0f} kB × {tokens:,.0f} tokens{kept}"
    memory.add("activations", each * tokens, formula, rests=False)


def _add_other(memory: Memory, s: Settings, role: str, shape: Shape, count: int, learns: bool, gathered: float) -> None:
    b, stage = BYTES[s.dtype], s.stage
    memory.add("other", CUDA_CONTEXT if s.gpu else PROCESS, "CUDA, NCCL" if s.gpu else "process")
    if role not in VALUES:
        memory.add("other", LOGIT_CHUNKS[s.gpu], "two chunks of logits", rests=False)
        memory.add("other", b * shape.frozen, f"{b} B × {amount(shape.frozen)} of the frozen encoder")
    plain = s.dtype == "bfloat16" and stage == 1
    if stage == 3 or (stage and learns and not plain):
        # On a CPU what is not touched takes nothing.
        bucket = 2 * REDUCE_BUCKET if s.gpu else min(count, REDUCE_BUCKET)  # two, where communication overlaps
        memory.add("other", b * bucket, f"{b} B × {amount(bucket)} in DeepSpeed's buckets", rests=not s.leaves)
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
    """Return the bytes of the host's memory that a rank on a GPU takes: what left the GPU, or an optimizer that lives there."""
    s, learns = settings, role not in FROZEN
    count = zero_parameters(role, shape) if s.trained is None else s.trained
    if not s.gpu or not (s.leaves or s.cpu_optimizer):
        return 0.0
    return ((4 if s.stage else 0) + (12 if learns else 0)) * count / (s.ranks if s.stage else 1)


def zero_parameters(role: str, shape: Shape) -> int:
    """Return the parameters of a trainer that ZeRO divides: all but the frozen encoder's, and a critic has no LM head."""
    head = shape.vocabulary * shape.hidden if role in VALUES and not shape.tied else 0
    return shape.parameters - shape.frozen - head
