"""Records of a run, step by step: `metrics.jsonl` (which reports read), `rollouts/<stage>-<step>.parquet`, `warnings.jsonl`,
and what the run's sinks are handed.

No file is held open and every line is written whole, so a kill at any moment costs at most the line being written.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

from rl.config import shorten
from rl.data.rows import fail
from rl.finite import drop_undefined
from rl.json_files import is_number, is_whole, parse_object, read_bytes
from rl.redaction import redact_text
from rl.run.clips import CLIPS, store_clips
from rl.run.exchanges import exchanges_as_json
from rl.run.files import detect_full_disk, drop_torn_line, replacing
from rl.run.sinks.base import Sample
from rl.run.sinks.channels import SHOWN_SAMPLES, Channels, is_shown
from rl.types import Prompt, Scored

if TYPE_CHECKING:
    import pyarrow as pa

METRICS, WARNINGS, ROLLOUTS = "metrics.jsonl", "warnings.jsonl", "rollouts"

Refuse = Callable[[ValueError], None]
"""A function that gets the error of something that cannot be read, and raises it or goes on without."""
MetricRow = dict[str, Any]  # JSON: "stage" is a str, "step" an int, every other value a float


class Tracker:
    """The recorder of one stage of the run in `run_dir`. Every method raises DiskFull when no space is left."""

    def __init__(self, run_dir: Path, stage: str, sinks: Channels | None = None) -> None:
        self.run_dir, self.stage, self.sinks = run_dir, stage, sinks
        self.last_step: int | None = None
        """The step that is behind the stage; None before it has counted any."""
        self.recovery_s = 0.0
        """Seconds that the run has lost to a new cluster since the last record; the next one holds them."""
        self._has_shown_samples = False
        with detect_full_disk(run_dir):
            run_dir.mkdir(parents=True, exist_ok=True)
        for name in (METRICS, WARNINGS):
            drop_torn_line(run_dir / name)

    @property
    def current_step(self) -> int | None:
        """The step that the stage is at; None where it counts none, or has not begun to."""
        return None if self.last_step is None else self.last_step + 1

    def record(self, step: int, metrics: Mapping[str, SupportsFloat]) -> None:
        """Append one line to metrics.jsonl and hand the same numbers to the sinks. A metric that is undefined (NaN, infinite)
        is left out of all."""
        assert not {"stage", "step"} & metrics.keys(), "'stage' and 'step' cannot be names of metrics"
        numbers = drop_undefined({name: float(value) for name, value in metrics.items()})
        if self.recovery_s:
            numbers["time/recovery"], self.recovery_s = self.recovery_s, 0.0
        line = json.dumps({"stage": self.stage, "step": step, **numbers}, allow_nan=False) + "\n"
        _append(self.run_dir / METRICS, line.encode())
        # After the file, so that what the run itself holds depends on no sink.
        if self.sinks:
            self.sinks.record(self.stage, step, numbers)
        self.last_step = step

    def record_warning(self, step: int, text: str) -> None:
        """Append a warning about the stage, which the report shows."""
        append_warning(self.run_dir, self.stage, step, text)

    def record_rollouts(self, step: int, scored: Sequence[Scored]) -> None:
        """Write the step's samples to a parquet file, which is complete or absent, and their clips."""
        import pyarrow.parquet

        # Of each sample: the sessions of a harness on one prompt may have brought different ones.
        # Stored before the file that names them: a kill leaves clips that nobody names, never names without clips.
        clips = [store_clips(self.run_dir, s.rollout.prompt.clips) for s in scored]
        exchanges = [exchanges_as_json(s.rollout, self.run_dir) for s in scored]
        with replacing(rollout_file(self.run_dir, self.stage, step)) as path:
            pyarrow.parquet.write_table(_rollout_table(scored, clips, exchanges), path, compression="zstd")
        if self.sinks and is_shown(step, not self._has_shown_samples):
            self._has_shown_samples = True
            spread = range(len(scored))[:: max(len(scored) // SHOWN_SAMPLES, 1)][:SHOWN_SAMPLES]  # of many prompts
            samples = [_sample(scored[i], [self.run_dir / CLIPS / name for name in clips[i]]) for i in spread]
            self.sinks.record_samples(self.stage, step, samples)

    def rewind(self, step: int) -> None:
        """Delete what this stage recorded after `step` (-1: everything), to continue from a checkpoint taken there.

        Records of other stages stay.
        """
        for path in (self.run_dir / METRICS, self.run_dir / WARNINGS):
            lines = list(_read_lines(path))
            remaining = [line for line, row in lines if row["stage"] != self.stage or row["step"] <= step]
            if len(remaining) < len(lines):
                with replacing(path) as temporary:
                    temporary.write_bytes(b"".join(remaining))
        for stage, file_step, file in rollout_files(self.run_dir):
            if stage == self.stage and file_step > step:
                file.unlink()
        for leftover in (self.run_dir / ROLLOUTS).glob(".*.tmp"):  # of a process that was killed while it wrote
            leftover.unlink()
        if self.sinks:
            self.sinks.rewind(self.stage, step)
        self.last_step = step


def append_warning(run_dir: Path, stage: str, step: int, text: str) -> None:
    """Append a line to warnings.jsonl, without secrets."""
    line = json.dumps({"stage": stage, "step": step, "text": redact_text(text)}, ensure_ascii=False) + "\n"
    _append(run_dir / WARNINGS, line.encode("utf-8", "replace"))


def read_metrics(run_dir: Path, refuse: Refuse = fail) -> list[MetricRow]:
    """Return the lines of metrics.jsonl in order, `{"stage": …, "step": …, metric: number…}`.

    A torn last line is skipped; a missing file has no lines. Any other line without `stage` and `step`, or with a metric that
    is no number, goes to `refuse` as a ValueError (file, line number).
    """
    return [row for _, row in _read_lines(run_dir / METRICS, refuse, holds_numbers=True)]


def read_warnings(run_dir: Path, refuse: Refuse = fail) -> list[str]:
    """Return the texts of the run's warnings, in order; `refuse` gets errors as that of `read_metrics` does."""
    return [str(row.get("text", "")) for _, row in _read_lines(run_dir / WARNINGS, refuse)]


def rollout_file(run_dir: Path, stage: str, step: int) -> Path:
    """Return the path of the rollout file of a stage's step, written or not."""
    return run_dir / ROLLOUTS / f"{stage}-{step:06d}.parquet"


def rollout_files(run_dir: Path) -> list[tuple[str, int, Path]]:
    """Return (stage, step, path) of every rollout file, ordered by stage and step."""
    files: list[tuple[str, int, Path]] = []
    for path in (run_dir / ROLLOUTS).glob("*.parquet"):
        # A stage's name may have a '-' and digits of its own: the step is what stands behind the last one.
        match = re.fullmatch(r"(.+)-(\d{6,})", path.stem)
        if match:
            files.append((match[1], int(match[2]), path))
    return sorted(files)


def _read_lines(path: Path, refuse: Refuse = fail, holds_numbers: bool = False) -> Iterator[tuple[bytes, MetricRow]]:
    """Yield (line with its newline, parsed row) of metrics.jsonl, which `holds_numbers`, or warnings.jsonl."""
    if not os.path.lexists(path):
        return
    try:
        content = read_bytes(path, "delete it to go on without")
    except ValueError as error:
        return refuse(error)
    *lines, _torn = content.split(b"\n")  # after the last newline: empty, or a line cut off by a kill
    for number, line in enumerate(lines, 1):
        try:
            row = _parse_line(line, f"{path}:{number}", holds_numbers)
        except ValueError as error:
            refuse(error)
        else:
            yield line + b"\n", row


def _parse_line(line: bytes, place: str, holds_numbers: bool) -> MetricRow:
    fix = "remove the line"
    row = parse_object(line, place, fix)
    if not (isinstance(row.get("stage"), str) and is_whole(row.get("step"), -1)):
        raise ValueError(f"{place}: not a record with 'stage' and 'step'; {fix}")
    for name, value in row.items():
        if holds_numbers and name != "stage" and not is_number(value):
            raise ValueError(f"{place}: {name} is {shorten(value)}, not a number; {fix}")
    return row


def _append(path: Path, line: bytes) -> None:
    with detect_full_disk(path), path.open("ab", buffering=0) as file:
        end = file.tell()
        try:
            while line:  # an unbuffered write may write less than it was given
                line = line[file.write(line) :]
        except OSError:
            with suppress(OSError):
                file.truncate(end)  # the part of the line that fitted on the full disk
            raise


def _sample(scored: Scored, clips: Sequence[Path]) -> Sample:
    """Return a sample as sinks are given it."""
    prompt, verdict = scored.rollout.prompt, scored.verdict
    return Sample(
        prompt=_storable(render_transcript(prompt)),
        text=_storable(scored.rollout.text),
        answer=None if prompt.answer is None else _storable(prompt.answer),
        score=None if verdict.error is not None else float(verdict.score),
        reason=_storable(redact_text(verdict.error or verdict.reason)),
        clips=tuple(clips),
    )


def _rollout_table(scored: Sequence[Scored], clips: Sequence[list[str]], exchanges: Sequence[str | None]) -> pa.Table:
    """Return a table with a row for each sample.

    `tokens` counts what the policy wrote, `token_ids` are prompt and response as the engine saw them; an errored sample
    has no score; `clips` are names under the run's `clips/`; `exchanges` are those of `rl.run.exchanges`.
    """
    import pyarrow as pa

    rollouts, verdicts = [s.rollout for s in scored], [s.verdict for s in scored]
    text, number, ids = pa.string(), pa.float64(), pa.list_(pa.int32())
    columns: dict[str, tuple[pa.DataType, Sequence[object]]] = {
        "id": (text, [_storable(r.prompt.id) for r in rollouts]),
        "source": (text, [_storable(r.prompt.source) for r in rollouts]),
        "prompt": (text, [_storable(render_transcript(r.prompt)) for r in rollouts]),
        "text": (text, [_storable(r.text) for r in rollouts]),
        "answer": (text, [None if r.prompt.answer is None else _storable(r.prompt.answer) for r in rollouts]),
        "sample": (pa.int32(), [r.sample for r in rollouts]),
        "tokens": (pa.int32(), [int(r.action_mask.sum()) for r in rollouts]),
        "token_ids": (ids, [r.tokens for r in rollouts]),
        "score": (number, [None if v.error is not None else float(v.score) for v in verdicts]),
        "error": (text, [None if v.error is None else _storable(redact_text(v.error)) for v in verdicts]),
        "reason": (text, [_storable(redact_text(v.reason)) for v in verdicts]),
    }
    if any(clips):  # a run on text alone has no such column
        columns["clips"] = pa.list_(text), clips
    if any(exchanges):
        columns["exchanges"] = text, [None if e is None else _storable(e) for e in exchanges]
    for part in dict.fromkeys(name for v in verdicts for name in v.parts):
        columns[f"part/{part}"] = number, [v.parts.get(part) for v in verdicts]  # null: it did not judge
    columns["version"] = pa.int64(), [r.version for r in rollouts]
    columns["finish_reason"] = text, [r.finish_reason for r in rollouts]
    columns["logprob_mean"] = number, [float(r.logprobs.mean()) if r.logprobs.size else None for r in rollouts]
    arrays = [pa.array(values, type=kind) for kind, values in columns.values()]
    return pa.table(arrays, names=list(columns))


def render_transcript(prompt: Prompt) -> str:
    """Return the prompt as text: a single message as it is, or every message under its role."""
    if len(prompt.messages) == 1:
        return prompt.messages[0].content
    return "\n\n".join(f"[{m.role}]\n{m.content}" for m in prompt.messages)


def _storable(text: str) -> str:
    """Return the text as valid UTF-8: half a surrogate pair (a truncated escape in a data file) becomes '?'."""
    return text.encode("utf-8", "replace").decode()


def read_stage_metrics(run_dir: Path, stage: str) -> list[MetricRow]:
    """Return the stage's lines of metrics.jsonl, from its first step on, also when the stage was resumed."""
    return [row for row in read_metrics(run_dir) if row["stage"] == stage]
