"""Counts and sizes in words, as tables and messages show them."""

from __future__ import annotations

import re

GIB = 1 << 30
"""Bytes in a gibibyte."""


def many(count: float, word: str) -> str:
    """Return a count with its noun: `1 prompt`, `8,000 prompts`, `2 batches`."""
    if count == 1:
        return f"1 {word}"
    plural = f"{word}es" if word.endswith("batch") else f"{word}s"
    return f"{count:,.10g} {plural}"


def amount(count: float, names: str = "k M B") -> str:
    """Return a large count in short: `8,192`, `653k`, `32.8B`. `names` are the units of 10³, 10⁶ and 10⁹."""
    for power, name in zip((9, 6, 3), reversed(names.split()), strict=True):
        least = 10**power if power > 3 else 10**4  # `8,192` reads better than `8.2k`
        if count >= least:
            decimals = 1 if count < 10 ** (power + 2) else 0
            return re.sub(r"\.0$", "", f"{count / 10**power:.{decimals}f}") + name
    return f"{count:,.0f}"


def size(count: float) -> str:
    """Return a number of bytes in words: `4.9 TiB`, `61 GiB`, `380 MiB`."""
    unit, name = 1 << 20, "MiB"  # the smallest that is shown: 0.1 MiB, not 100 KiB
    if count >= GIB << 10:
        unit, name = GIB << 10, "TiB"
    elif count >= GIB:
        unit, name = GIB, "GiB"
    decimals = 1 if count < 10 * unit else 0
    return f"{count / unit:,.{decimals}f} {name}"
