"""Checksums and the probe, without engines: each fault in words, and no fault where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from rollouts.arrival import ArrivalError, Checksum, Receipt, checksum, describe_difference, folder_checksums
from rollouts.proof import Proof
from rollouts.weights import Weights, folder_weights

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int64]
SENT = {name: checksum(torch.full((2, 3), float(i))) for i, name in enumerate(("a.weight", "b.weight", "norm"))}


@given(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=3), st.integers(0, 2**16))
def test_equal_tensors_have_equal_checksums(dtype: torch.dtype, shape: list[int], seed: int) -> None:
    """However they lie in memory, and also without dimensions or without a number."""
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    assert checksum(tensor) == checksum(tensor.clone())
    if tensor.dim() == 2:
        assert checksum(tensor.t()) == checksum(tensor.t().contiguous())


@given(st.sampled_from(DTYPES[:2]), st.integers(1, 300), st.data())
def test_one_bit_changes_a_checksum(dtype: torch.dtype, size: int, data: st.DataObject) -> None:
    tensor = torch.linspace(-1, 1, size).to(dtype)
    altered = tensor.clone().view(torch.uint8)
    byte, bit = data.draw(st.integers(0, len(altered) - 1)), data.draw(st.integers(0, 7))
    altered[byte] ^= 1 << bit
    assert checksum(altered.view(dtype)).digest != checksum(tensor).digest


def test_what_looks_alike_differs() -> None:
    """Rows swapped, signs of zero, another shape or type of the same bytes."""
    tensor = torch.arange(6.0).reshape(2, 3)
    others = [tensor.flip(0), tensor.reshape(3, 2), tensor.t(), tensor.view(torch.int32), tensor.double()]
    assert checksum(tensor) not in [checksum(other) for other in others]
    assert checksum(torch.tensor([0.0])) != checksum(torch.tensor([-0.0]))


@pytest.mark.parametrize(
    ("received", "problem"),
    [
        ({"a.weight": SENT["a.weight"], "norm": SENT["norm"]}, "b.weight was sent and did not arrive (1 of 3 tensors)"),
        ({}, "a.weight was sent and did not arrive (3 of 3 tensors)"),
        ({**SENT, "c": SENT["norm"]}, "c arrived, which was not sent"),
        (
            {"a.weight": SENT["a.weight"], "b.wieght": SENT["b.weight"], "norm": SENT["norm"]},
            "b.weight arrived under the name b.wieght",
        ),
        ({**SENT, "norm": replace(SENT["norm"], digest=1)}, "norm arrived with other values than were sent"),
        (
            {**SENT, "norm": replace(SENT["norm"], dtype="bfloat16")},
            "norm was sent as [2, 3] float32 and arrived as [2, 3] bfloat16",
        ),
        (
            {**SENT, "norm": replace(SENT["norm"], shape=(3, 2))},
            "norm was sent as [2, 3] float32 and arrived as [3, 2] float32",
        ),
        ({"a.weight": SENT["b.weight"], "b.weight": SENT["a.weight"], "norm": SENT["norm"]}, "a.weight arrived with"),
        ({name: SENT[name] for name in reversed(SENT)}, ""),
    ],
)
def test_differences_name_the_tensor(received: dict[str, Checksum], problem: str) -> None:
    described = describe_difference(SENT, received)
    assert described.startswith(problem)
    assert bool(described) == bool(problem)


def test_a_folder_is_known_by_its_headers(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2, 3, dtype=torch.bfloat16)}, tmp_path / "model-1.safetensors")
    save_file({"b": torch.ones(4)}, tmp_path / "model-2.safetensors")
    sums = folder_checksums(tmp_path)
    assert sums == {"a": Checksum((2, 3), "bfloat16", None), "b": Checksum((4,), "float32", None)}
    read = {"a": checksum(torch.ones(2, 3, dtype=torch.bfloat16)), "b": checksum(torch.ones(4))}
    assert describe_difference(sums, read) == ""
    proof = Proof()
    proof.begin(0, folder_weights(tmp_path))
    proof.check(0, Receipt(0, [read, read], None, 0.0))
    with pytest.raises(ArrivalError, match=r"^engine 1, version 0: b arrived with other values than were sent$"):
        proof.check(1, Receipt(0, [{**read, "b": checksum(torch.zeros(4))}], None, 0.0))
    with pytest.raises(ArrivalError, match=r"^engine 1, version 0: b was sent and did not arrive"):
        proof.check(1, Receipt(0, [{"a": read["a"]}], None, 0.0))
    assert proof.metrics() == {}


def test_every_worker_of_an_engine_is_asked() -> None:
    proof = Proof()
    proof.begin(4, Weights([], SENT))
    with pytest.raises(
        ArrivalError, match=r"^engine 2, version 4, tensor-parallel worker 1: a\.weight was sent and did not arrive"
    ):
        proof.check(2, Receipt(4, [SENT, {}], None, 0.0))


# --- the probe ---------------------------------------------------------------------------------------------------------


def weights(version: int, trainer_A: np.ndarray, dtype: str = "bfloat16") -> Weights:
    sums = {"a.weight": Checksum((2,), dtype, version), "norm": Checksum((2,), dtype, 0)}
    return Weights([], sums, 0.0, None, lambda: trainer_A)


def step(
    proof: Proof, version: int, trainer_A: np.ndarray, *engines_A: np.ndarray, dtype: str = "bfloat16", sent: int = -1
) -> None:
    update = weights(version if sent < 0 else sent, trainer_A, dtype)
    proof.begin(version, update)
    proof.wait_for_trainer()
    for i, engine_A in enumerate(engines_A):
        proof.check(i, Receipt(version, [update.checksums], engine_A, 0.0))


BASE = np.linspace(-9, -1, 64)


@pytest.mark.parametrize(("dtype", "rate", "steps"), [("float32", 4e-5, 3), ("bfloat16", 4e-3, 3), ("bfloat16", 1, 1)])
def test_an_engine_that_stands_still_is_found_however_small_the_steps(dtype: str, rate: float, steps: int) -> None:
    """Engine 1 does not move; the steps add up until it should have."""
    proof = Proof()
    step(proof, 0, BASE, BASE, BASE, dtype=dtype)
    for version in range(1, steps):
        step(proof, version, BASE + rate * version, BASE + rate * version, BASE, dtype=dtype)
    with pytest.raises(
        ArrivalError, match=rf"^engine 1, version {steps}: a\.weight arrived and is not used \(1 of 2 tensors changed\)"
    ):
        step(proof, steps, BASE + rate * steps, BASE + rate * steps, BASE, dtype=dtype)


@given(
    st.integers(0, 2**16), st.sampled_from([0.0, 1e-7, 1e-4, 1e-3, 1e-2, 1.0]), st.sampled_from(["bfloat16", "float32"])
)
def test_engines_that_use_what_they_are_sent_are_not_suspected(seed: int, rate: float, dtype: str) -> None:
    """At any rate, with the rounding of the dtype."""
    random, proof, trainer_A = np.random.default_rng(seed), Proof(), BASE
    noise = {"bfloat16": 0.02, "float32": 1e-6}[dtype]
    for version in range(6):
        engines_A = [trainer_A + noise * random.normal(size=64) for _ in range(2)]
        step(proof, version, trainer_A + noise * random.normal(size=64), *engines_A, dtype=dtype)
        trainer_A = trainer_A + rate * random.normal(size=64)


def test_the_same_weights_need_not_move_an_engine() -> None:
    """While the critic warms up, and where a step is too small to change a weight, whatever the trainer says."""
    proof = Proof()
    for version in range(4):
        step(proof, version, BASE + 0.05 * version, BASE, sent=7)


def test_a_new_engine_is_not_measured_by_the_dead_one() -> None:
    proof = Proof()
    step(proof, 0, BASE, BASE)
    proof.forget(0)
    step(proof, 1, BASE + 1, BASE)  # its gap is for the stage to judge
    assert proof.metrics() == {"probe_gap/mean": 1.0, "probe_gap/max": 1.0}


def test_a_load_from_a_folder_ends_the_comparison(tmp_path: Path) -> None:
    proof = Proof()
    step(proof, 0, BASE, BASE)
    proof.begin(0, folder_weights(tmp_path))
    proof.check(0, Receipt(0, [{}], None, 0.0))
    step(proof, 1, BASE + 1, BASE)
