"""Listen again to a stretch of a clip of the prompt (Echo, arXiv 2602.11909): it is cut out and heard on its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rl.audio import SAMPLE_RATE, encode, waveform
from rl.types import Clip, Prompt
from rollouts.environments.contract import MOST_SOUND_BYTES

if TYPE_CHECKING:
    import numpy as np

TAG = "seg"
GRID_S = 0.5
"""Another stretch (`elsewhere`) begins at a multiple of this."""


class Unheard(ValueError):
    """A stretch that cannot be heard; `reason` is the word under which it is counted."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def listen(
    prompt: Prompt, start: float, end: float, clip: int = 1, *, least_s: float = 0.2, elsewhere: bool = False
) -> Clip:
    """Hear the stretch of a clip from `start` to `end` seconds again."""
    # `elsewhere` is a control experiment: a model that does as well with the sound of another stretch does not use what
    # it asks for.
    if not 1 <= clip <= len(prompt.clips):
        raise Unheard("no_clip", f"there is no clip {clip}")
    wave = waveform(prompt.clips[clip - 1])
    seconds = len(wave) / SAMPLE_RATE
    if not (math.isfinite(start) and math.isfinite(end)):
        raise Unheard("malformed", "start and end are to be seconds")
    if end < start:
        raise Unheard("reversed", f"from {start:g} to {end:g} s is reversed")
    # 50 ms of slack: the end of a clip is often written with one decimal.
    if start < 0 or end > seconds + 0.05:
        raise Unheard("out_of_clip", f"{start:g} to {end:g} s leaves the clip of {seconds:.2f} s")
    first, last = round(start * SAMPLE_RATE), min(round(end * SAMPLE_RATE), len(wave))
    # Behind the clip's end, within the slack, nothing is left: `last` may lie before `first`.
    if last - first < least_s * SAMPLE_RATE:
        raise Unheard("too_short", f"{start:g} to {end:g} s is shorter than {least_s:g} s")
    if elsewhere:
        first, last = _another_stretch(first, last, wave)
    stretch = wave[first:last]
    # 24 bits round by 6e-8 of full scale: the stretch sounds as in the prompt's clip.
    sound = encode(stretch, bits=24)
    if len(sound) > MOST_SOUND_BYTES:
        raise Unheard("too_long", f"{start:g} to {end:g} s is too long to be heard at once")
    return Clip(data=sound)


def _another_stretch(first: int, last: int, wave: np.ndarray) -> tuple[int, int]:
    """Return a stretch of the same length that holds about as much sound, as near as there is one to half of the way round the
    clip. Raises Unheard where there is no other."""
    import numpy as np

    length = last - first
    places = len(wave) - length + 1
    if places < 2:
        raise Unheard("no_other", "the whole clip was asked for: there is no other stretch")
    half_way = (first + places // 2) % places
    starts = np.arange(0, places, round(GRID_S * SAMPLE_RATE))
    starts = starts[(starts + length <= first) | (starts >= last)]
    if not len(starts):
        return half_way, half_way + length  # every other stretch shares sound with this one
    # Another stretch must not be silence, by which a model could tell it from the one that it asked for.
    power = np.concatenate(([0.0], np.cumsum(np.square(wave, dtype=np.float64))))
    energies = power[starts + length] - power[starts]
    # Half as much is enough; where no stretch has that, one that has the most is taken.
    enough = energies >= min((power[last] - power[first]) / 2, energies.max())
    distance = np.abs(starts - half_way)
    start = int(starts[enough][np.argmin(np.minimum(distance, places - distance)[enough])])
    return start, start + length
