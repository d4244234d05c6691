"""The holders of a Ray cluster's devices: runs, by the names of their reservations, jobs' own processes, and other programs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from ray import util

from rl.units import many
from rl.workers.nodes import Node
from rl.workers.placement import SUBMITTED
from rl.workers.waiting_line import Holding

MARK = "groundtone: "
"""Beginning of the name of a reservation of ours; the rest says whose it is."""
SEPARATOR = " #"
"""Begins the number at the end of such a name."""
HOLDERS_SHOWN = 3


def name_run(folder: Path | None, environment: Mapping[str, str] = os.environ) -> str:
    """Return the name under which a run reserves: its job, where it is one, and its directory."""
    job = json.loads(environment.get(SUBMITTED, "{}")).get("job")
    place = str(folder) if folder else f"process {os.getpid()}"
    return f"job {job} ({place})" if job else place


def own_holding(node: str, environment: Mapping[str, str] = os.environ) -> Holding:
    """Return what Ray holds for this job's own process, on this node, as `rl submit --cpus --gpus` has asked; nothing outside of
    a job."""
    sent = json.loads(environment.get(SUBMITTED, "{}"))
    return Holding("the job's own process", sent.get("cpus") or 0.0, sent.get("gpus") or 0.0, node)


def read_holdings() -> list[Holding]:
    """Return the reservations of all runs on the cluster."""
    groups = cast("dict[str, dict[str, Any]]", cast("Any", util).placement_group_table())  # untyped by Ray
    holdings: list[Holding] = []
    for group in groups.values():
        # A reservation that is pending or was removed holds nothing.
        if group["name"].startswith(MARK) and group["state"] == "CREATED":
            bundles: list[dict[str, float]] = list(group["bundles"].values())
            cpus, gpus = (sum(bundle.get(kind, 0.0) for bundle in bundles) for kind in ("CPU", "GPU"))
            holdings.append(Holding(group["name"].removeprefix(MARK).rpartition(SEPARATOR)[0], cpus, gpus))
    return holdings


def describe_devices(cpus: float, gpus: float) -> str:
    """Return `2 GPUs and 8 CPUs`, or `8 CPUs` without GPUs."""
    return f"{many(gpus, 'GPU')} and {many(cpus, 'CPU')}" if gpus else many(cpus, "CPU")


def describe_holders(holdings: Sequence[Holding], total: Mapping[str, float], free: Mapping[str, float]) -> str:
    """Return what is free of a cluster's devices in all, and who holds the rest, in a line: `free now: 1 CPU; /runs/a holds 2
    CPUs; other programs or jobs' own processes hold 1 CPU (ray status)`."""
    parts = [f"free now: {describe_devices(free.get('CPU', 0.0), free.get('GPU', 0.0))}"]
    parts += [f"{held.holder} holds {describe_devices(held.cpus, held.gpus)}" for held in holdings[:HOLDERS_SHOWN]]
    if more := holdings[HOLDERS_SHOWN:]:
        sums = sum(held.cpus for held in more), sum(held.gpus for held in more)
        parts.append(f"{many(len(more), 'other run')} hold{'s' if len(more) == 1 else ''} {describe_devices(*sums)}")
    cpus, gpus = (
        total.get(kind, 0.0) - free.get(kind, 0.0) - held
        for kind, held in (("CPU", sum(h.cpus for h in holdings)), ("GPU", sum(h.gpus for h in holdings)))
    )
    if cpus > 0 or gpus > 0:
        parts.append(
            f"other programs or jobs' own processes hold {describe_devices(max(cpus, 0.0), max(gpus, 0.0))} (ray status)"
        )
    return "; ".join(parts)


def change_free(nodes: Sequence[Node], holdings: Sequence[Holding], sign: int) -> list[Node]:
    """Return the nodes with what is held on them added (sign 1) to what they have, or taken from it (-1)."""
    changed = list(nodes)
    for held in holdings:
        for i, node in enumerate(changed):
            if node.id == held.node:
                changed[i] = replace(node, cpus=node.cpus + sign * held.cpus, gpus=node.gpus + sign * held.gpus)
    return changed
