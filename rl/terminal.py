"""How the command speaks: tables and lines on stdout, complaints in one line on stderr; and where runs lie."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


class Interrupted(Exception):
    """Ctrl-C, with what to do next."""


def console() -> Console:
    """Stdout, wide enough for tables where nobody says how wide the paper is."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120, highlight=False)


def say(text: str) -> None:
    """A line of text as it is."""
    console().print(text, markup=False, soft_wrap=True)


def complain(text: str) -> None:
    """One line on stderr, whatever `text` holds."""
    sys.stdout.flush()
    print(" ".join(text.split("\n")), file=sys.stderr, flush=True)


def refuse(problems: Sequence[str]) -> None:
    """Ends the command with a line for each problem, if there are any."""
    for problem in problems:
        complain(f"error: {problem}")
    if problems:
        raise SystemExit(2)


def two_columns(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    table = Table(title, "", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, says in rows:
        table.add_row(Text(name), Text(says))
    return table


def print_json(values: Any) -> None:
    print(json.dumps(values, indent=2, ensure_ascii=False, default=float))


@contextmanager
def stdout_kept_for(json_: bool) -> Iterator[None]:
    """While it lasts, what any library or child process writes to stdout goes to stderr, if stdout is for JSON."""
    if not json_:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
