"""Reservation of a run's bundles in Ray, and the GPUs that each of them got."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any, cast

import ray
from ray.exceptions import ActorUnavailableError
from ray.util.placement_group import NODE_ID_LABEL_KEY, PlacementGroup, placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rl.units import many
from rl.workers.deaths import find_dead
from rl.workers.holders import (
    MARK,
    SEPARATOR,
    change_free,
    describe_devices,
    describe_holders,
    name_run,
    own_holding,
    read_holdings,
)
from rl.workers.nodes import Node, arrange, describe_fragments, describe_placed
from rl.workers.placement import Bundle, ClusterConfig, total
from rl.workers.storage import RunSite
from rl.workers.waiting_line import Holding, Ticket
from rollouts.remote import Actor, fetch

ATTEMPT_S = 30.0
"""Seconds that Ray gets to reserve what is free; more where another run was quicker."""
POLL_S = 1.0
"""Seconds between two attempts."""
NEWS_S = 30.0
"""Seconds between two lines of a run that waits."""
STUCK_S = 20.0
"""Seconds for which it must look as if runs waited for each other: a run that has just ended gives its devices back
within them."""
WAIT_FIX = (
    "end what you do not need (rl jobs stop JOB, or Ctrl-C), ask for less, or wait longer (cluster.wait_s; 0: for ever)"
)


def live_nodes(free: bool = False) -> list[Node]:
    """Return the cluster's nodes that live, this process's own first; with `free` what nobody holds of each."""
    here = str(ray.get_runtime_context().get_node_id())
    # Ray's public functions tell what is free on the whole cluster only, not on each node.
    left: dict[str, dict[str, float]] = cast("Any", ray)._private.state.available_resources_per_node() if free else {}
    nodes: list[Node] = []
    for node in cast("list[dict[str, Any]]", ray.nodes()):  # Ray leaves it untyped
        if node["Alive"]:
            resources: dict[str, float] = left.get(node["NodeID"], {}) if free else node["Resources"]
            cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
            nodes.append(Node(node["NodeID"], cpus, gpus, node["NodeManagerAddress"]))
    return sorted(nodes, key=lambda node: (node.id != here, node.host, node.id))


def vacate(node: Node, actor: Actor) -> None:
    """End an actor that has died, for a new one in its place. Raises its death where its node is lost or out of reach: the place is
    reserved there, where a new one would wait for ever. After this error the whole cluster is built anew."""
    if dead := find_dead({("engine", 0): actor}):
        _, death = dead
        # Ray notices the loss of a node late: until then it lists the node as alive and reports its actors as unavailable.
        if isinstance(death, ActorUnavailableError) or all(node.id != live.id for live in live_nodes()):
            raise death
    # Where only the connection was lost for a moment, the actor still runs and holds the devices that the new one needs.
    ray.kill(cast("Any", actor))


def reserve(
    reservation: Sequence[Bundle], config: ClusterConfig, together: int = 1, site: RunSite | None = None
) -> tuple[PlacementGroup, list[Node]]:
    """Reserve the bundles in Ray for the run of `site`; return them with the node of each. `together` is as in `arrange`. Waits for
    other runs up to `cluster.wait_s`, and says who holds what; on several nodes it says what is where. Raises ValueError."""
    site = site or RunSite()
    holding = own_holding(str(ray.get_runtime_context().get_node_id()))
    nodes = live_nodes()
    _check_nodes(reservation, config, together, nodes, holding)
    # `told_at` lies so far back that a run which has to wait says so at once.
    longest, start, last_line, told_at = config.longest_wait(), time.monotonic(), "", -NEWS_S
    stuck_at: float | None = None
    with Ticket(config.running_cluster() is not None, holding) as ticket:
        while True:
            turn = ticket.turn()
            # Only the first in the line tries: a small run that came later must not keep a large one waiting.
            if not turn.before and (reserved := _try_to_reserve(reservation, config, together, name_run(site.folder))):
                if len(nodes) > 1:
                    site.say(f"placement: {describe_placed(reservation, reserved[1])}")
                return reserved
            if turn.is_sent_away:
                raise ValueError(
                    f"cluster: {holding.holder} holds {describe_devices(holding.cpus, holding.gpus)} (rl submit --cpus, "
                    "--gpus) for which the run before it waits, and both would wait for ever; send it again with less, or later"
                )
            waited = time.monotonic() - start
            if turn.before or not _is_deadlock(reservation, config, together, ticket):
                stuck_at = None
            elif stuck_at is None:
                stuck_at = waited
            elif waited - stuck_at >= STUCK_S:
                ticket.send_last_away()
                stuck_at = None  # what it held is free only some seconds after it has left
            if waited > longest:
                raise ValueError(f"cluster: waited {longest:g} s in vain: {_describe_wait(reservation)}; {WAIT_FIX}")
            if waited - told_at >= NEWS_S and (line := _describe_wait(reservation, turn.before)) != last_line:
                site.say(line)
                last_line, told_at = line, waited
            time.sleep(POLL_S)


def _describe_wait(reservation: Sequence[Bundle], before: int = 0) -> str:
    """Return what is waited for, and who has it, in a line."""
    total_devices, free = (cast("dict[str, float]", ask()) for ask in (ray.cluster_resources, ray.available_resources))
    holders = describe_holders(read_holdings(), total_devices, free)
    line = f"; {many(before, 'run')} came before" if before else ""
    return f"waiting for {describe_devices(*total(reservation))}; {holders}{line}"


def _check_nodes(
    reservation: Sequence[Bundle], config: ClusterConfig, together: int, nodes: Sequence[Node], holding: Holding
) -> None:
    """Raise ValueError where the bundles do not fit on the nodes, however long they wait."""
    if arrange(reservation, nodes, config.spread, together) is None:
        raise ValueError(describe_fragments(reservation, nodes))
    if arrange(reservation, change_free(nodes, [holding], -1), config.spread, together) is None:
        raise ValueError(
            f"cluster: {describe_devices(*total(reservation))} asked for do not fit beside {holding.holder}, which holds "
            f"{describe_devices(holding.cpus, holding.gpus)} of {describe_devices(*_sum(nodes))}: lower --cpus and --gpus of rl submit"
        )


def _sum(nodes: Sequence[Node]) -> tuple[float, float]:
    return sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)


def _is_deadlock(reservation: Sequence[Bundle], config: ClusterConfig, together: int, ticket: Ticket) -> bool:
    """Return whether runs that wait behind this one hold, for their own processes, what this one waits for. Only where no run
    works: one that does will end, and give its devices back."""
    if read_holdings() or not (behind := ticket.holdings_behind()):
        return False
    freed = change_free(live_nodes(free=True), behind, 1)
    return arrange(reservation, freed, config.spread, together) is not None


def _try_to_reserve(
    reservation: Sequence[Bundle], config: ClusterConfig, together: int, name: str
) -> tuple[PlacementGroup, list[Node]] | None:
    """Reserve the bundles on what is free under a run's name, each on the node that `arrange` gives it; return None
    where it is not enough."""
    nodes = live_nodes(free=True)
    places = arrange(reservation, nodes, config.spread, together)
    if places is None:
        return None
    resources: list[dict[str, float]] = []
    for bundle in reservation:
        resources.append({"CPU": bundle.cpus, "GPU": bundle.gpus} if bundle.gpus else {"CPU": bundle.cpus})
    # Ray's own PACK and SPREAD number bundles as they come: ranks that talk to each other would lie anywhere.
    selectors = [{NODE_ID_LABEL_KEY: nodes[place].id} for place in places]
    # Ray reserves all bundles or none: two runs never hold a half each. The number tells reservations of one run apart.
    unique = f"{MARK}{name}{SEPARATOR}{secrets.token_hex(4)}"
    group = placement_group(resources, strategy="PACK", bundle_label_selector=selectors, name=unique)
    if ray.wait([group.ready()], timeout=ATTEMPT_S)[0]:
        return group, [nodes[place] for place in places]
    # Left to itself the request would stay with Ray, and take the devices once they are free.
    ray.util.remove_placement_group(group)
    return None


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
