"""Groups of a trainer's ranks that share the tokens of their packs (see `models.sequence_parallel`)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from torch import nn

    from models.sequence_parallel import SequenceGroup


def share_sequences(module: nn.Module, rank: int, world: int, size: int) -> None:
    """Let `size` ranks, one after the other, share the packs that `module` gets. Raises ValueError where its attention heads
    do not divide over them. Collective."""
    heads = int(_text_config(module).num_attention_heads)
    if world % size:
        raise ValueError(f"trainer.sequence_parallel: {size} does not divide the {world} ranks; choose a divisor")
    if heads % size:
        raise ValueError(
            f"trainer.sequence_parallel: the model's {heads} attention heads do not divide over {size} ranks; "
            "choose a divisor"
        )
    cast("Any", module).sequence_group = sequence_group(rank, world, size)


def hidden_size(module: nn.Module) -> int:
    """Return the width of the decoder's layers."""
    return int(_text_config(module).hidden_size)


def _text_config(module: nn.Module) -> Any:
    """Return transformers' config of the decoder in a trainer's module."""
    return cast("Any", getattr(module, "lm", module)).config.get_text_config()


@cache  # process groups outlive every model, and every one has its own connections
def sequence_group(rank: int, world: int, size: int) -> SequenceGroup:
    """Return the group of `size` ranks that this one belongs to. Collective."""
    import torch.distributed as dist

    from models.sequence_parallel import ALONE, SequenceGroup

    if size == 1:
        return ALONE
    # Every rank takes part in making every group, its own or not.
    groups = [dist.new_group(list(range(start, start + size))) for start in range(0, world, size)]
    return SequenceGroup(groups[rank // size], rank % size, size)
