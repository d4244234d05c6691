"""Which actor sits where: pure arithmetic over roles, used by `rl check` for its plan and by the cluster for real."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from rl.config import ConfigError
from rl.workers.trainer import TrainerConfig
from rollouts.judge_engine import JudgeConfig
from rollouts.sampler import EngineConfig

TRAINERS = ("policy", "critic", "reference", "reward_model")
"""Roles of a trainer's kind; the last two are asked and never learn."""


@dataclass
class ExpectConfig:
    """Machines that a recipe is meant for: `rl check` plans for them, wherever it is asked."""

    nodes: int = 1
    gpus_per_node: int = 8
    gpu_memory_gb: float = 80.0
    cpus_per_node: int = 64
    train_tflops: float | None = None
    """What one GPU gets done in training, in 10¹² operations a second; with the next one the plan tells times."""
    engine_tokens_per_second: float | None = None
    """What one engine writes, all its samples together."""

    def validate(self, place: str) -> None:
        for name, least in (("nodes", 1), ("gpus_per_node", 0), ("cpus_per_node", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{place}.{name}: must be at least {least}; got {getattr(self, name)}")
        for name in ("gpu_memory_gb", "train_tflops", "engine_tokens_per_second"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ConfigError(f"{place}.{name}: must be above 0; got {getattr(self, name)}")
        if (self.train_tflops is None) != (self.engine_tokens_per_second is None):
            raise ConfigError(f"{place}: times need both train_tflops and engine_tokens_per_second; give both or none")

    @property
    def gpus(self) -> int:
        return self.nodes * self.gpus_per_node

    @property
    def cpus(self) -> int:
        return self.nodes * self.cpus_per_node


@dataclass
class ClusterConfig:
    """`colocated`: roles take turns on the same devices; `split`: every actor has its own."""

    address: str | None = None
    """Of a running Ray cluster; default: RAY_ADDRESS, else a Ray of one's own on this machine."""
    placement: Literal["colocated", "split"] = "colocated"
    expect: ExpectConfig | None = None
    """What the plan is made for; default: this machine. A run is held against what is really there."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Devices reserved together on one node, and the actors that live on them."""

    cpus: float
    gpus: int
    actors: tuple[tuple[str, int], ...]
    """(role, index) of each."""
    places: tuple[int | None, ...] = ()
    """The device of each actor within a bundle that several GPUs make; None: all of them."""

    def share(self) -> float:
        """CPUs that each actor claims."""
        return self.cpus / len(self.actors)

    def visible(self, ids: Sequence[str]) -> dict[tuple[str, int], tuple[str, ...]]:
        """Which of the bundle's GPUs each actor sees. Actors claim none of Ray, which deals shares of GPUs as it likes:
        the bundle keeps them from others, and what an actor may use is said here."""
        assert len(ids) == self.gpus, f"{len(ids)} devices for {self.gpus}"
        places = self.places or (None,) * len(self.actors)
        return {
            actor: tuple(ids) if place is None else (ids[place],)
            for actor, place in zip(self.actors, places, strict=True)
        }

    @property
    def devices(self) -> list[list[tuple[str, int]]]:
        """The actors that meet on each."""
        if not self.places:
            return [list(self.actors)]
        seats = list(zip(self.actors, self.places, strict=True))
        return [[actor for actor, place in seats if place in (i, None)] for i in range(self.gpus)]


@dataclass(frozen=True, slots=True)
class Role:
    count: int
    cpus: int
    gpus: int


def roles(
    names: set[str], engines: EngineConfig, training: TrainerConfig, gpu: bool, judges: Mapping[str, JudgeConfig]
) -> dict[str, Role]:
    """How many actors each role of `names` (engine, policy, critic, reference, reward_model, `judge NAME`) has, and the
    devices of one."""
    role = {"engine": Role(engines.count, engines.threads, engines.gpus if gpu else 0)}
    role |= {name: Role(training.ranks, training.threads, int(gpu)) for name in TRAINERS}
    role |= {f"judge {name}": Role(1, judge.threads, judge.gpus if gpu else 0) for name, judge in judges.items()}
    return {name: role[name] for name in role if name in names}


def bundles(roles: Mapping[str, Role], placement: Literal["colocated", "split"]) -> list[Bundle]:
    """One bundle per actor when split. Colocated: as few bundles as hold the largest role, each as wide as the widest
    actor (a tensor-parallel engine), on whose GPUs those of one GPU sit side by side. Each role's actors are dealt
    round, beginning where the last role ended, so that roles that work at the same time part company."""
    if placement == "split":
        return [Bundle(r.cpus, r.gpus, ((name, i),)) for name, r in roles.items() for i in range(r.count)]
    width = max(1, *(role.gpus for role in roles.values()))
    count = max(role.count if role.gpus > 1 else ceil(role.count / width) for role in roles.values())
    seats: list[list[tuple[int, str, int]]] = [[] for _ in range(count)]
    turn = 0
    for name, role in roles.items():
        step = width if role.gpus > 1 else 1
        turn = ceil(turn / step) * step
        for i in range(role.count):
            bundle, place = divmod(turn % (count * width), width)
            seats[bundle].append((place, name, i))
            turn += step
    return [_bundle(seat, roles, width) for seat in seats if seat]


def _bundle(seats: Sequence[tuple[int, str, int]], roles: Mapping[str, Role], width: int) -> Bundle:
    """On each device CPUs for the actor that needs most; at least those of an actor that has all devices."""
    whole = {name for name, role in roles.items() if role.gpus > 1}
    actors = tuple((name, i) for _, name, i in seats)
    most = max((roles[name].cpus for name, _ in actors if name in whole), default=0)
    each = sum(
        max((roles[n].cpus for at, n, _ in seats if at == i and n not in whole), default=0) for i in range(width)
    )
    if width == 1:
        return Bundle(each, max(roles[name].gpus for name, _ in actors), actors)
    return Bundle(max(most, each), width, actors, tuple(None if n in whole else at for at, n, _ in seats))


def total(placed: Sequence[Bundle]) -> tuple[float, int]:
    """(CPUs, GPUs) over all bundles."""
    return sum(b.cpus for b in placed), sum(b.gpus for b in placed)


def misfit(placed: Sequence[Bundle], expect: ExpectConfig) -> str | None:
    """One line that says what does not fit the expected nodes; None when all does."""
    widest = max((bundle.gpus for bundle in placed), default=0)
    if widest > expect.gpus_per_node:
        return (
            f"engines.gpus: {widest} GPUs on one node asked for, cluster.expect.gpus_per_node is {expect.gpus_per_node}"
        )
    return shortage(placed, expect.cpus, expect.gpus, "expected")


def shortage(placed: Sequence[Bundle], cpus: float, gpus: float, word: str = "present") -> str | None:
    """One line that says what is asked for and what is there; None when it fits."""
    need_cpus, need_gpus = total(placed)
    counts = Counter(name for b in placed for name, _ in b.actors)
    actors = ", ".join(f"{n} × {name}" if n > 1 else name for name, n in counts.items())
    for kind, need, have in (("GPUs", need_gpus, gpus), ("CPUs", need_cpus, cpus)):
        if need > have:
            return (
                f"cluster: {need:g} {kind} asked for ({actors}), {have:g} {word}; lower engines.count, engines.threads, "
                "trainer.ranks or trainer.threads, or set cluster.placement=colocated"
            )
    return None
