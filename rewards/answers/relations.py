"""Tells what an equation or inequality comes to: the value that it names, or the interval that it describes."""

from __future__ import annotations

import re

from rewards.answers.grammar import read_number, read_plain
from rewards.answers.kinds import Answer, Relation, Series

_COEFFICIENT = re.compile(r"\d\s*/?\s*[a-zA-Z]|[a-zA-Z]\s*/\s*\d|\S\s*[-+]|[-+]\s*[a-zA-Z]")
_GROUPS = re.compile(r"\{[^{}]*\}|\([^()]*\)|\|[^|]*\||\\[a-zA-Z]+")


def named_value(relation: Relation, approximate: bool = False) -> Answer | None:
    """Return what `x = …`, `f(2) = …` or a chain `6 \\cdot 7 = 42` comes to; None for an equation such as `2x + z = 1` and
    for inequalities. With `approximate` the value behind an \\approx."""
    if "\\in" in relation.operators and len(relation.sides) == 2 and is_name(relation.sides[0]):
        return read_plain(relation.sides[1])
    if not set(relation.operators) <= {"=", "\\approx", "\\equiv"}:
        return None
    exact_count = next((i for i, sign in enumerate(relation.operators) if sign == "\\approx"), len(relation.operators))
    side = relation.sides[-1] if approximate else relation.sides[exact_count]
    if exact_count == 0 and not approximate:  # x \approx 3.14 names 3.14, \pi \approx 3.14 names \pi
        is_variable = re.fullmatch(r"[a-zA-Z](?:_\{\w+\})?", relation.sides[0]) is not None
        return read_plain(relation.sides[-1 if is_variable else 0])
    if len(relation.operators) == 1 and not is_name(relation.sides[0]) and read_number(relation.sides[0]) is None:
        return None
    if len(relation.operators) == 1 and read_number(relation.sides[0]) is not None and read_number(side) is None:
        return None  # 7 = 11a + c is an equation
    return read_plain(side)


def is_name(text: str) -> bool:
    """Return whether a side of an equation names something: `x`, `f(2)`, `|AB|`, `(p, q)`, `\\lim …`, but no sum and no
    product of variables."""
    if read_number(text) is not None or factors(text):
        return False
    before = None
    while before != text:
        before, text = text, _GROUPS.sub(" # ", text)
    return not _COEFFICIENT.search(text)


_FACTOR = r"(?:[a-z]|\\(?!cdot|times)[a-z]+(?![a-zA-Z]))(?:_\{\w+\})?(?:\^\{\w+\})?"
_SIGN = r" ?(?:\\cdot(?![a-z])|\\times(?![a-z]))? ?"
_SIGNS = re.compile(r"\\(?:cdot|times)(?![a-z])")
_PRODUCT = re.compile(rf"{_FACTOR}(?:{_SIGN}{_FACTOR})+")
_GREEK = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "vartheta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "pi",
    "rho",
    "sigma",
    "tau",
    "upsilon",
    "phi",
    "varphi",
    "chi",
    "psi",
    "omega",
]
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def factors(side: str) -> list[str]:
    """Return the variables whose product a side of an equation is: `xy`, `x \\cdot y`, `x_1x_2`, `\\alpha\\beta`; empty for
    any other. It is another quantity than what is asked for, unless that is the product: then the question has it.

    Capitals name a segment (`AB`), and three small letters or more a word (`ans`), except neighbours in the alphabet."""
    side = side.strip()
    if not _PRODUCT.fullmatch(side):
        return []
    if any(command not in _GREEK for command in re.findall(r"\\([a-z]+)", side) if command not in ("cdot", "times")):
        return []  # \sin x
    words = re.findall(r"(?<![\\a-z])[a-z]{2,}", side)
    is_run = len(side) == 2 or side in _ALPHABET or set(side) <= set("uvwxyz")
    return [] if words and not (words == [side] and is_run) else re.findall(_FACTOR, _SIGNS.sub(" ", side))


def asked_value(answer: Answer, question: str) -> Answer:
    """Return what an equation gives a product of variables that the (plain) question asks for, by its letters or in words;
    any other answer as it is."""
    if not isinstance(answer, Relation) or answer.operators != ("=",) or not (names := factors(answer.sides[0])):
        return answer
    ways = "|".join(_SIGN.join(map(re.escape, order)) for order in (names, names[::-1]))
    product = rf"(?<![a-zA-Z\\])(?:{ways})(?![a-zA-Z_^])"
    # `xy = 6` in a question is given, and not asked for
    is_given = re.search(rf"{product}\s*=\s*[-\w\\({{]", question)
    is_asked = re.search(rf"{product}(?!\s*=\s*[-\w\\({{])", question)
    # `r_1 r_2 = 6` answers "Find the product of the roots.", and `lw = 24` "Find the area."
    is_described = not is_given and re.search(r"\b(?:product|area|volume)\b", question, re.IGNORECASE)
    return read_plain(answer.sides[1]) if is_asked or is_described else answer


def interval(relation: Relation) -> Series | None:
    """Return the interval that `a < x \\le b` or `x > a` describes, else None."""
    sides, signs = list(relation.sides), list(relation.operators)
    if signs and set(signs) <= {">", "\\ge"}:  # b > x > a
        sides, signs = sides[::-1], ["<" if sign == ">" else "\\le" for sign in signs[::-1]]
    if not signs or not set(signs) <= {"<", "\\le"}:
        return None
    if len(sides) == 2:
        lower_is_value = read_number(sides[0]) is not None
        sides = [*sides, "\\infty"] if lower_is_value else ["-\\infty", *sides]
        signs = [*signs, "<"] if lower_is_value else ["<", *signs]
    if len(sides) != 3 or not is_name(sides[1]):
        return None
    opening, closing = ("(" if signs[0] == "<" else "["), (")" if signs[1] == "<" else "]")
    return Series(relation.text, (read_plain(sides[0]), read_plain(sides[2])), opening, closing)


_MIRROR = {">": "<", "\\ge": "\\le"}


def upward(relation: Relation) -> tuple[list[str], list[str]]:
    """Return the signs and sides of a relation, from the other end where it falls."""
    signs, sides = list(relation.operators), list(relation.sides)
    if set(signs) <= set(_MIRROR):
        return [_MIRROR[sign] for sign in reversed(signs)], sides[::-1]
    return signs, sides


_COMPUTED = re.compile(r"\\frac|\\sqrt|\^|/|\d[a-zA-Z]")


def may_name_one(gold: str, pred: str) -> bool:
    """Return whether the left sides of two equations may name the same: `P(A)` and `p`, `|AB|` and `AB`, but neither `x` and
    `y`, nor `f(2)` and `f(3)`, nor `x` and `x^2`."""
    if gold == pred:
        return True
    if _COMPUTED.search(gold) or _COMPUTED.search(pred):
        return False
    return not (len(gold) == 1 and len(pred) == 1) and not ("(" in gold and "(" in pred)
