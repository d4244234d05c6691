"""A table (markdown, on stdout) of finished runs of `mind_paced`, the seeds side by side: right answers of each way to pace one,
learned from whole chains and from chains that were cut, in percent with 95 % intervals over prompts.

python scripts/benchmarks/paced.py runs/mind_paced
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from curves import list_seeds
from findings import read_stages

MODES = {
    "wo": "no chain",
    "speak_first": "speaks first",
    "think_first": "thinks a segment first",
    "tbs": "thinks before it speaks",
}
ARMS = {"paced": "whole chains", "paced_unfinished": "cut chains"}
KINDS = {"restated_sum": "opens with what was heard", "sum_first": "opens with the sum"}


def render_table(runs: Sequence[Mapping[str, Mapping[str, float]]]) -> str:
    """Return a row for each way to pace an answer of each arm."""
    columns = ["right", *KINDS.values(), "tokens before the first word", "read anew, tokens"]
    rows = [f"| learned from | answers | {' | '.join(columns)} |", "|---|---|" + "---|" * len(columns)]
    for stage, arm in ARMS.items():
        for mode, label in MODES.items():
            cells = [
                " · ".join(_show_share(run[stage], f"accuracy@{mode}") for run in runs),
                *(" · ".join(f"{100 * run[stage][f'accuracy@{mode}/{kind}']:.1f}" for run in runs) for kind in KINDS),
                " · ".join(f"{run[stage][f'tokens_before@{mode}']:.1f}" for run in runs),
                " · ".join(f"{run[stage][f'prefill_tokens@{mode}']:.0f}" for run in runs),
            ]
            rows.append(f"| {arm} | {label} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _show_share(metrics: Mapping[str, float], name: str) -> str:
    low, high = 100 * metrics[f"{name}/low"], 100 * metrics[f"{name}/high"]
    return f"{100 * metrics[name]:.1f} ({low:.0f}–{high:.0f})"


if __name__ == "__main__":
    print(render_table([read_stages(run) for run in list_seeds(Path(sys.argv[1]))]))
