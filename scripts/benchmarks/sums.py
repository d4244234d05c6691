"""Judges the answers of finished `smollm2_sums` runs anew, by integers alone, and prints them by kind (markdown).

What a run's reward says does not count here, only how often it differs. A sum is `mirrored` where its numbers stand the other
way round among the problems of the training split: `17+45` is another text than `45+17`, and splits part texts.

    python scripts/benchmarks/sums.py runs/sums     # which holds seed-0, seed-1, …, as `rl run --seeds` writes them
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from curves import list_seeds
from pyarrow import parquet

from rl.data.sources import load as load_prompts
from rl.recipe import load
from rl.run.tracker import rollout_files

STAGES = {"warm": "after SFT", "after": "after RL"}
KINDS = ("sum, mirrored", "sum, not mirrored", "difference of 0 or more", "negative difference")
PROBLEM = re.compile(r"What is (\d+) *([+-]) *(\d+)\?")


def read_problem(question: str) -> tuple[int, str, int]:
    """Return (first number, sign, second number) of a question."""
    match = PROBLEM.search(question)
    assert match, f"no problem of two numbers: {question}"
    return int(match[1]), match[2], int(match[3])


def kind_of(problem: tuple[int, str, int], trained: set[tuple[int, str, int]]) -> str:
    """Return which of KINDS a problem is, where `trained` are those of the training split."""
    first, sign, second = problem
    if sign == "+":
        return "sum, mirrored" if (second, sign, first) in trained else "sum, not mirrored"
    return "difference of 0 or more" if first >= second else "negative difference"


def is_right(problem: tuple[int, str, int], text: str) -> bool:
    """Return True where the text is the number and nothing else, but for a full stop."""
    first, sign, second = problem
    answer = re.fullmatch(r"-?\d+", text.strip().removesuffix("."))
    return answer is not None and int(answer[0]) == (first + second if sign == "+" else first - second)


def count_right(
    rows: Iterable[Mapping[str, Any]], trained: set[tuple[int, str, int]]
) -> tuple[dict[str, list[int]], int]:
    """Return ([right, all] of the sampled answers of each kind; answers on which the reward says otherwise)."""
    counts, differences = defaultdict[str, list[int]](lambda: [0, 0]), 0
    for row in rows:
        problem = read_problem(row["prompt"])
        right = is_right(problem, row["text"])
        counts[kind_of(problem, trained)][0] += right
        counts[kind_of(problem, trained)][1] += 1
        differences += right != (row["score"] == 1.0)
    return counts, differences


def main(folder: Path) -> None:
    """Print one line for each seed and kind."""
    runs = [run for run in list_seeds(folder) if (run / "summary.json").is_file()]
    if not runs:
        sys.exit(f"{folder}: holds no finished run seed-0, seed-1, …")
    print("| seed | kind | answers | " + " | ".join(STAGES.values()) + " |\n|---|---|---|" + "---|" * len(STAGES))
    differences = 0
    for run in runs:
        seed = run.name.removeprefix("seed-")
        header = load(run / "recipe.yaml").header
        trained = {read_problem(prompt.question) for prompt in load_prompts(header.data["sums"], "train")}
        counts: dict[str, dict[str, list[int]]] = {}
        for stage, _, file in rollout_files(run):
            if stage in STAGES:
                counts[stage], different = count_right(parquet.read_table(file).to_pylist(), trained)
                differences += different
        for kind in KINDS:
            shares = [
                f"{100 * right / max(total, 1):.1f}" for right, total in (counts[stage][kind] for stage in STAGES)
            ]
            print(f"| {seed} | {kind} | {counts['after'][kind][1]} | {' | '.join(shares)} |")
    print(f"\nThe reward says otherwise of {differences} answers.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
