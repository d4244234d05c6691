"""A claim: one checkable statement about sound."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Claim:
    """One checkable statement."""

    kind: str
    """value (`values` = lowest and highest that it names), level (low, loud, …), trend, compare, extreme (the loudest
    of all), same, count, ends (`values` = pitch at the start and at the end), unpitched."""
    quantity: str
    """pitch (Hz), loudness (dBFS), duration (s), brightness (Hz, spectral centroid), rate (per second); of a
    count: beats, words or count (either)."""
    sign: int = 0
    """+1 more (high, rising, louder), -1 less, 0 steady."""
    values: tuple[float, float] | None = None
    rounding: float = 0.0
    """What may have been lost to its last decimal."""
    bound: str = "about"
    """about, above or below, of a value."""
    subject: int | None = None
    """0-based clip, or sound within the only clip; -1 the last; None what the prompt plays."""
    other: int | None = None
    """With which `subject` is compared; None all others."""
    place: tuple[int, int] | None = None
    """(i, n): the i-th of n that the sentence tells one after another, without a name: of the i-th sound if there are n."""
    moment: str = ""
    """start or end, early or late: where it is of one end, or of one part, of the sound only."""
    thing: str = ""
    """Of what it speaks where that is a thing of its own: the dog, the bell."""
    denied: bool = False
    text: str = field(default="", compare=False)
    """The words that it was read from."""
