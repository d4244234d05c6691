"""Draws random sounds, with attributes within a few percent of a coarse grid: pitches three semitones apart, levels
6 dB, durations half as long again. So what a chain says about a sound is true, and a tiny model can learn to say it.

The order of the random calls decides every question: a call added or moved changes all data sets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from rl.data.tasks.synthesis import BURST_S, Sound

PITCHES = tuple(110 * 2 ** (step / 4) for step in range(13))
"""Grid of pitches, Hz: 110 to 880 by three semitones."""
LOW, HIGH = PITCHES[:5], PITCHES[8:]
"""Pitches that questions call low and high; those between are neither."""
LEVELS = (-40.0, -34.0, -28.0, -22.0, -16.0)  # dBFS
DURATIONS = (0.2, 0.3, 0.45, 0.65)  # s
HARMONICS = (1, 3, 6, 12)
RATES = (3.0, 5.0, 8.0)  # beats a second
BEATS_CLIP_S = 1.0
"""Length of a clip with beats, however many: it must not give their number away."""
PATTERNS = tuple(f"{a} {b} {c}" for a in ("low", "high") for b in ("low", "high") for c in ("low", "high"))


@dataclass(frozen=True, slots=True)
class DrawnClip:
    """The sounds of a clip and what is true of them."""

    sounds: tuple[Sound, ...]
    grid: dict[str, float]
    """Each quantity on the grid, as chains name it."""
    exact: dict[str, float]
    """Each quantity as it is synthesised."""

    @property
    def key(self) -> str:
        """A hash of the sounds, which ids and splits are made of."""
        return hashlib.sha256(repr(self.sounds).encode()).hexdigest()[:8]


def _near(random: Random, value: float, spread: float = 0.02) -> float:
    """Draw a value within a share `spread` of the one on the grid."""
    return round(value * (1 + random.uniform(-spread, spread)), 4)  # short in the `repr` that ids are hashes of


def tone(
    random: Random,
    pitches: Sequence[float] = PITCHES,
    levels: Sequence[float] = LEVELS[2:],
    durations: Sequence[float] = DURATIONS[1:3],
    harmonics: Sequence[int] = HARMONICS[:2],
) -> DrawnClip:
    """Draw a tone; each attribute is near one of those given."""
    partials = random.choice(harmonics)
    grid = {
        "pitch": random.choice(pitches),
        "loudness": random.choice(levels),
        "duration": random.choice(durations),
    }
    sound = Sound(
        "tone",
        seconds=_near(random, grid["duration"]),
        # Decibels are a logarithm: half a decibel either way, not a share.
        decibels=round(grid["loudness"] + random.uniform(-0.5, 0.5), 2),
        hertz=_near(random, grid["pitch"]),
        harmonics=partials,
        seed=random.getrandbits(32),
    )
    # The centroid of partials of equal amplitude, as `Sound.centroid` has it, at the grid's pitch.
    grid["brightness"] = grid["pitch"] * (partials + 1) / 2
    exact = {"pitch": sound.hertz, "loudness": sound.decibels, "duration": sound.seconds, "brightness": sound.centroid}
    return DrawnClip((sound,), grid, exact)


def noise(random: Random) -> DrawnClip:
    """Draw white noise."""
    like = tone(random)
    sound = replace(like.sounds[0], shape="noise", hertz=0.0, harmonics=1)
    # White noise has no pitch, and one centroid whatever is drawn: neither is named.
    grid = {name: like.grid[name] for name in ("loudness", "duration")}
    exact = {name: like.exact[name] for name in ("loudness", "duration")}
    return DrawnClip((sound,), grid, exact)


def sweep(random: Random, rising: bool) -> DrawnClip:
    """Draw a sweep from one pitch to another, nine semitones apart or more."""
    start = random.randrange(len(PITCHES) - 3)  # three steps of three semitones are left above it
    low, high = PITCHES[start], PITCHES[random.randrange(start + 3, len(PITCHES))]
    begin, to = (low, high) if rising else (high, low)
    like = tone(random, pitches=(begin,), harmonics=(1,))
    sound = replace(like.sounds[0], shape="sweep", to_hertz=_near(random, to))
    exact = {"from": sound.hertz, "to": sound.to_hertz, "loudness": sound.decibels, "duration": sound.seconds}
    grid = {"from": begin, "to": to, **{name: like.grid[name] for name in ("loudness", "duration")}}
    return DrawnClip((sound,), grid, exact)


def beats(random: Random, rate: float, count: int | None = None) -> DrawnClip:
    """Draw beats at a rate, per second; as many as there is time for when no `count` is given."""
    like = tone(random, harmonics=(1,)).sounds[0]
    per_second = _near(random, rate)
    # The last beat, (number - 1) / per_second s after the first one, must end within the clip.
    number = int((BEATS_CLIP_S - BURST_S) * per_second) + 1 if count is None else count
    spare_s = BEATS_CLIP_S - BURST_S - (number - 1) / per_second
    before_s = round(random.uniform(0, spare_s), 4)
    sound = replace(like, shape="beats", seconds=BEATS_CLIP_S, beats=number, per_second=per_second, before_s=before_s)
    return DrawnClip((sound,), {"rate": rate, "beats": number}, {"rate": per_second, "beats": number})


def pattern(random: Random, words: str) -> DrawnClip:
    """Draw a tone for each of `words`, such as `low high low`; the low ones share a pitch, and so do the high ones."""
    level = random.choice(LEVELS[2:])
    pitches = {"low": random.choice(LOW), "high": random.choice(HIGH)}
    tones = [tone(random, (pitches[word],), (level,), (0.2,), (1,)).sounds[0] for word in words.split()]
    grid = {f"pitch {i}": pitches[word] for i, word in enumerate(words.split(), 1)}
    return DrawnClip(tuple(tones), grid, {f"pitch {i}": sound.hertz for i, sound in enumerate(tones, 1)})
