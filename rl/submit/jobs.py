"""Hands a recipe to a running Ray cluster as a job, and follows the job."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rl.config import ConfigError
from rl.recipe import Recipe
from rl.redaction import redact_text
from rl.submit.pack import RECIPE, pack
from rl.workers.placement import SUBMITTED

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

PORT = 8265
"""Port of a Ray dashboard unless it is told another."""
CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S = 10, 60
AGENT_TIMEOUT_S = 60
PATIENCE_S = 10.0
"""Seconds for which a job may wait for a node before whoever follows it is told."""
END_S = 20
"""Seconds between the signal that ends a job and a kill: a run records where it stopped, and nodes are cleaned. Ray's own are 3."""
CHATTY_LOGGERS = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
"""Loggers of Ray that report every upload."""
RECIPE_KEY, OUT_KEY = "groundtone_recipe", "groundtone_out"
"""Keys of a job's metadata: the name of its recipe, and its run directory on the cluster."""


@dataclass(frozen=True)
class Resources:
    """Share of a node that Ray keeps for a job's own process, which verifies rewards; the job waits for it. None: nothing."""

    cpus: float | None = None
    gpus: float | None = None
    memory_gb: float | None = None


def dashboard(address: str) -> str:
    """Return the address of a dashboard as a URL: `head`, `head:8265` and `http://head:8265/` are one. Raises ConfigError."""
    text = address.strip()
    place, example = f"--address {address}", f"give the dashboard of the cluster's head, such as http://HEAD:{PORT}"
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        host, port = url.hostname, url.port
    except ValueError as error:  # a port that is no number, a half bracket
        raise ConfigError(f"{place}: no address of a machine ({error}); {example}") from error
    if url.scheme == "ray":
        raise ConfigError(f"{place}: that is for Ray's client, and jobs go to the dashboard; try http://{host}:{PORT}")
    if url.scheme not in ("http", "https"):
        raise ConfigError(f"{place}: '{url.scheme}' is no dashboard's; {example}")
    if not host or any(character.isspace() for character in text):
        raise ConfigError(f"{place}: names no machine; {example}")
    default_port = "" if "://" in text or port else f":{PORT}"
    return url._replace(netloc=url.netloc + default_port, path=url.path.rstrip("/")).geturl()


def submit(
    recipe: Recipe,
    address: str,
    out: str | None,
    resume: bool,
    say: Callable[[str], None],
    command: tuple[str, Sequence[str]],
    resources: Resources,
) -> tuple[str, str]:
    """Hand `recipe` to the cluster whose dashboard is at `address`; return (job id, run directory on the cluster). `command`
    is (recipe, overrides) as the user gave them, for the commands that the job suggests; `resources` are for the job's
    own process: engines and trainers have theirs by the recipe.

    A cluster with token authentication needs RAY_AUTH_MODE=token and RAY_AUTH_TOKEN in the environment. Raises
    ConfigError if the cluster cannot be reached or refuses.
    """
    if resume and out is None:
        raise ConfigError("--resume: each submission has a directory of its own; name the one to go on with: --out RUN")
    job = f"{recipe.name}-{secrets.token_hex(3)}"
    out = out or f"$HOME/runs/{job}"
    # Quoted for the job's shell, `~` would stay as it is; `quote` leaves $HOME to that shell.
    if out.startswith("~/"):
        out = f"$HOME/{out[2:]}"
    if not out.startswith(("/", "$HOME/")):
        raise ConfigError(
            f"--out {out}: a relative directory would lie in the job's own folder, which Ray deletes; begin it with / or ~/"
        )
    entrypoint = f"rl run {RECIPE} --out {quote(out)}{' --resume' if resume else ''}"
    # A job's environment stands on the dashboard and in the logs, and an override or an address may hold a key.
    sent = {
        "recipe": command[0],
        "overrides": [redact_text(word) for word in command[1]],
        "address": redact_text(address),
    }
    command_json = json.dumps({**sent, "job": job, "cpus": resources.cpus, "gpus": resources.gpus})
    with tempfile.TemporaryDirectory(prefix="groundtone-") as folder, explain_ray_errors(address):
        check_dashboard(address)
        for warning in pack(recipe, Path(folder)):
            say(f"warning: {warning}")
        environment = {
            "working_dir": folder,
            "env_vars": {SUBMITTED: command_json, "RAY_JOB_STOP_WAIT_TIME_S": str(END_S)},
        }
        retry_until_agent_is_up(
            lambda: connect(address).submit_job(
                entrypoint=entrypoint,
                submission_id=job,
                runtime_env=environment,
                metadata={RECIPE_KEY: recipe.name, OUT_KEY: out},
                entrypoint_num_cpus=resources.cpus,
                entrypoint_num_gpus=resources.gpus,
                entrypoint_memory=int(resources.memory_gb * 1e9) if resources.memory_gb else None,
            )
        )
    return job, out


def follow(address: str, job: str, write: Callable[[str], None]) -> None:
    """Write the job's output as it comes until the job ends. Raises ConfigError."""
    with explain_ray_errors(address):
        client = connect(address)
        start, is_told = time.monotonic(), False
        while client.get_job_status(job) == "PENDING":  # there is no log yet
            if not is_told and time.monotonic() - start > PATIENCE_S:
                write(f"job {job} waits for a node that has what it asks for, or for its files there\n")
                is_told = True
            time.sleep(1.0)

        async def tail() -> None:
            async for text in client.tail_job_logs(job):
                write(text)

        asyncio.run(tail())
        while not client.get_job_status(job).is_terminal():  # the log may end before the status changes
            time.sleep(1.0)


def quote(path: str) -> str:
    """Return the path quoted for the job's shell, with a leading $HOME left to that shell."""
    return f'"$HOME"/{shlex.quote(path[6:])}' if path.startswith("$HOME/") else shlex.quote(path)


def check_dashboard(address: str) -> None:
    """Raise an error of requests where nothing answers at the address; Ray's client would wait for minutes."""
    import requests

    requests.get(f"{address}/api/version", timeout=(CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S))


def connect(address: str) -> JobSubmissionClient:
    """Return Ray's client for jobs."""
    from ray.job_submission import JobSubmissionClient

    for name in CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    return JobSubmissionClient(address)


def retry_until_agent_is_up(send: Callable[[], object]) -> None:
    """Call `send`; again each second while a head that has just started has no agent yet, for up to a minute."""
    deadline = time.monotonic() + AGENT_TIMEOUT_S
    while True:
        try:
            send()
            return
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(1.0)


@contextmanager
def explain_ray_errors(address: str) -> Iterator[None]:
    """Raise ConfigError, in one line, for what Ray's client raises if a cluster is away or refuses."""
    from aiohttp import ClientError
    from ray.exceptions import AuthenticationError
    from requests import RequestException

    try:
        yield
    except AuthenticationError as error:
        raise ConfigError(
            f"--address {address}: the cluster needs a valid token ({str(error.message).splitlines()[0]}); set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to the values of its head"
        ) from error
    except (ConnectionError, RequestException, ClientError) as error:
        raise ConfigError(
            f"--address {address}: no Ray dashboard answers there; give the one of the cluster's head, http://HEAD:8265"
        ) from error
    except RuntimeError as error:
        text = str(error).strip()
        if "status code 500" in text:  # the dashboard's own traceback, as it asks the agent of a node that is gone
            text = "the dashboard got no answer from the job's node, which may be gone"
        raise ConfigError(f"--address {address}: {(text.splitlines() or ['it refuses'])[0]}") from error
