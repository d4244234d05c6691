"""MLflow: parameters, curves, samples, evaluations and the report, sent to a tracking server over its REST interface.

The `mlflow` package cannot stand beside the packages that a run needs (it wants an older importlib-metadata), and a server
is all that a run has to talk to. MLFLOW_TRACKING_URI names it, MLFLOW_EXPERIMENT_NAME the experiment; MLFLOW_TRACKING_TOKEN,
or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, let a run in and are written nowhere.
"""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from rl.run.sinks.base import OnceOnlySink, RunFacts, Sample, flatten

TIMEOUT_S = 30.0
MOST_PARAMETERS, MOST_METRICS = 100, 1000
"""Limits of one request, as MLflow documents them."""
LONGEST_VALUE = 500
"""Characters of a parameter or tag that every version of the server takes."""
STATUS = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
SERVED = "mlflow-artifacts:"
"""Scheme of artifacts that the server itself takes."""


class Mlflow(OnceOnlySink):
    """One run at an MLflow server, which a resumed run continues."""

    def __init__(self, run: RunFacts) -> None:
        super().__init__(run)
        self._server = Server(os.environ["MLFLOW_TRACKING_URI"])
        if "run_id" in run.memory:
            self._run_id = str(run.memory["run_id"])
            self._server.post("runs/update", run_id=self._run_id, status="RUNNING")
        else:
            self._run_id = self._create()
        info = self._server.get("runs/get", run_id=self._run_id)["run"]["info"]
        self._artifacts = str(info.get("artifact_uri", ""))

    def _create(self) -> str:
        """Create the run with its tags; return its id."""
        experiment = self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", "groundtone"))
        tags = {f"provenance.{key}": value for key, value in flatten(self.run.provenance).items()}
        answer = self._server.post(
            "runs/create",
            experiment_id=experiment,
            run_name=self.run.name,
            start_time=_now(),
            tags=_pairs({"mlflow.runName": self.run.name, **tags}),
        )
        run_id = str(answer["run"]["info"]["run_id"])
        # At once: a run that is killed from here on goes on in this record, and begins no second one.
        self.run.remember(run_id=run_id, sent={}, lacks_parameters=True)
        return run_id

    def _send_parameters(self) -> None:
        """Send the recipe, unless the server has it. What it has taken already it takes again, if it is the same."""
        if not self.run.memory.get("lacks_parameters"):
            return
        parameters = _pairs(flatten(self.run.config))
        for start in range(0, len(parameters), MOST_PARAMETERS):
            self._server.post("runs/log-batch", run_id=self._run_id, params=parameters[start : start + MOST_PARAMETERS])
        self.run.remember(lacks_parameters=False)

    def _experiment(self, name: str) -> str:
        try:
            found = self._server.get("experiments/get-by-name", experiment_name=name)
            return str(found["experiment"]["experiment_id"])
        except HTTPError as error:
            if error.code != 404:
                raise
        return str(self._server.post("experiments/create", name=name)["experiment_id"])

    def record(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        if self.is_new("metrics", stage, step):
            self._send_metrics(stage, step, metrics)
        self._send_parameters()  # last, and again until the server has them: one that it refuses costs no curve

    def _send_metrics(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        now = _now()
        points = [
            {"key": _name(f"{stage}/{name}"), "value": number, "timestamp": now, "step": step}
            for name, number in metrics.items()
        ]
        for start in range(0, len(points), MOST_METRICS):
            self._server.post("runs/log-batch", run_id=self._run_id, metrics=points[start : start + MOST_METRICS])

    def record_samples(self, stage: str, step: int, samples: Sequence[Sample]) -> None:
        if not self.is_new("samples", stage, step):
            return
        rows: list[dict[str, object]] = []
        for sample in samples:
            sounds = [f"sounds/{clip.name}" for clip in sample.clips]
            for clip, name in zip(sample.clips, sounds, strict=True):
                self._upload(name, clip.read_bytes())
            rows.append({**asdict(sample), "clips": sounds})
        self._upload_table(f"samples/{_name(stage)}-{step:06d}.json", rows)

    def record_table(self, name: str, rows: Sequence[Mapping[str, str | float]]) -> None:
        self._upload_table(f"{name}.json", rows)

    def record_artifact(self, path: Path) -> None:
        self._upload(path.name, path.read_bytes())

    def finish(self, status: str) -> None:
        self._server.post("runs/update", run_id=self._run_id, status=STATUS.get(status, "FINISHED"), end_time=_now())
        self._send_parameters()  # of a run that has recorded no step

    def _upload_table(self, name: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Upload rows in the form that MLflow's page shows as a table."""
        columns = list(rows[0]) if rows else []
        table = {"columns": columns, "data": [[row[column] for column in columns] for row in rows]}
        self._upload(name, json.dumps(table).encode())

    def _upload(self, name: str, content: bytes) -> None:
        if not self._artifacts.startswith(SERVED):
            raise ValueError(
                f"the server keeps artifacts at {self._artifacts.partition(':')[0]}:, where a run cannot write; "
                "start it with --serve-artifacts"
            )
        path = urlsplit(self._artifacts).path.strip("/")
        self._server.put(f"mlflow-artifacts/artifacts/{quote(path)}/{quote(name)}", content)


class Server:
    """The REST interface of a tracking server."""

    def __init__(self, uri: str) -> None:
        self.base = f"{uri.rstrip('/')}/api/2.0/"
        # A proxy of the environment knows nothing of this machine's own addresses.
        is_here = urlsplit(uri).hostname in ("localhost", "127.0.0.1", "::1")
        self._opener = build_opener(*([ProxyHandler({})] if is_here else []))

    def get(self, path: str, **query: str) -> Any:
        """Return the answer to a question."""
        return self._send(Request(f"{self.base}mlflow/{path}?{urlencode(query)}"))

    def post(self, path: str, **fields: object) -> Any:
        """Send a command and return its answer."""
        request = Request(f"{self.base}mlflow/{path}", data=json.dumps(fields).encode(), method="POST")
        request.add_header("Content-Type", "application/json")
        return self._send(request)

    def put(self, path: str, content: bytes) -> None:
        """Upload a file."""
        request = Request(f"{self.base}{path}", data=content, method="PUT")
        request.add_header("Content-Type", "application/octet-stream")
        self._send(request)

    def _send(self, request: Request) -> Any:
        if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
            request.add_header("Authorization", f"Bearer {token}")
        elif user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
            word = f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
            request.add_header("Authorization", f"Basic {base64.b64encode(word.encode()).decode()}")
        with self._opener.open(request, timeout=TIMEOUT_S) as answer:
            return json.loads(answer.read() or b"{}")


def _now() -> int:
    return int(time.time() * 1000)


def _name(name: str) -> str:
    """Return the name with '_' for characters that MLflow does not take."""
    return re.sub(r"[^\w\-. /:]", "_", name, flags=re.ASCII)


def _pairs(values: Mapping[str, object]) -> list[dict[str, str]]:
    return [{"key": _name(key), "value": str(value)[:LONGEST_VALUE]} for key, value in values.items()]
