"""Scenes: several sounds at known places, of which a question asks for one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rl.audio import SAMPLE_RATE, duration_s, waveform
from rl.config import ConfigError
from rl.data.inspection import inspect
from rl.data.sources import DataConfig, load
from rl.data.tasks.scenes import FIGURE_S, KINDS, MARKS, PLACES, SLOT_S, stretch_of
from rl.types import AUDIO_PATCH, Prompt

SPLITS = ("train", "validation", "test")


def scenes(split: str | None = "train", **args: object) -> list[Prompt]:
    return load(DataConfig("scenes", args=args), split)


def test_scenes_are_one_thing_forever_and_cross_no_split() -> None:
    parts = {split: scenes(split, size=60) for split in SPLITS}
    assert [len(prompts) for prompts in parts.values()] == [48, 6, 6]
    assert [inspect(DataConfig("scenes", args={"size": 60}), split).rows for split in SPLITS] == [48, 6, 6]
    assert scenes("test", size=60) == parts["test"]
    assert scenes("test", size=60, seed=1) != parts["test"]
    assert len({clip.data for prompts in parts.values() for p in prompts for clip in p.clips}) == 60


def test_every_figure_is_right_equally_often() -> None:
    kinds = ["figure", *MARKS]
    counted = {kind: Counter(p.answer for p in scenes(size=300, kinds=kinds) if p.source == kind) for kind in kinds}
    assert all(set(answers.values()) == {10} and len(answers) == 8 for answers in counted.values()), counted


def test_a_demonstration_asks_for_the_stretch_that_holds_the_figure() -> None:
    again, once = scenes(size=100), scenes(size=100, chains="once")
    assert [p.clips for p in again] == [p.clips for p in once]
    for heard, plain in zip(again, once, strict=True):
        assert heard.question.count(AUDIO_PATCH) == 1
        assert heard.demonstration is not None
        assert plain.demonstration is not None
        assert plain.demonstration.reasoning == plain.demonstration.response == heard.answer
        if heard.source == "figure":
            assert (heard.demonstration, "stretch" in heard.fields) == (plain.demonstration, False)
            assert heard.fields["labels"] == {"tones": heard.answer}
            continue
        start, end = heard.fields["stretch"]
        mark = PLACES.get(heard.source, heard.source)
        assert int(heard.fields["labels"][f"{mark}_at"]) * SLOT_S == start
        if heard.source in PLACES:
            assert heard.answer == f"{start:.1f}, {end:.1f}"
        else:
            assert heard.demonstration.reasoning == f"<seg>{start:.1f}, {end:.1f}</seg> {heard.answer}"
        # a figure and nothing else: its mark has ended, the next group has not begun
        wave = waveform(heard.clips[0])
        assert end <= duration_s(heard.clips[0])
        sounding = np.flatnonzero(wave[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]) / SAMPLE_RATE
        assert sounding[0] > 0.1
        assert sounding[-1] < end - start - 0.1
        assert sounding[-1] - sounding[0] == pytest.approx(FIGURE_S, abs=0.002)


@given(st.integers(0, 600))
def test_stretches_stand_on_tenths(slot: int) -> None:
    start, end = stretch_of(slot)
    assert (start, end) == (round(start, 1), round(end, 1))
    assert end - start == pytest.approx(0.6)


@settings(max_examples=10, deadline=None)
@given(st.integers(3, 30), st.integers(0, 2**40), st.lists(st.sampled_from(KINDS), min_size=1, max_size=5, unique=True))
def test_any_settings_make_scenes(size: int, seed: int, kinds: list[str]) -> None:
    prompts = scenes(None, size=size, seed=seed, kinds=kinds)
    assert (
        len({p.id for p in prompts})
        == len(prompts)
        == inspect(DataConfig("scenes", args={"size": size, "kinds": kinds})).rows
    )
    assert all(np.abs(waveform(clip)).max() <= 1 for p in prompts for clip in p.clips)


def test_what_is_wrong_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"scenes.kinds: no kind 'nose'; did you mean 'noise'\?"):
        scenes(kinds=["nose"])
    with pytest.raises(ConfigError, match=r"args.chains: 'twice' is not allowed"):
        DataConfig("scenes", args={"chains": "twice"}).validate("data.x")
