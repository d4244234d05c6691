"""Is it hearing, or guessing? The same questions with their sound taken away.

A model that listens loses its accuracy on all of these; one that has found a leak in the questions keeps it. Prompts
without clips stay out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from rl.audio import SAMPLE_RATE, encode, fingerprint, waveform
from rl.data.rows import rank
from rl.types import Clip, Prompt

FRAME_S = 0.05
"""Shuffled sound keeps its spectrum and loses its order beyond this."""


def silenced(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Every clip becomes a second of silence: silence of its own length would still say which of two is longer."""
    import numpy as np

    silence = Clip(data=encode(np.zeros(SAMPLE_RATE, np.float32)))
    return _with_clips(prompts, lambda clip: silence)


def shuffled(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Every clip's frames of 50 ms in an order drawn from its content."""
    import numpy as np

    def scramble(clip: Clip) -> Clip:
        samples, width = waveform(clip), int(FRAME_S * SAMPLE_RATE)
        frames = [samples[i : i + width] for i in range(0, len(samples), width)]
        order = np.random.default_rng(int(fingerprint(clip)[:12], 16)).permutation(len(frames))
        return Clip(data=encode(np.concatenate([frames[i] for i in order])))

    return _with_clips(prompts, scramble)


def swapped(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Every prompt gets the clips of another one with as many. A prompt that is alone in that stays out."""
    groups: dict[int, list[Prompt]] = {}
    for prompt in sorted((p for p in prompts if p.clips), key=lambda p: rank(p.id)):
        groups.setdefault(len(prompt.clips), []).append(prompt)
    clips = {
        prompt.id: other.clips
        for group in groups.values()
        if len(group) > 1
        for prompt, other in zip(group, [*group[1:], group[0]], strict=True)
    }
    return [replace(prompt, clips=clips[prompt.id]) for prompt in prompts if prompt.id in clips]


CONTROLS: dict[str, Callable[[Sequence[Prompt]], list[Prompt]]] = {
    "silenced": silenced,
    "swapped": swapped,
    "shuffled": shuffled,
}


def _with_clips(prompts: Sequence[Prompt], change: Callable[[Clip], Clip]) -> list[Prompt]:
    changed: dict[str, Clip] = {}

    def once(clip: Clip) -> Clip:
        name = fingerprint(clip)
        if name not in changed:
            changed[name] = change(clip)
        return changed[name]

    return [replace(p, clips=tuple(once(c) for c in p.clips)) for p in prompts if p.clips]
