"""Clipping of the gradient where DeepSpeed does none: without ZeRO 0.19 reports no norm in float32 (`get_global_grad_norm` is
None)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


class Clipping:
    """Hook for just before an optimizer's step: it scales the gradient down to a norm, and keeps the norm that it had."""

    def __init__(self, module: nn.Module, limit: float) -> None:
        """`limit` is the norm; 0: the gradient is not scaled."""
        self.module, self.limit = module, limit
        self.norm = float("nan")
        """Norm before clipping; infinity where no step was taken."""

    def __call__(self, *_: object) -> None:
        from torch.nn.utils import clip_grad_norm_

        self.norm = float(clip_grad_norm_(self.module.parameters(), self.limit or math.inf))
        if not math.isfinite(self.norm):
            # No step is taken, as DeepSpeed takes none under ZeRO: AdamW skips parameters that have no gradient.
            self.module.zero_grad(set_to_none=True)
            self.norm = math.inf  # also where it is NaN: inf says that no step was taken
