from __future__ import annotations

from rl.workers.ray_start import STORE_BYTES, store_bytes

GIB = 1 << 30


def test_the_object_store_holds_two_versions_of_the_weights_where_shared_memory_does() -> None:
    assert store_bytes(0, 60 * GIB) == STORE_BYTES == GIB
    assert store_bytes(3 * GIB, 60 * GIB) == 7 * GIB
    assert store_bytes(66 * GIB, 100 * GIB) == 80 * GIB, "some is left to others"
    assert store_bytes(3 * GIB, 64 << 20) == GIB, "Ray itself goes to disk then, and says so"
