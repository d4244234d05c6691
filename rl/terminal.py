"""Output of the `rl` command: results on stdout, errors and warnings on stderr, one line each.

What is printed may hold text of models, verifiers, data and other people's file names. Here, where all of it passes,
secrets are hidden, and characters
that would steer a terminal or change the order in which a line is read made visible.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Span, Text

from rl.redaction import redact_text

UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Characters that are made visible: control characters of ASCII (but newline and tab) and of Latin-1, line separators, marks
that embed, override and isolate a direction of writing, the byte order mark, halves of surrogate pairs, invisible tags."""

LONGEST_LINE = 1000
"""Most characters of a complaint."""


class Interruption(Exception):
    """Ctrl-C; the message tells the user how to go on."""


def visible(text: str) -> str:
    """Return `text` with each character that could steer a terminal, or change the order in which a line is read, as its
    escape: `\\x1b`, `\\u202e`. Newlines and tabs stay."""
    return UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def printable(text: str) -> str:
    """Return `text` as it may be printed: without secrets, and visible."""
    return visible(redact_text(text))


class SafeConsole(Console):
    """A console that makes unsafe characters visible in every text that it renders, those in tables included."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Return the segments of `renderable`, with its text made visible."""
        if isinstance(renderable, str):
            renderable = printable(renderable)
        elif isinstance(renderable, Text) and printable(renderable.plain) != renderable.plain:
            text, safe = renderable.plain, renderable.copy()
            safe.plain = printable(text)
            # Styles go by position, and escapes are longer than what they stand for.
            spans = [
                (len(printable(text[: s.start])), len(printable(text[: s.end])), s.style) for s in renderable.spans
            ]
            safe.spans = [Span(*span) for span in spans]
            renderable = safe
        return super().render(renderable, options)


def console() -> Console:
    """Return a console on stdout, 120 columns wide where the width is unknown (a file, a pipe)."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120
    return SafeConsole(width=width, highlight=False, emoji=False)  # `:100:` in a path stays as it is


def say(text: str) -> None:
    """Print a line of text, neither wrapped nor read as markup."""
    # Here already, since rich drops some of these characters in silence.
    console().print(one_line(printable(text)), markup=False, soft_wrap=True)


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
    print(one_line(printable(text)), file=sys.stderr, flush=True)


def one_line(text: str) -> str:
    """Return `text` with its lines joined, since somebody else's text must not begin a line that looks like ours, and the
    middle of a very long one left out."""
    line = " ".join(text.split("\n"))
    if len(line) > LONGEST_LINE:
        line = f"{line[: LONGEST_LINE * 2 // 3]} … {line[-LONGEST_LINE // 3 + 3 :]}"
    return line


def pass_on(text: str) -> None:
    """Print a piece of another program's output, its newlines included."""
    print(printable(text), end="", flush=True)


def print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an exception with its traceback on stderr, as Python does: `sys.excepthook` of the command."""
    sys.stdout.flush()
    print(printable("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr, flush=True)


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
    text = redact_text(json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False))
    # JSON's own escape of a character, so that its readers get the same text.
    print(UNSAFE.sub(lambda match: json.dumps(match[0])[1:-1], text))


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
