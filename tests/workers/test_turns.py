"""Roles on the same GPUs work one after the other, others at the same time."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import ray

from rl.workers.group import TrainerGroup
from rl.workers.trainer_config import TrainerConfig
from rl.workers.turns import Turns

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's processes do not find this file


class Rank:
    """A trainer's rank that only waits."""

    def address(self) -> tuple[str, int]:
        return "", 0

    def connect(self, host: str, port: int) -> None:
        """Join nothing."""

    def work(self, mine: Path, other: Path, seconds: float) -> bool:
        """Say that it works, and whether the other one does too within so many seconds."""
        mine.touch()
        try:
            deadline = time.monotonic() + seconds
            while not other.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            return other.exists()
        finally:
            time.sleep(0.1)  # for the other one to see it
            mine.unlink()


@ray.remote(num_cpus=0)
def fail() -> None:
    raise RuntimeError("this rank is gone")


@ray.remote(num_cpus=0)
def wait_for(file: Path) -> None:
    while not file.exists():
        time.sleep(0.01)


def group(turns: Turns, gpus: set[tuple[int, str]]) -> Any:
    made = TrainerGroup([ray.remote(Rank).options(num_cpus=0).remote()], TrainerConfig())  # type: ignore[list-item]
    made.turns, made.gpus = turns, frozenset(gpus)
    return made


def test_roles_on_the_same_gpus_work_in_turns(ray_session: None, tmp_path: Path) -> None:
    turns = Turns()
    policy, critic = group(turns, {(0, "0"), (0, "1")}), group(turns, {(0, "1"), (1, "0")})
    one, two = tmp_path / "one", tmp_path / "two"
    first, second = policy._call_all("work", one, two, 0.3), critic._call_all("work", two, one, 0.3)
    assert (first.get(), second.get()) == ([False], [False])
    # The same name on another bundle is another GPU.
    elsewhere = group(turns, {(2, "0"), (2, "1")})
    first, second = policy._call_all("work", one, two, 60.0), elsewhere._call_all("work", two, one, 60.0)
    assert (first.get(), second.get()) == ([True], [True])


def test_nobody_waits_for_ranks_that_wait_for_one_that_has_failed(ray_session: None, tmp_path: Path) -> None:
    turns, gpu = Turns(), (0, "0")
    failed, waiting = fail.remote(), wait_for.remote(tmp_path / "go")
    turns.note("policy", [gpu], [waiting, failed])
    turns.wait("critic", [gpu])
    assert ray.wait([waiting, failed], num_returns=2, timeout=0) == ([failed], [waiting])
    (tmp_path / "go").touch()
    ray.get(waiting)
