"""Which actor sits where: pure arithmetic over roles, used by `rl check` for its plan and by the cluster for real."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rl.workers.trainer import TrainerConfig
from rollouts.sampler import EngineConfig

TRAINERS = ("policy", "critic", "reference", "reward_model")
"""Roles of a trainer's kind; the last two are asked and never learn."""


@dataclass
class ClusterConfig:
    """`colocated`: roles take turns on the same devices; `split`: every actor has its own."""

    address: str | None = None
    """Of a running Ray cluster; default: RAY_ADDRESS, else a Ray of one's own on this machine."""
    placement: Literal["colocated", "split"] = "colocated"


@dataclass(frozen=True, slots=True)
class Bundle:
    """Devices reserved together on one node, and the actors that live on them."""

    cpus: float
    gpus: int
    actors: tuple[tuple[str, int], ...]
    """(role, index) of each."""

    def share(self) -> tuple[float, float]:
        """(CPUs, GPUs) that each actor claims."""
        return self.cpus / len(self.actors), self.gpus / len(self.actors)


@dataclass(frozen=True, slots=True)
class Role:
    count: int
    cpus: int
    gpus: int


def roles(names: set[str], engines: EngineConfig, training: TrainerConfig, gpu: bool) -> dict[str, Role]:
    """How many actors each role of `names` (engine, policy, critic, reference, reward_model) has, and the devices of one."""
    role = {"engine": Role(engines.count, engines.threads, engines.gpus if gpu else 0)}
    role |= {name: Role(training.ranks, training.threads, int(gpu)) for name in TRAINERS}
    return {name: role[name] for name in role if name in names}


def bundles(roles: Mapping[str, Role], placement: Literal["colocated", "split"]) -> list[Bundle]:
    """One bundle per actor when split. Colocated: as many bundles as the largest role has actors; each role's actors
    are dealt round, beginning where the last role ended, so that roles that work at the same time part company."""
    if placement == "split":
        return [Bundle(r.cpus, r.gpus, ((name, i),)) for name, r in roles.items() for i in range(r.count)]
    count = max(role.count for role in roles.values())
    seats: list[list[tuple[str, int]]] = [[] for _ in range(count)]
    turn = 0
    for name, role in roles.items():
        for i in range(role.count):
            seats[turn % count].append((name, i))
            turn += 1
    return [
        Bundle(max(roles[n].cpus for n, _ in seat), max(roles[n].gpus for n, _ in seat), tuple(seat)) for seat in seats
    ]


def total(placed: Sequence[Bundle]) -> tuple[float, int]:
    """(CPUs, GPUs) over all bundles."""
    return sum(b.cpus for b in placed), sum(b.gpus for b in placed)


def shortage(placed: Sequence[Bundle], cpus: float, gpus: float) -> str | None:
    """One line that says what is asked for and what is there; None when it fits."""
    need_cpus, need_gpus = total(placed)
    counts = Counter(name for b in placed for name, _ in b.actors)
    actors = ", ".join(f"{n} × {name}" if n > 1 else name for name, n in counts.items())
    for kind, need, have in (("GPUs", need_gpus, gpus), ("CPUs", need_cpus, cpus)):
        if need > have:
            return (
                f"cluster: {need:g} {kind} asked for ({actors}), {have:g} present; lower engines.count, engines.threads, "
                "trainer.ranks or trainer.threads, or set cluster.placement=colocated"
            )
    return None
