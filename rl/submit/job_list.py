"""The jobs of a cluster: which there are, what they have written, and their end."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from rl.config import ConfigError, did_you_mean
from rl.planning.duration import format_duration
from rl.submit.errands import errand, is_errand
from rl.submit.jobs import OUT_KEY, RECIPE_KEY, check_dashboard, connect, explain_ray_errors

if TYPE_CHECKING:
    from ray.dashboard.modules.job.pydantic_models import JobDetails
    from ray.job_submission import JobSubmissionClient
    from rich.table import Table

STOP_S = 120.0
"""Seconds in which a run that is stopped writes its summary and ends."""
BARE_MESSAGES = ("Job was intentionally stopped.", "Job failed.")
"""Ray's words for a job that has ended where it knows no reason."""


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
    """Ray's id of the node that the job's own process is on; "" before it has one."""

    @property
    def has_begun(self) -> bool:
        """Return whether its process has ever started, so that there is a log."""
        return bool(self.node)

    def explain(self) -> str:
        """Return how the job stands, in a line: `failed: …`, with what Ray says of it where its log does not."""
        if self.status == "waiting":
            return "waiting for a node that has what it asks for (rl submit --cpus, --gpus, --memory-gb), or for its files there"
        # Of an entrypoint that failed Ray repeats the log's end below this line.
        reason = self.message.partition("\n")[0].partition(", last available logs")[0]
        says_more = self.status in ("failed", "stopped") and reason and reason not in BARE_MESSAGES
        return f"{self.status}: {reason}" if says_more else self.status


def list_jobs(address: str) -> list[JobEntry]:
    """Return the jobs of the cluster whose dashboard is at `address`, the newest first. Raises ConfigError."""
    with explain_ray_errors(address):
        check_dashboard(address)
        jobs = [job for job in connect(address).list_jobs() if job.submission_id and not is_errand(job.submission_id)]
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
    """Return what a job has written so far; of one that has not begun, how it stands. Raises ConfigError."""
    entry = find_job(address, job)
    if not entry.has_begun:
        return f"job {job} is {entry.explain()}\n"
    with explain_ray_errors(address):
        return connect(address).get_job_logs(job)


def stop(address: str, job: str) -> str:
    """End a job, wait until it has ended, and return how it stands in a line. Raises ConfigError."""
    entry = find_job(address, job)
    if entry.status not in ("waiting", "running"):
        return f"had ended already: {entry.explain()}"
    with explain_ray_errors(address):
        client = connect(address)
        client.stop_job(job)
        if entry.status == "waiting":  # Ray's stop waits for the job's process to begin, as the job does
            _cancel(client, job)
        deadline = time.monotonic() + STOP_S
        while not client.get_job_status(job).is_terminal():
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"{address}: job {job} has not ended within {STOP_S:.0f} s; look at rl jobs logs {job}"
                )
            time.sleep(0.5)
    return f"is {find_job(address, job).explain()}"


def _cancel(client: JobSubmissionClient, job: str) -> None:
    """Have a small job on the cluster end one that has not begun."""
    deadline = time.monotonic() + STOP_S
    with errand(client, "stop", shlex.join(["rl", "jobs", "cancel", job])) as name:
        while not client.get_job_status(name).is_terminal() and time.monotonic() < deadline:
            if client.get_job_status(job).is_terminal():
                return
            time.sleep(0.5)


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
