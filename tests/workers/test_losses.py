"""Which losses may be cured by another cluster, and the deaths of Ray's own processes."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from ray.exceptions import OutOfMemoryError, RayActorError

from rl.workers.deaths import count_oom_kills, describe_death, find_actor_error, find_loss
from rl.workers.ray_deaths import RayDeaths
from rl.workers.ray_watcher import kill_all, list_processes


@pytest.mark.parametrize(
    ("text", "oom_kills", "says", "is_curable"),
    [
        ("The actor died unexpectedly before finishing this task.", 0, "it was killed from outside (SIGKILL)", True),
        ("The actor died because its node has died.", 0, "its node has died or cannot be reached", True),
        (
            "The actor died unexpectedly before finishing this task.\n\tpid: 30866\n\tip: 198.51.100.2\n"
            "The actor died because its node has died. Node Id: ab12",
            0,
            "engine 0 (pid 30866, node 198.51.100.2) has died: its node has died or cannot be reached",
            True,
        ),
        ("It died because its node ran low on memory: lower the use", 0, "its node ran out of memory", False),
        (
            "an error raised in its creation task, pid=1\nImportError: no torch",
            0,
            "it did not start: ImportError",
            False,
        ),
        ("The actor died unexpectedly before finishing this task.", -1, "the kernel killed it because memory", False),
    ],
)
def test_what_would_happen_again_is_told_from_chance(text: str, oom_kills: int, says: str, is_curable: bool) -> None:
    loss = describe_death("engine 0", RayActorError(error_msg=text), count_oom_kills() + oom_kills)
    assert (says in loss.text, loss.is_curable) == (True, is_curable), loss.text
    assert "\n" not in loss.text


def test_the_death_behind_other_errors_is_found() -> None:
    death = RayActorError(error_msg="The actor died.")
    error = ValueError("4 engines died during one generation")
    error.__context__ = death  # as an error has that is raised where the other one is handled
    assert find_actor_error(error) is death
    assert find_actor_error(ValueError("rlvr.steps: must not be negative")) is None


def test_memory_that_ran_out_is_one_line_and_not_tried_again() -> None:
    loss = find_loss(
        OutOfMemoryError("1 worker(s) were killed due to the node running low on memory.\nTop 10"), {}, 1, 0
    )
    assert loss is not None
    assert not loss.is_curable
    assert loss.text.endswith("because its node ran out of memory; lower what the run takes or free some memory")
    assert find_loss(ValueError("rlvr.steps: must not be negative"), {}, 1, 0) is None


@pytest.mark.parametrize(("part", "name"), [("gcs/gcs_server", "Ray's GCS"), ("raylet/raylet", "Ray's raylet")])
def test_the_death_of_a_process_of_rays_own_is_told_at_once(tmp_path: Path, part: str, name: str) -> None:
    """Of those that this process has started; not that of others, nor any after the watch is over."""
    program = tmp_path / part
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nsleep 600\n")
    program.chmod(0o700)
    first, second = (subprocess.Popen([program]) for _ in range(2))
    told, is_told = list[str](), threading.Event()
    watch = RayDeaths(lambda text: (told.append(text), is_told.set()))
    other = subprocess.Popen(["sleep", "600"])
    other.kill()
    first.kill()
    assert is_told.wait(30)
    assert told == [f"{name} (pid {first.pid}) has died"]
    watch.close()
    quiet = RayDeaths(told.append)
    quiet.close()
    second.kill()
    for process in (first, second, other):
        process.wait()
    assert len(told) == 1


def test_a_ray_is_killed_by_the_process_that_writes_into_its_folder_too(tmp_path: Path) -> None:
    """The driver has a log of its own there, and is left alive."""
    log, other = (tmp_path / "driver.log").open("w"), tmp_path / "worker.log"
    worker = subprocess.Popen(["sleep", "600"], stdout=other.open("w"))
    with log:
        assert set(list_processes(str(tmp_path))) == {os.getpid(), worker.pid}
        kill_all(str(tmp_path), os.getpid())
    assert worker.wait(10) == -signal.SIGKILL
