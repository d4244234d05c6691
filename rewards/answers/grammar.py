"""Reads a span of text that is one answer, and tells its kind."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache

from rewards.answers.arithmetic import evaluate, evaluate_prefix
from rewards.answers.brackets import closing_of, split_items, split_outside, split_top
from rewards.answers.calendar import read_duration, read_moment
from rewards.answers.kinds import Answer, Based, Formula, Grid, Number, Relation, Series, Words
from rewards.answers.notation import EDGE, WORD_MARK, latex, plain, without_marks
from rewards.answers.units import read_unit
from rewards.answers.values import Value
from rewards.answers.words import with_digits
from rewards.answers.wrapping import bare

_BASE = re.compile(
    rf"(-?[0-9a-zA-Z]+(?:\.[0-9a-fA-F]+)?)(?:_\{{\s*\(?{WORD_MARK}?(\d+|[a-z]+)\)?\s*\}}"
    rf"|\s*\(?\s*{WORD_MARK}?(?:in\s+)?{WORD_MARK}?base[\s-]*{WORD_MARK}?(\d+|[a-z]+)\)?)"
)
_BASE_NAMES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "sixteen": 16, "binary": 2}  # fmt: skip
_SPOKEN_RELATIONS = [
    (re.compile(rf"\s{WORD_MARK}?{words}\s".replace(" ", rf"\s+{WORD_MARK}?"), re.IGNORECASE), f" {sign} ")
    for words, sign in (
        ("is not equal to", "\\ne"),
        ("does not equal", "\\ne"),
        ("(?:is )?greater than or equal to", "\\ge"),
        ("(?:is )?less than or equal to", "\\le"),
        ("is (?:greater|more|larger|bigger) than", ">"),
        ("is (?:less|smaller) than", "<"),
        ("(?:is equal to|equals)", "="),
    )
]
_RELATION = re.compile(
    r"(\\le(?![a-z])|\\ge(?![a-z])|\\ne(?![a-z])|\\in(?![a-z])|\\approx(?![a-z])|\\equiv(?![a-z])|[=<>])"
)
_WORD_RUN = re.compile(r"(?<![\\a-zA-Z{])[^\W\d_]{4,}(?![a-zA-Z]*\})")  # too many letters for a product of variables
_FUNCTION_WORD = re.compile(
    r"[^\W\d_]{2,}\s+[^\W\d_]{2,}|(?<![^\W\d_])(?:not|at|most|and|or|to|is|the|of|no|yes|any|all|but|than|if|for|are|so|it|we|by|in|as|be"
    r"|was|has|one|two|six|ten|nor|my|its|our|can|how|why|who)(?![^\W\d_])",
    re.IGNORECASE,
)
_VARIABLE_K = re.compile(r"\d[kK]\s*[-+^/\\]|[-+]\s*\d+[kK](?![\w])")  # 2k+1 is no 2001
_LABEL = re.compile(r"^[A-Za-z]\s*:\s+")  # `A: 42`
_ITEM_LABEL = re.compile(r"(?:^|\s)\(?([a-e]|i{1,3}|iv|[1-9])[.)]\s+")
_GRID = re.compile(
    r"\s*(?:=\s*)?\\begin\{(\w?matrix|array|smallmatrix|cases|aligned|align|gathered|gather)\}(.*)\\end\{\1\}\s*",
    re.DOTALL,
)
_CASE_WORD = re.compile(rf"^\s*{WORD_MARK}?(?:if|for|when|where)(?![a-zA-Z])")
# Not three digits behind the comma, which are thousands, unless a 0 stands before it.
_DECIMAL_COMMA = re.compile(r"-?\d+,\d{1,2}|-?\d+,\d{4,}|-?0,\d+")
_BRACKETS = {"(": ")]", "[": "])[(", "]": "[]", "\\{": ("\\}",), "{": "}", "\\langle": ("\\rangle",)}
_UNION = re.compile(r"\\cup(?![a-z])")


@lru_cache(maxsize=2048)
def read(text: str) -> Answer:
    """Return what an answer is, from the text that is the answer and nothing else."""
    return read_plain(plain(text))


@lru_cache(maxsize=2048)
def read_plain(text: str) -> Answer:
    """Return what an answer is, from its plain LaTeX (`rewards.answers.notation`)."""
    text = bare(text)
    for reader in _READERS:
        answer = reader(text)
        if answer is not None:
            return answer
    return Words(without_marks(text)) if is_wordy(text) else Formula(text)


def is_wordy(text: str) -> bool:
    """Return whether a plain text holds words, and not mathematics alone."""
    if WORD_MARK in text or re.search(r"[\u3040-\u9fff\uac00-\ud7a3]", text):
        return True
    without_commands = re.sub(r"\\[a-zA-Z]+\*?", " ", text)
    return bool(_WORD_RUN.search(without_commands) or _FUNCTION_WORD.search(without_commands))


def _read_number(text: str) -> Number | None:
    words_read = text if _VARIABLE_K.search(text) else with_digits(text)
    spelt = _LABEL.sub("", words_read.replace(EDGE, " ").strip())
    value, end = evaluate_prefix(spelt)
    unit = read_unit(spelt[end:]) if value is not None else None
    return None if value is None or unit is None else Number(text, value, unit)


def read_decimal_comma(text: str) -> Number | None:
    """Return the number that `2,74` is where the comma is a decimal one, else None."""
    if not _DECIMAL_COMMA.fullmatch(text):
        return None
    return Number(text, Value(Fraction(text.replace(",", ".")), is_decimal=True, is_digits=True))


def _read_base(text: str) -> Based | None:
    match = _BASE.fullmatch(re.sub(r"^[({]?(-?[0-9a-zA-Z]+)[)}]?\s*(?=_)", r"\1", text))
    if match is None:
        return None
    name = match[2] or match[3]
    base = int(name) if name.isdigit() else _BASE_NAMES.get(name, 0)
    is_number = re.fullmatch(r"-?[0-9a-fA-F.]+", match[1]) and any(c.isdigit() for c in match[1])
    return Based(text, match[1].lower(), base) if is_number and 2 <= base <= 36 else None


def _read_ratio(text: str) -> Series | None:
    parts = split_top(text, ":")
    if len(parts) < 2:
        return None
    values = [evaluate(part.strip()) for part in parts]
    if any(value is None for value in values):
        return None
    items = tuple(Number(p.strip(), v) for p, v in zip(parts, values, strict=True) if v is not None)
    return Series(text, items, ":", ":")


def _read_grid(text: str) -> Answer | None:
    match = _GRID.fullmatch(text)
    # A vmatrix is a determinant, and so a number that is still to be worked out.
    if match is None or "\\begin{" in match[2] or match[1] == "vmatrix":
        return None
    rows = [row.split("&") for row in re.split(r"\\\\(?:\[[^\]]*\])?|\\cr(?![a-z])", match[2]) if row.strip()]
    if match[1].startswith(("align", "gather")):
        lines = [" ".join(row).strip() for row in rows]
        steps = [line for i, line in enumerate(lines) if i == 0 or not line.startswith("=")]
        if len(steps) == 1:  # one calculation over several lines
            return read_plain(" ".join(lines))
        return Series(text, tuple(read_plain(line) for line in lines), "", "")
    cells = [read_plain(row[0]) for row in rows if len(row) == 1]
    if match[1] == "cases" and len(cells) == len(rows) > 1 and all(isinstance(cell, Relation) for cell in cells):
        return Series(text, tuple(cells), "", "")  # a system of equations
    if match[1] == "cases":
        rows = [[_CASE_WORD.sub("", cell) for cell in row] for row in rows]
    return Grid(text, tuple(tuple(read_plain(cell) for cell in row) for row in rows), match[1])


_BUILDER = re.compile(r"([a-zA-Z])(?:\s*\\in\s*(?:\\mathbb\s*\{R\}|R))?\s*[|:](.*)", re.DOTALL)


def _read_brackets(text: str) -> Answer | None:
    for opening, closings in _BRACKETS.items():
        if not text.startswith(opening):
            continue
        closing = next((c for c in closings if text.endswith(c)), None)
        if closing is None or (opening in "([{]" and not _closes_at_end(text)):
            continue
        inside = text[len(opening) : -len(closing)]
        if "\\{" in inside or "\\}" in inside:
            return None
        builder = _BUILDER.fullmatch(inside.strip()) if opening == "\\{" else None
        condition = read_plain(builder[2]) if builder else None
        if isinstance(condition, Relation | Series):  # \{x \mid x > 3\}
            return condition
        items = tuple(read_plain(part) for part in split_items(inside))
        if opening == "\\{":
            items = tuple(single for item in items for single in _flat(item))
        mark = {"\\{": "{", "\\langle": "<"}.get(opening, opening)
        if mark in "([]" and len(items) < 2:
            return None
        return Series(text, items, mark, {"\\}": "}", "\\rangle": ">"}.get(closing, closing))
    return None


def _closes_at_end(text: str) -> bool:
    if text[0] == "]" or text[-1] == "[":  # ]0, 1[
        return True
    return closing_of(text, 0) == len(text) - 1


def _read_union(text: str) -> Series | None:
    parts = _UNION.split(text)
    if len(parts) < 2:
        return None
    items = tuple(read_plain(part) for part in parts)
    if not all(isinstance(item, Series) for item in items):
        return None
    if all(isinstance(item, Series) and item.opening == "{" for item in items):
        return Series(text, tuple(i for item in items if isinstance(item, Series) for i in item.items), "{", "}")
    return Series(text, items, "+", "+")


def _read_relation(text: str) -> Relation | None:
    text_with_signs = f" {text} "
    for pattern, sign in _SPOKEN_RELATIONS:
        text_with_signs = pattern.sub(lambda _, sign=sign: sign, text_with_signs)
    text_with_signs = text_with_signs.strip()
    if len(_list_parts(text_with_signs)) > 1 and _RELATION.search(_list_parts(text_with_signs)[0]) is not None:
        return None
    parts = _split_relation(text_with_signs)
    sides = tuple(part.strip(f" {EDGE}") for part in parts[::2])
    phrases = [side for side in sides if "\\begin{" not in side]
    if len(parts) < 3 or not all(sides) or any(is_wordy(side) and read_number(side) is None for side in phrases):
        return None
    return Relation(text_with_signs, sides, tuple(parts[1::2]))


def _split_relation(text: str) -> list[str]:
    """Return sides and operators in turn. Those of an environment's rows or a sum's index are none."""
    parts: list[str] = []
    start = 0
    for match in _RELATION.finditer(text):
        is_within = any(
            text.count(opening, 0, match.start()) > text.count(closing, 0, match.start())
            for opening, closing in (("\\begin{", "\\end{"), ("{", "}"))
        )
        if not is_within:
            parts += text[start : match.start()], match[1]
            start = match.end()
    return [*parts, text[start:]]


def read_number(text: str) -> Number | None:
    """Return the number, perhaps with its unit, that a plain text is; None where it is anything else."""
    return _read_number(bare(text))


_JOINTS = re.compile(
    rf"[\n;]|\s*,?\s*(?<![^\W\d_]){WORD_MARK}?(?:and|or|und|oder|et|ou)(?![^\W\d_])\s*|\s*(?:和|或者?|以及)\s*"
)
_OR = re.compile(rf"(?<![^\W\d_]){WORD_MARK}?(?:or|oder|ou)(?![^\W\d_])|或")
_TO = re.compile(rf"\s+{WORD_MARK}?(?:to|through|until|bis|à)\s+|\s*(?:\\sim|~|～|到|至)\s*")


def _list_parts(text: str) -> list[str]:
    """Return the items of a bare list."""
    groups = [group for group in split_outside(text, _JOINTS) if group.strip(f" ,{EDGE}")]
    has_groups = ";" in text or "\n" in text
    if has_groups and len(groups) > 1:
        return groups
    return [part for group in groups for part in split_top(group, ",") if part.strip(f" {EDGE}")]


_PLUS_MINUS = re.compile(r"\\pm(?![a-z])")
_NAME_BEFORE = re.compile(r"\s*[a-zA-Z](?:_\{\w+\})?\s*=")


def _flat(answer: Answer) -> tuple[Answer, ...]:
    """Return the two numbers of `1 \\pm 2` within a list, or the answer itself."""
    is_pair = isinstance(answer, Series) and not answer.opening and "\\pm" in answer.text and "," not in answer.text
    return answer.items if isinstance(answer, Series) and is_pair else (answer,)


def _read_list(text: str) -> Series | None:
    range_parts = split_outside(text, _TO)
    if len(range_parts) == 2:
        ends = tuple(read_plain(part) for part in range_parts)
        if all(isinstance(end, Number) for end in ends):
            return Series(text, ends, "to", "to")
    labelled_parts = [part for part in _ITEM_LABEL.split(text)[2::2] if part.strip()]
    if len(labelled_parts) > 1 and _ITEM_LABEL.match(text):
        return Series(text, tuple(read_plain(part) for part in labelled_parts), "(", ")")
    sides = _PLUS_MINUS.split(text)
    if len(sides) == 2 and not is_wordy(text) and len(_list_parts(text)) == 1:  # 3 \pm 2 is two numbers
        head, tail = (part.strip() for part in sides)
        if not _RELATION.search(text):
            signs = (f"{head}+{tail}", f"{head}-{tail}") if head else (tail, f"-{tail}")
            return Series(text, tuple(read_plain(sign) for sign in signs))
    parts = _list_parts(text)
    if len(parts) < 2:
        return None
    name = _NAME_BEFORE.match(parts[0])
    if name and not any(_RELATION.search(part) for part in parts[1:]):  # `n = 1, 2, 3`
        parts[0] = parts[0][name.end() :]
    items = tuple(item for part in parts for item in _flat(read_plain(part)))
    if any(isinstance(item, Words) for item in items):
        # "red, blue" is a list; a sentence with commas is none
        if not all(isinstance(item, Words) and len(item.text.split()) <= 3 for item in items):
            return None
    elif any(isinstance(item, Series) and any(isinstance(i, Words) for i in item.items) for item in items):
        return None
    mark = "or" if _OR.search(text) else ""
    return Series(text, items, mark, mark)


# The first that can read a text decides. Dates come before arithmetic (2023-01-05 is no difference), lists before
# equations (`x = 1, y = 2` is two of them).
_READERS: tuple[Callable[[str], Answer | None], ...] = (
    read_moment,
    read_duration,
    _read_base,
    _read_number,
    _read_ratio,
    _read_grid,
    _read_brackets,
    _read_union,
    _read_list,
    _read_relation,
)


def to_latex(answer: Answer) -> str:
    """Return an answer's text as LaTeX for a computer algebra system."""
    return latex(answer.text)
