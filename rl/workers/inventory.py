"""Asks a running Ray cluster which devices it has."""

from __future__ import annotations

from typing import Any, cast

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rl.workers.machine import Machine
from rl.workers.placement import ClusterConfig, Devices
from rl.workers.ray_start import start_ray, stop_ray


def read_devices(config: ClusterConfig) -> Devices:
    """Return the devices of the cluster that the recipe or RAY_ADDRESS names. Of nodes that
    differ it has as many GPUs each as the fewest."""
    has_opened = not ray.is_initialized()
    if has_opened:
        start_ray(config, 0)
    try:
        return _count_devices()
    finally:
        if has_opened:  # the run connects for itself, and closes what it has opened
            stop_ray()


def _count_devices() -> Devices:
    nodes = cast("list[dict[str, Any]]", ray.nodes())  # Ray leaves it untyped
    nodes = [node for node in nodes if node["Alive"]]
    gpu_nodes = [node for node in nodes if node["Resources"].get("GPU")]
    if not gpu_nodes:
        cpus = [int(node["Resources"]["CPU"]) for node in nodes if node["Resources"].get("CPU")]
        return Devices(len(cpus), 0, min(cpus)) if cpus else Devices(1, 0, 0)
    detect = ray.remote(_detect)
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


def _detect() -> Machine:
    # Ray takes functions, and no method of a class.
    return Machine.detect()
