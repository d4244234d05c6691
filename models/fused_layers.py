"""Computes norms, SwiGLU and rotary positions in one kernel each, by liger-kernel, which the gpu profile installs.

transformers computes them in many passes over memory: a third of the time of an update in 16 bits. The weights, and their
names, stay what they are. liger-kernel's losses are not used: the head is `models.logprobs`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import cast

from torch import nn

FUSED = ("llama", "mistral", "qwen2", "qwen3")
"""Types of decoders (`model_type`) whose layers are fused; the others stay as transformers has them."""
LOSSES = {"cross_entropy": False, "fused_linear_cross_entropy": False}


def fuse_layers(module: nn.Module) -> list[str]:
    """Replace what can be fused in the decoders within `module`, which is on a GPU; return their types."""
    from transformers import PreTrainedModel

    if find_spec("liger_kernel") is None:
        return []
    from liger_kernel.transformers import monkey_patch  # type: ignore[import-not-found]

    apply = cast("dict[str, Callable[..., None]]", monkey_patch.MODEL_TYPE_TO_APPLY_LIGER_FN)
    kinds: list[str] = []
    for part in module.modules():
        # Only the decoder itself: the model around it may be of our own type, which liger-kernel does not know.
        if isinstance(part, PreTrainedModel) and part.config.model_type in FUSED and hasattr(part, "layers"):
            name = cast("str", part.config.model_type)
            apply[name](model=part, **LOSSES)
            kinds.append(name)
    return kinds
