"""MATH's own equality: the last box of an answer and the gold, each in one plain way of writing, letter for letter."""

from __future__ import annotations

import re

from rl.benchmarks.benchmark import Mark
from rl.types import Prompt

_NOISE = ("\n", "\\!", "\\left", "\\right", "^{\\circ}", "^\\circ", "\\$")


def last_box(prompt: Prompt, answer: str) -> Mark:
    """Mark as MATH's code does: what the last \\boxed{} holds is written as the gold is, once spaces, units, percent signs
    and the like are gone. 1/2 and 0.5 are the same; 2/4, or x and X, are not."""
    answer_formula = _content_of_last_box(answer)
    if answer_formula is None:
        return Mark(0.0)
    gold = prompt.answer or ""
    try:
        return Mark(float(_plain(answer_formula) == _plain(gold)))
    except ValueError:
        return Mark(float(answer_formula == gold))


def _content_of_last_box(text: str) -> str | None:
    """Return what the last \\boxed{} or \\fbox{} holds, None where there is none or it is not closed."""
    start = text.rfind("\\boxed")
    start = text.rfind("\\fbox") if start < 0 else start
    brace = text.find("{", start) if start >= 0 else -1
    depth = 0
    for place in range(brace, len(text)) if brace >= 0 else ():
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[brace + 1 : place]
    return None


def _plain(text: str) -> str:
    """Return a formula in MATH's plain writing. Raises ValueError where its code fails."""
    # In the order of MATH's `_strip_string`: each replacement sees what those before it have left.
    for mark in _NOISE[:2]:
        text = text.replace(mark, "")
    text = text.replace("\\\\", "\\").replace("tfrac", "frac").replace("dfrac", "frac")
    for mark in _NOISE[2:7]:
        text = text.replace(mark, "")
    if text.count("\\text{ ") > 1:
        raise ValueError("two units")
    text = text.partition("\\text{ ")[0].replace("\\%", "")  # a bare % stays
    text = text.replace(" .", " 0.").replace("{.", "{0.")
    if not text:
        return ""
    text = f"0{text}" if text.startswith(".") else text
    name, equals, value = text.partition("=")
    if equals and "=" not in value and len(name) <= 2:  # "k = 3"
        text = value
    if text.endswith("\\sqrt"):
        raise ValueError("a root of nothing")
    text = re.sub(r"\\sqrt(?!\{)(.)", r"\\sqrt{\1}", text, flags=re.S).replace(" ", "")
    text = _brace_fractions(text)
    if text == "0.5":
        return "\\frac{1}{2}"
    slash = re.fullmatch(r"(0|-?[1-9]\d*)/(0|-?[1-9]\d*)", text)
    return f"\\frac{{{slash[1]}}}{{{slash[2]}}}" if slash else text


def _brace_fractions(text: str) -> str:
    """Return the text with braces around what a \\frac takes without: \\frac12, \\frac1{72}."""
    head, *parts = text.split("\\frac")
    plain = head
    for part in parts:
        if not part:
            raise ValueError("a fraction of nothing")
        if part[0] == "{":
            plain += f"\\frac{part}"
        elif len(part) < 2:
            # Here MATH's code gives up, and leaves the whole text as it was.
            return text
        elif part[1] == "{":
            plain += f"\\frac{{{part[0]}}}{part[1:]}"
        else:
            plain += f"\\frac{{{part[0]}}}{{{part[1]}}}{part[2:]}"
    return plain
