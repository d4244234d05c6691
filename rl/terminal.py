"""Output of the `rl` command: results on stdout, errors and warnings on stderr, one line each."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

LONGEST_LINE = 1000
"""Most characters of a complaint."""


class Interruption(Exception):
    """Ctrl-C; the message tells the user how to go on."""


def console() -> Console:
    """Return a console on stdout, 120 columns wide where the width is unknown (a file, a pipe)."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120, highlight=False)


def say(text: str) -> None:
    """Print a line of text as it is, neither wrapped nor read as markup."""
    console().print(text, markup=False, soft_wrap=True)


def complain(text: str) -> None:
    """Print `text` on stderr, joined into one line."""
    sys.stdout.flush()  # or the two streams of a job's log would be out of order
    print(one_line(text), file=sys.stderr, flush=True)


def one_line(text: str) -> str:
    """Return `text` as a line that a terminal shows whole: line ends are spaces, control characters and halves of surrogate
    pairs are escaped, and the middle of a very long text is left out."""
    line = " ".join(text.split("\n"))
    if len(line) > LONGEST_LINE:
        line = f"{line[: LONGEST_LINE * 2 // 3]} … {line[-LONGEST_LINE // 3 + 3 :]}"
    is_hidden = {"Cc", "Cs"}  # control characters, surrogates
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in is_hidden else c for c in line)


def refuse(problems: Sequence[str]) -> None:
    """Exit with code 2 and a line for each problem, if there are any."""
    for problem in problems:
        complain(f"error: {problem}")
    if problems:
        raise SystemExit(2)


def two_columns(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    """Return a table of (name, description) rows; `title` heads the names."""
    table = Table(title, "", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, description in rows:
        table.add_row(Text(name), Text(description))
    return table


def print_json(values: object) -> None:
    """Print values as indented JSON; NumPy numbers become floats."""
    # `default=float` is called for NumPy scalars alone; anything else raises TypeError.
    print(json.dumps(values, indent=2, ensure_ascii=False, default=float))


@contextmanager
def reserve_stdout(for_json: bool) -> Iterator[None]:
    """Send to stderr what the block prints to stdout, if `for_json`, so that stdout holds the JSON alone.

    Works on the file descriptor, so it covers libraries in C and child processes too.
    """
    if not for_json:
        yield
        return
    sys.stdout.flush()
    # Print buffers are flushed before and after, or text would end up on the wrong side of the switch.
    original = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(original, 1)
        os.close(original)
