"""Asks a running Ray cluster which devices it has."""

from __future__ import annotations

from typing import Any, cast

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rl.workers.machine import Machine
from rl.workers.placement import ClusterConfig, Devices
from rl.workers.ray_start import start_ray


def read_devices(config: ClusterConfig) -> Devices:
    """Return the devices of the cluster that the recipe or RAY_ADDRESS names, and connect to it where this process has not yet.
    Of nodes that differ it has as many GPUs each as the fewest."""
    if not ray.is_initialized():
        start_ray(config, 0)
    nodes = cast("list[dict[str, Any]]", ray.nodes())  # Ray leaves it untyped
    nodes = [node for node in nodes if node["Alive"]]
    gpu_nodes = [node for node in nodes if node["Resources"].get("GPU")]
    if not gpu_nodes:
        return Devices(1, 0, int(sum(node["Resources"].get("CPU", 0) for node in nodes)))
    detect = ray.remote(Machine.detect)
    calls = [
        detect.options(
            num_cpus=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            runtime_env={
                "env_vars": {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}
            },  # it claims none, and sees all
        ).remote()
        for node in gpu_nodes
    ]
    machines = ray.get(calls)
    memories = [machine.gpu_memory for machine in machines]
    return Devices(
        len(gpu_nodes),
        int(min(node["Resources"]["GPU"] for node in gpu_nodes)),
        int(min(node["Resources"].get("CPU", 1) for node in gpu_nodes)),
        float(min(memories)) if all(memories) else 0.0,
    )
