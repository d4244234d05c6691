"""Define a claim: one checkable statement about sound."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Claim:
    """One checkable statement, as the parser reads it and the checker measures it."""

    kind: str
    """Kind of claim: value (`values` = lowest and highest that it names), level (low, loud, …), trend, compare, extreme
    (the loudest of all), same, count, ends (`values` = pitch at the start and at the end), unpitched."""
    quantity: str
    """Quantity: pitch (Hz), loudness (dBFS), duration (s), brightness (Hz, spectral centroid), rate (per second); of a
    count: beats, words or count (either)."""
    sign: int = 0
    """Direction: +1 more (high, rising, louder), -1 less, 0 steady."""
    values: tuple[float, float] | None = None
    rounding: float = 0.0
    """Half a unit of the last decimal of the value: what rounding may have lost."""
    bound: str = "about"
    """Sense of a value: about, above or below."""
    subject: int | None = None
    """Index of the clip, or of the sound within the only clip; -1 is the last; None all that the prompt plays."""
    reference: int | None = None
    """Index of the clip or sound that `subject` is compared with; None is all others."""
    place: tuple[int, int] | None = None
    """(i, n) of the i-th of n like claims in a row that name no sound: about the i-th sound where there are n."""
    moment: str = ""
    """start, end, early or late, where the claim is about one end or one part of the sound only."""
    thing: str = ""
    """Noun that the claim is about, where that is a thing within the sound: the dog, the bell."""
    denied: bool = False
    """True for the contrary: "not higher"."""
    text: str = field(default="", compare=False)
    """The sentence that it was read from."""
    end: int = field(default=0, compare=False)
    """Index in the chain after the word that completed it."""
