"""Reservation of a run's bundles in Ray, and the GPUs that each of them got."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import ray
from ray.util.placement_group import PlacementGroup, placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rl.workers.placement import Bundle
from rollouts.remote import fetch

RESERVE_TIMEOUT_S = 120


def reserve(reservation: Sequence[Bundle]) -> PlacementGroup:
    """Reserve the bundles in Ray. Raises ValueError when that takes longer than RESERVE_TIMEOUT_S."""
    resources: list[dict[str, float]] = []
    for bundle in reservation:
        resources.append({"CPU": bundle.cpus, "GPU": bundle.gpus} if bundle.gpus else {"CPU": bundle.cpus})
    group = placement_group(resources, strategy="PACK")
    if not ray.wait([group.ready()], timeout=RESERVE_TIMEOUT_S)[0]:
        ray.util.remove_placement_group(group)
        free = cast("dict[str, float]", ray.available_resources())
        raise ValueError(
            f"cluster: {len(reservation)} bundles could not be reserved in {RESERVE_TIMEOUT_S} s; "
            f"free now: {free.get('CPU', 0):g} CPUs, {free.get('GPU', 0):g} GPUs; wait for other jobs or ask for less"
        )
    return group


def devices(group: PlacementGroup, reservation: Sequence[Bundle], look: bool = False) -> list[list[str]]:
    """Return the GPUs that Ray has reserved for each bundle, named as in CUDA_VISIBLE_DEVICES on its node. With `look` raise
    ValueError where torch sees fewer of them."""
    # Only a task inside a bundle is told its GPUs: one that claims them all runs in each.
    calls = [
        ray.remote(_accelerator_ids)
        .options(
            num_cpus=0,
            num_gpus=bundle.gpus,
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=i),
        )
        .remote(look)
        for i, bundle in enumerate(reservation)
        if bundle.gpus
    ]
    answers = iter(fetch(calls))
    return [next(answers) if bundle.gpus else [] for bundle in reservation]


def _accelerator_ids(look: bool) -> list[str]:
    ids = ray.get_runtime_context().get_accelerator_ids()["GPU"]
    if look:
        from rl.workers.visible_gpus import check_torch

        check_torch(len(ids))
    # In numeric order where the names are numbers: 10 after 9.
    return sorted(ids, key=lambda name: (len(name), name))


def gpu_environment(gpus: Sequence[str]) -> dict[str, str]:
    """Return the environment of an actor that uses these GPUs without claiming them of Ray."""
    return {"CUDA_VISIBLE_DEVICES": ",".join(gpus), "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}
