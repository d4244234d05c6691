"""Starts a Ray cluster of two nodes on this machine; the second is in a network namespace of its own and can be cut
off."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

BIN = Path(sys.executable).parent
NOBODY = "02:00:00:00:00:01"
"""Hardware address that no interface has."""
START_S = 180
GOODBYE_S = 20.0


class Link:
    """A network namespace, with a link between it and the machine's own. Needs root."""

    def __init__(self) -> None:
        number = os.getpid() % 60_000
        # One name for both ends, since `GLOO_SOCKET_IFNAME` names the interface of every node.
        self.name, self.interface = f"groundtone-{number}", f"gt{number}"
        # A block for documentation (RFC 5737), which no network routes.
        self.near, self.far = "198.51.100.1", "198.51.100.2"

    @property
    def inside(self) -> list[str]:
        """Beginning of a command that runs in the namespace."""
        return ["ip", "netns", "exec", self.name]

    def open(self) -> None:
        """Create both. Raises RuntimeError without the right to."""
        peer = f"{self.interface}n"
        for command in (
            f"netns add {self.name}",
            f"link add {self.interface} type veth peer name {peer} netns {self.name}",
            f"addr add {self.near}/30 dev {self.interface}",
            f"link set {self.interface} up",
            f"-n {self.name} link set {peer} name {self.interface}",
            f"-n {self.name} addr add {self.far}/30 dev {self.interface}",
            f"-n {self.name} link set {self.interface} up",
            f"-n {self.name} link set lo up",
        ):
            ip(command)

    def cut(self) -> None:
        """Lose every packet of either side from now on, in silence, as a broken switch does."""
        # Packets are dropped instead of setting the link down, which both sides would notice at once, and which would
        # take their own addresses away.
        ip(f"neigh replace {self.far} lladdr {NOBODY} dev {self.interface} nud permanent")
        ip(f"-n {self.name} neigh replace {self.near} lladdr {NOBODY} dev {self.interface} nud permanent")

    def mend(self) -> None:
        """Let packets through again."""
        ip(f"neigh del {self.far} dev {self.interface}")
        ip(f"-n {self.name} neigh del {self.near} dev {self.interface}")

    def find_processes(self) -> list[int]:
        """Return the processes in the namespace."""
        return [int(pid) for pid in ip(f"netns pids {self.name}").split()]

    def close(self) -> None:
        """End what runs in the namespace, and remove it with the link."""
        with suppress(RuntimeError):
            for pid in self.find_processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        with suppress(RuntimeError):
            ip(f"netns del {self.name}")
        with suppress(RuntimeError):  # it went with the namespace, unless that was never there
            ip(f"link del {self.interface}")


def ip(arguments: str) -> str:
    """Run ip(8) and return its output. Raises RuntimeError, in one line."""
    try:
        done = subprocess.run(["ip", *arguments.split()], capture_output=True, text=True)
    except FileNotFoundError:
        raise RuntimeError("ip is not installed, which makes network namespaces: apt-get install iproute2") from None
    if done.returncode:
        raise RuntimeError(f"ip {arguments}: {done.stderr.strip()}; network namespaces need root")
    return done.stdout


def find_free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens at."""
    servers = [socket.create_server(("", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


class TwoNodes:
    """A head on this machine's side of the link and a node on the other side; both end with the block."""

    def __init__(self, head_cpus: int, node_cpus: int) -> None:
        self.head_cpus, self.node_cpus = head_cpus, node_cpus
        self.link = Link()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.folder = Path(tempfile.mkdtemp(prefix="gt-", dir="/tmp"))  # sockets lie in it: their paths must be short
        self.env = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(16),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "GLOO_SOCKET_IFNAME": self.link.interface,
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }

    def __enter__(self) -> TwoNodes:
        try:
            self.link.open()
            port, *others = find_free_ports(3)
            self.address = f"{self.link.near}:{port}"
            self.env["RAY_ADDRESS"] = self.address
            head = ("--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={self.folder}")
            # Ray's usual ports may be another Ray's on this machine.
            ports = (f"--ray-client-server-port={others[0]}", f"--dashboard-agent-listen-port={others[1]}")
            self._start([], self.link.near, self.head_cpus, *head, *ports)
            self._await_nodes(1)
            self._start(self.link.inside, self.link.far, self.node_cpus, f"--address={self.address}")
            self._await_nodes(2)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, before: Sequence[str], host: str, cpus: int, *flags: str) -> None:
        command = [*before, str(BIN / "ray"), "start", "--block", f"--node-ip-address={host}", f"--num-cpus={cpus}"]
        command += ["--object-store-memory=200000000", *flags]
        env = {name: value for name, value in self.env.items() if name != "RAY_ADDRESS"}
        with open(self.folder / f"node-{len(self.processes)}.log", "w") as log:
            self.processes.append(subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True))

    def _await_nodes(self, count: int) -> None:
        command = [sys.executable, "-m", "rl.cli", "jobs", "await-nodes", str(count), "--timeout", str(START_S)]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True)
        if done.returncode:
            logs = [line for file in sorted(self.folder.glob("*.log")) for line in file.read_text().splitlines()[-3:]]
            raise RuntimeError(f"{done.stderr.strip()} {' | '.join(logs)}")

    def __exit__(self, *_: object) -> None:
        self.link.close()
        for process in self.processes:
            process.terminate()
        deadline = time.monotonic() + GOODBYE_S
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
