"""Which of a run's recorded samples the report shows: some of the best, the worst, the errored and of the rest, from
steps spread over each stage, clipped to what a page can carry."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rl.run.tracker import rollout_files
from rl.types import split_think

MOST, FILES, BYTES = 300, 60, 1_800_000


def sampled_rollouts(run_dir: Path) -> list[dict[str, Any]]:
    """At most 300 samples as plain dicts, about 1.8 MB as JSON. The choice is the same each time."""
    chosen = _spread(rollout_files(run_dir))
    each = min(max(MOST // max(len(chosen), 1), 4), 24)
    rows = [
        {"stage": stage, "step": step, "pick": pick, **row}
        for stage, step, path in chosen
        for pick, row in _picks(recorded(path), each, random.Random(f"{stage}/{step}"))
    ][:MOST]
    limit = 6000
    shown = [_shown(row, limit) for row in rows]
    while len(json.dumps(shown, ensure_ascii=False).encode()) > BYTES and limit > 100:
        limit //= 2
        shown = [_shown(row, limit) for row in rows]
    return shown


def _spread(files: list[tuple[str, int, Path]]) -> list[tuple[str, int, Path]]:
    """At most 60 files: as many of each stage, evenly spaced, first and last among them."""
    stages: dict[str, list[tuple[str, int, Path]]] = {}
    for file in files:
        stages.setdefault(file[0], []).append(file)
    share = max(FILES // max(len(stages), 1), 2)
    return [
        file
        for of_stage in stages.values()
        for file in (
            of_stage
            if len(of_stage) <= share
            else [of_stage[round(i * (len(of_stage) - 1) / (share - 1))] for i in range(share)]
        )
    ]


def _picks(rows: Sequence[dict[str, Any]], most: int, rng: random.Random) -> list[tuple[str, dict[str, Any]]]:
    """(why, row): a quarter each for errored, best and worst, ties broken by chance, then any others."""
    rows, quarter = rng.sample(list(rows), len(rows)), max(most // 4, 1)
    errored = [row for row in rows if row["error"] is not None]
    ranked = sorted((row for row in rows if row["score"] is not None), key=lambda row: -row["score"])
    best, ranked = ranked[:quarter], ranked[quarter:]
    worst, rest = ranked[::-1][:quarter], ranked[: max(len(ranked) - quarter, 0)]
    errored = errored[:quarter]
    others = rng.sample(rest, min(len(rest), max(most - len(errored) - len(best) - len(worst), 0)))
    named = (("errored", errored), ("best", best), ("worst", worst), ("other", others))
    return [(pick, row) for pick, found in named for row in found]


def recorded(path: Path) -> list[dict[str, Any]]:
    """The rows of a rollout file, without their token ids."""
    import pyarrow.parquet

    names = [name for name in pyarrow.parquet.read_schema(path).names if name != "token_ids"]
    return pyarrow.parquet.read_table(path, columns=names).to_pylist()


def _shown(row: dict[str, Any], limit: int) -> dict[str, Any]:
    """The row with its text split at the chain of thought, long texts clipped, parts gathered."""
    think, response = split_think(row["text"])
    kept = ("stage", "step", "pick", "id", "source", "sample", "tokens", "score", "version", "finish_reason")
    return {
        **{name: row[name] for name in kept},
        "logprob": row["logprob_mean"],
        "prompt": clipped(row["prompt"], limit // 2),
        "think": clipped(think, limit),
        "response": clipped(response, limit),
        "gold": clipped(row["answer"], limit // 4),
        "reason": clipped(row["reason"], limit // 4),
        "error": clipped(row["error"], limit // 4),
        "clips": row.get("clips") or [],
        "parts": {n.removeprefix("part/"): v for n, v in row.items() if n.startswith("part/") and v is not None},
    }


def clipped(text: str | None, limit: int) -> str | None:
    """Head and tail: a chain's beginning and its conclusion tell most."""
    if text is None or len(text) <= limit:
        return text
    head, tail = limit * 2 // 3, limit // 3
    return f"{text[:head]}\n⋯ {len(text) - head - tail:,} characters left out ⋯\n{text[len(text) - tail :]}"
