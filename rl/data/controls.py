"""Replaces the sound of prompts, to measure whether a model hears or guesses.

A model that listens loses its accuracy on all of these controls; one that has found a leak in the questions keeps it.
Prompts without clips are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from rl.audio import SAMPLE_RATE, encode, fingerprint, waveform
from rl.data.rows import rank
from rl.types import Clip, Prompt

FRAME_S = 0.05
"""Length of the frames that are shuffled, s: the sound keeps its spectrum and loses its order beyond this."""


def silence(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return the prompts with every clip replaced by one second of silence."""
    import numpy as np

    # One length for all: silence as long as the clip would still say which of two is longer.
    second = Clip(data=encode(np.zeros(SAMPLE_RATE, np.float32)))
    return _change_clips(prompts, lambda clip: second)


def shuffle_frames(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return the prompts with the 50 ms frames of every clip in an order drawn from its content."""
    import numpy as np

    def scramble(clip: Clip) -> Clip:
        samples, width = waveform(clip), int(FRAME_S * SAMPLE_RATE)
        frames = [samples[i : i + width] for i in range(0, len(samples), width)]
        seed = int(fingerprint(clip)[:12], 16)  # the same clip is always shuffled alike
        order = np.random.default_rng(seed).permutation(len(frames))
        return Clip(data=encode(np.concatenate([frames[i] for i in order])))

    return _change_clips(prompts, scramble)


def swap_clips(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return the prompts, each with the clips of another one that has as many; one without such a partner is left out."""
    groups: dict[tuple[int, int], list[Prompt]] = {}
    # In an order of their own: neighbours in a data set often share their sound or its answer.
    for prompt in sorted((p for p in prompts if p.clips), key=lambda p: rank(p.id)):
        groups.setdefault((len(prompt.clips), len(prompt.later)), []).append(prompt)
    neighbours = {
        prompt.id: neighbour
        for group in groups.values()
        if len(group) > 1
        for prompt, neighbour in zip(group, [*group[1:], group[0]], strict=True)
    }
    return [
        replace(prompt, clips=neighbour.clips, later=neighbour.later)
        for prompt in prompts
        if (neighbour := neighbours.get(prompt.id))
    ]


CONTROLS: dict[str, Callable[[Sequence[Prompt]], list[Prompt]]] = {
    "silenced": silence,
    "swapped": swap_clips,
    "shuffled": shuffle_frames,
}
"""Name in the metrics of an evaluation -> the control."""


def _change_clips(prompts: Sequence[Prompt], change: Callable[[Clip], Clip]) -> list[Prompt]:
    cache: dict[str, Clip] = {}

    def change_once(clip: Clip) -> Clip:
        key = fingerprint(clip)
        if key not in cache:
            cache[key] = change(clip)
        return cache[key]

    return [
        replace(p, clips=tuple(map(change_once, p.clips)), later=tuple(map(change_once, p.later)))
        for p in prompts
        if p.clips
    ]
