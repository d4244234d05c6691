"""Clipping of the gradient where DeepSpeed does none: without ZeRO 0.19 reports no norm in float32 (`get_global_grad_norm` is
None)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rl.config import Values

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


class Clipping:
    """Scaling of the gradient down to a norm, just before an optimizer's step; it keeps the norm that there was."""

    norm = float("nan")
    """Norm before clipping; infinity where no step was taken."""

    def take_over(self, module: nn.Module, optimizer: Optimizer, settings: Values) -> None:
        """Clip the module's gradient in place of DeepSpeed, to the norm in its `settings` (0: not at all)."""
        limit, settings["gradient_clipping"] = settings["gradient_clipping"], 0.0

        def clip(*_: object) -> None:
            self._clip(module, limit)

        optimizer.register_step_pre_hook(clip)

    def _clip(self, module: nn.Module, limit: float) -> None:
        from torch.nn.utils import clip_grad_norm_

        self.norm = float(clip_grad_norm_(module.parameters(), limit or math.inf))
        if not math.isfinite(self.norm):
            # No step is taken, as DeepSpeed takes none under ZeRO: AdamW skips parameters that have no gradient.
            module.zero_grad(set_to_none=True)
            self.norm = math.inf  # also where it is NaN: inf says that no step was taken
