"""Deaths of actors in one line: which of a run's actors has died, on which node, and why, as far as that is known."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import ray
from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayActorError, RayError

from rl.workers.loss import Loss
from rollouts.remote import Actor, last_line

MEMORY_FIX = "lower what the run takes or free some memory"
NOTICE_S = 10
"""Seconds that Ray may take to notice a death, after a rank whose peer has died reports that."""
Seat = tuple[str, int]
"""(role, index) of an actor."""


def find_death(error: BaseException, actors: Mapping[Seat, Actor]) -> tuple[Seat, RayActorError] | None:
    """Return the actor whose death is behind an error, and what Ray says of it; None where none has died."""
    if not isinstance(error, RayError) or not ray.is_initialized():
        return None
    named: tuple[Seat, RayActorError] | None = None
    if isinstance(error, RayActorError):
        ids = {cast("Any", actor)._actor_id.hex(): seat for seat, actor in actors.items()}
        seat = ids.get(str(error.actor_id))
        named = seat and (seat, error)
        if named and not isinstance(error, ActorUnavailableError):
            return named
    # The first to report it may wait for the dead one, or be another process of the same node, or have lost the connection
    # before Ray knows why.
    return find_dead(actors) or named


def find_dead(actors: Mapping[Seat, Actor]) -> tuple[Seat, RayActorError] | None:
    """Return the first actor that Ray knows to be dead, or one that stays out of reach for as long as Ray may take to notice a
    death; None where all are alive."""
    # A dead actor answers at once, one that works later.
    calls = {actor.__ray_ready__.remote(): seat for seat, actor in actors.items()}
    pending: list[Any] = list(calls)
    wait, get = cast("Any", ray.wait), cast("Any", ray.get)  # whose types are half unknown
    silent: dict[Seat, RayActorError] = {}
    until = time.monotonic() + NOTICE_S
    while pending and (left_s := until - time.monotonic()) > 0:
        done, pending = wait(pending, timeout=left_s)
        for call in done:
            seat = calls[call]
            try:
                get(call)
                silent.pop(seat, None)
            except ActorUnavailableError as silence:  # Ray does not know yet whether it lives
                silent[seat] = silence
                time.sleep(0.2)
                again = actors[seat].__ray_ready__.remote()
                calls[again] = seat
                pending.append(again)
            except RayActorError as death:
                return seat, death
    return next(iter(silent.items()), None)


def describe_seat(seat: Seat, ranks: int) -> str:
    """Return an actor in words: `engine 0`, `the policy's rank 1`, `judge taste`."""
    role, index = seat
    if role == "engine":
        return f"engine {index}"
    if role.startswith("judge "):
        return role
    name = role.replace("_", " ")
    return f"the {name}'s rank {index}" if ranks > 1 else f"the {name}'s trainer"


def find_loss(error: BaseException, actors: Mapping[Seat, Actor], ranks: int, oom_kills: int) -> Loss | None:
    """Return which actor's death is behind an error; None where none has died. `oom_kills` is what `count_oom_kills` said at the
    start."""
    if isinstance(error, OutOfMemoryError):  # Ray names it in place of the death
        return Loss(
            f"Ray ended a process of the run because its node ran out of memory; {MEMORY_FIX}", is_curable=False
        )
    death = find_death(find_actor_error(error) or error, actors)
    if death is None:
        return None
    loss = describe_death(describe_seat(death[0], ranks), death[1], oom_kills)
    # What was made of the death says more, such as how many engines died one after the other.
    return replace(loss, text=str(error)) if isinstance(error, ValueError) else loss


def describe_death(name: str, error: RayActorError, oom_kills: int) -> Loss:
    """Return the death of the actor `name`. `oom_kills` is what `count_oom_kills` said at the start."""
    text = str(error)
    if isinstance(error, ActorUnavailableError):  # which says neither where it was nor why
        return Loss(f"{name} could not be reached, and may have died")
    pid, address = (re.search(rf"\b{key}: (\S+)", text) for key in ("pid", "ip"))
    place = ", ".join(part for part in (pid and f"pid {pid[1]}", address and f"node {address[1]}") if part)
    cause = _find_cause(text, int(pid[1]) if pid else 0, oom_kills)
    return Loss(f"{name}{f' ({place})' if place else ''} has died: {cause.text}", cause.is_curable)


def find_actor_error(error: BaseException) -> RayActorError | None:
    """Return the death of an actor that has led to an error, by way of other errors or none."""
    link: BaseException | None = error
    while link is not None and not isinstance(link, RayActorError):
        link = link.__cause__ or link.__context__
    return link


def count_oom_kills() -> int:
    """Return how many processes the kernel has killed for want of memory, on this machine and in this container."""
    total = 0
    for file in (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events")):
        with suppress(OSError):
            total += sum(map(int, re.findall(r"^oom_kill (\d+)$", file.read_text(), re.MULTILINE)))
    return total


def _find_cause(text: str, pid: int, oom_kills: int) -> Loss:
    """Return why an actor has died, from what Ray says, from its log, and from the kernel's counts."""
    if "creation task" in text:
        return Loss(f"it did not start: {last_line(Exception(text))}", is_curable=False)
    if "low on memory" in text:
        return Loss(f"Ray ended it because its node ran out of memory; {MEMORY_FIX}", is_curable=False)
    # Ray names the process too where only its node is gone; of a process alone it says that the worker has died.
    is_lost_node = re.search(r"\bnode\b.*\b(died|dead|terminated|preempted)", text, re.IGNORECASE) and not pid
    if is_lost_node or "its node has died" in text:
        return Loss("its node has died or cannot be reached")
    if signal_name := _find_signal(pid):
        return Loss(f"it crashed with {signal_name}")
    if count_oom_kills() > oom_kills:
        return Loss(f"the kernel killed it because memory ran out; {MEMORY_FIX}", is_curable=False)
    return Loss("it was killed from outside (SIGKILL), as the kernel does when memory runs out")


def _find_signal(pid: int) -> str | None:
    """Return the signal with which a process has crashed on this machine, from the log that Ray keeps of it."""
    node = cast("Any", ray)._private.worker._global_node
    if node is None or not pid:
        return None
    for file in Path(node.get_session_dir_path(), "logs").glob(f"*[-_]{pid}.*"):
        with suppress(OSError):
            # Its end: a log may be long, and a crash is the last that a process writes.
            with file.open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - 65536))
                found = re.search(rb"\*\*\* (SIG[A-Z]+) received", log.read())
            if found:
                return found[1].decode()
    return None
