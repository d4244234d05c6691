"""Which files of a run `rl jobs fetch` brings, and how jobs are listed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.dashboard.modules.job.pydantic_models import JobDetails

from rl.config import ConfigError
from rl.submit.errands import is_errand
from rl.submit.fetching import SharedRun, _bring, is_wanted
from rl.submit.job_list import read_entry
from rl.submit.jobs import explain_ray_errors
from rl.submit.sharing import MARK

NAMES = [
    "recipe.yaml",
    "report.html",
    "metrics.jsonl",
    "stages/01-sft/model/model.safetensors",
    "stages/02-rlvr/checkpoints/step-000010/policy/model.safetensors",
    "stages/02-rlvr/model/config.json",
    "stages/02-rlvr/model/tokenizer/vocab.json",
    "stages/02-rlvr/rollouts/step-1.jsonl",
    "stages/10-evaluate/results.json",
]


@pytest.mark.parametrize(
    ("only", "brought"),
    [
        ("all", NAMES),
        ("run", [name for name in NAMES if "checkpoints" not in name]),
        ("report", ["recipe.yaml", "report.html", "metrics.jsonl"]),
        ("model", ["stages/02-rlvr/model/config.json", "stages/02-rlvr/model/tokenizer/vocab.json"]),
    ],
)
def test_a_part_of_a_run(only: str, brought: list[str]) -> None:
    assert [name for name in NAMES if is_wanted(name, only, NAMES)] == brought


@pytest.mark.parametrize("name", ["../up", "stages/../../up", "/etc/passwd"])
def test_nothing_is_written_beside_the_folder(name: str) -> None:
    assert not is_wanted(name, "all", [name])


def test_a_folder_is_shared_until_the_job_is_stopped(tmp_path: Path) -> None:
    run, logs = tmp_path / "run", tmp_path / "logs"
    (run / "stages").mkdir(parents=True)
    (run / "recipe.yaml").write_text("name: it\n")
    (run / "stages" / "a b.txt").write_text("text")
    (run / "gone").symlink_to("nowhere")
    logs.mkdir()
    with open(logs / "job.log", "w") as log:
        process = subprocess.Popen([sys.executable, "-m", "rl", "jobs", "share", str(run)], stdout=log, stderr=log)
    until = time.monotonic() + 60
    while not (text := (logs / "job.log").read_text()).endswith("\n"):
        assert time.monotonic() < until
        time.sleep(0.05)
    shared = json.loads(text.removeprefix(MARK))
    assert [file[:2] for file in shared["files"]] == [["recipe.yaml", 9], ["stages/a b.txt", 4]]
    assert (logs / shared["link"] / "stages" / "a b.txt").read_text() == "text"
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert not (logs / shared["link"]).is_symlink()


class Breaking(BaseHTTPRequestHandler):
    """A dashboard that promises ten bytes and sends four."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "10")
        self.end_headers()
        self.wfile.write(b"four")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_connection_that_breaks_within_a_file_is_called_so(tmp_path: Path, goes_on: bool) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Breaking)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client: Any = SimpleNamespace(_address=f"http://127.0.0.1:{server.server_port}", _headers={}, _cookies={})
    run = SharedRun("link", "node", [])
    try:
        with pytest.raises(ConfigError) as caught, explain_ray_errors("http://head:8265"):
            _bring(client, run, "a/b.txt", 10, 0.0, tmp_path, goes_on)
    finally:
        server.shutdown()
        server.server_close()
    assert re.fullmatch(
        r"a/b\.txt: the connection broke after [04] of 10 bytes; run rl jobs fetch again, which goes on",
        str(caught.value),
    )
    assert list((tmp_path / "a").iterdir()) == [], "whole or not at all"


def test_jobs_in_a_table() -> None:
    details: dict[str, Any] = {
        "type": "SUBMISSION",
        "submission_id": "tiny-1",
        "entrypoint": "rl run",
        "status": "PENDING",
    }
    waiting = read_entry(
        JobDetails(**details, start_time=0, metadata={"groundtone_recipe": "tiny", "groundtone_out": "/r"})
    )
    assert (waiting.status, waiting.recipe, waiting.out, waiting.seconds) == ("waiting", "tiny", "/r", 0.0)
    foreign = read_entry(JobDetails(**details | {"status": "SUCCEEDED"}, start_time=5_000, end_time=65_000))
    assert (foreign.status, foreign.recipe, foreign.seconds) == ("succeeded", "", 60.0)


@pytest.mark.parametrize(
    ("status", "message", "says"),
    [
        (
            "PENDING",
            None,
            "waiting for a node that has what it asks for (rl submit --cpus, --gpus, --memory-gb), or for its files there",
        ),
        ("RUNNING", "Job is currently running.", "running"),
        ("SUCCEEDED", "Job finished successfully.", "succeeded"),
        ("STOPPED", "Job was intentionally stopped.", "stopped"),
        ("STOPPED", "stopped before it had begun", "stopped: stopped before it had begun"),
        ("FAILED", None, "failed"),
        (
            "FAILED",
            "Job entrypoint command failed with exit code 2, last available logs (truncated to 20,000 chars):\nerror: x\n",
            "failed: Job entrypoint command failed with exit code 2",
        ),
        (
            "FAILED",
            "runtime_env setup failed: Failed to set up runtime environment.\nTraceback …",
            "failed: runtime_env setup failed: Failed to set up runtime environment.",
        ),
    ],
)
def test_how_a_job_stands_is_one_line(status: str, message: str | None, says: str) -> None:
    details: dict[str, Any] = {
        "type": "SUBMISSION",
        "submission_id": "tiny-1",
        "entrypoint": "rl run",
        "status": status,
    }
    assert read_entry(JobDetails(**details, message=message)).explain() == says


def test_jobs_of_ours_are_not_listed() -> None:
    assert is_errand("rl-jobs-fetch-fbb5b616")
    assert is_errand("rl-jobs-stop-ef1ca843")
    assert not is_errand("rl-jobs-fetch-fbb5b6"), "a job of a recipe that is called so"
    assert not is_errand("fetch-fbb5b616")
