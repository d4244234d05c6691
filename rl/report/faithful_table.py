"""The report's table of answers that are right or wrong by chains that are faithful or not."""

from __future__ import annotations

from collections.abc import Sequence

from rl.report.markup import escape, format_share
from rl.report.run_data import Stage
from rl.stages.faithfulness import CELLS

NOTE = (
    "Faithful: all claims of the chain that can be measured are true, and at least one is; its steps do not contradict one "
    "another and conclude the answer. Right but unfaithful is luck."
)


def render_faithful(evaluations: Sequence[Stage]) -> str:
    """Return a row of four shares for each evaluation whose chains were judged by `grounding` and `coherence`; empty without
    any."""
    stages = [stage for stage in evaluations if all(cell in stage.metrics for cell in CELLS)]
    if not stages:
        return ""
    heads = "".join(f'<th scope="col">{escape(cell.replace("_", " "))}</th>' for cell in CELLS)
    rows = "".join(
        f'<tr><th scope="row">{escape(stage.name)}</th>{"".join(_cell(stage, name) for name in CELLS)}</tr>'
        for stage in stages
    )
    return (
        '<div class="scroll"><table class="tracks"><thead><tr><th scope="col">evaluation</th>'
        f"{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(stage: Stage, name: str) -> str:
    interval = stage.interval(name)
    assert interval is not None, "the stage has all four"
    value, low, high = interval
    bounds = "" if low is None or high is None else f" <i>{100 * low:.1f} – {format_share(high)}</i>"
    return f"<td>{format_share(value)}{bounds}</td>"
