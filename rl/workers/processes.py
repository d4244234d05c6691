"""The processes of a run's actors, wherever in the cluster they are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rl.workers.deaths import Seat, describe_seat
from rl.workers.liveness import Life, lives_of_ray, lives_of_workers, read_life
from rollouts.remote import Actor

if TYPE_CHECKING:
    from ray import ObjectRef

Place = tuple[str, int]
"""(Ray's id of the node, process id)."""


class Processes:
    """The actors' processes, each known once its actor has started."""

    def __init__(self, ranks: int) -> None:
        self.ranks = ranks
        self.lock = Lock()
        """Held while `pending` and `places` change: the run's own thread adds actors while the watchdog's looks."""
        self.pending: dict[Seat, ObjectRef[Place]] = {}
        self.places: dict[Seat, Place] = {}
        self.lives_by_node: dict[str, dict[str, Life]] = {}
        """Processes of each other node, from its last answer."""
        self.answers: dict[str, int] = {}
        """Number of answers of each other node."""
        self.calls: dict[str, ObjectRef[dict[str, Life]]] = {}
        """The question to each other node that is not answered yet."""

    def add(self, seat: Seat, actor: Actor) -> None:
        """Ask a new actor where it is."""
        with self.lock:
            self.places.pop(seat, None)
            self.pending[seat] = actor.__ray_call__.remote(_place)

    def find_lives(self) -> Mapping[str, Life]:
        """Return the run's processes, by name, as the kernels of their machines see them; those of another node are from its
        last answer."""
        if not ray.is_initialized():
            return {}
        for seat, ref in list(self.pending.items()):
            if ray.wait([ref], timeout=0)[0]:
                place: Place | None = None
                with suppress(RayError):  # it has died before it was asked; whoever calls it hears of that
                    place = ray.get(ref)
                with self.lock:
                    if self.pending.get(seat) is not ref:  # it was replaced, and the question to the new one stays
                        continue
                    del self.pending[seat]
                    if place is not None:
                        self.places[seat] = place
        here = _node()
        lives = lives_of_ray(os.getpid(), self._names(here))
        for node in {node for node, _ in list(self.places.values())} - {here}:
            lives |= self._ask(node)
        # A Ray that was running already is nobody's child: its actors here are looked at one by one.
        for pid, name in self._names(here).items():
            if (life := read_life(pid, counts_runs=True)) is not None:
                lives.setdefault(f"{name} (pid {pid})", life)
        return lives

    def find_nodes(self) -> Mapping[str, Life]:
        """Return the other nodes that have been asked, by name; one that answers no more runs no more."""
        return {f"node {node[:8]}": Life(False, count) for node, count in self.answers.items()}

    def _names(self, node: str) -> dict[int, str]:
        """Return {process id: the actor's name} on a node."""
        places = list(self.places.items())
        return {pid: describe_seat(seat, self.ranks) for seat, (at, pid) in places if at == node}

    def _ask(self, node: str) -> dict[str, Life]:
        """Return what another node last said of its processes, and ask it again."""
        call = self.calls.get(node)
        if call is not None and ray.wait([call], timeout=0)[0]:
            del self.calls[node]
            self.answers[node] += 1
            try:
                self.lives_by_node[node] = ray.get(call)
            except RayError:  # a node that has died takes its actors along, which says more
                return {}
        if node not in self.calls:
            self.answers.setdefault(node, 0)
            task: Any = ray.remote(_look)
            strategy = NodeAffinitySchedulingStrategy(node, soft=False)
            self.calls[node] = task.options(num_cpus=0, scheduling_strategy=strategy).remote(self._names(node))
        return self.lives_by_node.get(node, {})


def _node() -> str:
    return str(ray.get_runtime_context().get_node_id())


# `__ray_call__` hands it the actor itself.
def _place(_: object) -> Place:
    """Return where the actor is that runs this."""
    return _node(), os.getpid()


def _look(names: Mapping[int, str]) -> dict[str, Life]:
    """Return the actors of `names` and what each has started, as this machine's kernel sees them."""
    pids: Iterable[int] = names
    return lives_of_workers(pids, names)
