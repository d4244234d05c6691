"""Counts and sizes in words."""

from __future__ import annotations

import re

GIB = 1 << 30


def many(count: float, word: str) -> str:
    """`1 prompt`, `8,000 prompts`."""
    return f"{count:,.10g} {word}{'' if count == 1 else 'es' if word.endswith('batch') else 's'}"


def amount(count: float, names: str = "k M B") -> str:
    """`8,192`, `653k`, `32.8B`."""
    for power, name in zip((9, 6, 3), reversed(names.split()), strict=True):
        if count >= (10**power if power > 3 else 10**4):
            return re.sub(r"\.0$", "", f"{count / 10**power:.{1 if count < 10 ** (power + 2) else 0}f}") + name
    return f"{count:,.0f}"


def size(count: float) -> str:
    """`4.9 TiB`, `61 GiB`, `380 MiB`."""
    unit, name = next(
        (u, n) for u, n in ((GIB << 10, "TiB"), (GIB, "GiB"), (1 << 20, "MiB")) if count >= u or n == "MiB"
    )
    return f"{count / unit:,.{1 if count < 10 * unit else 0}f} {name}"
