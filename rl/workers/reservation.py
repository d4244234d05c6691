"""Reservation of a run's bundles in Ray, and the GPUs that each of them got."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import ray
from ray.util.placement_group import NODE_ID_LABEL_KEY, PlacementGroup, placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rl.units import many
from rl.workers.nodes import Node, arrange, describe_fragments, describe_placed
from rl.workers.placement import Bundle, ClusterConfig, total
from rl.workers.waiting_line import Ticket
from rollouts.remote import fetch

ATTEMPT_S = 30.0
"""Seconds that Ray gets to reserve what is free; more where another run was quicker."""
POLL_S = 1.0


def live_nodes(free: bool = False) -> list[Node]:
    """Return the cluster's nodes that live, this process's own first; with `free` what nobody holds of each."""
    here = str(ray.get_runtime_context().get_node_id())
    left: dict[str, dict[str, float]] = cast("Any", ray)._private.state.available_resources_per_node() if free else {}
    nodes: list[Node] = []
    for node in cast("list[dict[str, Any]]", ray.nodes()):  # Ray leaves it untyped
        if node["Alive"]:
            resources: dict[str, float] = left.get(node["NodeID"], {}) if free else node["Resources"]
            cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
            nodes.append(Node(node["NodeID"], cpus, gpus, node["NodeManagerAddress"]))
    return sorted(nodes, key=lambda node: (node.id != here, node.host, node.id))


def reserve(
    reservation: Sequence[Bundle],
    config: ClusterConfig,
    together: int = 1,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[PlacementGroup, list[Node]]:
    """Reserve the bundles in Ray; return them with the node of each. `together` is as in `arrange`. Waits for
    other runs up to `cluster.wait_s`, and says so; on several nodes it says
    what is where. Raises ValueError."""
    if arrange(reservation, nodes := live_nodes(), config.spread, together) is None:
        raise ValueError(describe_fragments(reservation, nodes))
    longest = config.longest_wait()
    deadline = time.monotonic() + longest
    waits = False
    with Ticket(config.running_cluster() is not None) as ticket:
        while True:
            before = ticket.runs_before()
            if not before and (reserved := _try_to_reserve(reservation, config, together)):
                if len(nodes) > 1:
                    say(f"placement: {describe_placed(reservation, reserved[1])}")
                return reserved
            if time.monotonic() > deadline:
                raise ValueError(
                    f"cluster: {len(reservation)} bundles could not be reserved in {longest:g} s; {_describe_free()}; "
                    "wait for other jobs (cluster.wait_s=0 waits for ever) or ask for less"
                )
            if not waits:
                cpus, gpus = total(reservation)
                ask = f"{gpus} GPUs and {cpus:g} CPUs" if gpus else f"{cpus:g} CPUs"
                line = f"; {many(before, 'run')} came before" if before else ""
                say(f"waiting for {ask}; {_describe_free()}{line}")
            waits = True
            time.sleep(POLL_S)


def _try_to_reserve(
    reservation: Sequence[Bundle], config: ClusterConfig, together: int
) -> tuple[PlacementGroup, list[Node]] | None:
    """Reserve the bundles on what is free, each on the node that `arrange` gives it; return None where it is not enough."""
    nodes = live_nodes(free=True)
    places = arrange(reservation, nodes, config.spread, together)
    if places is None:
        return None
    resources: list[dict[str, float]] = []
    for bundle in reservation:
        resources.append({"CPU": bundle.cpus, "GPU": bundle.gpus} if bundle.gpus else {"CPU": bundle.cpus})
    # Ray's own PACK and SPREAD number bundles as they come: ranks that talk to each other would lie anywhere.
    selectors = [{NODE_ID_LABEL_KEY: nodes[place].id} for place in places]
    group = placement_group(resources, strategy="PACK", bundle_label_selector=selectors)
    if ray.wait([group.ready()], timeout=ATTEMPT_S)[0]:
        return group, [nodes[place] for place in places]
    ray.util.remove_placement_group(group)
    return None


def _describe_free() -> str:
    free = cast("dict[str, float]", ray.available_resources())
    return f"free now: {free.get('CPU', 0):g} CPUs, {free.get('GPU', 0):g} GPUs"


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
