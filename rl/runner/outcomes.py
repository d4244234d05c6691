"""Stores the outcome of a finished stage in its folder, and reads it back when the run is resumed or replayed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from os.path import relpath
from pathlib import Path

from rl.json_files import build_record, read_object
from rl.redaction import redact
from rl.run.files import replacing
from rl.stages.context import Outcome

OUTCOME = "done.json"
"""File in a stage's folder that holds its outcome; a stage without one is not finished."""


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """The part of `done.json` from which a stage's outcome is restored."""

    metrics: dict[str, float]
    artifacts: dict[str, str]
    seconds: float
    counts: dict[str, int] = field(default_factory=dict[str, int])


def write_outcome(
    file: Path, kind: str, outcome: Outcome, parents: Sequence[object], run_dir: Path, seconds: float
) -> None:
    """Write the outcome of a stage of this kind, whole or not at all."""
    values = {"kind": kind, **asdict(outcome), "parents": redact(parents), "seconds": seconds}
    # Relative paths, so that a run's directory can be moved.
    values["artifacts"] = {name: relpath(path, run_dir) for name, path in outcome.artifacts.items()}
    # Not redacted as a whole: a metric may be called `part/secret`, and is read again as a number.
    values["facts"] = redact(outcome.facts)
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(values))


def read_outcome(file: Path, run_dir: Path) -> tuple[Outcome, float]:
    """Return a stage's outcome and its seconds. Raises ValueError for a file that cannot be read."""
    fix = "delete it, and --resume runs the stage again"
    record = build_record(StoredOutcome, read_object(file, fix), file, fix)
    artifacts = {kind: str(run_dir / path) for kind, path in record.artifacts.items()}
    return Outcome(record.metrics, artifacts, record.counts), record.seconds
