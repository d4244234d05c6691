"""The driver's library, read through a real one that is compiled for the test."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_nvml import build_driver

from rl.nvml import Driver, Gpu, read_driver
from rl.workers.machine import Machine

GIB = 1 << 30


def test_memory_of_the_gpus_that_a_process_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    library = build_driver(tmp_path / "libnvidia.so", [(80 * GIB, 79 * GIB), (40 * GIB, 39 * GIB)], "570.1")
    first, second = Gpu(80 * GIB, 79 * GIB), Gpu(40 * GIB, 39 * GIB)
    assert read_driver(library) == Driver("570.1", (first, second))
    assert read_driver(library, "1").gpus == (second,)
    assert read_driver(library, "GPU-a1-93, 0").gpus == (second, first)
    assert read_driver(library, "GPU-a1").gpus == (second,), "the beginning of a UUID"
    assert read_driver(library, "0,GPU-a").gpus == (first,), "which two GPUs have"
    assert read_driver(library, "GPU-a1-9, GPU-b").gpus == (second,)
    assert read_driver(library, "").gpus == read_driver(library, "-1").gpus == ()
    assert read_driver(library, "0,7,1").gpus == (first,), "CUDA stops at the first that is not there"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert read_driver(library).gpus == (first,)


def test_a_machine_without_a_driver(tmp_path: Path) -> None:
    assert read_driver(str(tmp_path / "nowhere.so")) == Driver()


def test_the_machine_has_the_gpus_of_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    machine = Machine.detect(tmp_path, build_driver(tmp_path / "a.so", [(80 * GIB, 70 * GIB), (40 * GIB, 39 * GIB)]))
    assert (machine.gpus, machine.gpu_memory, machine.gpu_free, machine.driver) == (2, 40 * GIB, 39 * GIB, "580.95.05")
    assert (machine.devices.gpus, machine.devices.gpu_memory) == (2, 40 * GIB)
    gpus = tmp_path / "proc/driver/nvidia/gpus"
    (gpus / "0000:01:00.0").mkdir(parents=True)
    (gpus.parent / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  2024\n")
    listed = Machine.detect(tmp_path, str(tmp_path / "none.so"))
    assert (listed.gpus, listed.gpu_memory, listed.driver) == (1, 0, "550.54.14"), (
        "without NVML its memory is not known"
    )
