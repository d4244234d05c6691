"""Groups of a trainer's ranks that share the tokens of their packs (see `models.sequence_parallel`)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from models.sequence_parallel import SequenceGroup


Keeper = Callable[[], AbstractContextManager[object]]
"""Function that returns a context in which a loss is computed whose activations are kept."""


def share_sequences(module: nn.Module, rank: int, world: int, size: int) -> int:
    """Let `size` ranks, one after the other, share the packs that `module` gets; return `size`. They compute the same loss, of
    which each reports its part. Raises ValueError where its attention heads do not divide over them. Collective."""
    if size == 1:
        return size
    heads = int(_text_config(module).num_attention_heads)
    for count, what in ((world, "ranks of the trainer"), (heads, "attention heads of the model")):
        if count % size:
            raise ValueError(f"trainer.sequence_parallel: {size} does not divide the {count} {what}; choose a divisor")
    cast("Any", module).sequence_group = sequence_group(rank, world, size)
    return size


def activations_keeper(module: nn.Module, device: torch.device, offloads: bool) -> Keeper:
    """Return how activations are kept until the backward pass: where they are, or layers' inputs on the host."""
    from models.activation_offload import offload_inputs

    return partial(offload_inputs, int(_text_config(module).hidden_size), device) if offloads else nullcontext


def _text_config(module: nn.Module) -> Any:
    """Return transformers' config of the decoder in a trainer's module."""
    return cast("Any", getattr(module, "lm", module)).config.get_text_config()


@cache  # process groups outlive every model, and every one has its own connections
def sequence_group(rank: int, world: int, size: int) -> SequenceGroup:
    """Return the group of `size` ranks that this one belongs to. Collective."""
    import torch.distributed as dist

    from models.sequence_parallel import SequenceGroup

    # Every rank takes part in making every group, its own or not.
    groups = [dist.new_group(list(range(start, start + size))) for start in range(0, world, size)]
    return SequenceGroup(cast("dist.ProcessGroup", groups[rank // size]), rank % size, size)


def split_by_sequence(values_A: Tensor, actions_N: Tensor) -> tuple[Tensor, ...]:
    """Return each sequence's part of `values_A`."""
    return cast("tuple[Tensor, ...]", values_A.split(actions_N.tolist()))  # torch leaves both untyped
