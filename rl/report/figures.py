"""What a run of many stages tells on its page: what came of what, the funnels, and accuracy over thinking. Each is HTML,
empty when the run has nothing for it; everything that comes from a run goes through `escape`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from rl.report.lineage import Node, children, forest
from rl.report.run_data import Interval, Stage

BUDGETED = re.compile(r"(accuracy|tokens|vote)@(\d+|full)(/low|/high)?")
WIDTH, HEIGHT, LEFT, BOTTOM = 760, 300, 44, 34


@dataclass(frozen=True, slots=True)
class Budget:
    """What an evaluation found with its chains cut after `name` tokens; `tokens` were used in the mean."""

    name: str
    tokens: float
    accuracy: Interval
    vote: Interval | None


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
    """Accuracy and the vote of several samples over tokens of thinking, lines for each evaluation that cut its chains,
    and the same as a table."""
    lines = {stage.name: found for stage in evaluations if len(found := _budgets(stage)) > 1}
    if not lines:
        return ""
    voted = any(point.vote for found in lines.values() for point in found)
    longest = max((point.tokens for found in lines.values() for point in found), default=0.0) or 1.0
    marks = "".join(_lines(name, found, i % 6, longest) for i, (name, found) in enumerate(lines.items()))
    legend = "".join(f'<li class="c{i % 6}"><i></i>{escape(name)}</li>' for i, name in enumerate(lines))
    legend += '<li class="solid"><i></i>accuracy</li><li class="dashed"><i></i>majority vote</li>' if voted else ""
    height = HEIGHT - BOTTOM
    grid = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/><text x="0" y="{y + 4:.1f}">{share} %</text>'
        for share in (0, 25, 50, 75, 100)
        for y in [height - (height - 8) * share / 100]
    )
    ticks = "".join(
        f'<text x="{_x(longest * part, longest):.1f}" y="{HEIGHT - 12}" text-anchor="middle">{longest * part:.3g}</text>'
        for part in (0, 0.25, 0.5, 0.75, 1)
    )
    return (
        f'<div class="thinking"><figure><ul>{legend}</ul><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="accuracy over tokens"><g class="grid">{grid}{ticks}</g>{marks}</svg>'
        f"<figcaption>tokens of thinking, in the mean</figcaption></figure>{_table(lines, voted)}</div>"
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


def _budgets(stage: Stage) -> list[Budget]:
    """What an evaluation measured of its cut chains, by tokens."""
    names = [found[2] for name in stage.metrics if (found := BUDGETED.fullmatch(name)) and found[1] == "tokens"]
    points = [
        Budget(name, stage.metrics[f"tokens@{name}"], accuracy, stage.interval(f"vote@{name}"))
        for name in names
        if (accuracy := stage.interval(f"accuracy@{name}"))
    ]
    return sorted(points, key=lambda point: point.tokens)


def _lines(name: str, points: Sequence[Budget], colour: int, longest: float) -> str:
    accuracy = [(_x(point.tokens, longest), point, point.accuracy) for point in points]
    votes = [(_x(point.tokens, longest) + 5, point, point.vote) for point in points if point.vote]
    drawn = f'<g class="c{colour}">{_line(name, "accuracy", accuracy)}</g>'
    return drawn + (f'<g class="c{colour} vote">{_line(name, "vote", votes)}</g>' if votes else "")


def _line(name: str, what: str, points: Sequence[tuple[float, Budget, Interval]]) -> str:
    path = " ".join(f"{x:.1f},{_y(value):.1f}" for x, _, (value, *_) in points)
    marks = "".join(
        f"{_whisker(x, interval)}"
        f'<circle class="dot" cx="{x:.1f}" cy="{_y(interval[0]):.1f}" r="4"><title>{escape(name)}: {what} '
        f"{_share(interval[0])} at {point.tokens:.4g} tokens</title></circle>"
        for x, point, interval in points
    )
    return f'<polyline class="line" points="{path}"/>{marks}'


def _whisker(x: float, interval: Interval) -> str:
    _, low, high = interval
    if low is None or high is None:
        return ""
    return f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{_y(low):.1f}" y2="{_y(high):.1f}"/>'


def _table(lines: Mapping[str, Sequence[Budget]], voted: bool) -> str:
    """Every budget's numbers with their bounds, under the evaluation that measured them."""
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("cut at", "tokens", "accuracy", "vote")[: 3 + voted])
    rows = "".join(
        f'<tr><th colspan="{3 + voted}" scope="rowgroup" class="c{i % 6}"><i></i>{escape(name)}</th></tr>'
        + "".join(
            f"<tr><td>{escape(point.name)}</td><td>{point.tokens:.1f}</td><td>{_number(point.accuracy)}</td>"
            f"{f'<td>{_number(point.vote)}</td>' if voted else ''}</tr>"
            for point in points
        )
        for i, (name, points) in enumerate(lines.items())
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _number(interval: Interval | None) -> str:
    if interval is None:
        return '<span class="none">–</span>'
    value, low, high = interval
    bounds = "" if low is None or high is None else f'<span class="bounds">{100 * low:.1f} – {100 * high:.1f}</span>'
    return f'<span class="number">{_share(value)}</span>{bounds}'


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _x(tokens: float, longest: float) -> float:
    return LEFT + 8 + (WIDTH - LEFT - 24) * tokens / longest


def _y(share: float) -> float:
    height = HEIGHT - BOTTOM
    return height - (height - 8) * share
