"""Numbers of engines and trainer ranks that fill the machines: what `auto` means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rl.workers.nodes import arrange, planned_nodes
from rl.workers.placement import TRAINERS, Devices, Placement, Role, bundles, total

ON_CPU = 2
"""Engines, and ranks, of `auto` on a CPU. Two processes sample twice as fast as one, and each takes half a GiB and its share of
the model: more are for who asks for them."""


def fill(roles: Mapping[str, Role], placement: Placement, devices: Devices) -> tuple[int, int]:
    """Return (engines, ranks) that use all devices, at least 1 of each. `roles` have the devices of one actor each; their
    counts of engines and trainers do not matter."""
    if not devices.gpus:
        return _fill_cpus(roles, placement, devices)
    trainers = [role for name, role in roles.items() if name in TRAINERS]
    engine, trainer = roles.get("engine"), max(trainers, key=lambda role: role.cpus, default=None)
    per_node, gpus = devices.gpus_per_node, devices.gpus
    most_ranks = gpus
    if placement == "split":
        gpus -= sum(role.gpus for name, role in roles.items() if name not in TRAINERS and name != "engine")
        # Half of the GPUs for engines, which take as long as all trainers together.
        most_ranks = (gpus // 2 if engine else gpus) // max(1, len(trainers))
        gpus -= max(1, most_ranks) * len(trainers)
    engines, ranks = 1, 1
    if engine:
        engines = gpus // engine.gpus if placement == "split" else devices.nodes * (per_node // engine.gpus)
        engines = min(engines, devices.nodes * (devices.cpus_per_node // engine.cpus))
    if trainer:
        ranks = min(most_ranks, devices.nodes * (devices.cpus_per_node // trainer.cpus))
    while engines > 1 and not _fits(roles, placement, devices, engines, ranks):
        engines -= 1  # enough GPUs in all, and no node with as many as an engine takes
    return max(1, engines), max(1, ranks)


def _fits(roles: Mapping[str, Role], placement: Placement, devices: Devices, engines: int, ranks: int) -> bool:
    """Return whether so many engines and ranks find nodes."""
    counts = {name: engines if name == "engine" else ranks for name in roles if name == "engine" or name in TRAINERS}
    sized = {name: replace(role, count=counts.get(name, role.count)) for name, role in roles.items()}
    return arrange(bundles(sized, placement), planned_nodes(devices)) is not None


def _fill_cpus(roles: Mapping[str, Role], placement: Placement, devices: Devices) -> tuple[int, int]:
    """Return two of each where the CPUs are enough, else one."""
    several = {
        name: replace(role, count=ON_CPU) if name in TRAINERS or name == "engine" else role
        for name, role in roles.items()
    }
    fits = total(bundles(several, placement))[0] <= devices.cpus if several else False
    return (ON_CPU, ON_CPU) if fits else (1, 1)
