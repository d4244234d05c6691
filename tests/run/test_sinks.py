"""What the sinks of a run receive, read back from their own files and servers, and what their failures cost: nothing."""

from __future__ import annotations

import io
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

from rl.config import ConfigError
from rl.redaction import redact_text
from rl.run.sinks import registry
from rl.run.sinks.base import RunFacts, Sink
from rl.run.sinks.channels import Channels
from rl.run.tracker import Tracker, read_metrics
from rl.types import Clip, Scored

CONFIG = {"name": "spell", "rlvr": {"steps": 3, "optimizer": {"lr": 1e-5}}, "judge": {"api_key": "<hidden>"}}


class Warnings(list[str]):
    def __call__(self, text: str) -> None:
        self.append(text)


def open_channels(folder: Path, entries: list[str], warn: Callable[[str], None], said: Any = None) -> Channels:
    folder.mkdir(exist_ok=True)
    registry.check(entries)
    facts = RunFacts(
        "spell",
        folder,
        CONFIG,
        {"python": "3.11", "packages": {"torch": "2.10"}},
        said if said is not None else lambda _: None,
    )
    return Channels(facts, {registry.title(e): registry.factory(e, folder) for e in entries}, warn)


def heard(scored: Scored, sound: Path) -> Scored:
    """The sample with a sound in its prompt."""
    prompt = replace(scored.rollout.prompt, clips=(Clip(path=str(sound)),))
    return replace(scored, rollout=replace(scored.rollout, prompt=prompt))


def play(
    folder: Path, channels: Channels, sample: Callable[..., Scored], sound: Path, steps: range, start: int = 0
) -> None:
    """What a run hands on: metrics of each step, samples, evaluations, its report."""
    tracker = Tracker(folder, "rlvr", channels)
    tracker.rewind(start)
    for step in steps:
        tracker.record(step, {"reward/mean": step / 8, "time/step": 0.5})
        tracker.record_rollouts(step, [heard(sample(), sound), sample(id="q", error="it crashed")])
    channels.record_table("evaluations", [{"evaluation": "test", "metric": "accuracy", "value": 0.75}])
    (folder / "report.html").write_text("<h1>the report</h1>")
    channels.record_artifact(folder / "report.html")
    channels.close("done")


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "beep.wav"
    soundfile.write(path, 0.3 * np.sin(np.arange(1600) / 5), 16000)
    return path


def test_tensorboard_shows_the_resumed_run_once(tmp_path: Path, sample: Callable[..., Scored], sound: Path) -> None:
    warnings, run = Warnings(), tmp_path / "run"
    play(run, open_channels(run, ["tensorboard"], warnings), sample, sound, range(1, 4))
    play(run, open_channels(run, ["tensorboard"], warnings), sample, sound, range(2, 3), start=1)
    events = EventAccumulator(
        str(run / "tensorboard" / "rlvr")
    )  # what its pages are read with: one plugin for each tag
    events.Reload()
    curve = [(e.step, e.tensor_proto.float_val[0]) for e in events.Tensors("reward/mean")]
    assert curve == [(1, 0.125), (2, 0.25)]
    assert set(events.PluginTagToContent("text")) == {"samples/1", "samples/2"}
    assert b"2 and 2" in events.Tensors("samples/1")[0].tensor_proto.string_val[0]
    assert set(events.PluginTagToContent("audio")) == {"sounds/1"}
    signal, rate = soundfile.read(io.BytesIO(events.Tensors("sounds/1")[0].tensor_proto.string_val[0]))
    assert (rate, len(signal)) == (16000, 1600)
    assert warnings == []


def test_wandb_offline_holds_curves_samples_and_report(
    tmp_path: Path, sample: Callable[..., Scored], sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read back with wandb's own reader of its files."""
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "run" / "trackers"))
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef0123456789abcdef01234567")
    warnings, run = Warnings(), tmp_path / "run"
    play(run, open_channels(run, ["wandb"], warnings), sample, sound, range(1, 3))
    play(run, open_channels(run, ["wandb"], warnings), sample, sound, range(2, 4), start=1)
    wandb.teardown()  # its service writes what is left
    assert warnings == []
    first, resumed = sorted((run / "trackers" / "wandb" / "wandb").glob("offline-run-*"))
    assert first.name.rpartition("-")[2] == resumed.name.rpartition("-")[2], "one run at wandb"
    history = [row for folder in (first, resumed) for row in read_wandb(folder)["history"]]
    curve = [(row["rlvr/step"], row["rlvr/reward/mean"]) for row in history if "rlvr/reward/mean" in row]
    assert curve == [(1, 0.125), (2, 0.25), (3, 0.375)], "no step twice"
    table = next(row["rlvr/samples/path"] for row in history if "rlvr/samples/path" in row)
    shown = json.loads((first / "files" / table).read_text())
    assert shown["columns"] == ["step", "prompt", "answer", "sample", "score", "reason", "sound 1"]
    assert "2 and 2" in shown["data"][0][3]
    assert shown["data"][1][4] is None
    contents = [file.read_bytes() for file in run.rglob("*") if file.is_file()]
    assert any(content[:4] == b"RIFF" and content[8:12] == b"WAVE" for content in contents)
    assert any("evaluations/path" in row for row in history)
    config = read_wandb(first)["config"]
    assert config["recipe"]["rlvr"]["steps"] == 3
    assert config["provenance"]["packages"] == {"torch": "2.10"}
    in_trackers = [file.read_bytes() for file in (run / "trackers").rglob("*") if file.is_file()]
    assert b"<h1>the report</h1>" in in_trackers
    assert not any(b"0123456789abcdef" in content for content in contents)


def read_wandb(folder: Path) -> dict[str, Any]:
    """History rows and config of an offline run's datastore."""
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.glob("*.wandb")
    history: list[dict[str, Any]] = []
    config: dict[str, Any] = {}
    for data in wandb_records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.HasField("history"):
            row: dict[str, Any] = {}
            for item in record.history.item:
                row["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
            history.append(row)
        if record.HasField("run"):
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
    return {"history": history, "config": config}


def wandb_records(content: bytes) -> Iterator[bytes]:
    """The records of a `.wandb` file: after seven bytes of its own it is a LevelDB log, blocks of 32 KiB with pieces of
    (checksum 4, length 2, type 1: whole, first, middle, last)."""
    assert content[:4] == b":W&B"
    position, record = 7, b""
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:  # too little room for a header: the rest of the block is empty
            position += 32768 - position % 32768
            continue
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def test_prometheus_is_scraped(tmp_path: Path) -> None:
    said, warnings = Warnings(), Warnings()
    channels = open_channels(tmp_path, ["prometheus"], warnings, said)
    tracker = Tracker(tmp_path, "rlvr", channels)
    tracker.record(1, {"reward/mean": 0.25})
    tracker.record(2, {"reward/mean": 0.5, "pass@4": 0.75})
    page = ""
    for _ in range(600):
        if said:
            url = said[0].removeprefix("prometheus: ")
            page = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10).read().decode()
        if "groundtone_pass_4" in page:
            break
        time.sleep(0.05)
    assert said[0].startswith("prometheus: http://127.0.0.1:")
    assert 'groundtone_reward_mean{run="spell",stage="rlvr"} 0.5' in page
    assert 'groundtone_pass_4{run="spell",stage="rlvr"} 0.75' in page
    assert 'groundtone_step{run="spell",stage="rlvr"} 2.0' in page
    channels.close("done")
    assert warnings == []


class MlflowServer(BaseHTTPRequestHandler):
    """The few answers of an MLflow 3 tracking server that a run needs; it keeps what it was sent."""

    requests: list[tuple[str, str, Any]]
    refused: int
    """Batches of parameters that are refused first."""

    def do_GET(self) -> None:
        if "get-by-name" in self.path:
            return self.answer(404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})
        uri = "mlflow-artifacts:/7/r1/artifacts"
        self.answer(200, {"run": {"info": {"run_id": "r1", "artifact_uri": uri}}})

    def do_POST(self) -> None:
        path = self.path.rpartition("mlflow/")[2]
        body = json.loads(self.body())
        if "params" in body and MlflowServer.refused:
            MlflowServer.refused -= 1
            return self.answer(503, {})
        self.requests.append((path, self.headers.get("Authorization", ""), body))
        known = {"experiments/create": {"experiment_id": "7"}, "runs/create": {"run": {"info": {"run_id": "r1"}}}}
        self.answer(200, known.get(path, {}))

    def do_PUT(self) -> None:
        self.requests.append((self.path.rpartition("/artifacts/7/")[2], "", self.body()))
        self.answer(200, {})

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def answer(self, code: int, values: Mapping[str, object]) -> None:
        content = json.dumps(values).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str, Any]]]:
    MlflowServer.requests, MlflowServer.refused = [], 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), MlflowServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a-token-of-the-server")
    yield MlflowServer.requests
    server.shutdown()
    server.server_close()


def test_mlflow_is_told_by_its_rest_interface(
    tmp_path: Path, sample: Callable[..., Scored], sound: Path, mlflow: list[tuple[str, str, Any]]
) -> None:
    """The conversation that a real server of MLflow 3.17 was seen to take."""
    warnings, run = Warnings(), tmp_path / "run"
    play(run, open_channels(run, ["mlflow"], warnings), sample, sound, range(1, 3))
    play(run, open_channels(run, ["mlflow"], warnings), sample, sound, range(2, 4), start=1)
    assert warnings == []
    posts = [(path, body) for path, _, body in mlflow if isinstance(body, dict)]
    assert [path for path, _ in posts].count("runs/create") == 1, "a resumed run goes on in the same one"
    parameters = {p["key"]: p["value"] for _, body in posts for p in body.get("params", ())}
    assert parameters["rlvr.optimizer.lr"] == "1e-05"
    assert parameters["judge.api_key"] == "<hidden>"
    points = [m for _, body in posts for m in body.get("metrics", ()) if m["key"] == "rlvr/reward/mean"]
    assert [(m["step"], m["value"]) for m in points] == [(1, 0.125), (2, 0.25), (3, 0.375)]
    files = {path: body for path, _, body in mlflow if isinstance(body, bytes)}
    assert "2 and 2" in json.loads(files["r1/artifacts/samples/rlvr-000001.json"])["data"][0][1]
    assert any(path.startswith("r1/artifacts/sounds/") and body[:4] == b"RIFF" for path, body in files.items())
    assert files["r1/artifacts/report.html"] == b"<h1>the report</h1>"
    assert posts[-1][1]["status"] == "FINISHED"
    assert {authorization for path, authorization, body in mlflow if isinstance(body, dict)} == {
        "Bearer a-token-of-the-server"
    }
    everything = b"".join(file.read_bytes() for file in run.rglob("*") if file.is_file())
    assert b"a-token-of-the-server" not in everything


def test_parameters_that_mlflow_did_not_get_are_sent_again(tmp_path: Path, mlflow: list[tuple[str, str, Any]]) -> None:
    """With the next step, or by the process that resumes the run; the curves do not wait for them."""
    MlflowServer.refused = 2
    warnings, run = Warnings(), tmp_path / "run"
    for steps in (range(1, 2), range(2, 4)):
        channels = open_channels(run, ["mlflow"], warnings)
        for step in steps:
            channels.record("rlvr", step, {"reward": step / 8})
        channels.close("interrupted")
    assert len(warnings) == 1
    assert warnings[0].startswith("track: mlflow failed (HTTPError: HTTP Error 503")
    posts = [body for _, _, body in mlflow]
    assert [m["step"] for body in posts for m in body.get("metrics", ())] == [1, 2, 3]
    keys = [[p["key"] for p in body["params"]] for body in posts if "params" in body]
    assert keys == [["name", "rlvr.steps", "rlvr.optimizer.lr", "judge.api_key"]], "once"


OWN = """
from rl.run.sinks.base import Sink

class Tracker(Sink):
    def record(self, stage, step, metrics):
        with open(self.run.folder / "rewards.txt", "a") as file:
            print(stage, step, metrics.get("reward/mean"), file=file)

class Breaks(Sink):
    def record(self, stage, step, metrics):
        raise ConnectionError("no route to a-key-of-ours")

class Hangs(Sink):
    def record(self, stage, step, metrics):
        import time
        time.sleep(1000)

class NotOne:
    def __init__(self, run): ...
"""


def test_a_class_of_ones_own(tmp_path: Path, sample: Callable[..., Scored], sound: Path) -> None:
    run, warnings = tmp_path / "run", Warnings()
    run.mkdir()
    (run / "mine.py").write_text(OWN)
    assert registry.problems(["mine.py:Tracker"], run) == []
    play(run, open_channels(run, ["mine.py:Tracker"], warnings), sample, sound, range(1, 4))
    assert (run / "rewards.txt").read_text() == "rlvr 1 0.125\nrlvr 2 0.25\nrlvr 3 0.375\n"
    assert warnings == []


def test_the_example_of_the_class_runs(tmp_path: Path) -> None:
    example = (Sink.__doc__ or "").partition("Example:\n")[2].partition("\n    \n")[0]
    (tmp_path / "mine.py").write_text(
        "from rl.run.sinks.base import Sink\n" + "\n".join(x[8:] for x in example.split("\n"))
    )
    channels = open_channels(tmp_path, ["mine.py:Tracker"], pytest.fail)
    channels.record("rlvr", 1, {"reward": 0.5})
    channels.close("done")
    assert (tmp_path / "rewards.txt").read_text() == "rlvr 1 0.5\n"


def test_a_failing_sink_warns_once_and_costs_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a-key-of-ours")
    registry.hide_keys()
    (tmp_path / "mine.py").write_text(OWN)
    warnings = Warnings()
    channels = open_channels(tmp_path, ["mine.py:Breaks", "mine.py:Hangs", "mine.py:NotOne"], warnings)
    tracker = Tracker(tmp_path, "rlvr", channels)
    for step in range(1, 6):
        tracker.record(step, {"reward/mean": step / 8})
    channels.close("done", patience_s=2.0)
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3, 4, 5]
    assert len(warnings) == 3
    (broken,) = [line for line in warnings if "Breaks" in line]
    assert broken.startswith("track: Breaks failed (ConnectionError: no route to")
    assert "a-key-of-ours" not in redact_text(broken)
    assert any("Hangs has not finished within 2 s" in line for line in warnings)
    assert any("is no Sink; write `class NotOne(Sink)`" in line for line in warnings)


def test_a_server_that_is_away_warns_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    warnings = Warnings()
    channels = open_channels(tmp_path, ["mlflow"], warnings)
    for step in range(1, 4):
        channels.record("rlvr", step, {"reward/mean": 0.5})
    channels.close("done")
    assert len(warnings) == 1
    assert warnings[0].startswith("track: mlflow failed (URLError: ")


@pytest.mark.parametrize(
    ("track", "line"),
    [
        (["tensorbord"], "track[0]: 'tensorbord' is no tracker; did you mean 'tensorboard'?"),
        (["wandb", "wandb"], "track[1]: 'wandb' stands there twice; remove one"),
        (["prometheus:ninety"], "track[0]: 'ninety' is no port; write prometheus:9400, or prometheus for a free one"),
        (["prometheus:99999"], "track[0]: '99999' is no port"),
        (["mine.py"], "track[0]: 'mine.py' is no tracker"),
        (["wandb:Tracker"], "track[0]: 'wandb:Tracker': nothing stands behind wandb; write wandb alone"),
        (["mlflow:runs"], "track[0]: 'mlflow:runs': nothing stands behind mlflow; write mlflow alone"),
        (
            ["tensorboard:logs"],
            "track[0]: 'tensorboard:logs': nothing stands behind tensorboard; write tensorboard alone",
        ),
    ],
)
def test_a_wrong_name_is_refused(track: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.check(track)
    assert str(caught.value).startswith(line)


def test_what_a_sink_lacks_is_said_before_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.py").write_text(OWN)
    lines = registry.problems(["tensorboard", "wandb", "mlflow", "prometheus:9400", "mine.py:Trakcer"], tmp_path)
    assert lines == [
        "track: wandb has no key to log in with; set WANDB_API_KEY, or WANDB_MODE=offline to keep the run here",
        "track: mlflow: no server is named; start one with `mlflow server`, in any environment, and set "
        "MLFLOW_TRACKING_URI=http://127.0.0.1:5000",
        f"track: {tmp_path / 'mine.py'} defines no 'Trakcer'; did you mean 'Tracker'?",
    ]
