"""A real Ray of this machine's own: who can reach it, who can read it, and what is left of it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from rl.workers.placement import ClusterConfig
from rl.workers.ray_session import RaySession

DRIVER = """
import json, os, sys, time
import ray
from rl.workers.ray_start import start_local_ray, stop_ray

start_local_ray(1)
@ray.remote(num_cpus=0)
class Actor:
    def start(self):
        import subprocess
        import tempfile
        from rollouts.rendezvous import private_rendezvous
        with private_rendezvous():
            from vllm.utils.network_utils import get_file_store_init_method
            rendezvous = get_file_store_init_method().removeprefix("file://")
            open(rendezvous, "w").close()
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"].startswith(tempfile.gettempdir() + "/torchinductor")
        return subprocess.Popen(["sleep", "600"]).pid, os.environ["GLOO_SOCKET_IFNAME"], rendezvous
pid, interface, rendezvous = ray.get(Actor.options(runtime_env={"env_vars": {"X": "1"}}).remote().start.remote())
print(json.dumps({"folder": ray._private.worker._global_node.get_temp_dir_path(), "pid": pid, "interface": interface, "rendezvous": rendezvous}))
sys.stdin.readline()
stop_ray()
print(json.dumps({"left": sorted(name for name in os.environ if name.startswith("RAY_AUTH"))}))
"""


@contextmanager
def driver(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A process that has started Ray and an actor in which a program runs."""
    root = str(Path(__file__).parents[2])
    env = {
        name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")
    }  # of a Ray of the tests
    env |= {"PYTHONPATH": root, "HOME": str(tmp_path), "RAY_AUTH_TOKEN": "of-a-cluster"}
    command = [sys.executable, "-c", DRIVER]
    process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def test_it_is_closed_to_others_and_a_killed_run_leaves_nothing(tmp_path: Path) -> None:
    with driver(tmp_path) as (process, report):
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        names = {member.name() for member in family}
        assert {"raylet", "gcs_server"} <= names
        assert any("Agent" in name for name in names)
        assert psutil.Process(report["pid"]) in family
        connections: list[Any] = []
        for member in family:
            with suppress(psutil.NoSuchProcess):  # Ray has idle workers that come and go
                connections = member.net_connections("inet")
            for connection in connections:
                if connection.status == psutil.CONN_LISTEN:
                    assert connection.laddr.ip in ("127.0.0.1", "::ffff:127.0.0.1"), (member.name(), connection.laddr)
        assert report["interface"] == "lo"
        folder = Path(report["folder"]).parent
        assert Path(report["rendezvous"]).parent == folder, "where an engine's processes find each other"
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "token").stat().st_mode & 0o777 == 0o600
        assert list(folder.glob("ray/session_*/logs/raylet.out")), "Ray's own files are inside"
        assert not (tmp_path / ".ray").exists(), "no token in the home"
        process.send_signal(signal.SIGKILL)
        assert psutil.wait_procs(family, timeout=15)[1] == []
        _await_removal(folder)


def test_an_orderly_end_leaves_nothing(tmp_path: Path) -> None:
    with driver(tmp_path) as (process, report):
        family = psutil.Process(process.pid).children(recursive=True)
        folder = Path(report["folder"]).parent
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"left": ["RAY_AUTH_TOKEN"]}, "as the user has set it"
        assert not folder.exists()
        assert psutil.wait_procs(family, timeout=15)[1] == []


def test_logs_stay_where_they_are_asked_for() -> None:
    session = RaySession()
    writer = subprocess.Popen(["sleep", "600"], stdout=(session.folder / "log").open("w"))
    reader = subprocess.Popen(["tail", "-f", session.folder / "log"], stdout=subprocess.DEVNULL)
    session.close(keep_logs=True)
    assert writer.wait(timeout=15) == -signal.SIGKILL
    assert reader.poll() is None, "who only reads a log is left alone"
    reader.kill()
    assert stat.S_IMODE(session.folder.stat().st_mode) == 0o700
    for file in session.folder.iterdir():
        file.unlink()
    session.folder.rmdir()


def test_sockets_fit_under_a_long_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("x" * 80)
    deep.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(deep))
    session = RaySession()
    assert session.folder.parent == Path("/tmp")
    session.close()
    assert not session.folder.exists()


def test_local_is_no_cluster_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert ClusterConfig().running_cluster() is None
    assert ClusterConfig(address="local").running_cluster() is None
    assert ClusterConfig(address="10.0.0.1:6379").running_cluster() == "10.0.0.1:6379"
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert ClusterConfig().running_cluster() is None
    assert ClusterConfig(address="auto").running_cluster() == "auto"


def _await_removal(folder: Path) -> None:
    deadline = time.monotonic() + 30
    while folder.exists():
        assert time.monotonic() < deadline, f"{folder} is still there"
        time.sleep(0.05)
