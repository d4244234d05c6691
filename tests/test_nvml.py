"""The driver's library, read through a real one that is compiled for the test."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_nvml import build_driver

from rl.nvml import Driver, Gpu, read_driver, smallest_gpu

GIB = 1 << 30


def test_memory_of_the_gpus_that_a_process_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    library = build_driver(tmp_path / "libnvidia.so", [(80 * GIB, 79 * GIB), (40 * GIB, 39 * GIB)], "570.1")
    first, second = Gpu(80 * GIB, 79 * GIB), Gpu(40 * GIB, 39 * GIB)
    assert read_driver(library) == Driver("570.1", (first, second))
    assert read_driver(library, "1").gpus == (second,)
    assert read_driver(library, "GPU-1, 0").gpus == (second, first)
    assert read_driver(library, "").gpus == read_driver(library, "-1").gpus == ()
    assert read_driver(library, "0,7,1").gpus == (first,), "CUDA stops at the first that is not there"
    assert smallest_gpu(library) == second
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert read_driver(library).gpus == (first,)


def test_a_machine_without_a_driver(tmp_path: Path) -> None:
    assert read_driver(str(tmp_path / "nowhere.so")) == Driver()
    assert smallest_gpu(str(tmp_path / "nowhere.so")) is None
