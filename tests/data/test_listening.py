import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from rl.audio import SAMPLE_RATE, waveform
from rl.data.sources import DataConfig, inspect, load
from rl.data.tasks.questions import COMPARISONS, QUANTITIES
from rl.types import AUDIO_PATCH, Prompt

DATA = Path(os.environ.get("GROUNDTONE_DATA", Path(__file__).parents[3] / "shared" / "data"))
real = pytest.mark.skipif(not DATA.is_dir(), reason="GROUNDTONE_DATA is not set")
SPLITS = ("train", "validation", "test")


def sounds(split: str | None = "train", **args: object) -> list[Prompt]:
    return load(DataConfig("sounds", args=args), split)


def recordings(name: str, split: str | None = "train", **args: object) -> list[Prompt]:
    return load(DataConfig("recordings", args={"path": str(DATA / name), **args}), split)


def answers(prompts: list[Prompt]) -> dict[str, Counter[str]]:
    kinds: dict[str, Counter[str]] = {}
    for p in prompts:
        kinds.setdefault(p.fields["kind"], Counter())[str(p.answer)] += 1
    return kinds


def well_formed(prompts: list[Prompt]) -> None:
    for p in prompts:
        assert p.question.count(AUDIO_PATCH) == len(p.clips) == len(p.fields["attributes"])
        assert p.demonstration is not None
        assert p.demonstration.response == p.answer
        assert p.demonstration.reasoning
        assert p.fields["kind"] == p.source


def test_made_sounds_are_one_thing_forever_and_cross_no_split():
    parts = {split: sounds(split, size=300) for split in SPLITS}
    assert [len(p) for p in parts.values()] == [240, 30, 30]
    assert [inspect(DataConfig("sounds", args={"size": 300}), split).rows for split in SPLITS] == [240, 30, 30]
    assert sounds(None, size=300) == [p for prompts in parts.values() for p in prompts]
    heard = {split: {clip.data for p in prompts for clip in p.clips} for split, prompts in parts.items()}
    assert sum(map(len, heard.values())) == len(set.union(*heard.values()))
    assert sounds("test", size=300) == parts["test"]
    assert not {p.id for p in sounds("train", size=300, seed=1)} & {p.id for p in parts["train"]}
    for prompts in parts.values():
        well_formed(prompts)


def test_every_answer_of_a_made_kind_is_right_equally_often():
    for split, size in (("train", 2000), ("test", 2000)):
        for kind, counted in answers(sounds(split, size=size)).items():
            assert max(counted.values()) - min(counted.values()) <= 1, kind
            assert kind not in COMPARISONS or set(counted) == {"first", "second"}


@real
def test_pitch_comparisons_of_recordings_keep_their_margin():
    for prompts in (recordings("fsdd", split, kinds=["higher"]) for split in SPLITS):
        well_formed(prompts)
        assert answers(prompts)["higher"] == {"first": len(prompts) // 2, "second": len(prompts) // 2}
        for p in prompts:
            a, b = (attributes["pitch"] for attributes in p.fields["attributes"])
            assert abs(12 * math.log2(a / b)) >= 2
            asks_more = p.question.endswith("higher?")
            assert p.answer == ("first" if (a > b) == asks_more else "second")
            shown = [QUANTITIES["pitch"].show(x) for x in (a, b)]
            word = "higher" if asks_more else "lower"
            assert p.demonstration is not None
            assert p.demonstration.reasoning == f"a {shown[0]} b {shown[1]} {p.answer} {word}"


@real
def test_digits_are_the_recordings_of_the_split():
    parts = {split: recordings("fsdd", split, kinds=["digit"]) for split in SPLITS}
    assert [len(p) for p in parts.values()] == [2000, 250, 250]
    for split, prompts in parts.items():
        well_formed(prompts)
        assert set(answers(prompts)["digit"].values()) == {len(prompts) // 10}
        args = {"path": str(DATA / "fsdd"), "kinds": ["digit"]}
        assert inspect(DataConfig("recordings", args=args), split).rows == len(prompts)
        for p in prompts[:20]:
            assert p.id.split("/")[1][0] == p.answer == p.fields["labels"]["digit"]
            samples = waveform(p.clips[0])
            assert len(samples) / SAMPLE_RATE == pytest.approx(p.fields["attributes"][0]["duration"], abs=1e-3)
            level = 10 * np.log10(np.mean(samples**2))
            assert level == pytest.approx(p.fields["attributes"][0]["loudness"], abs=0.3)
