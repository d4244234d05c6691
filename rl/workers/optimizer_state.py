"""A rank's share of master weights and optimizer state, to a file and back, the same for every ZeRO stage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl.finite import NonFiniteError, find_non_finite

if TYPE_CHECKING:
    from torch import Tensor

# Where DeepSpeed 0.19 keeps its float32 master weights: ZeRO 3; ZeRO 1 and 2; ZeRO 1 in bfloat16.
MASTER_WEIGHTS = ("fp32_partitioned_groups_flat", "single_partition_of_fp32_groups", "fp32_groups_flat_partition")


def optimizer_file(folder: str | Path, rank: int, world: int) -> Path:
    """Return the file of one rank's share in a checkpoint's folder of a model."""
    # In a folder of its own: engines take every safetensors file beside config.json for the model's weights.
    return Path(folder) / "optimizer" / f"{rank}-of-{world}.safetensors"


def write_optimizer(optimizer: Any, file: Path) -> None:
    """Write what `optimizer`, a DeepSpeed engine's, holds on this rank: `{shard}.weight` and `{shard}.{moment}`."""
    import safetensors.torch

    state: dict[str, Tensor] = {}
    for i, weight, moments in shards(optimizer):
        tensors = {"weight": weight, **moments}
        state |= {f"{i}.{name}": value.detach().cpu().clone() for name, value in tensors.items()}
    if problem := find_non_finite(state.items()):
        raise NonFiniteError(f"of the optimizer's state {problem}")
    file.parent.mkdir(exist_ok=True)
    safetensors.torch.save_file(state, file)


def read_optimizer(optimizer: Any, file: Path) -> None:
    """Read back what `write_optimizer` wrote. Raises ValueError when another number of ranks or ZeRO stage wrote it."""
    import safetensors.torch

    if not file.exists():
        # The name tells the rank and how many there were: it is absent where the numbers differ.
        raise ValueError(f"{file.parent}: no {file.name}; resume with the trainer.ranks that wrote this checkpoint")
    state: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, value in safetensors.torch.load_file(file).items():
        i, _, key = name.partition(".")
        state[i][key] = value
    is_fused = getattr(optimizer, "optimizer", optimizer).param_groups[0].get("fused", False)
    for i, weight, moments in shards(optimizer):
        tensors = state.pop(str(i), {})
        if "weight" not in tensors or tensors["weight"].shape != weight.shape:
            raise ValueError(f"{file}: other shards than this trainer's; resume with the same trainer.zero_stage")
        weight.data.copy_(tensors.pop("weight"))  # in place: the engine's own views of this memory stay valid
        for key, value in tensors.items():
            # The moments lie beside the weights, and so does AdamW's count of its steps where it is fused.
            # Copied, since the file's memory cannot be given back (`rl.workers.offload`).
            moments[key] = value.to(weight.device, copy=True) if value.dim() or is_fused else value


def shards(optimizer: Any) -> Iterator[tuple[int, Tensor, dict[str, Tensor]]]:
    """Yield (index, float32 master weight, its optimizer state) of what this rank steps on."""
    for name in MASTER_WEIGHTS:
        if hasattr(optimizer, name):
            weights = getattr(optimizer, name)
            break
    else:  # ZeRO 0 in float32: the parameters themselves
        weights = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = getattr(optimizer, "optimizer", optimizer).state  # DeepSpeed's optimizers wrap torch's
    for i, weight in enumerate(weights):
        yield i, weight, state[weight]
