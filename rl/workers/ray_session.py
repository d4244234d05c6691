"""The private side of a Ray that a run starts for itself: its folder, its token, the addresses of its sockets, its end."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from ray._private import ray_constants
from ray._raylet import AuthenticationTokenLoader  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]

from rl.workers import ray_watcher
from rollouts.rendezvous import PRIVATE_FOLDER

LOOPBACK = "127.0.0.1"
_LOOPBACK_INTERFACE = "lo"
_SOCKET_PATH_BYTES = 107  # of a Unix socket's address, unix(7)
_SOCKET_NAME_BYTES = len("/ray/session_2026-11-28_19-42-21_154919_4194304/sockets/plasma_store.1")
_CLEANING_S = 10.0  # for the watcher; an orderly end leaves it little to do


class RaySession:
    """Folder and environment of a local Ray. They end with `close`, or with the process, however it ends."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="groundtone-ray-", dir=_short_folder()))
        """Folder of mode 0700, which closes all that is in it: Ray's logs and sockets, the token."""
        self._watcher = self._start_watcher()
        token = self.folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        # Left to itself Ray writes its token to ~/.ray/auth_token, where everybody may read it. RAY_AUTH_TOKEN would
        # stand before the file, and a mode that is set keeps Ray from turning the tokens on.
        removed = dict.fromkeys(("RAY_AUTH_TOKEN", "RAY_AUTH_MODE"))
        variables: dict[str, str | None] = {**removed, "RAY_AUTH_TOKEN_PATH": str(token), **_sockets_on_loopback()}
        variables[PRIVATE_FOLDER] = str(self.folder)  # the actors inherit it
        self._environment = {name: os.environ.get(name) for name in variables}
        _set_environment(variables)
        AuthenticationTokenLoader.instance().reset_cache()

    @property
    def ray_folder(self) -> Path:
        """Ray's temporary folder, which Ray itself opens to every user of the machine."""
        return self.folder / "ray"

    def kill(self) -> None:
        """Kill every process of the Ray, whatever state they are in."""
        ray_watcher.kill_all(str(self.folder), os.getpid())

    def close(self, keep_logs: bool = False) -> None:
        """End what is left of the Ray and remove its folder, unless `keep_logs`. Call it after `ray.shutdown`."""
        _set_environment(self._environment)
        AuthenticationTokenLoader.instance().reset_cache()
        with suppress(BrokenPipeError):  # the watcher was killed
            self._watcher.write(ray_watcher.KEEP if keep_logs else b"")
            self._watcher.close()
        deadline = time.monotonic() + _CLEANING_S
        while not keep_logs and self.folder.exists() and time.monotonic() < deadline:
            time.sleep(0.02)

    def _start_watcher(self) -> IO[bytes]:
        # -I and -S: it needs nothing of the environment that it is started in.
        command = [sys.executable, "-I", "-S", ray_watcher.__file__, str(self.folder), str(os.getpid())]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        process.wait()  # it leaves an orphan that goes on
        assert process.stdin is not None, "it is a pipe"
        return process.stdin


@contextmanager
def loopback_address() -> Generator[None]:
    """Let a Ray that is started in the block take loopback for its node's address, and so listen there alone."""
    # Ray replaces the loopback address that it is given by one that other machines can reach, since it expects a cluster,
    # except where clusters are switched off (as they are by default on macOS and Windows).
    before = cast(bool, ray_constants.ENABLE_RAY_CLUSTER)
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _sockets_on_loopback() -> dict[str, str | None]:
    """Return the variables that tell the actors' libraries to listen on loopback."""
    return {
        "GLOO_SOCKET_IFNAME": _LOOPBACK_INTERFACE,
        "NCCL_SOCKET_IFNAME": _LOOPBACK_INTERFACE,
        "VLLM_HOST_IP": LOOPBACK,
    }


def _short_folder() -> str:
    """Return the folder for temporary files (Ray's own variable first), or /tmp where Ray's sockets would not fit there."""
    folder = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    longest = os.path.join(folder, "groundtone-ray-12345678")
    return folder if len(os.fsencode(longest)) + _SOCKET_NAME_BYTES <= _SOCKET_PATH_BYTES else "/tmp"


def _set_environment(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
