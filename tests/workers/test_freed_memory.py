"""Memory that actors on a CPU give back to the machine and ask for again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import rollouts.serving
from rl.workers import freed_memory, trainer
from rl.workers.freed_memory import frees_memory

PIECE = 64 << 10
"""Bytes of an allocation: small enough for glibc to take it from the heap."""
COUNT = 4000
"""Allocations of a call, 250 MB in all."""


class Worker:
    """A worker on a CPU whose call leaves holes in the heap."""

    device = torch.device("cpu")
    shares_gpu = False

    @frees_memory
    def work(self) -> list[bytearray]:
        """Allocate many pieces and free all but one in a hundred, and return these."""
        pieces = [bytearray(PIECE) for _ in range(COUNT)]
        # They lie between the freed ones: without them glibc would shrink the heap by itself.
        return pieces[::100]


def resident_bytes() -> int:
    """Return how much memory this process takes from the machine."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize(("long_call_s", "is_freed"), [(60.0, False), (0.0, True)])
def test_only_a_long_call_gives_free_memory_back(
    monkeypatch: pytest.MonkeyPatch, long_call_s: float, is_freed: bool
) -> None:
    monkeypatch.setattr(freed_memory, "LONG_CALL_S", long_call_s)
    freed_memory.trim_heap()
    before = resident_bytes()
    survivors = Worker().work()
    growth = resident_bytes() - before
    assert len(survivors) == COUNT // 100
    if is_freed:
        assert growth < 0.2 * COUNT * PIECE
    else:
        assert growth > 0.8 * COUNT * PIECE


LARGE_TENSORS = """
import resource, torch
for i in range(22):
    if i == 2:
        first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(50 << 20, dtype=torch.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - first)
"""
"""Program that allocates and frees 50 MiB twenty times, and prints how many pages it asked the machine for."""


def has_large_pages() -> bool:
    """Return whether the machine gives pages of 2 MiB to those who ask, and to no others."""
    file = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return file.is_file() and "[madvise]" in file.read_text()


@pytest.mark.skipif(not has_large_pages(), reason="no large pages on this machine")
@pytest.mark.parametrize("variables", [trainer.ENVIRONMENT, rollouts.serving.ENVIRONMENT], ids=["trainer", "engine"])
def test_large_tensors_come_in_large_pages(variables: dict[str, str]) -> None:
    """A page of 4 KiB costs as much to ask for as one of 2 MiB, so that tensors freed and made anew cost a tenth of a step."""

    def pages(**more: str) -> int:
        command = [sys.executable, "-c", LARGE_TENSORS]
        environment = {**os.environ, **variables, **more}
        return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)

    assert pages() < 0.5 * pages(THP_MEM_ALLOC_ENABLE="0")
