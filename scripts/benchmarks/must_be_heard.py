"""Prints a table (markdown) of what the filter of finished runs of `findings/heard_only` dropped, the seeds side by
side.

There it is known which questions the text gives away. Beside it stands what guessing among the answers would have
dropped.

python scripts/benchmarks/must_be_heard.py runs/neighbours/heard_only
"""

from __future__ import annotations

import sys
from pathlib import Path

from curves import list_seeds
from pyarrow import parquet

from rl.bundled import FOLDER
from rl.data import user_functions
from rl.stages.audio_contribution import fewest_to_drop
from rl.stages.prompt_filter import Row

CHANCE, LEVEL, SHARE = 1 / 8, 0.05, 0.5


def count_drops(run: Path) -> dict[str, str]:
    """Return {column: cell} of one run."""
    planted = user_functions.load(f"{FOLDER / 'findings' / 'planted.py'}:planted", "data.mixed")
    given_away = {prompt.id for prompt in planted("train", share=SHARE) if prompt.fields["planted"]}
    (file,) = run.glob("stages/*curate*/difficulty.parquet")
    rows: list[Row] = parquet.read_table(file).to_pylist()
    groups = {
        "given away": [row for row in rows if row["id"] in given_away],
        "must be heard": [row for row in rows if row["id"] not in given_away],
    }
    cells: dict[str, str] = {}
    for name, group in groups.items():
        right = sum(row["silenced"] for row in group) / sum(row["silenced_k"] for row in group)
        by_chance = [row["silenced"] >= (fewest_to_drop(row["silenced_k"], CHANCE, LEVEL) or 99) for row in group]
        dropped = [row["dropped_by"] == "silenced" for row in group]
        cells[f"{name}: questions"] = str(len(group))
        cells[f"{name}: right in silence"] = f"{right:.1%}"
        cells[f"{name}: dropped"] = f"{sum(dropped) / len(group):.1%}"
        cells[f"{name}: dropped by the number of answers alone"] = f"{sum(by_chance) / len(group):.1%}"
    return cells


if __name__ == "__main__":
    runs = [count_drops(run) for run in list_seeds(Path(sys.argv[1]))]
    print("| | seeds side by side |\n|---|---|")
    for column in runs[0]:
        print(f"| {column} | {' · '.join(run[column] for run in runs)} |")
