"""Reads fenced blocks of code in a response, as models write them.

Markdown's rules (CommonMark 4.5) with what models make of them: a fence may be indented or quoted, open in the middle of a
line, close at the end of one, or never close. Where a block may be Python, it ends at the first fence at which it parses:
a docstring may hold fences of its own.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

_FENCE = re.compile(r"^(?P<before>.*?)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")
_ONE_LINE = re.compile(r"^(?P<before>.*?)(?P<fence>`{3,})(?P<code>[^`]+)(?P=fence)(?!`)")
_MARGIN = re.compile(r"[ \t>]*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)?")  # of a quotation or an item of a list
_LANGUAGE = re.compile(r"[{.\s]*([^\s{}:,=]*)(.*)")
_TAG = re.compile(
    r"\{?\.?[\w+#.-]+\}?(?::\S+|\s*\{.*\}|(?:\s+[\w-]+=.*)?)"
)  # `python`, `python title="a.py"`, `{.python}`
_PYTHON = re.compile(r"(?:i|c)?python[\d.]*|py[\d.]*|pypy[\d.]*|.*\.py")
_UNTAGGED = ("", "code", "program", "solution", "answer", "script")
_MOST_ENDS = 12  # most fences that are tried as the end of a block: each try parses the code
_MOST_MARKS = 100  # most backticks and tildes of a line with a fence: more would only make the patterns slow
_BARE_FENCE = re.compile(r"^[ \t>]*(?:`{3,}|~{3,})\s*$")
_CLOSING_TAG = re.compile(r"^\s*</\w+>\s*$")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of code."""

    code: str
    """Its lines, without the margin that a quotation or a list gives them."""
    is_tagged: bool
    """True where its fence calls it Python, False where it calls it nothing."""


@dataclass(frozen=True, slots=True)
class _Opening:
    """A line that opens a block."""

    fence: str
    margin: str
    language: str
    first_line: str
    """Code that follows the language on the fence's own line."""

    @property
    def is_python(self) -> bool:
        return bool(_PYTHON.fullmatch(self.language))

    @property
    def may_be_python(self) -> bool:
        return self.is_python or self.language in _UNTAGGED


def parse(code: str) -> ast.Module | None:
    """Return the syntax tree of a program, or None for what is not Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python would warn of invalid escapes in a model's text
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # ast raises the last two for deeply nested code
        return None


def read_blocks(response: str) -> tuple[list[Block], str]:
    """Return (the blocks tagged as Python or not at all, the text before the first fence of any kind)."""
    lines = response.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    blocks: list[Block] = []
    number, before = 0, response
    while number < len(lines):
        line = lines[number]
        start, number = number, number + 1
        if line.count("`") + line.count("~") > _MOST_MARKS:
            continue
        one_line, opening = _ONE_LINE.match(line), _read_opening(line)
        if one_line:
            language, rest = _split_info(one_line["code"])
            tagged = bool(_PYTHON.fullmatch(language)) and bool(rest)
            blocks.append(Block((rest if tagged else one_line["code"]).strip(), tagged))
        elif opening:
            code, number = _read_block(lines, number, opening)
            if opening.may_be_python:
                blocks.append(Block(code, opening.is_python))
        else:
            continue
        if before is response:
            before = "\n".join(lines[:start])
    return blocks, before


def _read_opening(line: str) -> _Opening | None:
    """Return the opening fence of a line, or None where it has none."""
    match = _FENCE.match(line)
    if match is None:
        return None
    before, fence, info = match["before"], match["fence"], match["info"].strip()
    language, rest = _split_info(info)
    margin = _MARGIN.match(before)
    assert margin is not None, "the pattern matches the empty text"
    if not (_PYTHON.fullmatch(language) and is_active(parse(rest))):
        rest = ""  # attributes; else the program begins beside its tag: `python import sys`
    if margin.end() < len(before) and (fence[0] == "~" or not (info == "" or _TAG.fullmatch(info) or rest)):
        return None  # prose that mentions a fence, or ~~~
    return _Opening(fence, margin[0], language, rest)


def _split_info(info: str) -> tuple[str, str]:
    """Return (the language in lower case, what follows it)."""
    match = _LANGUAGE.match(info)
    assert match is not None, "the pattern matches the empty text"
    return match[1].lower(), match[2].strip()


def _read_block(lines: list[str], start: int, opening: _Opening) -> tuple[str, int]:
    """Return (the code of a block whose first line is `start`, the number of the line after the block)."""
    ends = list(islice(_list_ends(lines, start, opening.fence), _MOST_ENDS))
    head = [opening.first_line] if opening.first_line else []
    if opening.may_be_python:
        for last, tail, after in ends:
            code = _strip_margin([*head, *lines[start:last], *tail], opening.margin)
            if parse(code) is not None:
                return code, after
    # No end makes the block valid Python: take the first fence on a line of its own, or else the first of any kind.
    whole_line_ends = [end for end in ends if not end[1]]
    for last, tail, after in whole_line_ends[:1] or ends[:1]:
        return _strip_margin([*head, *lines[start:last], *tail], opening.margin), after
    return _read_open_block([*head, *lines[start:]], opening), len(lines)


def _list_ends(lines: list[str], start: int, fence: str) -> Iterator[tuple[int, list[str], int]]:
    """Yield the places where a block may end: (number of the line that is no longer its own, [what of that line is], number
    of the line after the block)."""
    closing = re.compile(rf"^[ \t>]*{re.escape(fence)}{re.escape(fence[0])}*(?!{re.escape(fence[0])})(.*)$")
    at_end = re.compile(rf"^(.*[^{re.escape(fence[0])}]){re.escape(fence)}[ \t]*$")
    for number in range(start, len(lines)):
        match = closing.match(lines[number])
        if match:
            # "```python" opens the next block; "```</answer>" and "``` This adds them." close this one.
            is_opening = match[1].strip() and match[1] == match[1].lstrip() and _TAG.fullmatch(match[1].strip())
            yield number, [], number if is_opening else number + 1
        elif end := at_end.match(lines[number]):
            yield number, [end[1]], number + 1


def _read_open_block(lines: list[str], opening: _Opening) -> str:
    """Return the code of a block that is never closed: without the tags that end the response, and without the paragraphs
    at its end that keep it from being Python."""
    while lines and (_CLOSING_TAG.match(lines[-1]) or not lines[-1].strip()):
        lines = lines[:-1]
    for number, line in enumerate(lines):
        if _BARE_FENCE.match(line):  # too short, or of the other kind, and yet meant to close
            lines = lines[:number]
            break
    whole = _strip_margin(lines, opening.margin)
    paragraphs = whole.split("\n\n")
    for count in range(len(paragraphs), max(0, len(paragraphs) - _MOST_ENDS), -1):
        code = "\n\n".join(paragraphs[:count])
        if parse(code) is not None:
            return code
    return whole


def _strip_margin(lines: list[str], margin: str) -> str:
    """Return the lines without the margin of their fence, or without all indentation that they share where only this makes
    them Python."""
    marks = margin.count(">")
    if marks:
        lines = [re.sub(rf"^(?:[ \t]*>){{1,{marks}}} ?", "", line) for line in lines]
    width = len(margin.expandtabs()) - len(margin.expandtabs().lstrip()) if not marks else 0
    code = "\n".join(re.sub(rf"^[ \t]{{0,{width}}}", "", line) for line in lines)
    if parse(code) is None:
        shared = textwrap.dedent(code)
        return shared if parse(shared) is not None else code
    return code


def is_active(tree: ast.Module | None) -> bool:
    """Return whether a program does or defines anything: a literal, a name or arithmetic alone is some output."""
    kinds = ast.Call | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda | ast.Import | ast.ImportFrom
    return tree is not None and any(isinstance(node, kinds | ast.Return) for node in ast.walk(tree))
