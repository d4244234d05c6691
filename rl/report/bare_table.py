"""The look of the tables that `rl run`, `rl show` and `rl compare` print."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text


def bare_table(*columns: str) -> Table:
    """Return a table without a frame, whose cells fold where they are too long."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    return table
