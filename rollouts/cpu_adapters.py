"""Applies LoRA adapters on CPU by one product for each adapter, in the place of vLLM's own copy of its matrices for each token.

vLLM's CPU kernels gather A and B for every token of a batch before they multiply: with a model of 135M parameters and an
adapter of rank 16 that was 88 % of a decoding step. Where all tokens have the same adapter, as the policy's have, its
matrices are multiplied with all of them at once.

Suffixes: T tokens of a batch, I and O the widths of a matrix's input and output, S slots for adapters.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


def apply_adapters(inputs_TI: Tensor, weights_SOI: Tensor, slots_T: Tensor, dtype: torch.dtype) -> Tensor:
    """Return inputs times the transposed matrix of each token's slot [T, O], computed in `dtype`; 0 for a token without an
    adapter, whose slot is negative."""
    if weights_SOI.dim() == 4:  # vLLM keeps a dimension for stacked matrices
        weights_SOI = weights_SOI.squeeze(1)
    inputs_TI = inputs_TI.to(dtype)
    slots = cast("list[int]", slots_T.unique().tolist())  # pyright: ignore[reportUnknownMemberType]
    if len(slots) == 1 and slots[0] >= 0:
        return inputs_TI @ weights_SOI[slots[0]].to(dtype).T
    outputs_TO = inputs_TI.new_zeros(len(inputs_TI), weights_SOI.shape[1])
    for slot in slots:
        if slot >= 0:
            rows = slots_T == slot
            outputs_TO[rows] = inputs_TI[rows] @ weights_SOI[slot].to(dtype).T
    return outputs_TO


def shrink(inputs: Tensor, weights: Tensor, output: Tensor, slots: Tensor, scaling: float = 1.0) -> None:
    """Write the scaled products with A into the first columns of `output`."""
    products = apply_adapters(inputs, weights, slots, output.dtype)
    output[:, : products.shape[1]] = scaling * products


def expand(inputs: Tensor, weights: Tensor, output: Tensor, slots: Tensor, add_inputs: bool = True) -> None:
    """Add the products with B to `output`, or write them there; the model's matrix and the adapter's may be padded differently."""
    expand_slice(inputs, weights, output, slots, 0, min(weights.shape[-2], output.shape[1]), add_inputs)


def expand_slice(
    inputs: Tensor, weights: Tensor, output: Tensor, slots: Tensor, start: int, size: int, add_inputs: bool = True
) -> None:
    """Add the products with B to `size` columns of `output` from `start` on, or write them there."""
    products = apply_adapters(inputs, weights, slots, output.dtype)[:, :size]
    columns = output[:, start : start + size]
    if add_inputs:
        columns += products
    else:
        columns.copy_(products)


def use_products(worker: Any) -> None:
    """Give an engine the functions above. Runs in vLLM's worker, by `collective_rpc`."""
    from vllm.lora.ops.torch_ops import lora_ops
    from vllm.lora.punica_wrapper import punica_cpu

    # Both modules: one holds the functions for prompts, which call these; the other has imported them for single tokens.
    modules: list[Any] = [lora_ops, punica_cpu]
    for module in modules:
        module.bgmv_shrink, module.bgmv_expand, module.bgmv_expand_slice = shrink, expand, expand_slice
