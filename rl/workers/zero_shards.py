"""ZeRO-3's division of parameters, while a model is loaded: DeepSpeed's own, asked for one parameter at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, cast

from rl.workers.gathering import gathered

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rl.config import Values


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


def whole_parameters(module: nn.Module, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, whole parameter) of those `wanted` by name, which is there until the next one is asked for. Collective under
    ZeRO-3."""
    yield from gathered(module, wanted)
    if hasattr(module, "frozen_parameters"):  # an encoder, kept apart so that ZeRO does not shard it
        frozen: Iterator[tuple[str, Tensor]] = cast("Any", module).frozen_parameters()
        yield from (named for named in frozen if wanted(named[0]))
