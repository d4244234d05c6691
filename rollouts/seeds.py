"""Seeds of what is drawn at random, by name."""

from __future__ import annotations

import hashlib


def seed_of(*parts: object) -> int:
    """Return a seed for what these parts name, for instance (seed of the call, prompt id, sample index)."""
    # Hashed: with `n` > 1 vLLM itself takes seed + i for sample i, so neighbouring seeds would share random numbers.
    # Joined by a separator: without one (1, 23) and (12, 3) would have the same seed.
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    # 62 bits: vLLM and torch take seeds as signed 64-bit integers; 63 would fit, and one bit less costs nothing.
    return int.from_bytes(digest, "big") >> 2
