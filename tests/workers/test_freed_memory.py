"""Memory that a trainer gives back to the machine at the end of a call."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rl.workers import freed_memory
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
