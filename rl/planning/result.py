"""Result of `rl check`, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rl.planning import memory
from rl.planning.memory import RolePlan
from rl.planning.transfer import Transfer
from rl.stages.workload import StagePlan
from rl.workers.machine import Machine
from rl.workers.placement import TRAINERS, Bundle, Devices, ExpectConfig, Placement

if TYPE_CHECKING:
    from rl.recipe.stage_list import Stage


@dataclass
class Plan:
    """Everything that `rl check` tells about a recipe."""

    recipe: str
    model: str
    thinking: str = ""
    """A line that says whether the model thinks, and why, where the recipe leaves that open."""
    origins: list[str] = field(default_factory=list[str])
    """Origins of models and data, a line each: `from disk`, or `from the hub`."""
    address: str | None = None
    """Address of the cluster that runs it; None for this machine (`present`) or for machines as `expected`."""
    present: Machine | None = None
    machines: Devices | None = None
    """Devices of this machine, of the cluster that was asked, or those expected; None for a cluster that was not asked."""
    expected: ExpectConfig | None = None
    gpu: bool = False
    placement: Placement = "colocated"
    placed: list[Bundle] = field(default_factory=list[Bundle])
    places: list[int] = field(default_factory=list[int])
    """Number, from 0, of each bundle's node; empty where the machines are not known or too small."""
    stages: list[StagePlan] = field(default_factory=list[StagePlan])
    roles: list[RolePlan] = field(default_factory=list[RolePlan])
    """Memory of every role; empty where the model's shape is not known."""
    gpu_memory: float = 0.0
    """Bytes of the smallest GPU, of those that are there or expected; 0 where that is not known."""
    engine_share: float | None = None
    """Share of a GPU that an engine takes, chosen to fit beside the trainers that share it; None where the recipe says how much
    it takes, or nothing is shared or known."""
    transfer: Transfer | None = None
    """Route and time of new weights to the engines; None without GPUs."""
    kv_tokens: int = 0
    """Tokens that one engine's cache holds; 0 where that is not known."""
    disk: dict[str, float] = field(default_factory=dict[str, float])
    """Upper bounds in bytes of `models`, `checkpoints` and `rollouts`, and what is `free` on the run's disk."""
    notes: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])
    """Mistakes that keep the recipe from running, each with its place and fix."""
    environments: list[str] = field(default_factory=list[str])
    """Environments that answer the model, a line each, with the stages in which they do."""

    @property
    def shares_devices(self) -> bool:
        """Return whether an engine and a trainer work on the same devices."""
        names = [{name for name, _ in bundle.actors} for bundle in self.placed]
        return any("engine" in actors and actors & {*TRAINERS} for actors in names)

    def steps_side_by_side(self, stage: Stage) -> int:
        """Return the steps of a stage in which engines and trainers work at the same time, each at its full pace; 0 for a stage
        that samples and learns by turns."""
        lag: int = getattr(stage.config, "max_lag", 0)
        return stage.config.steps if lag and not self.shares_devices else 0

    @property
    def devices(self) -> list[float]:
        """Bytes needed on the fullest device of each bundle, while it works."""
        return [max(memory.device(seat, self.gpu) for seat in seats) for seats in self.seats]

    @property
    def seats(self) -> list[list[list[RolePlan]]]:
        """Return the actors on each device of each bundle."""
        of = {role.role: role for role in self.roles}
        # Where the model's shape is not known `roles` is empty, and so is every seat.
        return [[[of[name] for name, _ in seat if name in of] for seat in bundle.devices] for bundle in self.placed]

    @property
    def memory(self) -> float:
        """Bytes of all devices together; on a CPU with the driver's and Ray's own, and weights on their way to engines."""
        if self.gpu:
            return sum(self.devices)
        parts = {role.role: role.parts for role in self.roles}
        moving = memory.VERSIONS * parts["policy"]["weights"] if {"engine", "policy"} <= parts.keys() else 0.0
        return sum(self.devices) + memory.PROCESS["driver"] + moving
