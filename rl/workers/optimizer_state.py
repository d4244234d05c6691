"""Master weights and optimizer state in a checkpoint, by parameter: each rank writes the pieces that it steps on, and a trainer
of any number of ranks, at any ZeRO stage, reads the pieces that it steps on itself.

A piece is a stretch of a flattened parameter. In the files it is `{parameter}@{first element}/{tensor}`, where the tensor is
`weight`, a moment of AdamW, or its count of steps.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rl.finite import NonFiniteError, find_non_finite

if TYPE_CHECKING:
    from torch import Tensor

# Where DeepSpeed 0.19 keeps its float32 master weights: ZeRO 3; ZeRO 1 and 2; ZeRO 1 in bfloat16.
MASTER_WEIGHTS = ("fp32_partitioned_groups_flat", "single_partition_of_fp32_groups", "fp32_groups_flat_partition")
FOLDER = "optimizer"
"""Folder of the ranks' files in a checkpoint's folder of a model."""
WEIGHT, STEP = "weight", "step"
"""Names of the master weights among the tensors of a piece, and of AdamW's count of its steps; the others are its moments."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The elements of a parameter that this rank steps on."""

    parameter: str
    start: int
    """Index of its first element in the flattened parameter."""
    count: int
    shard: int
    """Index, in `shards`, of the tensor that holds it."""
    offset: int
    """Index of its first element in the flattened shard."""


@dataclass(frozen=True, slots=True)
class SavedPiece:
    """A piece in a file of a checkpoint."""

    start: int
    count: int
    tensors: Mapping[str, Any]
    """{name: slice of the file, from which elements are read}; safetensors gives it no type."""


def optimizer_file(folder: str | Path, rank: int, world: int) -> Path:
    """Return the file of one rank's share in a checkpoint's folder of a model."""
    # In a folder of its own: engines take every safetensors file beside config.json for the model's weights.
    return Path(folder) / FOLDER / f"{rank}-of-{world}.safetensors"


def write_optimizer(engine: Any, file: Path, rank: int) -> None:
    """Write the pieces of this rank of a DeepSpeed `engine`. Raises NonFiniteError for a NaN or an infinity among
    them."""
    import safetensors.torch

    contents = list(shards(engine.optimizer))
    state: dict[str, Tensor] = {}
    # Without ZeRO every rank steps on everything: one copy is enough.
    for piece in pieces(engine, rank) if rank == 0 or _master_weights(engine.optimizer) else ():
        _, weight, moments = contents[piece.shard]
        for name, tensor in {WEIGHT: weight, **moments}.items():
            values = tensor.detach()
            if name != STEP:
                values = values.flatten()[piece.offset : piece.offset + piece.count]
            state[f"{piece.parameter}@{piece.start}/{name}"] = values.cpu().clone()
    if problem := find_non_finite(state.items()):
        raise NonFiniteError(f"of the optimizer's state {problem}")
    file.parent.mkdir(exist_ok=True)
    safetensors.torch.save_file(state, file)


def read_optimizer(engine: Any, folder: Path, rank: int) -> None:
    """Read back what the ranks of some trainer wrote into a checkpoint's `folder`: this rank of a DeepSpeed `engine` takes what
    it steps on. Raises ValueError when something of that is not there."""
    contents = list(shards(engine.optimizer))
    for _, _, moments in contents:
        moments.clear()
    is_fused = bool(getattr(engine.optimizer, "optimizer", engine.optimizer).param_groups[0].get("fused", False))
    with ExitStack() as stack:
        saved_pieces = _open_pieces(stack, folder / FOLDER)
        for piece in pieces(engine, rank):
            _, weight, moments = contents[piece.shard]
            missing = piece.count
            for saved in saved_pieces[piece.parameter]:
                missing -= _copy(saved, piece, weight, moments, is_fused)
            if missing:
                raise ValueError(
                    f"{folder / FOLDER}: lacks {missing} of the {piece.count} values of {piece.parameter}; resume with the recipe "
                    "that wrote this checkpoint, or start anew with another --out"
                )


def _copy(saved: SavedPiece, piece: Piece, weight: Tensor, moments: dict[str, Tensor], is_fused: bool) -> int:
    """Copy what a saved piece has of `piece` into its shard, a master `weight` and its `moments`; return how many elements it
    has of it."""
    import torch

    first, end = max(piece.start, saved.start), min(piece.start + piece.count, saved.start + saved.count)
    if first >= end:
        return 0
    # `first` and `end` count elements of the flattened parameter, `at` those of the flattened shard.
    at = piece.offset + first - piece.start
    for name, values in saved.tensors.items():
        if name == STEP:
            # AdamW keeps its count beside the weights only where it is fused. A shard of several parameters has one count:
            # that of the parameter that has learned most often, for none has learned less often but for want of a gradient.
            count: Tensor = values[...].to(weight.device) if is_fused else values[...]
            moments[name] = torch.maximum(moments[name], count) if name in moments else count
            continue
        if name != WEIGHT and name not in moments:
            # Memory of its own, and not the file's, which cannot be given back (`rl.workers.offload`).
            moments[name] = torch.zeros_like(weight, requires_grad=False)
        # In place: the engine's own views of the weights' memory stay valid.
        target = (weight if name == WEIGHT else moments[name]).data.view(-1)
        target[at : at + end - first].copy_(values[first - saved.start : end - saved.start])
    return end - first


def shards(optimizer: Any) -> Iterator[tuple[int, Tensor, dict[str, Tensor]]]:
    """Yield (index, float32 master weight, its optimizer state) of what this rank steps on."""
    weights = _master_weights(optimizer)
    if not weights:  # ZeRO 0 in float32: the parameters themselves
        weights = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = getattr(optimizer, "optimizer", optimizer).state  # DeepSpeed's optimizers wrap torch's
    for i, weight in enumerate(weights):
        yield i, weight, state[weight]


def pieces(engine: Any, rank: int) -> Iterator[Piece]:
    """Yield the pieces that a rank of a DeepSpeed engine steps on. They leave out what DeepSpeed pads its shards with."""
    optimizer = engine.optimizer
    indices = {id(weight): i for i, weight, _ in shards(optimizer)}  # of parameters, without ZeRO
    for name, parameter in engine.module.named_parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in indices:
            yield Piece(name, 0, parameter.numel(), indices[id(parameter)], 0)
        elif hasattr(parameter, "ds_id"):  # ZeRO 3: equal stretches of each parameter, the last one padded
            shard, offset, size = optimizer.grad_position[optimizer.get_param_id(parameter)]
            start = rank * size
            if (count := min(size, parameter.ds_numel - start)) > 0:
                yield Piece(name, start, count, shard, offset)
        elif (mapping := parameter._hp_mapping) is not None:  # ZeRO 1 and 2: a stretch of all parameters end to end
            part, place = mapping.lp_fragment_address, mapping.hp_fragment_address
            yield Piece(name, part.start, part.numel, mapping.param_group_index, place.start)


def _master_weights(optimizer: Any) -> list[Tensor]:
    """Return DeepSpeed's master weights; none without ZeRO."""
    for name in MASTER_WEIGHTS:
        if hasattr(optimizer, name):
            weights: list[Tensor] = getattr(optimizer, name)
            return weights
    return []


def _open_pieces(stack: ExitStack, folder: Path) -> dict[str, list[SavedPiece]]:
    """Return what the ranks have written into a folder, by parameter. Raises ValueError for an earlier version's files."""
    from safetensors import safe_open

    tensors: dict[tuple[str, int], dict[str, Any]] = defaultdict(dict)
    for file in sorted(folder.glob("*.safetensors")):
        content: Any = stack.enter_context(cast("Any", safe_open)(file, "pt"))
        keys: list[str] = list(content.keys())
        for key in keys:
            match = re.fullmatch(r"(.+)@(\d+)/(\w+)", key)
            if match is None:
                raise ValueError(
                    f"{file}: an earlier version of Groundtone wrote it, by ranks and not by parameters; go on with that version, or "
                    "start anew with another --out"
                )
            tensors[match[1], int(match[2])][match[3]] = content.get_slice(key)
    saved: dict[str, list[SavedPiece]] = defaultdict(list)
    for (parameter, start), parts in tensors.items():
        (count,) = parts[WEIGHT].get_shape()
        saved[parameter].append(SavedPiece(start, count, parts))
    return saved
