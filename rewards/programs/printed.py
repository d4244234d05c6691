"""Compares what a program printed with what it should have printed."""

from __future__ import annotations

import math
import re

# A number as a whole word: not a part of 1.2.3, of a date or of an identifier.
# The pattern tries no digit twice, or a megabyte of them would take for ever.
_NUMBER = re.compile(r"(?<![\w.])([-+]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][-+]?\d{1,3})?)(?![\w.])", re.ASCII)


def same_output(output: str, right_output: str, tolerance: float) -> bool:
    """Return whether two outputs are the same, line by line: space at the ends of lines and of the whole does not count,
    and numbers are compared by `same_number`."""
    lines, right_lines = _strip_lines(output), _strip_lines(right_output)
    pairs = zip(lines, right_lines, strict=False)
    return len(lines) == len(right_lines) and all(_same_line(line, right, tolerance) for line, right in pairs)


def _same_line(line: str, right_line: str, tolerance: float) -> bool:
    if line == right_line:
        return True
    pieces, right_pieces = _NUMBER.split(line), _NUMBER.split(right_line)  # text, number, text, …, text
    if len(pieces) != len(right_pieces) or pieces[::2] != right_pieces[::2]:
        return False
    return all(same_number(a, b, tolerance) for a, b in zip(pieces[1::2], right_pieces[1::2], strict=True))


def same_number(text: str, right_text: str, tolerance: float) -> bool:
    """Return whether two printed numbers agree. Two integers must be written alike; where either is a decimal fraction the
    values may differ by `tolerance`, of the right one's size too if that is a fraction itself."""
    if text == right_text:
        return True
    if not (_is_fraction(text) or _is_fraction(right_text)):
        return False
    value, right_value = float(text), float(right_text)
    # No relative tolerance for an integer: a share of 1e-6 of 10000019 would be ten units.
    size = max(1.0, abs(right_value)) if _is_fraction(right_text) else 1.0
    return math.isfinite(right_value) and abs(value - right_value) <= tolerance * size


def _is_fraction(text: str) -> bool:
    return not text.lstrip("+-").isdigit()


def _strip_lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]  # contests ignore space at the ends of lines
