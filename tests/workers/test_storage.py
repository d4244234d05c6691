"""Files of a run on nodes that do not share its directory."""

from __future__ import annotations

import os
import signal
from pathlib import Path

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
