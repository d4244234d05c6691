"""Starts Ray for a run: a cluster by its address, or a Ray of this machine's own."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants

from rl.run.files import DiskFull
from rl.signals import is_interrupted
from rl.workers.placement import ClusterConfig
from rl.workers.ray_session import LOOPBACK, RaySession, loopback_address

START_FAILURES = (
    "timed out during startup",
    "while waiting for node to startup",
    "Timed out waiting for",  # the file in which GCS or raylet writes its port; what a node says of itself
    "Failed to start GCS",
    "Failed to connect to GCS",
    "Failed to get node info",
)
"""Parts of what Ray says when one of its own processes was too slow to start, or died meanwhile."""
RAY_STARTS = 3
"""Attempts to start a local Ray."""
STORE_BYTES = 1 << 30
"""Size of Ray's object store, beside weights: for batches and features."""
ENVIRONMENT = {
    "RAY_worker_niceness": "0",  # Ray gives its workers less of the CPU otherwise
    "RAY_USAGE_STATS_ENABLED": "0",
    # How soon a call that waits hears of a signal, in place of 1 s: once the raylet is dead, this process has until its next look
    # into the object store to let go of Ray, which would end it there (`rl.workers.ray_deaths`).
    "RAY_get_check_signal_interval_milliseconds": "100",
}
"""Settings of Ray in place of its own, where the environment has no others."""
QUIET: Mapping[str, Any] = {"logging_level": "error", "log_to_driver": False}
"""Arguments of ray.init that keep its own log lines from the terminal."""


def start_ray(config: ClusterConfig, weights: int) -> None:
    """Connect to the Ray cluster that the recipe or RAY_ADDRESS names, or start one here, for `weights` bytes of weights."""
    _set_environment()
    if address := config.running_cluster():
        with keep_sigterm_handler():
            ray.init(address=address, **QUIET)
    else:
        start_local_ray(os.cpu_count() or 1, weights)


def start_local_ray(cpus: int, weights: int = 0) -> None:
    """Start a Ray of this machine's own, for a policy whose weights are so many bytes. It listens on loopback alone, and
    nobody but this user can read its files. `stop_ray` ends it."""
    _set_environment()
    if _Local.session:  # of a Ray that somebody has ended by `ray.shutdown`
        _Local.session.close()
    _Local.session = RaySession()
    try:
        _init_local_ray(cpus, weights, _Local.session.ray_folder)
    except BaseException:
        stop_ray()
        raise


def stop_ray(error: BaseException | None = None) -> None:
    """End this process's Ray or its connection to a cluster. Of a local one nothing stays, unless `error` is a bug: then
    its logs do, and the error's traceback says where."""
    ray.shutdown()
    if _Local.session is None:
        return
    # The others name their cause themselves.
    is_bug = isinstance(error, Exception) and not isinstance(error, ValueError | DiskFull) and not is_interrupted()
    if error and is_bug:
        error.add_note(f"The logs of Ray are in {_Local.session.folder}; delete them when you have read them.")
    _Local.session.close(keep_logs=is_bug)
    _Local.session = None


def kill_ray() -> None:
    """Kill the processes of this process's local Ray, of which some are dead or frozen: a Ray that lacks one of its own answers
    no question. `stop_ray` then tidies up."""
    if _Local.session is not None:
        _Local.session.kill()


class _Local:
    """State of this process's local Ray. A class and not an object: there is one for the process."""

    session: RaySession | None = None


def _set_environment() -> None:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def _init_local_ray(cpus: int, weights: int, folder: Path) -> None:
    shared_memory = shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else 0
    store = store_bytes(weights, shared_memory)
    # Ray gives its own processes half a minute; a machine that is busy just then gets a second and a third chance.
    for attempt in range(RAY_STARTS):
        try:
            with keep_sigterm_handler(), loopback_address():
                ray.init(
                    address="local",  # RAY_ADDRESS may name a cluster
                    num_cpus=cpus,
                    include_dashboard=False,
                    object_store_memory=store,
                    _node_ip_address=LOOPBACK,
                    _temp_dir=str(folder),
                    **QUIET,
                )
            return
        except Exception as error:  # Ray raises these as a bare Exception and as a RuntimeError
            if not is_start_failure(error):
                raise
            ray.shutdown()
            if attempt == RAY_STARTS - 1:
                raise ValueError(
                    f"Ray did not start within its time, {RAY_STARTS} times in a row; is the machine busy? end what else "
                    "runs, then go on with --resume"
                ) from error


def is_start_failure(error: Exception) -> bool:
    """Return whether an error of Ray's start says that one of its own processes did not come up, or died as it did."""
    return any(failure in str(error) for failure in START_FAILURES)


@contextmanager
def keep_sigterm_handler() -> Generator[None]:
    """Keep the program's SIGTERM handler through a start of Ray, which replaces it by two of its own: one in Python that
    exits, and one in C++ that prints a trace and aborts."""
    if threading.current_thread() is not threading.main_thread():  # there Ray leaves it, and nobody may set it
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    ray_constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER = (
        True  # in this process alone: actors read it from the environment
    )
    try:
        yield
    except SystemExit as stopped:
        if stopped.code == signal.SIGTERM and callable(before):  # Ray's answer, to a signal that came meanwhile
            before(signal.SIGTERM, None)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def store_bytes(weights: int, shared_memory: int) -> int:
    """Return the size of the local object store: for batches and features, and for two versions of the policy's weights,
    in at most four fifths of the free `shared_memory`, but never less than `STORE_BYTES`. All in bytes."""
    # Two versions: Ray frees the earlier one up to a second after the last handle is gone. What does not fit goes to
    # disk and back with every step.
    return max(STORE_BYTES, min(STORE_BYTES + 2 * weights, shared_memory * 4 // 5))
