"""Prints the benchmarks' tables whole, however narrow the terminal is."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

ROOMY = 10_000
"""Columns of a console in which every table has the room that it asks for."""


def show(console: Console, table: Table) -> None:
    """Print a table without cutting or folding a cell. A file, or a pipe, gets it as wide as it is; a terminal that is too narrow
    gets each row as a block of lines, one for each column."""
    width = Measurement.get(console, console.options.update(width=ROOMY), table).maximum
    if width <= console.width:
        return console.print(table)
    if console.is_terminal:
        for line in _blocks(table):
            say(console, line)
        return None
    narrow, console.width = console.width, width
    try:
        console.print(table)
    finally:
        console.width = narrow
    return None


def say(console: Console, text: str) -> None:
    """Print a line of text as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _blocks(table: Table) -> Iterator[str]:
    """Yield the lines of a table whose rows stand one below the other: the first cell, and then `column  cell`."""
    if table.title:
        yield f"{table.title}:"
    names, cells = [str(column.header) for column in table.columns], [list(column.cells) for column in table.columns]
    widest = max(map(len, names))
    for row in zip(*cells, strict=True):
        yield f"{names[0]} {row[0]}".strip()
        for name, cell in zip(names[1:], row[1:], strict=True):
            if str(cell):
                yield f"  {name:<{widest}}  {cell}"
