"""Errands: small jobs by which a command does something on the cluster that the dashboard cannot."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rl.submit.jobs import retry_until_agent_is_up

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

PREFIX = "rl-jobs-"
STOP_S = 15.0
"""Seconds in which such a job ends; one that was never placed does not, until Ray gives it up."""


def is_errand(job: str) -> bool:
    """Return whether a job is one of these. Ray lists one that has been deleted again, as failed, where its own watch over it ends
    later than the job."""
    return re.fullmatch(rf"{PREFIX}[a-z]+-[0-9a-f]{{8}}", job) is not None


@contextmanager
def errand(client: JobSubmissionClient, kind: str, entrypoint: str, node: str = "") -> Generator[str]:
    """Run a job for as long as the block lasts, on a node where one is given, and yield its name. It asks for no device, so that
    a full cluster runs it too."""
    name = f"{PREFIX}{kind}-{secrets.token_hex(4)}"
    selector = {"ray.io/node-id": node} if node else None
    retry_until_agent_is_up(
        lambda: client.submit_job(entrypoint=entrypoint, submission_id=name, entrypoint_label_selector=selector)
    )
    try:
        yield name
    finally:
        client.stop_job(name)
        deadline = time.monotonic() + STOP_S
        while not (has_ended := client.get_job_status(name).is_terminal()) and time.monotonic() < deadline:
            time.sleep(0.2)
        if has_ended:
            client.delete_job(name)  # which Ray refuses for one that goes on
