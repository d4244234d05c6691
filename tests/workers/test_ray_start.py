from __future__ import annotations

import pytest

from rl.workers.ray_start import STORE_BYTES, is_start_failure, store_bytes

GIB = 1 << 30


def test_the_object_store_holds_two_versions_of_the_weights_where_shared_memory_does() -> None:
    assert store_bytes(0, 60 * GIB) == STORE_BYTES == GIB
    assert store_bytes(3 * GIB, 60 * GIB) == 7 * GIB
    assert store_bytes(66 * GIB, 100 * GIB) == 80 * GIB, "some is left to others"
    assert store_bytes(3 * GIB, 64 << 20) == GIB, "Ray itself goes to disk then, and says so"


@pytest.mark.parametrize(
    ("error", "is_tried_again"),
    [
        (
            RuntimeError("Timed out waiting for file /tmp/r/session_1/gcs_server_port_017ecb"),
            True,
        ),  # its GCS was killed
        (RuntimeError("Timed out waiting for node info for node_id=ab12."), True),
        (RuntimeError("Failed to start GCS. Last 1 lines of error files: …"), True),
        (RuntimeError("Failed to connect to GCS at address 127.0.0.1:6379 within 5 seconds."), True),
        (Exception("The current node timed out during startup. This could happen because …"), True),
        (TimeoutError("Timed out after 30 seconds while waiting for node to startup. Did not find …"), True),
        (ValueError("The object store size is below the minimum"), False),
        (RuntimeError("Maybe you called ray.init twice by accident?"), False),
    ],
)
def test_a_process_of_rays_own_that_dies_as_it_starts_is_started_again(error: Exception, is_tried_again: bool) -> None:
    assert is_start_failure(error) == is_tried_again
