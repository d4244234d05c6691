"""ZeRO-3's division of parameters, while a model is loaded: DeepSpeed's own, asked for one parameter at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, cast

from rl.workers.diagnosis import checked

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rl.config import Values


GATHER_BYTES = 256 << 20
"""Bytes of parameters that ZeRO-3 gathers in one collective: one for each of hundreds of small ones would cost more than
their bytes."""


class ZeroShards:
    """`models.shards.Shards` by DeepSpeed, with the `settings` that its engine will be given."""

    def __init__(self, settings: Values) -> None:
        self.settings = settings
        self.first: Any = None
        """A divided parameter: DeepSpeed hangs the method that divides others on it."""

    def divide(self, parameter: nn.Parameter) -> None:
        """Keep this rank's share of the parameter. Collective."""
        import deepspeed
        from deepspeed.accelerator import get_accelerator
        from torch import nn

        if hasattr(parameter, "ds_id"):  # tied to one that was divided before
            return
        device: str = cast("Any", get_accelerator()).current_device_name()
        # A copy of its own: a tensor of a file is a view of the file in memory, of which every page that DeepSpeed writes to,
        # as it sends the first rank's bytes to the others, would stay until the whole file is read.
        parameter.data = parameter.data.to(device, copy=True).contiguous()
        if self.first is not None:
            self.first.convert_to_zero_parameters(param_list=[parameter])
            return
        holder = nn.Module()
        # Not by `register_parameter`, whose hook would bring it here again.
        cast("Any", holder)._parameters["first"] = parameter
        deepspeed.zero.Init(module=holder, config_dict_or_path=self.settings)
        self.first = parameter

    def whole(self, parameter: nn.Parameter) -> AbstractContextManager[object]:
        """Return a context in which the parameter is whole; what the first rank writes to it is kept. Collective."""
        import deepspeed

        return deepspeed.zero.GatheredParameters([parameter], modifier_rank=0)


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


def whole_parameters(module: nn.Module, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, whole parameter) of those `wanted` by name, which is there until the next one is asked for. Collective
    under ZeRO-3."""
    import deepspeed

    named = ((name, parameter) for name, parameter in module.named_parameters() if wanted(name))
    for group in parameter_groups(named, GATHER_BYTES):
        shards = [parameter for _, parameter in group if hasattr(parameter, "ds_id")]  # ZeRO-3's mark
        with deepspeed.zero.GatheredParameters(shards, enabled=bool(shards)):
            for name, parameter in group:
                # Also where nobody reads it: what is exported or sent to engines passes here, and must be whole.
                yield name, checked(name, parameter.detach())
    if hasattr(module, "frozen_parameters"):  # an encoder, kept apart so that ZeRO does not shard it
        frozen: Iterator[tuple[str, Tensor]] = cast("Any", module).frozen_parameters()
        yield from (named for named in frozen if wanted(named[0]))
