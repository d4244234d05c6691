"""Records which version of the weights wrote which tokens of each sample: a line for each group that a stage learned
from.

A run whose weights change while samples are written takes a course of its own: where a sample was cut depends on how fast
everything went. With this record another run repeats it, on CPU bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rl.json_files import read_records
from rl.run.files import detect_full_disk, drop_torn_line, replacing
from rl.types import Spans

FILE = "cuts.jsonl"


@dataclass(frozen=True)
class Record:
    """One line of the file."""

    step: int
    """Step that learned from the group."""
    group: int
    """Number of the group's draw."""
    spans: list[list[list[int]]]
    """For each sample, [version, tokens] of each version that wrote some of it, in order."""


class CutLog:
    """The record of one stage, in the stage's folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def append(self, step: int, written_by: Mapping[int, Mapping[int, Spans]]) -> None:
        """Add the groups of a step, as {group: {sample: spans}}. Raises DiskFull."""
        rows = [
            {"step": step, "group": group, "spans": [samples[i] for i in sorted(samples)]}
            for group, samples in written_by.items()
        ]
        with detect_full_disk(self.path), self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    def rewind(self, step: int) -> None:
        """Delete what later steps have learned from: they will run again."""
        if not self.path.is_file():
            return
        drop_torn_line(self.path)
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        with replacing(self.path) as temporary:
            temporary.write_text("".join(line for line in lines if json.loads(line)["step"] <= step), encoding="utf-8")

    def read(self) -> dict[int, dict[int, Spans]]:
        """Return {group: {sample: spans}}. Raises ValueError where the file is missing or damaged."""
        fix = "name the directory of a run with `max_lag` whose stage has the same name and place"
        cuts = {
            record.group: {i: tuple((v, n) for v, n in spans) for i, spans in enumerate(record.spans)}
            for _, record in read_records(Record, self.path, fix)
        }
        if not cuts:
            raise ValueError(f"{self.path}: holds no samples to repeat; {fix}")
        return cuts
