"""Output of the `rl` command: results on stdout, errors and warnings on stderr, one line each."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


class Interruption(Exception):
    """Ctrl-C; the message tells the user how to go on."""


def console() -> Console:
    """Return a console on stdout, 120 columns wide where the width is unknown (a file, a pipe)."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120
    return Console(width=width, highlight=False, emoji=False)  # `:100:` in a path stays as it is


def say(text: str) -> None:
    """Print a line of text as it is, neither wrapped nor read as markup."""
    console().print(text, markup=False, soft_wrap=True)


def shell_command(*words: object) -> str:
    """Return a command line that a shell reads as these words, whatever is in them, on one line of printable text.

    >>> shell_command("rl", "run", "my recipe.yaml", "data.words={source: jsonl}")
    "rl run 'my recipe.yaml' 'data.words={source: jsonl}'"
    """
    return " ".join(_quote(str(word)) for word in words)


def _quote(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    # Line breaks and tabs would not survive a terminal: $'…' (bash, zsh, ksh) has escapes for them.
    escapes = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    letters = (
        escapes.get(c) or (c if c.isprintable() else "".join(f"\\x{byte:02x}" for byte in os.fsencode(c))) for c in word
    )
    return f"$'{''.join(letters)}'"


def complain(text: str) -> None:
    """Print `text` on stderr, joined into one line."""
    sys.stdout.flush()  # or the two streams of a job's log would be out of order
    print(" ".join(text.split("\n")), file=sys.stderr, flush=True)


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
    """Print values as indented JSON; NumPy numbers become floats, and NaN and infinities null, which JSON does not have."""
    # `default=float` is called for NumPy scalars alone; anything else raises TypeError.
    plain = json.loads(json.dumps(values, default=float), parse_constant=lambda _: None)
    print(json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False))


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
