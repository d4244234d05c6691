"""Finds the unquoted values of a YAML text that the parser would turn into something else than what is written.

YAML 1.1, which OmegaConf reads, takes 010 for 8, 12:30 for 750 and `no` for false, and 08 for a text beside 07 for a number.
Whoever writes them may mean either, so a recipe that holds one is refused with both ways to write it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")
SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
TRUTH_WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false"}


def find_ambiguous(text: str) -> tuple[int, str] | None:
    """Return (line from 1, what is wrong and the fix) of the first ambiguous value or key; None where there is none. Raises
    YAMLError."""
    for line, value in _plain_scalars(yaml.compose(text, Loader=yaml.SafeLoader)):
        if reason := _describe(value):
            return line, f"{value}: {reason}, or '{value}' in quotes for a text"
    return None


def _describe(value: str) -> str | None:
    """Return what YAML makes of an unquoted value, and how to write that; None where it is what it looks like."""
    if LEADING_ZERO.fullmatch(value):
        digits = value.replace("_", "")
        sign = "-" if value.startswith("-") else ""
        decimal = f"{sign}{digits.lstrip('+-0') or '0'}"
        if set(digits.lstrip("+-")) <= set("01234567"):
            return f"a zero in front makes it the octal number {int(digits, 8)}; write {decimal} for the number"
        return f"a zero in front makes it no number; write {decimal} for the number"
    if SEXAGESIMAL.fullmatch(value):
        seconds = yaml.safe_load(value)
        return f"colons make it the number {seconds} (base 60); write {seconds} for the number"
    if word := TRUTH_WORDS.get(value.lower()):
        return f"YAML reads it as {word}; write {word}"
    return None


def _plain_scalars(root: yaml.Node | None) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of every key and value that stands without quotes, in the order of the text."""
    pending, visited = [root] if root else [], set[int]()
    while pending:
        node = pending.pop()
        if id(node) in visited:  # an alias stands for a node that is there already, perhaps one around it
            continue
        visited.add(id(node))
        if isinstance(node, yaml.MappingNode):
            # Reversed, since `pop` takes from the end.
            pending += [inner for pair in reversed(node.value) for inner in reversed(pair)]
        elif isinstance(node, yaml.SequenceNode):
            pending += reversed(node.value)
        elif isinstance(node, yaml.ScalarNode) and not node.style:
            yield node.start_mark.line + 1, node.value
