"""Ray heads and nodes of a test's own, as processes on this machine."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class RayNodes:
    """A head with a token, and the nodes that have joined it; all on loopback."""

    def __init__(self) -> None:
        services = ["", "dashboard-", "ray-client-server-", "metrics-export-", "runtime-env-agent-", "node-manager-"]
        services += ["object-manager-", "dashboard-agent-listen-", "dashboard-agent-grpc-"]
        self.ports = dict(zip([f"{service}port" for service in services], free_ports(len(services)), strict=True))
        self.folder = tempfile.mkdtemp(prefix="rt-", dir="/tmp")  # sockets live in it, and their paths must be short
        self.env = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(16),
            "HOME": self.folder,
        }
        self.env |= {"PATH": f"{BIN}:{self.env['PATH']}", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
        for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH"):
            self.env.pop(name, None)
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ports['port']}"

    def start_head(self, cpus: int) -> None:
        flags = [f"--{flag}={port}" for flag, port in self.ports.items()]
        self.start("--head", f"--num-cpus={cpus}", f"--temp-dir={self.folder}", "--dashboard-host=127.0.0.1", *flags)

    def start(self, *flags: str, before: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start a node; `before` is a command that starts it in turn."""
        command = [*before, str(BIN / "ray"), "start", "--block", "--node-ip-address=127.0.0.1", *flags]
        command.append("--object-store-memory=200000000")
        with open(f"{self.folder}/node-{len(self.processes)}.log", "w") as log:
            process = subprocess.Popen(command, env=self.env, stdout=log, stderr=log, start_new_session=True)
        self.processes.append(process)
        return process

    def log(self) -> str:
        return "\n".join(file.read_text() for file in sorted(Path(self.folder).glob("node-*.log")))

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End a node at once, as a power cut would: Ray's processes stay in the session that it began."""
        for left in psutil.process_iter():
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(left.pid) == process.pid:
                    left.kill()
        process.wait(60)

    def close(self) -> None:
        for process in self.processes[:1]:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
        for process in self.processes:
            self.kill(process)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def ray_nodes(cpus: int) -> Iterator[RayNodes]:
    """A head with so many CPUs, for the time of a block."""
    nodes = RayNodes()
    nodes.start_head(cpus)
    try:
        yield nodes
    finally:
        nodes.close()
