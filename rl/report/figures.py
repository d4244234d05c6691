"""Figures of the report for runs of many stages: lineage, filter funnels, accuracy over tokens of thinking.

Each function returns HTML, empty if the run has nothing for it. Everything that comes from a run goes through `escape`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from rl.report.lineage import Node, find_children, find_roots
from rl.report.markup import escape
from rl.report.run_data import Interval, Stage

BUDGET_METRIC = re.compile(r"(accuracy|tokens|vote)@(\d+|full)(/low|/high)?")
"""Metrics of an evaluation with `budgets`, which measures again with its chains cut after so many tokens."""
WIDTH, HEIGHT, LEFT, BOTTOM = 760, 300, 44, 34  # units of the plot's viewBox; the axes' labels are left and below
TOP = 8

Points = Mapping[str, Sequence["Budget"]]  # evaluation's name -> its budgets, fewest tokens first


@dataclass(frozen=True, slots=True)
class Budget:
    """Results of an evaluation with its chains cut after `name` tokens."""

    name: str
    """Number of tokens, or `full`."""
    tokens: float
    """Mean number of tokens that the chains used."""
    accuracy: Interval
    vote: Interval | None
    """Accuracy of the majority vote over a prompt's samples, or None without one."""


def render_lineage(nodes: Sequence[Node]) -> str:
    """Return nested lists: every stage under the one whose model it started from, with its other inputs."""
    if not any(node.model and node.model.stage for node in nodes):  # without a trained model there is no tree to draw
        return ""

    def item(node: Node) -> str:
        inputs = f"<span>← {escape(', '.join(node.inputs))}</span>" if node.inputs else ""
        children = "".join(item(child) for child in find_children(nodes, node.name))
        return f"<li><b>{escape(node.name)}</b> {inputs}{f'<ul>{children}</ul>' if children else ''}</li>"

    roots = "".join(
        f"<li>model: {escape(root)}<ul>{''.join(item(child) for child in children)}</ul></li>"
        for root, children in find_roots(nodes)
    )
    return f'<ul class="lineage">{roots}</ul>'


def render_funnels(nodes: Sequence[Node]) -> str:
    """Return a bar chart for each stage that filters: how many were left after each step."""
    figures = "".join(
        f"<figure><h3>{escape(node.name)}</h3>{_render_bars(list(node.funnel.items()))}</figure>"
        for node in nodes
        if len(node.funnel) > 1
    )
    return f'<div class="funnels">{figures}</div>' if figures else ""


def render_histogram(counts: Sequence[int], band: Set[int]) -> str:
    """Return columns for 0 … k correct answers; those outside the band of difficulty that is kept are paler."""
    # The frame is 176 px high (page.css): columns of up to 125 px stand on a base line at 150.
    # In percent of the width; counts above the columns, the axis below.
    width, largest = 100 / len(counts), max(*counts, 1)
    columns = "".join(
        f'<rect class="{"inside" if correct in band else "outside"}" x="{width * (correct + 0.1):.2f}%" '
        f'width="{width * 0.8:.2f}%" y="{150 - 125 * count / largest:.1f}" height="{125 * count / largest:.1f}" rx="2"/>'
        f'<text x="{width * (correct + 0.5):.2f}%" y="{144 - 125 * count / largest:.1f}">{count:,}</text>'
        f'<text class="tick" x="{width * (correct + 0.5):.2f}%" y="168">{correct}</text>'
        for correct, count in enumerate(counts)
    )
    label = ", ".join(f"{count} prompts {correct} times" for correct, count in enumerate(counts))
    figure = f'<svg class="histogram" role="img" aria-label="{label}">{columns}</svg>'
    return f"<figure>{figure}<figcaption>correct answers of {len(counts) - 1}</figcaption></figure>"


def render_thinking(evaluations: Sequence[Stage]) -> str:
    """Return accuracy and majority vote over tokens of thinking, as a plot and as a table, with a line for each
    evaluation that cut its chains."""
    points = {stage.name: budgets for stage in evaluations if len(budgets := _read_budgets(stage)) > 1}
    if not points:
        return ""
    has_vote = any(budget.vote for budgets in points.values() for budget in budgets)
    max_tokens = max((budget.tokens for budgets in points.values() for budget in budgets), default=0.0) or 1.0
    lines = "".join(
        _render_lines(name, budgets, i % 6, max_tokens)  # the page has six colours
        for i, (name, budgets) in enumerate(points.items())
    )
    return (
        f'<div class="thinking"><figure><ul>{_render_legend(points, has_vote)}</ul><svg viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'role="img" aria-label="accuracy over tokens"><g class="grid">{_render_grid(max_tokens)}</g>{lines}</svg>'
        f"<figcaption>mean tokens of thinking</figcaption></figure>{_render_table(points, has_vote)}</div>"
    )


def _render_legend(points: Points, has_vote: bool) -> str:
    legend = "".join(f'<li class="c{i % 6}"><i></i>{escape(name)}</li>' for i, name in enumerate(points))
    if has_vote:
        legend += '<li class="solid"><i></i>accuracy</li><li class="dashed"><i></i>majority vote</li>'
    return legend


def _render_grid(max_tokens: float) -> str:
    grid = ""
    for percent in (0, 25, 50, 75, 100):
        y = _y(percent / 100)
        grid += (
            f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/><text x="0" y="{y + 4:.1f}">{percent} %</text>'
        )
    for part in (0, 0.25, 0.5, 0.75, 1):
        tokens = max_tokens * part
        grid += f'<text x="{_x(tokens, max_tokens):.1f}" y="{HEIGHT - 12}" text-anchor="middle">{tokens:.3g}</text>'
    return grid


def _render_bars(counts: Sequence[tuple[str, int]]) -> str:
    largest = max(max(count for _, count in counts), 1)  # a bar of full width; 1 avoids a division by 0
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="number">{count:,}</td><td><svg class="bar" role="img" '
        f'aria-label="{count:,}"><rect class="track" width="100%" y="3" height="8"/><rect class="fill" '
        f'width="{100 * count / largest:.2f}%" y="3" height="8"/></svg></td></tr>'
        for name, count in counts
    )
    return f'<table class="funnel"><tbody>{rows}</tbody></table>'


def _read_budgets(stage: Stage) -> list[Budget]:
    """Return the budgets that an evaluation measured, fewest tokens first."""
    budgets: list[Budget] = []
    for metric in stage.metrics:
        match = BUDGET_METRIC.fullmatch(metric)
        if match is None or match[1] != "tokens":
            continue
        name = match[2]
        accuracy = stage.interval(f"accuracy@{name}")
        if accuracy is not None:
            budgets.append(Budget(name, stage.metrics[f"tokens@{name}"], accuracy, stage.interval(f"vote@{name}")))
    return sorted(budgets, key=lambda budget: budget.tokens)


def _render_lines(name: str, budgets: Sequence[Budget], colour: int, max_tokens: float) -> str:
    accuracy = [(_x(budget.tokens, max_tokens), budget, budget.accuracy) for budget in budgets]
    # 5 units to the right, so that the whiskers of accuracy and vote do not cover each other.
    votes = [(_x(budget.tokens, max_tokens) + 5, budget, budget.vote) for budget in budgets if budget.vote]
    lines = f'<g class="c{colour}">{_render_line(name, "accuracy", accuracy)}</g>'
    if votes:
        lines += f'<g class="c{colour} vote">{_render_line(name, "vote", votes)}</g>'
    return lines


def _render_line(name: str, metric: str, points: Sequence[tuple[float, Budget, Interval]]) -> str:
    path = " ".join(f"{x:.1f},{_y(value):.1f}" for x, _, (value, *_) in points)
    marks = "".join(
        f"{_render_whisker(x, interval)}"
        f'<circle class="dot" cx="{x:.1f}" cy="{_y(interval[0]):.1f}" r="4"><title>{escape(name)}: {metric} '
        f"{_format_share(interval[0])} at {budget.tokens:.4g} tokens</title></circle>"
        for x, budget, interval in points
    )
    return f'<polyline class="line" points="{path}"/>{marks}'


def _render_whisker(x: float, interval: Interval) -> str:
    _, low, high = interval
    if low is None or high is None:
        return ""
    return f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{_y(low):.1f}" y2="{_y(high):.1f}"/>'


def _render_table(points: Points, has_vote: bool) -> str:
    """Return a table of every budget's numbers with their bounds, under the evaluation that measured them."""
    titles = ["cut at", "tokens", "accuracy"]
    if has_vote:
        titles.append("vote")
    heads = "".join(f'<th scope="col">{title}</th>' for title in titles)
    rows = ""
    for i, (name, budgets) in enumerate(points.items()):
        rows += f'<tr><th colspan="{len(titles)}" scope="rowgroup" class="c{i % 6}"><i></i>{escape(name)}</th></tr>'
        for budget in budgets:
            vote = f"<td>{_render_interval(budget.vote)}</td>" if has_vote else ""
            rows += (
                f"<tr><td>{escape(budget.name)}</td><td>{budget.tokens:.1f}</td>"
                f"<td>{_render_interval(budget.accuracy)}</td>{vote}</tr>"
            )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _render_interval(interval: Interval | None) -> str:
    if interval is None:
        return '<span class="none">–</span>'
    value, low, high = interval
    bounds = ""
    if low is not None and high is not None:
        bounds = f'<span class="bounds">{100 * low:.1f} – {100 * high:.1f}</span>'
    return f'<span class="number">{_format_share(value)}</span>{bounds}'


def _format_share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _x(tokens: float, max_tokens: float) -> float:
    # 8 units stay free on the left and 16 on the right: for dots, and for votes, which stand 5 further right.
    return LEFT + 8 + (WIDTH - LEFT - 24) * tokens / max_tokens


def _y(share: float) -> float:
    # SVG's y grows downwards.
    height = HEIGHT - BOTTOM
    return height - (height - TOP) * share
