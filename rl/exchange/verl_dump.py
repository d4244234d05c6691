"""Reads the samples that verl writes with `trainer.rollout_data_dir` (and `validation_data_dir`): `STEP.jsonl` files
with rows `{input, output, gts, score, step, …}`, to replay them under another reward, and to look at them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any  # Any: values of rows, whose columns are read by name

from rewards.contract import Case
from rl.config import ConfigError
from rl.data.json_rows import jsonl
from rl.data.rows import is_missing, type_name
from rl.types import Message, Prompt, Rollout

STAGE = "verl"
"""Name of the stage that a dump is shown as."""
COLUMNS = ("input", "output", "gts", "score", "step")
"""Columns of every row; others are what the reward logged."""
Row = dict[str, Any]
"""A row in the columns of our own rollout files: `score`, `part/NAME`."""
Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class DumpedSample:
    """A sample of a dump."""

    step: int
    rollout: Rollout
    score: float | None
    """Score in verl; None where it wrote none."""
    parts: Mapping[str, float]
    """Numbers that the reward logged beside it."""


def is_dump(path: Path) -> bool:
    """Return whether a folder holds verl's samples, and no run of ours."""
    # os.path: unlike Path.is_dir it answers for names that are too long for any file.
    return os.path.isdir(path) and not (path / "recipe.yaml").exists() and bool(_files(path))


def _files(folder: Path) -> list[Path]:
    """Return the files of the steps, in their order."""
    names = [name for name in os.listdir(folder) if name.endswith(".jsonl") and name[:-6].isdecimal()]
    return [folder / name for name in sorted(names, key=lambda name: int(name[:-6]))]


def read_dump(folder: Path, steps: int | None = None) -> list[DumpedSample]:
    """Return the samples of the last `steps` steps (None: of all), in order. Prompts of one step with the same text are one
    group. Raises ValueError naming file and line."""
    samples: list[DumpedSample] = []
    for file in _files(folder)[-steps if steps else 0 :]:
        counts: dict[str, list[int]] = {}  # of each prompt its number, and its samples so far
        for where, row in jsonl(file):
            samples.append(_read_sample(row, where, int(file.stem), counts))
    if not samples:
        raise ValueError(f"{folder}: its files hold no samples")
    return samples


def _read_sample(row: Row, where: str, step: int, counts: dict[str, list[int]]) -> DumpedSample:
    for name in ("input", "output"):
        if not isinstance(row.get(name), str):
            raise ValueError(
                f"{where}: '{name}' is {type_name(row.get(name))}, not a text; a file of verl's rollout_data_dir has "
                f"{', '.join(COLUMNS)}"
            )
    question, gold = row["input"], row.get("gts")
    entry = counts.setdefault(question, [len(counts), 0])
    number, index = entry
    entry[1] += 1
    parts = {name: float(value) for name, value in row.items() if name not in COLUMNS and _is_number(value)}
    rest = {name: value for name, value in row.items() if name not in (*COLUMNS, *parts)}
    prompt = Prompt(
        id=f"{step}/{number}",
        messages=(Message("user", question),),
        answer=str(gold) if isinstance(gold, str | int | float) and str(gold).strip() else None,
        source=str(rest.get("data_source") or ""),
        fields={**rest, "reward_model": {"ground_truth": gold}},
    )
    rollout = Case(row["output"], None).rollout()
    # What `rl export verl` writes of a sample that could not be judged is no score.
    could_judge = not (row.get("error") == 1 and "acc" in row)
    score = float(row["score"]) if could_judge and _is_number(row.get("score")) else None
    return DumpedSample(step, replace(rollout, prompt=prompt, sample=index, version=step), score, parts)


def _is_number(value: object) -> bool:
    # Bounded: an infinity is no score, and a whole number beyond the range of floats cannot be made one.
    return isinstance(value, int | float) and not is_missing(value) and abs(value) < 1e300


def replay_rows(folder: Path, stage: str | None, steps: int | None) -> tuple[list[tuple[str, int, Row]], list[Rollout]]:
    """Return a dump as `rl verifiers replay` reads a run's rollouts: ([(stage, step, row)], rollouts). Raises
    ConfigError for another stage."""
    if stage not in (None, STAGE):
        raise ConfigError(f"--stage: '{stage}' is no stage of verl's samples; leave it out")
    samples = read_dump(folder, steps)
    rows = [{"score": s.score} | {f"part/{name}": value for name, value in s.parts.items()} for s in samples]
    return [(STAGE, s.step, row) for s, row in zip(samples, rows, strict=True)], [s.rollout for s in samples]


def summarise(folder: Path) -> list[Json]:
    """Return a row for each step: samples, groups, those of several samples without spread, the means of score and parts, the
    mean length in characters."""
    by_step: dict[int, list[DumpedSample]] = defaultdict(list)
    for sample in read_dump(folder):
        by_step[sample.step].append(sample)
    return [{"step": step, **_summary(samples)} for step, samples in sorted(by_step.items())]


def _summary(samples: Sequence[DumpedSample]) -> Json:
    groups: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        if sample.score is not None:
            groups[sample.rollout.prompt.id].append(sample.score)
    scores = [score for group in groups.values() for score in group]
    several = [group for group in groups.values() if len(group) > 1]
    parts = {name for sample in samples for name in sample.parts}
    means = {name: fmean(s.parts[name] for s in samples if name in s.parts) for name in sorted(parts)}
    return {
        "samples": len(samples),
        "groups": len(groups),
        "without_spread": sum(len({*group}) == 1 for group in several),
        "without_score": len(samples) - len(scores),
        "score": fmean(scores) if scores else None,
        "characters": fmean(len(sample.rollout.text) for sample in samples),
        **means,
    }
