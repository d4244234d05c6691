from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from rl.run.checkpoint import BEST, MANIFEST, STATE, Checkpoints
from rl.run.files import DiskFull
from rl.run.provenance import Parent, read_provenance


def write(folder: Path, value: float = 0.0, size: int = 4) -> None:
    """What a stage writes: tensors, some in a folder of their own."""
    (folder / "policy").mkdir()
    save_file({"w": np.full(size, value)}, folder / "policy" / "model.safetensors")
    save_file({"m": np.full(size, value)}, folder / "optimizer.safetensors")


def save(checkpoints: Checkpoints, step: int, best: int | None = None) -> Path:
    state = {"drawn": 10 * step} | ({} if best is None else {BEST: best})
    return checkpoints.save(step, state, lambda folder: write(folder, step))


def steps(checkpoints: Checkpoints) -> list[int]:
    return sorted(int(p.name.removeprefix("step-")) for p in checkpoints.folder.glob("step-*"))


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def checkpoints(tmp_path: Path, warnings: list[str]) -> Checkpoints:
    return Checkpoints(tmp_path / "stage" / "checkpoints", keep=2, warn=warnings.append)


def test_what_was_saved_comes_back(checkpoints: Checkpoints, warnings: list[str]) -> None:
    assert checkpoints.latest() is None
    folder = save(checkpoints, 7)
    found = checkpoints.latest()
    assert found is not None
    assert found[0] == folder == checkpoints.folder / "step-000007"
    assert found[1] == {"step": 7, "drawn": 70}
    assert load_file(folder / "policy" / "model.safetensors")["w"].tolist() == [7.0] * 4
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert files == {"policy/model.safetensors", "optimizer.safetensors", STATE, MANIFEST}
    assert warnings == []


def test_a_writer_of_an_earlier_attempt_reaches_no_file_of_the_next(checkpoints: Checkpoints) -> None:
    """As a rank on a node that was cut off, which goes on writing when the run has long begun again."""
    attempts: list[Path] = []

    def lose(folder: Path) -> None:
        attempts.append(folder)
        raise ConnectionError

    def write_beside_a_ghost(folder: Path) -> None:
        write(folder, 4.0)
        with pytest.raises(FileNotFoundError):
            (attempts[0] / "optimizer.safetensors").write_text("of the earlier attempt")

    with pytest.raises(ConnectionError):
        checkpoints.save(4, {}, lose)
    attempts[0].mkdir()  # the ghost's own mkdir came late
    (attempts[0] / "shard").touch()
    folder = checkpoints.save(4, {}, write_beside_a_ghost)
    assert load_file(folder / "optimizer.safetensors")["m"].tolist() == [4.0] * 4
    assert [path.name for path in checkpoints.folder.iterdir()] == ["step-000004"]


def test_a_checkpoint_says_where_it_comes_from(tmp_path: Path) -> None:
    plain = Checkpoints(tmp_path, keep=2)
    save(plain, 1)
    assert read_provenance(tmp_path / "step-000001") is None
    warned: list[str] = []
    read: list[Parent] = []
    checkpoints = Checkpoints(tmp_path, 2, warned.append, lambda: {"stage": "sft", "parents": read})
    read.append(Parent("model", "base"))
    assert (checkpoints.latest() or ("", {}))[1]["step"] == 1, "one of before is as good"
    folder = checkpoints.save(2, {"drawn": 20}, lambda folder: write(folder, 2.0), {"sequences": 64, "steps": 2})
    assert read_provenance(folder) == {
        "artifact": "step-000002",
        "kind": "checkpoint",
        "stage": "sft",
        "parents": [{"kind": "model", "name": "base", "stage": False, "split": None}],
        "counts": {"sequences": 64, "steps": 2},
    }
    found = checkpoints.latest()
    assert found is not None
    assert found[1] == {"step": 2, "drawn": 20}, "what is resumed from is as before"
    checkpoints.save(3, {}, write, {})
    checkpoints.save(4, {}, write, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000003", "step-000004"], "it goes with its folder"
    (tmp_path / "step-000004" / "provenance.json").unlink()
    assert (checkpoints.latest() or ("", {}))[1]["step"] == 3
    assert "provenance.json is missing" in warned[0]


def test_the_newest_and_the_best_stay(checkpoints: Checkpoints) -> None:
    for step, best in ((1, 1), (2, 2), (3, 2)):
        save(checkpoints, step, best)
    assert steps(checkpoints) == [2, 3]
    for step, best in ((4, 2), (5, 5)):
        save(checkpoints, step, best)
    assert steps(checkpoints) == [2, 4, 5], "4 may be gone back to, and its best is 2"
    for step in (6, 7):
        save(checkpoints, step, 5)
    assert steps(checkpoints) == [5, 6, 7]
    found = checkpoints.latest()
    assert found is not None
    assert found[1]["step"] == 7


def test_a_step_saved_again_replaces_itself(checkpoints: Checkpoints) -> None:
    save(checkpoints, 1)
    folder = checkpoints.save(1, {"drawn": 5}, lambda folder: write(folder, 9.0))
    assert load_file(folder / "optimizer.safetensors")["m"].tolist() == [9.0] * 4
    assert steps(checkpoints) == [1]


DAMAGED = ["policy/model.safetensors", "optimizer.safetensors", STATE, MANIFEST]


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("how", ["flipped", "cut", "removed"])
def test_a_damaged_checkpoint_is_named_and_passed_over(
    checkpoints: Checkpoints, warnings: list[str], name: str, how: str
) -> None:
    save(checkpoints, 1)
    folder = save(checkpoints, 2)
    file = folder / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes({"flipped": bytes(content), "cut": bytes(content[:-3]), "removed": b""}[how])
    if how == "removed":
        file.unlink()
    found = checkpoints.latest()
    assert found is not None
    assert found[1]["step"] == 1
    (line,) = warnings
    assert line.startswith(f"{folder}: ")
    assert line.endswith("; going back to the checkpoint before it")
    assert "\n" not in line


def test_going_back_drops_the_future(checkpoints: Checkpoints, warnings: list[str]) -> None:
    """A damaged newest one would otherwise outlive the whole ones that a resumed run saves, and be counted as kept."""
    for step, best in ((5, 5), (10, 5), (15, 5), (20, 20)):
        save(checkpoints, step, best)
    (checkpoints.folder / "step-000020" / STATE).unlink()
    assert (checkpoints.latest() or ("", {}))[1]["step"] == 15
    save(checkpoints, 17, 5)
    assert steps(checkpoints) == [5, 15, 17], "what was the best before it is so again"
    warnings.clear()
    assert (checkpoints.latest() or ("", {}))[1]["step"] == 17
    assert warnings == []


def test_every_checkpoint_damaged_is_none(checkpoints: Checkpoints, warnings: list[str]) -> None:
    for step in (1, 2):
        (save(checkpoints, step) / "optimizer.safetensors").write_bytes(b"")
    assert checkpoints.latest() is None
    assert len(warnings) == 2


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from(["save", "damage"]), st.integers(1, 8), st.integers(1, 8)), max_size=12))
def test_the_newest_whole_one_is_found_whatever_happened(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, int, int]]
) -> None:
    checkpoints = Checkpoints(tmp_path_factory.mktemp("c"), keep=2, warn=lambda _: None)
    whole: set[int] = set()
    for what, step, best in history:
        if what == "save":
            checkpoints.save(step, {BEST: best}, lambda folder: (folder / "a").write_text("x") and None)
            whole = {s for s in whole if s < step} | {step}
        elif step in whole:
            (checkpoints.folder / f"step-{step:06d}" / "a").unlink(missing_ok=True)
            whole.discard(step)
        found = checkpoints.latest()
        kept = [s for s in whole if s in steps(checkpoints)]
        assert (found[1]["step"] if found else None) == max(kept, default=None)
        assert not (what == "save" and step not in kept)


KILLED = """
import os, signal, sys
from pathlib import Path
from rl.run.checkpoint import Checkpoints

def half(folder):
    (folder / "weights").write_text("x")
    os.kill(os.getpid(), signal.SIGKILL)

Checkpoints(Path(sys.argv[1])).save(2, {}, half)
"""


def test_a_kill_in_the_middle_leaves_the_last_one(checkpoints: Checkpoints, warnings: list[str]) -> None:
    save(checkpoints, 1)
    killed = subprocess.run([sys.executable, "-c", KILLED, checkpoints.folder])
    assert killed.returncode == -signal.SIGKILL
    assert (checkpoints.latest() or ("", {}))[1]["step"] == 1
    assert warnings == []
    save(checkpoints, 3)
    assert sorted(p.name for p in checkpoints.folder.iterdir()) == ["step-000001", "step-000003"]


def test_leftovers_that_vanish_do_not_fail_a_save(checkpoints: Checkpoints, warnings: list[str]) -> None:
    """A link to nothing stands for a file that is listed, and gone when it is opened."""
    save(checkpoints, 1)
    (checkpoints.folder / "leftovers").mkdir()
    (checkpoints.folder / "leftovers" / "gone").symlink_to("nowhere")
    save(checkpoints, 2)
    assert steps(checkpoints) == [1, 2]
    assert warnings == []


def test_an_error_while_writing_leaves_nothing(checkpoints: Checkpoints) -> None:
    save(checkpoints, 1)

    def fail(folder: Path) -> None:
        write(folder)
        raise RuntimeError("the worker died")

    with pytest.raises(RuntimeError, match="the worker died"):
        checkpoints.save(2, {}, fail)
    assert [p.name for p in checkpoints.folder.iterdir()] == ["step-000001"]


def test_a_full_disk_is_one_line_and_leaves_the_last_one(checkpoints: Checkpoints) -> None:
    save(checkpoints, 1)

    def full(folder: Path) -> None:
        with open("/dev/full", "wb") as file:
            file.write(b"x")

    with pytest.raises(DiskFull) as error:
        checkpoints.save(2, {}, full)
    place = checkpoints.folder / "step-000002"
    assert str(error.value) == f"{place}: the disk is full; free some space, then go on with --resume"
    assert error.value.errno == errno.ENOSPC
    assert [p.name for p in checkpoints.folder.iterdir()] == ["step-000001"]


def test_a_disk_that_fills_up_keeps_what_fits(small_disk: Path) -> None:
    checkpoints, saved = Checkpoints(small_disk, keep=9), 0

    def content(folder: Path) -> None:
        (folder / "weights").write_bytes(os.urandom(30_000))

    def fill() -> None:
        nonlocal saved
        for step in range(1, 20):
            checkpoints.save(step, {}, content)
            saved = step

    with pytest.raises(DiskFull):
        fill()
    assert saved >= 3
    assert (checkpoints.latest() or ("", {}))[1]["step"] == saved
    assert steps(checkpoints) == list(range(1, saved + 1))


def test_state_is_plain_json(checkpoints: Checkpoints) -> None:
    state: dict[str, Any] = {"drawn": 3, "best": float("-inf"), "nested": {"a": [1, 2]}}
    folder = checkpoints.save(1, state, lambda folder: None)
    assert json.loads((folder / STATE).read_text()) == {"step": 1, **state}
    with pytest.raises(TypeError):
        checkpoints.save(2, {"array": np.zeros(2)}, lambda folder: None)
    assert steps(checkpoints) == [1]


OPERATIONS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")


def kill_before_operation(number: int) -> None:
    """Kill this process just before so many operations on the file system have been done, from 1."""
    count = 0

    def hook(event: str, _: object) -> None:
        nonlocal count
        if event in OPERATIONS:
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def test_a_kill_at_any_moment_of_a_save_leaves_a_whole_one(tmp_path: Path) -> None:
    """The one before or the new one, whatever was being written, renamed or removed; and the next save tidies up."""
    number, status, newest = 0, -1, set[int]()
    while status:
        number += 1
        folder = tmp_path / f"{number}"
        checkpoints = Checkpoints(folder, keep=2)
        for step in (1, 2, 3):
            save(checkpoints, step, best=1)
        if not (child := os.fork()):
            kill_before_operation(number)
            save(checkpoints, 4, best=1)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        found = checkpoints.latest()
        assert found is not None
        assert found[1]["step"] in (3, 4), number
        newest.add(found[1]["step"])
        assert load_file(found[0] / "optimizer.safetensors")["m"].tolist() == [float(found[1]["step"])] * 4
        save(checkpoints, 5, best=1)
        assert sorted(p.name for p in folder.iterdir())[-1] == "step-000005"
        assert not list(folder.glob(".*")), "what was half written is gone"
        assert "step-000001" in [p.name for p in folder.iterdir()], "the best one stays"
    assert newest == {3, 4}
    assert number > 10
