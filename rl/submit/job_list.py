"""The jobs of a cluster: which there are, what they have written, and their end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from rl.config import ConfigError, did_you_mean
from rl.planning.duration import format_duration
from rl.submit.jobs import OUT_KEY, RECIPE_KEY, check_dashboard, connect, explain_ray_errors

if TYPE_CHECKING:
    from ray.dashboard.modules.job.pydantic_models import JobDetails
    from rich.table import Table

STOP_S = 120.0
"""Seconds in which a run that is stopped writes its summary and ends."""


@dataclass(frozen=True)
class JobEntry:
    """A job of the cluster. Those that `rl submit` did not send have no recipe and no run directory."""

    job: str
    status: str
    """waiting, running, succeeded, failed or stopped."""
    recipe: str
    out: str
    started: str
    seconds: float
    message: str
    node: str
    """Ray's id of the node that the job's own process is on."""


def list_jobs(address: str) -> list[JobEntry]:
    """Return the jobs of the cluster whose dashboard is at `address`, the newest first. Raises ConfigError."""
    with explain_ray_errors(address):
        check_dashboard(address)
        jobs = [job for job in connect(address).list_jobs() if job.submission_id]
    return [read_entry(job) for job in sorted(jobs, key=lambda job: -(job.start_time or 0))]


def read_entry(job: JobDetails) -> JobEntry:
    """Return what Ray says of a job."""
    metadata = job.metadata or {}
    start = (job.start_time or 0) / 1000
    end = job.end_time / 1000 if job.end_time else time.time()
    return JobEntry(
        str(job.submission_id),
        "waiting" if job.status == "PENDING" else str(job.status.value).lower(),
        metadata.get(RECIPE_KEY, ""),
        metadata.get(OUT_KEY, ""),
        datetime.fromtimestamp(start).isoformat(" ", "seconds") if start else "",
        max(0.0, end - start) if start else 0.0,
        (job.message or "").strip(),
        job.driver_node_id or "",
    )


def find_job(address: str, job: str) -> JobEntry:
    """Return one job. Raises ConfigError, with the jobs that may be meant."""
    jobs = {entry.job: entry for entry in list_jobs(address)}
    if job not in jobs:
        raise ConfigError(f"{address}: no job '{job}'{did_you_mean(job, jobs)}")
    return jobs[job]


def read_logs(address: str, job: str) -> str:
    """Return what a job has written so far. Raises ConfigError."""
    find_job(address, job)
    with explain_ray_errors(address):
        return connect(address).get_job_logs(job)


def stop(address: str, job: str) -> bool:
    """End a job and wait until it has; return False where it had ended before. Raises ConfigError."""
    entry = find_job(address, job)
    if entry.status not in ("waiting", "running"):
        return False
    with explain_ray_errors(address):
        client = connect(address)
        client.stop_job(job)
        deadline = time.monotonic() + STOP_S
        while not client.get_job_status(job).is_terminal():
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"{address}: job {job} has not ended within {STOP_S:.0f} s; look at rl jobs logs {job}"
                )
            time.sleep(0.5)
    return True


def jobs_table(jobs: Sequence[JobEntry]) -> Table:
    """Return the jobs as a table for a terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("job", "status", "recipe", "started", "time", "run directory on the cluster"):
        table.add_column(column, overflow="fold")
    for job in jobs:
        duration = format_duration(job.seconds) if job.seconds else ""
        cells = (job.job, job.status, job.recipe, job.started, duration, job.out)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def as_json(jobs: Sequence[JobEntry]) -> dict[str, object]:
    """Return the jobs as JSON values."""
    return {"jobs": [asdict(job) for job in jobs]}
