"""Brings the files of a job's run here, through the cluster's dashboard alone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from rl.config import ConfigError
from rl.run.files import detect_full_disk, replacing
from rl.submit.errands import errand
from rl.submit.job_list import find_job
from rl.submit.jobs import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S, connect, explain_ray_errors, quote
from rl.submit.sharing import MARK
from rl.units import size

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

START_S = 180.0
"""Seconds in which the job that shares the files starts."""
CHUNK = 1 << 20
PARTS = ("run", "all", "report", "model")
REPORT = ("report.html", "summary.json", "recipe.yaml", "metrics.jsonl")


@dataclass(frozen=True)
class Fetched:
    """Number and size of the files that came."""

    files: int
    bytes: int

    @property
    def size(self) -> str:
        """The bytes, for people."""
        return size(self.bytes)


@dataclass(frozen=True)
class SharedRun:
    """A run on the cluster while its files are shared."""

    link: str
    """Name of the run's folder among the logs of its node."""
    node: str
    files: list[tuple[str, int, float]]
    """(path, bytes, time of change) of each."""


def fetch(address: str, job: str, out: Path, only: str = "run") -> Fetched:
    """Bring a part of the run of a job to `out`: run (all but checkpoints), all, report, or model (that of the last stage that
    has one). A file that is here in the same size and of the same time is not brought again. Raises ConfigError."""
    if only not in PARTS:
        raise ConfigError(f"--only {only}: no part of a run; choose {', '.join(PARTS[:-1])} or {PARTS[-1]}")
    entry = find_job(address, job)
    if not entry.out:
        raise ConfigError(f"{address}: job '{job}' was not sent by rl submit and names no run directory")
    if not entry.has_begun:
        raise ConfigError(f"{address}: job '{job}' has written nothing: {entry.explain()}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out: {out} cannot be a run's directory ({error.strerror}); name another") from error
    with explain_ray_errors(address), detect_full_disk(out):
        client = connect(address)
        with _shared(client, entry.out, entry.node) as run:
            chosen = [file for file in run.files if is_wanted(file[0], only, [name for name, _, _ in run.files])]
            if not chosen:
                raise ConfigError(f"{job}: its run in {entry.out} has no {only} yet")
            new = [file for file in chosen if not _is_here(out / file[0], *file[1:])]
            for name, length, changed in new:
                _bring(client, run, name, length, changed, out, entry.status == "running")
    return Fetched(len(new), sum(length for _, length, _ in new))


def is_wanted(name: str, only: str, names: list[str]) -> bool:
    """Return whether a file of the run belongs to the part `only`; `names` are all of its files."""
    parts = PurePosixPath(name).parts
    if ".." in parts or name.startswith("/"):  # nothing of the cluster's is written beside the folder
        return False
    if only == "report":
        return name in REPORT
    if only == "model":
        models = [folder for folder in map(_model_folder, names) if folder]
        return bool(models) and _model_folder(name) == max(models)
    return only == "all" or "checkpoints" not in parts


def _model_folder(name: str) -> str:
    """Return `stages/03-rlvr/model` for a file in it, "" for any other."""
    parts = PurePosixPath(name).parts
    return "/".join(parts[:3]) if len(parts) > 3 and parts[0] == "stages" and parts[2] == "model" else ""


def _is_here(file: Path, length: int, changed: float) -> bool:
    if not file.is_file():
        return False
    status = file.stat()
    return status.st_size == length and abs(status.st_mtime - changed) < 1.0


@contextmanager
def _shared(client: JobSubmissionClient, folder: str, node: str) -> Generator[SharedRun]:
    """Share a folder of the cluster, by a small job beside the run's own process, for as long as the block lasts."""
    with errand(client, "fetch", f"rl jobs share {quote(folder)}", node) as name:
        line = _await_line(client, name, node)
        values = json.loads(line)
        if problem := values.get("problem"):
            raise ConfigError(f"{problem} on the cluster; has the job begun, and does the storage still exist?")
        # The link lies among the logs of the node on which the sharing job runs: that one the dashboard has to ask.
        node = node or str(client.get_job_info(name).driver_node_id)
        yield SharedRun(values["link"], node, [tuple(file) for file in values["files"]])


def _await_line(client: JobSubmissionClient, name: str, node: str) -> str:
    """Return the JSON with which the sharing job lists its files."""
    deadline = time.monotonic() + START_S
    while True:
        logs = client.get_job_logs(name)
        found = [line.removeprefix(MARK) for line in logs.splitlines() if line.startswith(MARK)]
        # A line without its end is still being written.
        if found and logs.endswith("\n"):
            return found[0]
        status = client.get_job_status(name)
        if status.is_terminal():
            last = logs.strip().splitlines()[-1:] or [client.get_job_info(name).message or "no message"]
            raise ConfigError(
                f"the cluster could not share the run's files: {last[0]}; is this version of rl installed there?"
            )
        if time.monotonic() > deadline:
            why = f"node {node[:8]} of the run may be gone; " if node else ""
            raise ConfigError(
                f"the cluster did not share the run's files within {START_S:.0f} s; {why}copy them from its storage"
            )
        time.sleep(0.5)


def _bring(
    client: JobSubmissionClient, run: SharedRun, name: str, length: int, changed: float, out: Path, goes_on: bool
) -> None:
    """Write one file of the run below `out`, whole or not at all. Where the run `goes_on` the file may meanwhile be another, or
    gone."""
    import requests

    target = out / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not length:  # of an empty file the dashboard says nothing
        target.touch()
        return os.utime(target, (changed, changed))
    written, connection = 0, cast("Any", client)
    # Not by Ray's own client, which would hold the whole file in memory.
    answer = requests.get(
        f"{connection._address}/api/v0/logs/file",
        params={"node_id": run.node, "filename": f"{run.link}/{name}", "lines": "-1"},
        headers=connection._headers,
        cookies=connection._cookies,
        stream=True,
        timeout=(CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S),
    )
    if not answer.ok:
        if goes_on:
            return
        raise ConfigError(f"{name}: the cluster answered {answer.status_code}; run rl jobs fetch again, which goes on")
    with replacing(target) as temporary, open(temporary, "wb") as file:
        try:
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                written += len(chunk)
        except requests.RequestException as error:  # the dashboard is there, and has just answered
            raise ConfigError(
                f"{name}: the connection broke after {written:,} of {length:,} bytes; run rl jobs fetch again, "
                "which goes on"
            ) from error
        # Of a run that goes on the next fetch brings the file again, since its size or time is another.
        if written < length and not goes_on:
            raise ConfigError(f"{name}: {written:,} of {length:,} bytes came; run rl jobs fetch again, which goes on")
    os.utime(target, (changed, changed))
