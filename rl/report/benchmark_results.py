"""The figures of public sets for the terminal and the report: overall and by the tables that each set reports."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from rl.benchmarks.sets import BENCHMARKS
from rl.data.rows import fail
from rl.json_files import build_record, read_object
from rl.report.bare_table import bare_table
from rl.report.markup import escape
from rl.report.run_data import Stage, read_run
from rl.run.tracker import Refuse
from rl.stages.benchmark_tables import FILE, Cell, Figure, Results, SetResults

FIX = "delete it, and run the evaluation again"
BESIDE = {
    "accuracy_heard": "right with the sound",
    "accuracy_silenced": "right in silence",
    "accuracy_swapped": "right with another item's sound",
    "accuracy_shuffled": "right with the sound's frames shuffled",
    "audio_reliance": "audio reliance: right with the sound, less right without",
    "accuracy_over_orders": "right over all orders of the options (greedy)",
    "right_in_all_orders": "right in every order",
    "text_changes": "chooses another text in another order",
}
"""Metrics of an evaluation that stand beside a set's figures -> what they say."""


def list_sets() -> list[dict[str, object]]:
    """Return every public set with its title, licence, source, number of items, prompts and rules."""
    return [
        {
            "name": name,
            "title": benchmark.title,
            "licence": benchmark.licence,
            "source": benchmark.source,
            "items": benchmark.items or None,
            "prompts": [*benchmark.prompts],
            "rules": [*benchmark.rules, *(["judge"] if benchmark.judging else [])],
            "rule": benchmark.rule,
        }
        for name, benchmark in BENCHMARKS.items()
    ]


def render_sets() -> RenderableType:
    """Return a table of every public set: licence, source and official rule. No sound of any is shipped."""
    table = bare_table("set", "items", "licence", "what it is, where to download it, its official rule")
    for name, benchmark in BENCHMARKS.items():
        count = f"{benchmark.items:,}" if benchmark.items else ""
        lines = f"{benchmark.title}\n{benchmark.source}\n{benchmark.rule}"
        table.add_row(name, count, Text(benchmark.licence), Text(lines), end_section=True)
    return table


def read_stage_results(stage: Stage, refuse: Refuse = fail) -> Sequence[SetResults]:
    """Return what an evaluation measured on public sets, none where it asked none; `refuse` gets a ValueError for a file that
    cannot be read."""
    path = stage.folder / FILE if stage.folder else None
    if path is None or not os.path.lexists(path):
        return ()
    try:
        return build_record(Results, read_object(path, FIX), path, FIX).results
    except ValueError as error:
        refuse(error)
        return ()


def read_run_results(run_dir: Path) -> Sequence[SetResults]:
    """Return the results of all evaluations of a run. Raises ValueError."""
    return [result for stage in read_run(run_dir).evaluations for result in read_stage_results(stage)]


def render_run(run_dir: Path) -> RenderableType:
    """Return tables of everything that a run measured on public sets. Raises ValueError."""
    parts: list[RenderableType] = []
    for stage in read_run(run_dir).evaluations:
        for result in read_stage_results(stage):
            parts += [_render_overall(result), *_render_tables(result)]
            if beside := _render_beside(stage):
                parts.append(beside)
    return Group(*parts)


def _render_overall(result: SetResults) -> RenderableType:
    of = f" of {result.items_of_set:,}" if result.items_of_set else ""
    note = f"{result.title}: {result.items:,} items{of}, {result.samples:,} answers"
    if result.items_of_set and result.items != result.items_of_set:
        note += "; not the whole set, so no figure to compare with published ones"
    table = bare_table(result.set, "value [95 %]", "items", "answers left out", "scored by")
    for figure in result.figures:
        table.add_row(
            figure.name, _in_words(figure.overall, figure.scale), f"{figure.overall.items:,}", f"{figure.left_out:,}",
            Text(figure.note),
        )  # fmt: skip
        if figure.mean_of and figure.mean is not None:
            table.add_row(f"{figure.name}, mean over {figure.mean_of}s", _number(figure.mean, figure.scale), "", "", "")
    return Group(Text(note, "bold"), table)


def _render_tables(result: SetResults) -> list[RenderableType]:
    """Return a table for each grouping of a set, with a column for each figure."""
    tables: list[RenderableType] = []
    for name in _table_names(result):
        table = bare_table(name, "items", *(figure.name for figure in result.figures))
        for group in _groups(result, name):
            cells = [_find(figure, name, group) for figure in result.figures]
            items = max((cell.items for cell in cells if cell), default=0)
            values = (_in_words(cell, figure.scale) for cell, figure in zip(cells, result.figures, strict=True))
            table.add_row(Text(group), f"{items:,}", *values)
        tables.append(table)
    return tables


def _render_beside(stage: Stage) -> RenderableType | None:
    """Return a table of what the figures rest on: the sound, or the letters; None where neither was measured."""
    table = bare_table("what it rests on", "value [95 %]")
    for metric, description in BESIDE.items():
        if (interval := stage.interval(metric)) is not None:
            table.add_row(description, _in_words(Cell(metric, *interval, 0), (0.0, 1.0)))
    return table if table.row_count else None


def render_section(stages: Sequence[Stage], refuse: Refuse = fail) -> str:
    """Return the report's tables of public sets as HTML; empty where no evaluation asked one. Everything from a run goes
    through `escape`."""
    html = ""
    for stage in stages:
        for result in read_stage_results(stage, refuse):
            heads = "".join(f'<th scope="col">{escape(figure.name)}</th>' for figure in result.figures)
            rows = _html_row("all", [figure.overall for figure in result.figures], result)
            for name in _table_names(result):
                rows += f'<tr><th colspan="{len(result.figures) + 1}" scope="rowgroup">{escape(name)}</th></tr>'
                for group in _groups(result, name):
                    rows += _html_row(group, [_find(figure, name, group) for figure in result.figures], result)
            notes = "; ".join(_note(figure) for figure in result.figures)
            html += (
                f"<h3>{escape(stage.name)} · {escape(result.title)}</h3><p>{escape(notes)}</p>"
                f'<div class="scroll"><table><thead><tr><th scope="col">group</th>{heads}</tr></thead>'
                f"<tbody>{rows}</tbody></table></div>"
            )
    return html


def _note(figure: Figure) -> str:
    """Return who scored a figure, what its denominator leaves out, and its mean over parts where the set reports one."""
    note = f"{figure.name}: {figure.note}"
    if figure.left_out:
        note += f", answers left out: {figure.left_out:,}"
    if figure.mean_of and figure.mean is not None:
        note += f", mean over {figure.mean_of}s {_number(figure.mean, figure.scale)}"
    return note


def _html_row(group: str, cells: Sequence[Cell | None], result: SetResults) -> str:
    columns = "".join(
        f"<td>{escape(_in_words(cell, figure.scale))} <i>{cell.items if cell else 0:,}</i></td>"
        for cell, figure in zip(cells, result.figures, strict=True)
    )
    return f'<tr><th scope="row">{escape(group)}</th>{columns}</tr>'


def _table_names(result: SetResults) -> list[str]:
    return list(dict.fromkeys(name for figure in result.figures for name in figure.tables))


def _groups(result: SetResults, table: str) -> list[str]:
    groups = [cell.group for figure in result.figures for cell in figure.tables.get(table, ())]
    return sorted(dict.fromkeys(groups))


def _find(figure: Figure, table: str, group: str) -> Cell | None:
    return next((cell for cell in figure.tables.get(table, ()) if cell.group == group), None)


def _in_words(cell: Cell | None, scale: Sequence[float]) -> str:
    """Return `51.2 % [48.0, 54.4]`, plain numbers where the scale is not from 0 to 1, and a dash without items."""
    if cell is None or cell.value is None:
        return "–"
    value = _number(cell.value, scale)
    if cell.low is None or cell.high is None:
        return value
    if tuple(scale) == (0.0, 1.0):
        return f"{value} [{100 * cell.low:.1f}, {100 * cell.high:.1f}]"
    return f"{value} [{cell.low:.2f}, {cell.high:.2f}]"


def _number(value: float, scale: Sequence[float]) -> str:
    return f"{100 * value:.1f} %" if tuple(scale) == (0.0, 1.0) else f"{value:.2f}"
