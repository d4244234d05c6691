"""The kernels of a GPU's head, run by Triton's interpreter on a CPU, beside the head of a CPU."""

from __future__ import annotations

import os
import subprocess
import sys

import torch

CHECK = """
import itertools, torch
from models import logit_kernels, sliced_logprobs
from models.logprobs import chunked_logprobs

# Slices of 128 words, blocks that end within them.
sliced_logprobs.SLICE_BYTES, logit_kernels.FOLD_BLOCK, logit_kernels.GRADIENT_BLOCK = 4 * 6 * 128, 64, 32
LOSSES = {
    "logprobs": lambda l, e: (l * torch.linspace(-1, 2, 6)).sum(),
    "entropy": lambda l, e: (e * torch.linspace(1, -2, 6)).sum(),
    "both": lambda l, e: (l.exp() - 0.3 * e.square()).sum(),
}
draw = torch.Generator().manual_seed(0)
# 300 words, the last slice shorter; targets at the edges of slices; in one row a single word has all the mass.
hidden = torch.randn(6, 8, generator=draw).mul_(torch.tensor([[1.0], [1], [1], [1], [60], [0]])).requires_grad_()
weight = torch.randn(300, 8, generator=draw).requires_grad_()
targets = torch.tensor([0, 127, 128, 299, 5, 255])
for temperature, cap, loss in itertools.product([1.0, 0.6], [None, 3.0], LOSSES):
    results = []
    for function in (sliced_logprobs.sliced_logprobs, chunked_logprobs):
        answers = function(hidden, weight, targets, temperature, cap)
        results.append((*answers, *torch.autograd.grad(LOSSES[loss](*answers), (hidden, weight))))
    torch.testing.assert_close(*results, atol=5e-5, rtol=1e-4, msg=lambda m: f"{temperature} {cap} {loss}: {m}")
frozen = sliced_logprobs.sliced_logprobs(hidden, weight.detach(), targets, 1.0, None)[0]
torch.testing.assert_close(*(torch.autograd.grad(l.sum(), hidden)[0] for l in (frozen, chunked_logprobs(hidden, weight, targets)[0])), atol=5e-5, rtol=1e-4)
nothing = sliced_logprobs.sliced_logprobs(hidden[:0], weight, targets[:0], 1.0, None)[0]
assert nothing.shape == (0,)
assert not torch.autograd.grad(nothing.sum(), weight)[0].any()
print("equal")
"""


def test_logprobs_entropy_and_gradients_are_those_of_the_chunks() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, env=environment)
    assert done.stdout == "equal\n", done.stderr


def test_a_gpu_computes_float32_logits_of_bfloat16_and_sums_the_head_gradient_in_one_product_a_slice() -> None:
    """On the device that only counts."""
    from torch.utils._python_dispatch import TorchDispatchMode

    from models.logprobs import chunked_logprobs

    calls: list[str] = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            calls.append(str(func))
            return func(*args, **(kwargs or {}))

    actions, words, width = 8192, 151_936, 64
    hidden_AH, weight_VH = (
        torch.empty(n, width, device="meta", dtype=torch.bfloat16, requires_grad=True) for n in (actions, words)
    )
    targets_A = torch.empty(actions, dtype=torch.long, device="meta")
    with Record():
        logprobs_A, entropy_A = chunked_logprobs(hidden_AH, weight_VH, targets_A)
        (logprobs_A.sum() + entropy_A.sum()).backward()
    slices = 5  # of 1 GB
    assert logprobs_A.dtype == entropy_A.dtype == torch.float32
    assert calls.count("groundtone.fold_logits.default") == slices
    assert calls.count("aten.mm.dtype_out") == 2 * slices
    assert calls.count("aten.mm.dtype") == slices  # the hidden states' gradient
    assert calls.count("aten.mm.out") == slices  # the head's gradient: written, never added to
    assert weight_VH.grad is not None
    assert weight_VH.grad.shape == (words, width)
