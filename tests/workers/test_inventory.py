"""Questions about the devices of a cluster, asked of a running Ray."""

from __future__ import annotations

import ray

from rl.workers.inventory import read_devices
from rl.workers.placement import ClusterConfig


def test_the_devices_of_a_running_cluster_are_counted(ray_session: None) -> None:
    devices = read_devices(ClusterConfig())
    assert (devices.nodes, devices.gpus_per_node) == (1, 0)
    assert devices.cpus_per_node >= 1
    assert ray.is_initialized(), "a connection that the call has not opened stays"


def test_a_node_is_asked_by_a_function_that_ray_takes() -> None:
    from rl.workers import inventory

    assert ray.remote(inventory._detect) is not None
