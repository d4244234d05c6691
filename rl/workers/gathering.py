"""Whole parameters of a module under DeepSpeed, one after the other, whatever the ZeRO stage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from rl.workers.diagnosis import checked

if TYPE_CHECKING:
    from torch import Tensor, nn

GATHER_BYTES = 256 << 20
"""Bytes of parameters that ZeRO-3 gathers in one collective: one for each of hundreds of small ones would cost more than
their bytes."""


def parameter_groups(named: Iterable[tuple[str, nn.Parameter]], most: int) -> Iterator[list[tuple[str, nn.Parameter]]]:
    """Yield parameters in groups of at most so many bytes, or of one."""
    group: list[tuple[str, nn.Parameter]] = []
    used = 0
    for name, parameter in named:
        size = getattr(parameter, "ds_numel", parameter.numel()) * parameter.element_size()
        if group and used + size > most:
            yield group
            group, used = [], 0
        group.append((name, parameter))
        used += size
    if group:
        yield group


def gathered(module: nn.Module, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, whole parameter) of those `wanted` by name, which is there until the next one is asked for. Raises
    NonFiniteError for one that is broken. Collective under ZeRO-3."""
    import deepspeed

    named = ((name, parameter) for name, parameter in module.named_parameters() if wanted(name))
    for group in parameter_groups(named, GATHER_BYTES):
        shards = [parameter for _, parameter in group if hasattr(parameter, "ds_id")]  # ZeRO-3's mark
        with deepspeed.zero.GatheredParameters(shards, enabled=bool(shards)):
            for name, parameter in group:
                # Also where nobody reads it: what is exported or sent to engines passes here, and must be whole.
                yield name, checked(name, parameter.detach())
