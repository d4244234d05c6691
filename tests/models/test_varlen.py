"""The layouts that the kernel for sequences of any length takes, against the padded path; the kernel's rule in plain torch."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.attention import Segments, segment_attention
from models.varlen import EndToEnd, Span, _TakeRows, choose_kernel, take_rows

CPU = torch.device("cpu")


def kernel_rule(q: Tensor, k: Tensor, v: Tensor, layout: EndToEnd, window: int | None) -> Tensor:
    """What flash attention computes from the starts: a sequence's last query is lined up with its last key."""
    if layout.keys_K is not None:
        k, v = take_rows(k, layout.keys_K), take_rows(v, layout.keys_K)
    outputs = []
    edges = zip(layout.query_starts_N.tolist(), layout.key_starts_N.tolist(), strict=True)
    for (q0, k0), (q1, k1) in pairwise(edges):
        age = torch.arange(q1 - q0)[:, None] + (k1 - k0) - (q1 - q0) - torch.arange(k1 - k0)
        seen = (age >= 0) & (age <= (age.max() if window is None else window - 1))
        pieces = (x.transpose(0, 1) for x in (q[q0:q1], k[k0:k1], v[k0:k1]))
        out = torch.nn.functional.scaled_dot_product_attention(*pieces, seen, enable_gqa=True)
        outputs.append(out.transpose(0, 1))
    return torch.cat(outputs)


def shared_spans(groups: list[tuple[int, list[int]]]) -> tuple[Span, ...]:
    """Of each (prompt, answers) one whole sequence, whose prompt the others share; prompt 0: nobody shares."""
    spans: list[Span] = []
    start = 0
    for prompt, answers in groups:
        owner = start
        for i, answer in enumerate(answers):
            length = prompt + answer if i == 0 else answer
            spans.append(Span(start, length, owner, prompt if i else 0))
            start += length
    return tuple(spans)


GROUPS = st.lists(
    st.tuples(st.integers(0, 20), st.lists(st.integers(1, 30), min_size=1, max_size=4)), min_size=1, max_size=4
)


@settings(max_examples=25)
@given(groups=GROUPS, window=st.sampled_from([None, 1, 5, 16]), seed=st.integers(0, 99))
def test_the_layout_says_what_the_padded_path_computes(
    groups: list[tuple[int, list[int]]], window: int | None, seed: int
) -> None:
    segments = Segments(shared_spans(groups))
    total = len(segments.positions_T)
    draw = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(total, heads, 8, generator=draw, dtype=torch.double).requires_grad_() for heads in (4, 2, 2))
    as_transformers = (x.transpose(0, 1)[None] for x in (q, k, v))
    module = torch.nn.Module()
    padded, _ = segment_attention(module, *as_transformers, None, segments=segments, sliding_window=window)
    ours = kernel_rule(q, k, v, segments.end_to_end, window)
    torch.testing.assert_close(ours, padded[0])
    weights = torch.randn(padded[0].shape, generator=draw, dtype=torch.double)
    gradients = [torch.autograd.grad((out * weights).sum(), (q, k, v)) for out in (ours, padded[0])]
    torch.testing.assert_close(*gradients)


def test_a_pack_of_whole_sequences_gathers_nothing() -> None:
    layout = Segments.from_lengths(torch.tensor([3, 1, 4])).end_to_end
    assert layout.query_starts_N.tolist() == layout.key_starts_N.tolist() == [0, 3, 4, 8]
    assert layout.query_starts_N.dtype == torch.int32
    assert (layout.longest_query, layout.longest_key, layout.keys_K) == (4, 4, None)


def test_a_shared_prompt_stands_before_its_answer() -> None:
    layout = EndToEnd.from_spans([Span(0, 5), Span(5, 2, 0, 3)], CPU)
    assert layout.key_starts_N.tolist() == [0, 5, 10]
    assert layout.keys_K is not None
    assert layout.keys_K.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 5, 6]
    assert (layout.longest_query, layout.longest_key) == (5, 5)


def test_rows_taken_twice_add_up_in_float32() -> None:
    x = torch.randn(7, 2, 3).requires_grad_()
    rows = torch.tensor([[0, 6, 6], [3, 6, 1]])
    assert torch.equal(_TakeRows.apply(x, rows), x[rows])
    weights = torch.randn(2, 3, 2, 3)
    got, expected = (torch.autograd.grad((out * weights).sum(), x)[0] for out in (_TakeRows.apply(x, rows), x[rows]))
    torch.testing.assert_close(got, expected)
    # Of 512 gradients of 1 in bfloat16, added one by one, those after the 256th would be lost.
    small = torch.ones(1, 1, dtype=torch.bfloat16, requires_grad=True)
    _TakeRows.apply(small, torch.zeros(512, dtype=torch.long)).sum().backward()
    assert small.grad is not None
    assert small.grad.item() == 512


@pytest.mark.parametrize(
    ("change", "kernel"),
    [
        ({}, "varlen"),
        ({"dtype": torch.float16}, "varlen"),
        ({"device": "meta"}, "varlen"),
        ({"device": "cpu"}, "padded"),
        ({"dtype": torch.float32}, "padded"),
        ({"capability": (7, 5)}, "padded"),
        ({"softcap": 50.0}, "padded"),
        ({"dropout": 0.1}, "padded"),
        ({"head_sizes": (192, 128)}, "padded"),
        ({"head_sizes": (36, 36)}, "padded"),
        ({"head_sizes": (320, 320)}, "padded"),
        ({"head_sizes": (256, 256)}, "varlen"),
    ],
)
def test_the_kernel_is_chosen_by_what_it_takes(change: dict[str, object], kernel: str) -> None:
    usual = {"device": "cuda", "capability": (9, 0), "dtype": torch.bfloat16, "head_sizes": (128, 128)}
    assert choose_kernel(**{**usual, "dropout": 0.0, "softcap": None, **change}) == kernel  # type: ignore[arg-type]


def test_a_layer_on_a_gpu_runs_one_kernel() -> None:
    """On the device that only counts: grouped heads and a shared prompt reach the kernel, forward and backward."""
    from torch.utils._python_dispatch import TorchDispatchMode

    calls: list[str] = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            calls.append(str(func))
            return func(*args, **(kwargs or {}))

    segments = Segments(shared_spans([(8, [4, 5]), (0, [6])])).to(torch.device("meta"))
    q, k, v = (
        torch.empty(1, heads, 23, 32, device="meta", dtype=torch.bfloat16, requires_grad=True) for heads in (4, 2, 2)
    )
    with Record():
        out, _ = segment_attention(torch.nn.Module(), q, k, v, None, segments=segments)
        out.sum().backward()
    assert out.shape == (1, 23, 4, 32)
    assert sum("_varlen_attn" in call for call in calls) == 2
    assert not any("index_put" in call or "sort" in call for call in calls)
