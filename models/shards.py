"""Loads a model that is too large for any one rank: each parameter is divided over the ranks before the next is read.

transformers builds a model without memory and then registers one loaded parameter after the other; a hook hands each of
them to the trainer's `Shards`. Names and conversions of checkpoints stay those of transformers.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from rl.finite import describe_non_finite


class Shards(Protocol):
    """Division of parameters over a trainer's ranks. All calls are collective."""

    def divide(self, parameter: nn.Parameter) -> None:
        """Keep this rank's share of a parameter, and let go of the rest. Does nothing to one that is divided already."""
        ...

    def whole(self, parameter: nn.Parameter) -> AbstractContextManager[object]:
        """Return a context in which the parameter is whole; what the first rank writes to it is kept on all."""
        ...


@contextmanager
def dividing(shards: Shards | None) -> Generator[dict[int, str]]:
    """Divide every parameter that is registered with a module in the block, and yield {id of a parameter: its NaNs and
    infinities in words} of broken ones. Without shards nothing is divided or checked."""
    faults: dict[int, str] = {}
    if shards is None:
        yield faults
        return

    def divide(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        # Only parameters from a file, which transformers marks and loads in the file's order. Parameters that the file
        # lacks, which make the model unusable anyway, come in an order that differs between ranks, and dividing is
        # collective.
        if parameter is None or parameter.is_meta or not getattr(parameter, "_is_hf_initialized", False):
            return
        if problem := describe_non_finite(parameter.detach()):
            faults[id(parameter)] = problem
        shards.divide(parameter)

    hook = nn.modules.module.register_module_parameter_registration_hook(divide)
    # Otherwise transformers' threads read ahead, as far as the whole model.
    before, os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = os.environ.get("HF_DEACTIVATE_ASYNC_LOAD"), "1"
    try:
        yield faults
    finally:
        hook.remove()
        if before is None:
            del os.environ["HF_DEACTIVATE_ASYNC_LOAD"]
        else:
            os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = before


@dataclass(frozen=True, slots=True)
class Unread:
    """A tensor of a file that transformers is to load, whose values come later."""

    shape: torch.Size
    dtype: torch.dtype

    def __getitem__(self, _: object) -> Tensor:
        return torch.empty(self.shape, dtype=self.dtype)

    def is_floating_point(self) -> bool:
        """Return whether its numbers are."""
        return self.dtype.is_floating_point


def make_whole(module: nn.Module, shards: Shards) -> None:
    """Give `module`, in place, parameters of its own that are whole on every rank. Collective."""
    parts = cast("Iterable[nn.Module]", module.modules())
    for part in parts:
        for name, parameter in [*part.named_parameters(recurse=False)]:
            with shards.whole(parameter):
                # A copy: behind the context the parameter is divided again.
                values = parameter.detach().clone()
            setattr(part, name, nn.Parameter(values, requires_grad=parameter.requires_grad))


def read_into(module: nn.Module, file: Path, shards: Shards) -> None:
    """Fill the parameters of `module`, divided or whole, from a safetensors file of its own names, one at a time. Raises
    ValueError where names or shapes are others, or a number is none. Collective."""
    from safetensors import SafetensorError, safe_open

    parameters = dict(module.named_parameters())
    # Every rank reads all of the file and says what is wrong with it: one that stopped alone would leave the others waiting.
    try:
        with cast("Any", safe_open(file, framework="pt")) as tensors:
            if missing := parameters.keys() ^ set(tensors.keys()):
                raise ValueError(f"{file}: {min(missing)} is in the file or in the model, not in both")
            for name, parameter in parameters.items():
                values: Tensor = tensors.get_tensor(name)
                is_divided = hasattr(parameter, "ds_id")  # DeepSpeed's mark of a parameter that it has divided
                with shards.whole(parameter) if is_divided else nullcontext(), torch.no_grad():
                    if values.shape != parameter.shape:
                        raise ValueError(f"{file}: {name} is {[*values.shape]}, in the model {[*parameter.shape]}")
                    if problem := describe_non_finite(values):
                        raise ValueError(f"{file}: {name} is {problem}")
                    parameter.copy_(values)
    except SafetensorError as error:
        raise ValueError(f"{file}: {error}") from error
