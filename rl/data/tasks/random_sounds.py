"""Made sounds at random, with attributes within a few percent of a coarse grid: pitches three semitones apart, levels
6 dB, durations half as long again. So what a chain says of a sound is true, and a tiny model can learn to say it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from rl.data.tasks.synthesis import BURST_S, Sound

PITCHES = tuple(110 * 2 ** (step / 4) for step in range(13))
"""Hz, 110 to 880 by three semitones."""
LOW, HIGH = PITCHES[:5], PITCHES[8:]
LEVELS = (-40.0, -34.0, -28.0, -22.0, -16.0)
DURATIONS = (0.2, 0.3, 0.45, 0.65)
HARMONICS = (1, 3, 6, 12)
RATES = (3.0, 5.0, 8.0)
WHOLE_S = 1.0
"""Of a clip with beats, however many."""
PATTERNS = tuple(f"{a} {b} {c}" for a in ("low", "high") for b in ("low", "high") for c in ("low", "high"))


@dataclass(frozen=True, slots=True)
class Drawn:
    """A clip: its sounds, and each quantity on the grid and as made."""

    sounds: tuple[Sound, ...]
    grid: dict[str, float]
    made: dict[str, float]

    @property
    def key(self) -> str:
        return hashlib.sha256(repr(self.sounds).encode()).hexdigest()[:8]


def _near(random: Random, value: float, spread: float = 0.02) -> float:
    return round(value * (1 + random.uniform(-spread, spread)), 4)


def tone(
    random: Random,
    pitches: Sequence[float] = PITCHES,
    levels: Sequence[float] = LEVELS[2:],
    durations: Sequence[float] = DURATIONS[1:3],
    harmonics: Sequence[int] = HARMONICS[:2],
) -> Drawn:
    """Partials of one pitch; each attribute is one of those given."""
    partials = random.choice(harmonics)
    grid = {
        "pitch": random.choice(pitches),
        "loudness": random.choice(levels),
        "duration": random.choice(durations),
    }
    sound = Sound(
        "tone",
        seconds=_near(random, grid["duration"]),
        decibels=round(grid["loudness"] + random.uniform(-0.5, 0.5), 2),
        hertz=_near(random, grid["pitch"]),
        harmonics=partials,
        seed=random.getrandbits(32),
    )
    grid["brightness"] = grid["pitch"] * (partials + 1) / 2
    made = {"pitch": sound.hertz, "loudness": sound.decibels, "duration": sound.seconds, "brightness": sound.centroid}
    return Drawn((sound,), grid, made)


def noise(random: Random) -> Drawn:
    """White noise of some loudness and length."""
    like = tone(random)
    sound = replace(like.sounds[0], shape="noise", hertz=0.0, harmonics=1)
    return Drawn((sound,), *({q: d[q] for q in ("loudness", "duration")} for d in (like.grid, like.made)))


def sweep(random: Random, rising: bool) -> Drawn:
    """From one pitch to another, nine semitones apart or more."""
    start = random.randrange(len(PITCHES) - 3)
    low, high = PITCHES[start], PITCHES[random.randrange(start + 3, len(PITCHES))]
    begin, to = (low, high) if rising else (high, low)
    like = tone(random, pitches=(begin,), harmonics=(1,))
    sound = replace(like.sounds[0], shape="sweep", to_hertz=_near(random, to))
    made = {"from": sound.hertz, "to": sound.to_hertz, "loudness": sound.decibels, "duration": sound.seconds}
    kept = {q: like.grid[q] for q in ("loudness", "duration")}
    return Drawn((sound,), {"from": begin, "to": to, **kept}, made)


def beats(random: Random, rate: float, count: int | None = None) -> Drawn:
    """Beats at a rate; as many as there is time for when no `count` is given."""
    like = tone(random, harmonics=(1,)).sounds[0]
    per_second = _near(random, rate)
    number = int((WHOLE_S - BURST_S) * per_second) + 1 if count is None else count
    spare = WHOLE_S - BURST_S - (number - 1) / per_second
    before_s = round(random.uniform(0, spare), 4)
    sound = replace(like, shape="beats", seconds=WHOLE_S, beats=number, per_second=per_second, before_s=before_s)
    return Drawn((sound,), {"rate": rate, "beats": number}, {"rate": per_second, "beats": number})


def pattern(random: Random, words: str) -> Drawn:
    """`low high low`: a tone for each word, one low and one high pitch among them."""
    level = random.choice(LEVELS[2:])
    pitches = {"low": random.choice(LOW), "high": random.choice(HIGH)}
    tones = [tone(random, (pitches[word],), (level,), (0.2,), (1,)).sounds[0] for word in words.split()]
    grid = {f"pitch {i}": pitches[word] for i, word in enumerate(words.split(), 1)}
    return Drawn(tuple(tones), grid, {f"pitch {i}": made.hertz for i, made in enumerate(tones, 1)})
