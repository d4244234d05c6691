"""ZeRO-3's division of parameters, while a model is loaded: DeepSpeed's own, asked for one parameter at a time."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from torch import nn

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
        from torch import nn

        if hasattr(parameter, "ds_id"):  # tied to one that was divided before
            return
        parameter.data = parameter.data.contiguous()  # DeepSpeed sends its bytes as they lie
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
