"""Samples for the report: some of the best, the worst, the errored and of the rest, from steps spread over each stage,
shortened to what a page can hold."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rl.data.arrow import parquet_columns, read_columns
from rl.data.rows import fail
from rl.run.tracker import Refuse, rollout_files
from rl.think import split_think

MAX_SAMPLES, MAX_FILES, MAX_BYTES = 300, 60, 1_800_000  # bytes of all samples together, as JSON

Row = dict[str, Any]  # of a rollout file: columns `part/…` and `clips` differ between runs
ROLLOUT_COLUMNS = {
    **dict.fromkeys(("id", "source", "prompt", "text", "reason"), "text"),
    "answer": "text?",
    "error": "text?",
    "finish_reason": "text?",
    "score": "number?",
    "logprob_mean": "number?",
    **dict.fromkeys(("sample", "tokens", "version"), "whole"),
}
"""Columns of a rollout file and what they hold, as `rl.data.arrow.read_columns` takes it."""
OPTIONAL_COLUMNS = {"clips": "list?", "exchanges": "text?"}
"""Columns of runs with sound, and of those in which an environment answered."""
RolloutFile = tuple[str, int, Path]  # (stage, step, path)


def choose_samples(run_dir: Path, refuse: Refuse = fail) -> list[Row]:
    """Return at most 300 samples as JSON objects of at most about 1.8 MB; the same for every call on the same run. `refuse`
    gets a ValueError for a file that cannot be read."""
    files = _choose_files(rollout_files(run_dir))
    # The answers of a lone evaluation are what its report is about; of several files a reader wants few of each.
    per_file = MAX_SAMPLES if len(files) == 1 else min(max(MAX_SAMPLES // max(len(files), 1), 1), 24)
    rows = [
        {"stage": stage, "step": step, "pick": pick, **row}
        for stage, step, path in files
        for pick, row in _pick_rows(read_rollouts(path, refuse), per_file, random.Random(f"{stage}/{step}"))
    ][:MAX_SAMPLES]
    limit = 6000  # characters of a text
    samples = [_to_sample(row, limit) for row in rows]
    # Texts are cut and not samples left out: how long they are is known only once they are JSON.
    while len(json.dumps(samples, ensure_ascii=False).encode()) > MAX_BYTES and limit > 100:
        limit //= 2
        samples = [_to_sample(row, limit) for row in rows]
    return samples


def _choose_files(files: list[RolloutFile]) -> list[RolloutFile]:
    """Return at most 60 files, or two of each stage where there are more than 30: equally many of each, evenly spaced, the first
    and the last among them."""
    stages: dict[str, list[RolloutFile]] = {}
    for file in files:
        stages.setdefault(file[0], []).append(file)
    per_stage = max(MAX_FILES // max(len(stages), 1), 2)
    chosen_files: list[RolloutFile] = []
    for stage_files in stages.values():
        if len(stage_files) > per_stage:
            last = len(stage_files) - 1
            stage_files = [stage_files[round(i * last / (per_stage - 1))] for i in range(per_stage)]
        chosen_files += stage_files
    return chosen_files


def _pick_rows(rows: Sequence[Row], limit: int, rng: random.Random) -> list[tuple[str, Row]]:
    """Return at most `limit` (pick, row): a quarter each for errored, best and worst, then any others.

    Ties are broken by chance. The best score more than the lowest score and the worst less than the highest, so that there
    are none where all scores are equal.
    """
    quarter = max(min(limit, len(rows)) // 4, 1)
    rows = rng.sample(list(rows), len(rows))  # sorting is stable, so equal scores stay in this random order
    ranking = sorted((row for row in rows if row["score"] is not None), key=lambda row: -row["score"])
    highest, lowest = (ranking[0]["score"], ranking[-1]["score"]) if ranking else (0.0, 0.0)
    best = [row for row in ranking[:quarter] if row["score"] > lowest]
    worst = [row for row in ranking[len(best) :][::-1][:quarter] if row["score"] < highest]
    rest = ranking[len(best) : len(ranking) - len(worst)]
    errors = [row for row in rows if row["error"] is not None]
    room = max(limit - len(best) - len(worst), 0)
    other_rows = rng.sample(rest, min(len(rest), max(room - len(errors[:quarter]), 0)))
    errors = errors[: max(room - len(other_rows), 0)]  # more than a quarter where there is little else
    picks = (("errored", errors), ("best", best), ("worst", worst), ("other", other_rows))
    return [(pick, row) for pick, group in picks for row in group]


def read_rollouts(path: Path, refuse: Refuse = fail) -> list[Row]:
    """Return the rows of a rollout file, without their token ids, which are most of it. Where it cannot be read, `refuse` gets
    a ValueError and there are none."""
    try:
        names = parquet_columns(path)
        kinds = {name: "number?" for name in names if name.startswith("part/")}
        kinds |= {name: kind for name, kind in OPTIONAL_COLUMNS.items() if name in names}
        rows = read_columns(path, {**ROLLOUT_COLUMNS, **kinds})
        return [{**row, "exchanges": _parse_exchanges(row.get("exchanges"), path)} for row in rows]
    except ValueError as error:
        refuse(error)
        return []


def _parse_exchanges(text: str | None, path: Path) -> list[Row]:
    """Return the exchanges as `rl.run.exchanges` writes them. Raises ValueError for anything else."""
    try:
        exchanges: list[Row] = json.loads(text or "[]")
        return [
            {**exchange, "messages": [(role, said) for role, said in exchange["messages"]]} for exchange in exchanges
        ]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{path}: exchanges that no run has written; delete the file") from error


def _to_sample(row: Row, limit: int) -> Row:
    """Return the row as `page.js` reads it: chain and response apart, texts shortened, parts of the score together."""
    think, response = split_think(row["text"])
    columns = ("stage", "step", "pick", "id", "source", "sample", "tokens", "score", "version", "finish_reason")
    return {
        **{name: row[name] for name in columns},
        "logprob": row["logprob_mean"],
        "prompt": shorten(row["prompt"], limit // 2),
        "think": shorten(think, limit),
        "response": shorten(response, limit),
        "gold": shorten(row["answer"], limit // 4),
        "reason": shorten(row["reason"], limit // 4),
        "error": shorten(row["error"], limit // 4),
        "clips": row.get("clips") or [],
        "exchanges": _exchanges(row, limit // 2),
        "parts": {n.removeprefix("part/"): v for n, v in row.items() if n.startswith("part/") and v is not None},
    }


def _exchanges(row: Row, limit: int) -> list[Row]:
    """Return what the environment replied, with what the policy had written before, texts shortened."""
    return [
        {
            "text": shorten(exchange["text"], limit),
            "reply": shorten("\n".join(f"[{role}] {text}" for role, text in exchange["messages"]), limit),
            **{name: exchange[name] for name in ("clips", "reward", "note")},
        }
        for exchange in row["exchanges"]
    ]


def shorten(text: str | None, limit: int) -> str | None:
    """Return the text with its middle cut out where it is longer than `limit` characters."""
    if text is None or len(text) <= limit:
        return text
    head, tail = limit * 2 // 3, limit // 3  # of a chain, its beginning and its conclusion say most
    return f"{text[:head]}\n⋯ {len(text) - head - tail:,} characters left out ⋯\n{text[len(text) - tail :]}"
