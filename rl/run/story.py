"""What a run of many stages tells on its page: what came of what, the funnels, and accuracy over thinking. Each is HTML,
empty when the run has nothing for it; everything that comes from a run goes through `escape`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from rl.run.lineage import Node, children, forest
from rl.run.reading import Stage

BUDGETED = re.compile(r"(accuracy|tokens|vote)@(\d+|full)(/low|/high)?")
WIDTH, HEIGHT, LEFT, BOTTOM = 760, 300, 44, 34


def lineage(nodes: Sequence[Node]) -> str:
    """Every stage under the one whose model it started from, with what else it read."""

    def item(node: Node) -> str:
        reads = f"<span>← {escape(', '.join(node.inputs))}</span>" if node.inputs else ""
        below = "".join(item(child) for child in children(nodes, node.name))
        return f"<li><b>{escape(node.name)}</b> {reads}{f'<ul>{below}</ul>' if below else ''}</li>"

    roots = "".join(
        f"<li>model: {escape(root)}<ul>{''.join(item(node) for node in first)}</ul></li>"
        for root, first in forest(nodes)
    )
    return f'<ul class="lineage">{roots}</ul>' if any(node.model and node.model.stage for node in nodes) else ""


def funnels(nodes: Sequence[Node]) -> str:
    """For each stage that filters: how many were left after each step."""
    shown = "".join(
        f"<figure><h3>{escape(node.name)}</h3>{_bars(list(node.counts.items()))}</figure>"
        for node in nodes
        if len(node.counts) > 1
    )
    return f'<div class="funnels">{shown}</div>' if shown else ""


def thinking(evaluations: Sequence[Stage]) -> str:
    """Accuracy over tokens of thinking, a line for each evaluation that cut its chains."""
    lines = {stage.name: found for stage in evaluations if len(found := _budgets(stage)) > 1}
    if not lines:
        return ""
    longest = max((point[0] for found in lines.values() for point in found), default=0.0) or 1.0
    marks = "".join(_line(name, found, i % 6, longest) for i, (name, found) in enumerate(lines.items()))
    legend = "".join(f'<li class="c{i % 6}"><i></i>{escape(name)}</li>' for i, name in enumerate(lines))
    height = HEIGHT - BOTTOM
    grid = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/><text x="0" y="{y + 4:.1f}">{share} %</text>'
        for share in (0, 25, 50, 75, 100)
        for y in [height - (height - 8) * share / 100]
    )
    ticks = "".join(
        f'<text x="{_x(longest * part, longest):.1f}" y="{HEIGHT - 12}">{longest * part:.3g}</text>'
        for part in (0, 0.25, 0.5, 0.75, 1)
    )
    return (
        f'<figure class="thinking"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="accuracy over tokens">'
        f'<g class="grid">{grid}{ticks}</g>{marks}</svg><figcaption>tokens of thinking, in the mean</figcaption>'
        f"<ul>{legend}</ul></figure>"
    )


def _bars(counts: Sequence[tuple[str, int]]) -> str:
    most = max(max(count for _, count in counts), 1)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="number">{count:,}</td><td><svg class="bar" role="img" '
        f'aria-label="{count:,}"><rect class="track" width="100%" y="3" height="8"/><rect class="fill" '
        f'width="{100 * count / most:.2f}%" y="3" height="8"/></svg></td></tr>'
        for name, count in counts
    )
    return f'<table class="funnel"><tbody>{rows}</tbody></table>'


def _budgets(stage: Stage) -> list[tuple[float, float, float, float]]:
    """[(tokens, accuracy, low, high)] by tokens."""
    names = [found[2] for name in stage.metrics if (found := BUDGETED.fullmatch(name)) and found[1] == "tokens"]
    points = [
        (
            stage.metrics[f"tokens@{name}"],
            *(stage.metrics[f"accuracy@{name}{bound}"] for bound in ("", "/low", "/high")),
        )
        for name in names
    ]
    return sorted(points)  # type: ignore[arg-type]


def _line(name: str, points: Sequence[tuple[float, float, float, float]], colour: int, longest: float) -> str:
    path = " ".join(f"{_x(tokens, longest):.1f},{_y(value):.1f}" for tokens, value, *_ in points)
    marks = "".join(
        f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{_y(low):.1f}" y2="{_y(high):.1f}"/>'
        f'<circle class="dot" cx="{x:.1f}" cy="{_y(value):.1f}" r="4"><title>{escape(name)}: {100 * value:.1f} % at '
        f"{tokens:.4g} tokens</title></circle>"
        for tokens, value, low, high in points
        for x in [_x(tokens, longest)]
    )
    return f'<g class="c{colour}"><polyline class="line" points="{path}"/>{marks}</g>'


def _x(tokens: float, longest: float) -> float:
    return LEFT + 8 + (WIDTH - LEFT - 24) * tokens / longest


def _y(share: float) -> float:
    height = HEIGHT - BOTTOM
    return height - (height - 8) * share
