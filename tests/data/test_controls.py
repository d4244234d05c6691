from __future__ import annotations

from dataclasses import replace

import numpy as np

from rl.audio import SAMPLE_RATE, encode, waveform
from rl.data.controls import CONTROLS, shuffle_frames, silence, swap_clips
from rl.types import Clip, Message, Prompt


def sweep(hz: float, seconds: float = 0.5) -> Clip:
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return Clip(data=encode((0.5 * np.sin(2 * np.pi * hz * t * (1 + t))).astype(np.float32)))


def question(id: str, *clips: Clip) -> Prompt:
    return Prompt(id, (Message("user", "<audio_patch>" * len(clips) + "which?"),), "a", clips=clips)


PROMPTS = [
    question("a", sweep(200)),
    question("b", sweep(300, 0.7)),
    question("c", sweep(400), sweep(500)),
    question("text"),
]


def test_silence_tells_nothing_not_even_how_long_the_sound_was() -> None:
    changed = silence(PROMPTS)
    assert [p.id for p in changed] == ["a", "b", "c"]
    for before, after in zip(PROMPTS, changed, strict=False):
        assert after.messages == before.messages
        for clip, second in zip(before.clips, after.clips, strict=True):
            assert len(waveform(second)) == SAMPLE_RATE != len(waveform(clip))
            assert not waveform(second).any()


def test_swapped_clips_are_another_prompts_with_as_many() -> None:
    changed = {p.id: p.clips for p in swap_clips(PROMPTS)}
    assert changed == {"a": PROMPTS[1].clips, "b": PROMPTS[0].clips}, "c is alone with two clips"


def test_what_sounds_later_is_changed_too() -> None:
    arriving = [
        replace(PROMPTS[0], later=PROMPTS[2].clips),
        replace(PROMPTS[1], later=PROMPTS[2].clips[::-1]),
        PROMPTS[3],
    ]
    first, second = silence(arriving)
    assert len(first.later) == len(second.later) == 2
    assert not any(waveform(clip).any() for clip in (*first.later, *second.later))
    assert [p.later for p in swap_clips(arriving)] == [arriving[1].later, arriving[0].later]
    assert swap_clips([arriving[0], PROMPTS[1]]) == [], "of another number of pieces"
    assert shuffle_frames(arriving)[0].later == shuffle_frames([PROMPTS[2]])[0].clips


def test_shuffled_sound_has_the_same_samples_in_another_order() -> None:
    before, after = waveform(PROMPTS[0].clips[0]), waveform(shuffle_frames(PROMPTS)[0].clips[0])
    assert not np.array_equal(before, after)
    assert np.array_equal(np.sort(before), np.sort(after))


def test_controls_are_the_same_each_time() -> None:
    for control in CONTROLS.values():
        assert control(PROMPTS) == control(PROMPTS)
