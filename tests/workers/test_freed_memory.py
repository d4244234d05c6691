"""What a trainer's call gives back when it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rl.workers import freed_memory
from rl.workers.freed_memory import frees_memory

PIECE = 64 << 10
COUNT = 4000


class Worker:
    """A worker on a CPU whose call leaves holes in the heap."""

    device = torch.device("cpu")
    shares_gpu = False

    @frees_memory
    def work(self, fails: bool) -> list[bytearray]:
        """Allocate 250 MB in small pieces, free all but every hundredth, and return these."""
        pieces = [bytearray(PIECE) for _ in range(COUNT)]
        kept = pieces[:: COUNT // 40]
        if fails:
            raise ValueError("fails")
        return kept


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_a_long_call_on_a_cpu_gives_the_heaps_holes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    freed_memory.trim_heap()
    before = resident()
    kept = Worker().work(fails=False)  # short: the next call uses the holes again
    assert resident() - before > 0.8 * COUNT * PIECE
    del kept
    monkeypatch.setattr(freed_memory, "LONG_CALL_S", 0.0)
    kept = Worker().work(fails=False)
    assert resident() - before < 0.2 * COUNT * PIECE
    del kept
    with pytest.raises(ValueError, match="fails"):
        Worker().work(fails=True)
