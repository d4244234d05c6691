"""Placement of actors on devices: arithmetic over roles, for the plan that `rl check` shows and for the real cluster."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Literal

from rl.config import ConfigError, did_you_mean
from rl.units import GIB
from rl.workers.trainer_config import TrainerConfig
from rollouts.judge_engine import JudgeConfig
from rollouts.serving import EngineConfig

Placement = Literal["colocated", "split"]
TRAINERS = ("policy", "critic", "reference", "teacher", "reward_model")
"""Roles whose actors are trainers; the last three give answers and never learn."""
ROLES = ("engine", *TRAINERS, "judge")
WAIT_S = 120.0  # of `cluster.wait_s` where the recipe has none, outside of jobs
SUBMITTED = "GROUNDTONE_SUBMITTED"
"""Environment variable of a job of `rl submit`: the recipe, overrides and address that the user gave, the job's name, and what its own
process holds, as JSON."""


@dataclass
class ExpectConfig:
    """Machines that a recipe is meant for: `rl check` plans for them, wherever it runs."""

    nodes: int = 1
    """Number of machines."""
    gpus_per_node: int = 8
    """GPUs of each machine."""
    gpu_memory_gb: float = 80.0
    """Memory of each GPU, in GB."""
    cpus_per_node: int = 64
    """CPU cores of each machine."""
    train_tflops: float | None = None
    """Training speed of one GPU, in 10¹² operations a second; with the next field the plan gives times."""
    engine_tokens_per_second: float | None = None
    """Generation speed of one engine, all its samples together."""

    def validate(self, place: str) -> None:
        """Raise ConfigError for a count or speed out of range, or one speed without the other."""
        for name, least in (("nodes", 1), ("gpus_per_node", 0), ("cpus_per_node", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{place}.{name}: must be at least {least}; got {getattr(self, name)}")
        for name in ("gpu_memory_gb", "train_tflops", "engine_tokens_per_second"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ConfigError(f"{place}.{name}: must be above 0; got {getattr(self, name)}")
        if (self.train_tflops is None) != (self.engine_tokens_per_second is None):
            raise ConfigError(f"{place}: times need both train_tflops and engine_tokens_per_second; give both or none")

    @property
    def devices(self) -> Devices:
        """The devices of these machines."""
        return Devices(self.nodes, self.gpus_per_node, self.cpus_per_node, self.gpu_memory_gb * GIB)


@dataclass(frozen=True)
class Devices:
    """Devices that a recipe runs on: those that are there, or those that it expects."""

    nodes: int
    gpus_per_node: int
    cpus_per_node: int
    gpu_memory: float = 0.0
    """Bytes of the smallest GPU; 0 where that is not known."""

    @property
    def gpus(self) -> int:
        """Number of GPUs on all nodes."""
        return self.nodes * self.gpus_per_node

    @property
    def cpus(self) -> int:
        """Number of CPUs on all nodes."""
        return self.nodes * self.cpus_per_node


@dataclass
class ClusterConfig:
    """The Ray cluster that a recipe runs on."""

    address: str | None = None
    """Address of a running Ray cluster; default: RAY_ADDRESS, else a new Ray on this machine."""
    placement: Placement = "colocated"
    """`colocated`: roles take turns on the same devices; `split`: every actor has devices of its own."""
    spread: list[str] = field(default_factory=list[str])
    """Roles (engine, policy, critic, reference, teacher, reward_model, judge) whose actors go evenly to all nodes. The others fill
    one node after the other, so that ranks that talk to each other are near. Colocated roles go with each other."""
    wait_s: float | None = None
    """Seconds to wait for devices that other runs hold, in the order in which the runs came. 0: for ever, which is the default
    of a job of `rl submit`; elsewhere it is 120."""
    heartbeat_s: float = 30.0
    """Seconds for which a process of the run may stand still, stopped or frozen, before the run ends. A long step or load
    does not stand still. 0: for ever."""
    expect: ExpectConfig | None = None
    """Machines that the plan is made for; default: this one. A run is always checked against the real machines."""

    def validate(self, place: str) -> None:
        """Raise ConfigError for a negative time, or a role that is none."""
        for name in ("heartbeat_s", "wait_s"):
            if (getattr(self, name) or 0) < 0:
                raise ConfigError(f"{place}.{name}: must not be negative; got {getattr(self, name)}")
        for role in self.spread:
            if role not in ROLES:
                raise ConfigError(
                    f"{place}.spread: no role '{role}'{did_you_mean(role, ROLES)}; roles are {', '.join(ROLES)}"
                )

    def longest_wait(self) -> float:
        """Return the seconds to wait for devices, perhaps infinity."""
        if self.wait_s is None:
            return math.inf if SUBMITTED in os.environ else WAIT_S
        return self.wait_s or math.inf

    def running_cluster(self) -> str | None:
        """Return the address of the running cluster that the recipe or RAY_ADDRESS names, or None for a Ray of this
        machine's own."""
        address = self.address or os.environ.get("RAY_ADDRESS")
        return None if address == "local" else address or None  # `local` is Ray's word for a new one


@dataclass(frozen=True, slots=True)
class Bundle:
    """Devices reserved together on one node, and the actors that live on them."""

    cpus: float
    gpus: int
    actors: tuple[tuple[str, int], ...]
    """(role, index) of each."""
    places: tuple[int | None, ...] = ()
    """Device index of each actor within a bundle of several GPUs; None: the actor uses all of them."""

    @property
    def cpus_per_actor(self) -> float:
        """Share of the CPUs that each actor claims."""
        return self.cpus / len(self.actors)

    def gpus_by_actor(self, ids: Sequence[str]) -> dict[tuple[str, int], tuple[str, ...]]:
        """Return the GPUs that each actor may use, of those (`ids`) that Ray reserved for the bundle."""
        # The bundle keeps the GPUs from others. Within it actors claim none of Ray, which would choose the devices
        # itself where several actors share one.
        assert len(ids) == self.gpus, f"{len(ids)} devices for {self.gpus}"
        places = self.places or (None,) * len(self.actors)
        return {
            actor: tuple(ids) if place is None else (ids[place],)
            for actor, place in zip(self.actors, places, strict=True)
        }

    @property
    def devices(self) -> list[list[tuple[str, int]]]:
        """Actors on each device of the bundle."""
        if not self.places:
            return [list(self.actors)]
        seats = list(zip(self.actors, self.places, strict=True))
        return [[actor for actor, place in seats if place in (i, None)] for i in range(self.gpus)]


@dataclass(frozen=True, slots=True)
class Role:
    """Number of actors in a role, and the devices of each."""

    count: int
    cpus: int
    gpus: int


def roles(
    names: set[str], engines: EngineConfig, training: TrainerConfig, gpu: bool, judges: Mapping[str, JudgeConfig]
) -> dict[str, Role]:
    """Return the roles in `names` (of engine, policy, critic, reference, teacher, reward_model and `judge NAME`) with their
    numbers of actors and the devices of each; `gpu`: whether the cluster has GPUs."""
    role = {"engine": Role(engines.count, engines.threads, engines.gpus if gpu else 0)}
    role |= {name: Role(training.ranks, training.threads, int(gpu)) for name in TRAINERS}
    role |= {f"judge {name}": Role(1, judge.threads, judge.gpus if gpu else 0) for name, judge in judges.items()}
    return {name: role[name] for name in role if name in names}


def bundles(roles: Mapping[str, Role], placement: Placement) -> list[Bundle]:
    """Return the bundles to reserve. Split: one for each actor. Colocated: as few as hold the largest role, each as
    wide as the widest actor (a tensor-parallel engine); actors with one GPU sit side by side on a bundle's GPUs."""
    if not roles:  # stages that filter what is there already need nobody
        return []
    if placement == "split":
        return [Bundle(r.cpus, r.gpus, ((name, i),)) for name, r in roles.items() for i in range(r.count)]
    width = max(1, *(role.gpus for role in roles.values()))
    # A wide actor takes a whole bundle; narrow ones take one device each, `width` of them a bundle.
    count = max(role.count if role.gpus > 1 else ceil(role.count / width) for role in roles.values())
    seats: list[list[tuple[int, str, int]]] = [[] for _ in range(count)]
    # Each role's actors are dealt round the devices, beginning where the last role ended: so roles that work at the
    # same time (policy, critic) sit on different devices where there are enough.
    turn = 0
    for name, role in roles.items():
        step = width if role.gpus > 1 else 1
        turn = ceil(turn / step) * step  # a wide actor begins at a bundle's first device
        for i in range(role.count):
            bundle, place = divmod(turn % (count * width), width)
            seats[bundle].append((place, name, i))
            turn += step
    return [_bundle(seat, roles, width) for seat in seats if seat]


def _bundle(seats: Sequence[tuple[int, str, int]], roles: Mapping[str, Role], width: int) -> Bundle:
    """Return the bundle of these seats (device, role, index). Its CPUs are enough for whoever works at one time: on
    each device the actor that needs most, or an actor that has all devices."""
    wide_roles = {name for name, role in roles.items() if role.gpus > 1}
    actors = tuple((name, i) for _, name, i in seats)
    wide_cpus = max((roles[name].cpus for name, _ in actors if name in wide_roles), default=0)
    narrow_cpus = 0
    for device in range(width):
        narrow = [roles[name].cpus for place, name, _ in seats if place == device and name not in wide_roles]
        narrow_cpus += max(narrow, default=0)
    if width == 1:
        return Bundle(narrow_cpus, max(roles[name].gpus for name, _ in actors), actors)
    places = tuple(None if name in wide_roles else place for place, name, _ in seats)
    return Bundle(max(wide_cpus, narrow_cpus), width, actors, places)


def total(bundles: Sequence[Bundle]) -> tuple[float, int]:
    """Return (CPUs, GPUs) over all bundles."""
    return sum(bundle.cpus for bundle in bundles), sum(bundle.gpus for bundle in bundles)


def describe_misfit(roles: Mapping[str, Role], placement: Placement, expect: Devices) -> str | None:
    """Return one line that says what does not fit the expected nodes; None if everything does."""
    widest = max((bundle.gpus for bundle in bundles(roles, placement)), default=0)
    if widest > expect.gpus_per_node:
        return (
            f"engines.gpus: {widest} GPUs on one node asked for, cluster.expect.gpus_per_node is {expect.gpus_per_node}; "
            f"set engines.gpus={max(1, expect.gpus_per_node)}"
        )
    return describe_shortage(roles, placement, expect.cpus, expect.gpus, "expected")


def describe_shortage(
    roles: Mapping[str, Role], placement: Placement, cpus: float, gpus: float, word: str = "present"
) -> str | None:
    """Return one line that says what is asked for, what there is (`word`: present or expected) and which change helps; None if
    it fits."""
    if not (short := _short_of(roles, placement, cpus, gpus)):
        return None
    counts = Counter(name for bundle in bundles(roles, placement) for name, _ in bundle.actors)
    actors = ", ".join(f"{count} × {name}" if count > 1 else name for name, count in counts.items())
    kind, need, have = short
    fix = _find_fix(roles, placement, cpus, gpus) or f"use machines with more {kind}"
    return f"cluster: {need:g} {kind} asked for ({actors}), {have:g} {word}; {fix}"


def _short_of(
    roles: Mapping[str, Role], placement: Placement, cpus: float, gpus: float
) -> tuple[str, float, float] | None:
    """Return (`GPUs` or `CPUs`, how many are asked for, how many there are) of what is short; None if nothing is."""
    need_cpus, need_gpus = total(bundles(roles, placement))
    return next((s for s in (("GPUs", need_gpus, gpus), ("CPUs", need_cpus, cpus)) if s[1] > s[2]), None)


def _find_fix(roles: Mapping[str, Role], placement: Placement, cpus: float, gpus: float) -> str | None:
    """Return the smallest change of the recipe after which these roles fit, in words; None where none is found."""
    # From the mildest change on; the last, engines on one GPU each, is one that a large model may not bear.
    lowered = {name: replace(role, count=_most(role, cpus, gpus)) for name, role in roles.items()}
    for change, candidate in (
        ([], roles),
        ([], lowered),
        (["threads"], {name: replace(role, cpus=1) for name, role in roles.items()}),
        (["threads"], {name: replace(role, cpus=1, count=_most(role, cpus, gpus)) for name, role in roles.items()}),
        (["gpus"], {name: replace(role, gpus=min(role.gpus, 1)) for name, role in lowered.items()}),
    ):
        for where in dict.fromkeys((placement, "colocated")):
            if _short_of(candidate, where, cpus, gpus):
                continue
            words = [] if where == placement else ["cluster.placement=colocated"]
            words += _changes(roles, candidate, change)
            return f"set {' and '.join(words)}" if words else None
    return None


def _most(role: Role, cpus: float, gpus: float) -> int:
    """Return how many actors of the role, at most those that there are, the devices hold."""
    most = gpus // role.gpus if role.gpus else cpus // role.cpus
    return max(1, min(role.count, int(most)))


def _changes(roles: Mapping[str, Role], changed: Mapping[str, Role], also: Sequence[str]) -> list[str]:
    """Return the overrides that make `changed` of `roles`; one of a trainer's roles stands for all."""
    lines: dict[str, None] = {}
    for name, role in roles.items():
        judge = name.removeprefix("judge ")  # which may have spaces of its own
        place = "trainer" if name in TRAINERS else "engines" if name == "engine" else f"judges.{judge}"
        if changed[name].count != role.count:
            lines[f"{place}.{'ranks' if place == 'trainer' else 'count'}={changed[name].count}"] = None
        if "threads" in also and changed[name].cpus != role.cpus:
            lines[f"{place}.threads=1"] = None
        if "gpus" in also and changed[name].gpus != role.gpus:
            lines[f"{place}.gpus=1"] = None
    return [*lines]
