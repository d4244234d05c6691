from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models import logprobs
from models.logprobs import chunked_logprobs


def naive(
    hidden_AH: Tensor, weight_VH: Tensor, targets_A: Tensor, temperature: float, cap: float | None = None
) -> tuple[Tensor, Tensor]:
    logits_AV = (hidden_AH @ weight_VH.T).float()
    if cap is not None:
        logits_AV = cap * torch.tanh(logits_AV / cap)
    logprobs_AV = torch.log_softmax(logits_AV / temperature, dim=-1)
    return logprobs_AV.gather(1, targets_A[:, None])[:, 0], -(logprobs_AV.exp() * logprobs_AV).sum(-1)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "logprobs": lambda logprobs_A, entropy_A: (logprobs_A * torch.linspace(-1, 2, len(logprobs_A))).sum(),
    "entropy": lambda logprobs_A, entropy_A: (entropy_A * torch.linspace(1, -2, len(entropy_A))).sum(),
    "both": lambda logprobs_A, entropy_A: (logprobs_A.exp() - 0.3 * entropy_A.square()).sum(),
}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs, "CHUNK_BYTES", 4 * 40 * 3)  # three actions at a vocabulary of 40


@settings(max_examples=30)
@given(
    actions=st.integers(1, 10),
    temperature=st.sampled_from([1.0, 0.6, 1.7]),
    cap=st.sampled_from([None, 0.5, 30.0]),
    loss=st.sampled_from(sorted(LOSSES)),
    seed=st.integers(0, 2**31),
)
def test_values_and_gradients_are_those_of_the_whole(
    actions: int, temperature: float, cap: float | None, loss: str, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    hidden_AH = torch.randn(actions, 8, generator=draw).requires_grad_()
    weight_VH = torch.randn(40, 8, generator=draw).requires_grad_()
    targets_A = torch.randint(0, 40, (actions,), generator=draw)
    results = []
    for function in (chunked_logprobs, naive):
        answers = function(hidden_AH, weight_VH, targets_A, temperature, cap)
        results.append((*answers, *torch.autograd.grad(LOSSES[loss](*answers), (hidden_AH, weight_VH))))
    torch.testing.assert_close(*results, atol=2e-5, rtol=1e-4)


def test_a_certain_token_has_logprob_zero_and_finite_gradients() -> None:
    hidden_AH = (100 * torch.eye(8)).requires_grad_()
    weight_VH = torch.eye(8).requires_grad_()
    logprobs_A, entropy_A = chunked_logprobs(hidden_AH, weight_VH, torch.arange(8))
    assert logprobs_A.tolist() == [0.0] * 8
    assert entropy_A.tolist() == pytest.approx([0.0] * 8, abs=1e-30)
    grads = torch.autograd.grad(logprobs_A.sum() + entropy_A.sum(), (hidden_AH, weight_VH))
    assert all(g.isfinite().all() for g in grads)


def test_bfloat16_computes_in_float32() -> None:
    draw = torch.Generator().manual_seed(0)
    hidden_AH = torch.randn(7, 8, generator=draw).bfloat16()
    weight_VH = torch.randn(40, 8, generator=draw).bfloat16().requires_grad_()
    targets_A = torch.arange(7)
    logprobs_A, entropy_A = chunked_logprobs(hidden_AH, weight_VH, targets_A)
    assert logprobs_A.dtype == entropy_A.dtype == torch.float32
    torch.testing.assert_close(logprobs_A, naive(hidden_AH, weight_VH, targets_A, 1.0)[0], atol=1e-6, rtol=0)
    (grad,) = torch.autograd.grad(logprobs_A.sum(), weight_VH)
    assert grad.dtype == torch.bfloat16
    (truth,) = torch.autograd.grad(naive(hidden_AH.float(), weight_VH.float(), targets_A, 1.0)[0].sum(), weight_VH)
    assert (grad.float() - truth.float()).norm() < 0.02 * truth.float().norm()


MEASURE = """
import torch
from models.logprobs import chunked_logprobs

def peak_mb():
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

tokens, vocabulary, width = 10240, 151936, 32
hidden = torch.randn(tokens, width, requires_grad=True)
weight = (torch.randn(vocabulary, width) * 0.02).requires_grad_()
targets = torch.randint(0, vocabulary, (tokens,))
before = peak_mb()
logprobs, entropy = chunked_logprobs(hidden, weight, targets)
grads = torch.autograd.grad(logprobs.sum() + 0.01 * entropy.sum(), (hidden, weight))
print(peak_mb() - before - sum(g.nbytes for g in grads) / 2**20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_ten_thousand_tokens_of_a_large_vocabulary_fit() -> None:
    """10,240 tokens at 151,936 words: all logits would be 6.2 GB. Less than 400 MB beyond what no method can spare."""
    measured = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    assert float(measured.stdout) < 400
