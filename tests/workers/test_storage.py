"""Files of a run on nodes that do not share its directory."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any, cast

import pytest
import ray

from rl.workers.nodes import Node
from rl.workers.storage import BUCKET, Courier, NodeStorage, View, describe_view, list_files

NODE = Node("ab12", 1, 0, "10.0.0.2")
RUN = Path("/runs/one")


@pytest.mark.parametrize(
    ("view", "says"),
    [
        (View(True, "", ()), None),
        (View(False, "", ()), None),
        (View(True, "Read-only file system", ()), "--out: node 10.0.0.2 sees /runs/one and cannot write there (Read-only file system); mount it for writing, or name another"),
        (View(False, "Permission denied", ()), "--out: node 10.0.0.2 neither shares /runs/one nor can have one of its own there (Permission denied); name a path on storage that the nodes share"),
        (View(True, "", ("/models/m",)), "model: node 10.0.0.2 lacks model (/models/m); put it on storage that the nodes share, or under the same path of each"),
        (View(False, "", ("/models/m", "/d/a.wav")), "model: node 10.0.0.2 lacks model (/models/m), data.sounds (/d/a.wav); put it on storage that the nodes share, or under the same path of each"),
    ],
)  # fmt: skip
def test_what_a_node_lacks_is_one_line(view: View, says: str | None) -> None:
    assert describe_view(NODE, view, RUN, {"model": "/models/m", "data.sounds": "/d/a.wav"}) == says


def test_a_courier_brings_files_in_buckets_and_leaves_nothing(tmp_path: Path) -> None:
    here, courier = tmp_path / "here", Courier()
    (here / "inner").mkdir(parents=True)
    (here / "inner" / "large").write_bytes(os.urandom(BUCKET + 5))
    (here / "empty").touch()
    run = tmp_path / "there" / "run"
    for name, (size, changed) in list_files(here).items():
        target = str(run / Path(name).relative_to(here))
        for offset in range(0, max(size, 1), BUCKET):
            courier.write(target, offset, Courier().read(name, offset), changed)
    brought = {str(Path(name).relative_to(run)): facts for name, facts in courier.list(str(run)).items()}
    assert brought == {str(Path(name).relative_to(here)): facts for name, facts in list_files(here).items()}
    assert (run / "inner" / "large").read_bytes() == (here / "inner" / "large").read_bytes()
    (run / ".shared-1").touch()
    (run / "inner" / "mine").touch()
    courier.clean(str(run))
    assert list_files(tmp_path / "there").keys() == {str(run / "inner" / "mine")}
    (run / "inner" / "mine").unlink()
    courier.clean(str(run))
    assert not run.exists()
    assert run.parent.exists()


def test_a_node_that_hangs_does_not_hold_up_the_end(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Node(str(ray.get_runtime_context().get_node_id()), 1, 0)
    storage = NodeStorage([here, here], tmp_path / "run")
    first, second = (courier.__ray_call__ for courier in storage.couriers)
    pid = ray.get(first.remote(lambda _: os.getpid()))
    ray.get(second.remote(lambda courier, file: courier.write(file, 0, b"brought", 0), str(tmp_path / "run" / "file")))
    monkeypatch.setattr("rl.workers.storage.CLEAN_TIMEOUT_S", 2.0)
    os.kill(pid, signal.SIGSTOP)
    try:
        storage.close()
    finally:
        os.kill(pid, signal.SIGKILL)
    assert not (tmp_path / "run").exists(), "the other node is clean"


def storage_with_another_disk(run_dir: Path, disk: Path) -> NodeStorage:
    """The storage of a run with one other node, all of whose paths lie below `disk`."""

    class Elsewhere(Courier):  # here, so that Ray sends it whole: a worker finds no module of the tests
        """A courier of that node."""

        def list(self, folder: str) -> dict[str, tuple[int, int]]:
            return {name.removeprefix(str(disk)): facts for name, facts in super().list(f"{disk}{folder}").items()}

        def make(self, folder: str) -> None:
            super().make(f"{disk}{folder}")

        def read(self, file: str, offset: int) -> bytes:
            return super().read(f"{disk}{file}", offset)

        def write(self, file: str, offset: int, content: bytes, changed: int) -> None:
            super().write(f"{disk}{file}", offset, content, changed)

        def remove(self, folder: str) -> None:
            super().remove(folder if folder.startswith(str(disk)) else f"{disk}{folder}")

        def clean(self, run_dir: str) -> None:
            super().clean(f"{disk}{run_dir}")

    storage = NodeStorage([], run_dir)
    storage.nodes, storage.couriers = [NODE], [cast("Any", ray.remote(Elsewhere)).options(num_cpus=0).remote()]
    return storage


def test_a_nodes_own_files_outside_the_run_directory_are_neither_written_nor_removed(
    ray_session: None, tmp_path: Path
) -> None:
    """Its copy of the model has another time than that of the run's node."""
    run, model, disk = tmp_path / "run", tmp_path / "model", tmp_path / "disk"
    for folder, content in ((run, "ours"), (model, "ours"), (Path(f"{disk}{model}"), "theirs")):
        folder.mkdir(parents=True)
        (folder / "weights").write_text(content)
    os.utime(f"{disk}{model}/weights", ns=(1, 1))
    storage = storage_with_another_disk(run, disk)
    storage.deliver(model, run, "")
    assert Path(f"{disk}{run}/weights").read_text() == "ours"
    before = list_files(Path(f"{disk}{model}"))
    shutil.copytree(model, tmp_path / "only here")
    with pytest.raises(ValueError, match=rf"^{tmp_path}/only here: node 10\.0\.0\.2 lacks it; put it on storage"):
        storage.deliver(tmp_path / "only here")
    storage.close()
    assert list_files(Path(f"{disk}{tmp_path}")) == before, "the model as it was, and nothing of the run"
    assert Path(f"{disk}{model}/weights").read_text() == "theirs"


def test_what_ranks_write_is_brought_and_nothing_stays_where_one_fails(ray_session: None, tmp_path: Path) -> None:
    run, disk = tmp_path / "run", tmp_path / "disk"
    storage = storage_with_another_disk(run, disk)
    with storage.collecting(run / "whole"):
        Path(f"{disk}{run}/whole/shard").write_text("of a rank")
    assert (run / "whole" / "shard").read_text() == "of a rank"
    assert not Path(f"{disk}{run}/whole").exists()

    def fail_half_way() -> None:
        with storage.collecting(run / "half"):
            Path(f"{disk}{run}/half/shard").write_text("of a rank")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fail_half_way()
    storage.close()
    assert not Path(f"{disk}{run}").exists()


def test_what_a_node_cannot_remove_does_not_hide_how_the_run_has_ended(ray_session: None, tmp_path: Path) -> None:
    run, disk = tmp_path / "run", tmp_path / "disk"
    Path(f"{disk}{run}/.shared-1").mkdir(parents=True)  # a folder, where a file is to be removed
    storage_with_another_disk(run, disk).close()
