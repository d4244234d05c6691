"""Choice of the node for each bundle: arithmetic over nodes, for the plan that `rl check` shows and for the real cluster."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rl.workers.placement import TRAINERS, Bundle, Devices

NODES_SHOWN = 4
"""Nodes that a line lists one by one; of more it shows the first two and the last."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster, with what of it is to be had."""

    id: str
    """Ray's name for it; of a node that is only planned, its number."""
    cpus: float
    gpus: float
    host: str = ""
    """Address, for people."""


def planned_nodes(devices: Devices) -> list[Node]:
    """Return the nodes of machines that are alike."""
    return [Node(str(i + 1), devices.cpus_per_node, devices.gpus_per_node) for i in range(devices.nodes)]


def arrange(
    bundles: Sequence[Bundle], nodes: Sequence[Node], spread: Collection[str] = (), together: int = 1
) -> list[int] | None:
    """Return the node (its index) of each bundle, or None where they do not fit.

    A role that is not `spread` fills as few nodes as hold it, a role that is goes evenly to all. In either case neighbours
    in number are on one node: ranks 0 to 7 on the first, 8 to 15 on the second. So many trainers `together` share each
    micro-batch, and are not divided where the nodes allow. A bundle never is, so neither is a tensor-parallel engine.
    """
    groups = _groups(bundles)
    # Trainers first: they are the most, and talk the most. Where the rest then finds no whole node, the widest first.
    by_trainers = sorted(groups, key=lambda group: bundles[group[0]].actors[0][0] not in TRAINERS)
    by_width = sorted(groups, key=lambda group: (-bundles[group[0]].gpus, -bundles[group[0]].cpus))
    # Ranks that share micro-batches are divided rather than refused: `describe_divided` tells of it.
    for unit in dict.fromkeys((together, 1)):
        for order in (by_trainers, by_width):
            if (places := _arrange_groups(order, bundles, nodes, spread, unit)) is not None:
                return places
    return None


def _groups(bundles: Sequence[Bundle]) -> list[list[int]]:
    """Return the numbers of the bundles that belong together: those of a role, and those of roles that share bundles."""
    groups: list[list[int]] = []
    names = set[str]()
    for i, bundle in enumerate(bundles):
        here: set[str] = {name for name, _ in bundle.actors}
        # Bundles come role by role (`rl.workers.placement.bundles`), so a group ends where no role of it goes on.
        if not names & here:
            groups.append([])
            names = set[str]()
        groups[-1].append(i)
        names |= here
    return groups


def _arrange_groups(
    groups: Sequence[Sequence[int]],
    bundles: Sequence[Bundle],
    nodes: Sequence[Node],
    spread: Collection[str],
    together: int,
) -> list[int] | None:
    places = [0] * len(bundles)
    free = [(node.cpus, node.gpus) for node in nodes]
    for group in groups:
        names = {name for i in group for name, _ in bundles[i].actors}
        members = [bundles[i] for i in group]
        # Of bundles with several GPUs each holds several ranks already.
        unit = together if names & {*TRAINERS} and all(bundle.gpus <= 1 for bundle in members) else 1
        is_spread = any(name.split(" ")[0] in spread for name in names)
        chosen = _deal(members, free) if is_spread else _fill(members, free, unit)
        if chosen is None:
            return None
        for i, node in zip(group, chosen, strict=True):
            places[i] = node
            free[node] = _take(free[node], bundles[i])
    return places


Free = tuple[float, float]
"""(CPUs, GPUs) of a node that nobody has yet."""


def _take(free: Free, bundle: Bundle) -> Free:
    return free[0] - bundle.cpus, free[1] - bundle.gpus


def _holds(free: Free, bundle: Bundle) -> bool:
    return free[0] >= bundle.cpus and free[1] >= bundle.gpus


def _count_held(free: Free, bundles: Sequence[Bundle]) -> int:
    """Return how many bundles, from the first on, fit."""
    for count, bundle in enumerate(bundles):
        if not _holds(free, bundle):
            return count
        free = _take(free, bundle)
    return len(bundles)


def _fill(bundles: Sequence[Bundle], free: Sequence[Free], unit: int) -> list[int] | None:
    """Return the node of each bundle, on as few nodes as hold them; so many in a row are on one node."""
    places: list[int] = []
    open_nodes = list(range(len(free)))
    while len(places) < len(bundles):
        rest = bundles[len(places) :]
        # The emptiest node holds most; of equal ones the first, which is that of the run itself.
        counts = {i: _count_held(free[i], rest) for i in open_nodes}
        node = max(open_nodes, key=lambda i: counts[i], default=-1)
        count = counts.get(node, 0)
        if count < len(rest):
            count -= count % unit  # trainers that share their micro-batches are not divided between two nodes
        if not count:
            return None
        places += [node] * count
        # What it has left holds no further unit of this group.
        open_nodes.remove(node)
    return places


def _deal(bundles: Sequence[Bundle], free: Sequence[Free]) -> list[int] | None:
    """Return the node of each bundle, as even as the nodes allow."""
    left, counts = list(free), [0] * len(free)
    dealt: list[int] = []
    for bundle in bundles:
        node = min((i for i in range(len(left)) if _holds(left[i], bundle)), key=lambda i: counts[i], default=None)
        if node is None:
            return None
        left[node], counts[node] = _take(left[node], bundle), counts[node] + 1
        dealt.append(node)
    # Dealt in turns neighbours lie apart; with as many on each node, but in order of nodes, they lie together.
    in_order, left = sorted(dealt), list(free)
    for bundle, node in zip(bundles, in_order, strict=True):
        if not _holds(left[node], bundle):  # bundles that differ: their own order does not fit
            return dealt
        left[node] = _take(left[node], bundle)
    return in_order


def describe_fragments(bundles: Sequence[Bundle], nodes: Sequence[Node], word: str = "present") -> str:
    """Return one line on bundles that fit into all nodes together, and not into each."""
    widest = max(bundles, key=lambda bundle: (bundle.gpus, bundle.cpus))
    need = f"{widest.gpus} GPUs and {widest.cpus:g} CPUs" if widest.gpus else f"{widest.cpus:g} CPUs"
    names = ", ".join(dict.fromkeys(name for name, _ in widest.actors))
    sizes = sorted(
        {f"{node.gpus:g} GPUs and {node.cpus:g} CPUs" if widest.gpus else f"{node.cpus:g}" for node in nodes}
    )
    return (
        f"cluster: {len(bundles)} bundles, the largest of {need} ({names}), do not fit on {len(nodes)} nodes of "
        f"{' or '.join(sizes)} {word}, though all of them together are enough: none is divided; lower engines.gpus, "
        "engines.count or trainer.ranks"
    )


def describe_nodes(bundles: Sequence[Bundle], places: Sequence[int], names: Sequence[str]) -> str:
    """Return `1: policy 0-7, engine 0; 2: policy 8-15, engine 1`: what is on each node that has something, by its name."""
    used = list(dict.fromkeys(sorted(places)))
    texts: list[str] = []
    for node in used:
        numbers: dict[str, list[int]] = {}
        for bundle in (bundle for bundle, place in zip(bundles, places, strict=True) if place == node):
            for name, i in bundle.actors:
                numbers.setdefault(name, []).append(i)
        texts.append(f"{names[node]}: " + ", ".join(_ranges(name, found) for name, found in numbers.items()))
    if len(texts) > NODES_SHOWN:
        texts = [*texts[:2], "…", texts[-1]]
    return "; ".join(texts)


def describe_placed(bundles: Sequence[Bundle], nodes: Sequence[Node]) -> str:
    """Return `describe_nodes` of bundles whose nodes are these; a node goes by its address, with its id where several have
    one address."""
    distinct = list(dict.fromkeys(nodes))
    hosts = [node.host for node in distinct]
    names = [node.host if hosts.count(node.host) == 1 else f"{node.host} {node.id[:8]}" for node in distinct]
    return describe_nodes(bundles, [distinct.index(node) for node in nodes], names)


def _ranges(name: str, numbers: Sequence[int]) -> str:
    """Return `policy 0-7`, or `policy 0-3 6` of numbers with a gap."""
    if name.startswith("judge "):
        return name
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return f"{name} " + " ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in runs)


def describe_divided(
    bundles: Sequence[Bundle], places: Sequence[int], sequence_parallel: int, names: Sequence[str]
) -> str | None:
    """Return one line on ranks that share each micro-batch and are on several nodes; None where there are none."""
    if sequence_parallel == 1:
        return None
    on = {seat: place for bundle, place in zip(bundles, places, strict=True) for seat in bundle.actors}
    for role in TRAINERS:
        ranks = sum(name == role for name, _ in on)
        # Whole groups alone: a number that does not divide the ranks is refused (`rl.planning.sharing`).
        for first in range(0, ranks - sequence_parallel + 1, sequence_parallel):
            nodes = sorted({on[role, rank] for rank in range(first, first + sequence_parallel)})
            if len(nodes) > 1:
                last = first + sequence_parallel - 1
                return (
                    f"trainer.sequence_parallel: {role} {first}-{last} share each micro-batch and are on nodes "
                    f"{' and '.join(names[node] for node in nodes)}, between which every layer is then exchanged; choose a "
                    "number that divides the ranks of a node"
                )
    return None
