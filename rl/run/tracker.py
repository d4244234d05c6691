"""What a run leaves behind step by step: `metrics.jsonl` (the record everything else is drawn from), TensorBoard events
and `rollouts/<stage>-<step>.parquet`. Nothing is held open and every line is written whole, so a kill at any moment
costs at most the line being written."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

from rl.run.clips import keep
from rl.run.files import full_disk_named, replacing
from rl.types import Prompt, Scored

if TYPE_CHECKING:
    import pyarrow as pa
    from tensorboard.compat.proto.event_pb2 import Event

METRICS, ROLLOUTS, TENSORBOARD = "metrics.jsonl", "rollouts", "tensorboard"


class Tracker:
    """Records one stage of the run in `run_dir`. Every method raises DiskFull when there is no space left."""

    def __init__(self, run_dir: Path, stage: str) -> None:
        self.run_dir, self.stage = run_dir, stage
        self._events = run_dir / TENSORBOARD / stage / f"events.out.tfevents.{time.time_ns()}"
        with full_disk_named(run_dir):
            run_dir.mkdir(parents=True, exist_ok=True)
        _drop_torn_line(run_dir / METRICS)

    def record(self, step: int, metrics: Mapping[str, SupportsFloat]) -> None:
        """Appends one line to metrics.jsonl and the same numbers to TensorBoard."""
        assert not {"stage", "step"} & metrics.keys(), "'stage' and 'step' are no metrics"
        numbers = {name: float(value) for name, value in metrics.items()}
        line = json.dumps({"stage": self.stage, "step": step, **numbers}) + "\n"
        _append(self.run_dir / METRICS, line.encode())
        self._write_event(_scalars(step, numbers))

    def record_rollouts(self, step: int, scored: Sequence[Scored]) -> None:
        """Writes the step's samples, all at once: the file is whole or absent."""
        import pyarrow.parquet

        clips = {s.rollout.prompt.id: keep(self.run_dir, s.rollout.prompt.clips) for s in scored}
        with replacing(rollout_file(self.run_dir, self.stage, step)) as path:
            pyarrow.parquet.write_table(_rollout_table(scored, clips), path, compression="zstd")

    def rewind(self, step: int) -> None:
        """Forgets what this stage recorded after `step`, to go on from a checkpoint taken there (-1: forgets it all).
        Other stages stay as they are."""
        path = self.run_dir / METRICS
        lines = list(_parsed_lines(path))
        kept = [line for line, row in lines if row["stage"] != self.stage or row["step"] <= step]
        if len(kept) < len(lines):
            with replacing(path) as temporary:
                temporary.write_bytes(b"".join(kept))
        for stage, recorded, file in rollout_files(self.run_dir):
            if stage == self.stage and recorded > step:
                file.unlink()
        for abandoned in (self.run_dir / ROLLOUTS).glob(".*.tmp"):
            abandoned.unlink()
        self._write_event(_restart(step + 1))

    def _write_event(self, event: Event) -> None:
        # tensorboard's EventFileWriter would put the host name into the file name and lose a full disk in a thread.
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        with full_disk_named(self._events):
            self._events.parent.mkdir(parents=True, exist_ok=True)
            with self._events.open("ab") as file:
                writer = RecordWriter(file)
                if not file.tell():
                    writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
                writer.write(event.SerializeToString())


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl in order, `{"stage": …, "step": …, metric: number…}`; a torn last line is left out and
    a missing file has none. Raises ValueError (file, line number) for a line that is no such record."""
    return [row for _, row in _parsed_lines(run_dir / METRICS)]


def rollout_file(run_dir: Path, stage: str, step: int) -> Path:
    return run_dir / ROLLOUTS / f"{stage}-{step:06d}.parquet"


def rollout_files(run_dir: Path) -> list[tuple[str, int, Path]]:
    """(stage, step, path) of every rollout file, ordered by stage and step."""
    found = [(re.fullmatch(r"(.+)-(\d{6,})", p.stem), p) for p in (run_dir / ROLLOUTS).glob("*.parquet")]
    return sorted((match[1], int(match[2]), path) for match, path in found if match)


def _parsed_lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    if not path.exists():
        return
    *lines, _torn = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not (isinstance(row, dict) and isinstance(row.get("stage"), str) and isinstance(row.get("step"), int)):
            raise ValueError(f"{path}:{number}: not a record with 'stage' and 'step'; remove the line")
        yield line + b"\n", row


def _drop_torn_line(path: Path) -> None:
    if path.exists() and path.stat().st_size:
        with path.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def _append(path: Path, line: bytes) -> None:
    with full_disk_named(path), path.open("ab", buffering=0) as file:
        end = file.tell()
        try:
            while line:
                line = line[file.write(line) :]
        except OSError:
            with suppress(OSError):
                file.truncate(end)  # what fitted on the full disk is no record
            raise


def _scalars(step: int, numbers: Mapping[str, float]) -> Event:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = [Summary.Value(tag=name, simple_value=number) for name, number in numbers.items()]
    return Event(wall_time=time.time(), step=step, summary=Summary(value=values))


def _restart(step: int) -> Event:
    """Tells TensorBoard to forget what earlier event files of the stage say from `step` on."""
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    return Event(wall_time=time.time(), step=max(step, 0), session_log=SessionLog(status=SessionLog.START))


def _rollout_table(scored: Sequence[Scored], clips: Mapping[str, list[str]]) -> pa.Table:
    """One row for each sample. `tokens` counts what the policy wrote, `token_ids` are all ids the engine saw; an errored
    sample has no score; `clips` are names under the run's `clips/`."""
    import pyarrow as pa

    rollouts, verdicts = [s.rollout for s in scored], [s.verdict for s in scored]
    text, number, ids = pa.string(), pa.float64(), pa.list_(pa.int32())
    columns: dict[str, tuple[pa.DataType, list[Any]]] = {
        "id": (text, [_storable(r.prompt.id) for r in rollouts]),
        "source": (text, [_storable(r.prompt.source) for r in rollouts]),
        "prompt": (text, [_storable(transcript(r.prompt)) for r in rollouts]),
        "text": (text, [_storable(r.text) for r in rollouts]),
        "answer": (text, [None if r.prompt.answer is None else _storable(r.prompt.answer) for r in rollouts]),
        "sample": (pa.int32(), [r.sample for r in rollouts]),
        "tokens": (pa.int32(), [int(r.action_mask.sum()) for r in rollouts]),
        "token_ids": (ids, [r.tokens for r in rollouts]),
        "score": (number, [None if v.error is not None else float(v.score) for v in verdicts]),
        "error": (text, [None if v.error is None else _storable(v.error) for v in verdicts]),
        "reason": (text, [_storable(v.reason) for v in verdicts]),
    }
    if any(clips.values()):
        columns["clips"] = pa.list_(text), [clips[r.prompt.id] for r in rollouts]
    for part in dict.fromkeys(name for v in verdicts for name in v.parts):
        columns[f"part/{part}"] = number, [v.parts.get(part) for v in verdicts]
    columns["version"] = pa.int64(), [r.version for r in rollouts]
    columns["finish_reason"] = text, [r.finish_reason for r in rollouts]
    columns["logprob_mean"] = number, [float(r.logprobs.mean()) if r.logprobs.size else None for r in rollouts]
    arrays = [pa.array(values, type=kind) for kind, values in columns.values()]
    return pa.table(arrays, names=list(columns))


def transcript(prompt: Prompt) -> str:
    """What the policy was asked, as text: the question alone, or every turn under its role."""
    if len(prompt.messages) == 1:
        return prompt.messages[0].content
    return "\n\n".join(f"[{m.role}]\n{m.content}" for m in prompt.messages)


def _storable(text: str) -> str:
    """Half a surrogate pair (a truncated escape in a data file) is no UTF-8; it becomes '?'."""
    return text.encode("utf-8", "replace").decode()


def recorded(run_dir: Path, stage: str) -> list[dict[str, Any]]:
    """What the stage's lines of metrics.jsonl tell, one a step: of the whole stage, resumed or not."""
    return [row for row in read_metrics(run_dir) if row["stage"] == stage]
