import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_data import DATA, real

from rl.audio import SAMPLE_RATE, waveform
from rl.config import ConfigError
from rl.data.inspection import inspect
from rl.data.sources import DataConfig, load
from rl.data.tasks import recordings as recordings_task
from rl.data.tasks.questions import COMPARISONS, QUANTITIES
from rl.data.tasks.sounds import KINDS
from rl.types import AUDIO_PATCH, Prompt

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
    clip_data = {split: {clip.data for p in prompts for clip in p.clips} for split, prompts in parts.items()}
    assert sum(map(len, clip_data.values())) == len(set.union(*clip_data.values()))
    assert sounds("test", size=300) == parts["test"]
    assert not {p.id for p in sounds("train", size=300, seed=1)} & {p.id for p in parts["train"]}
    for prompts in parts.values():
        well_formed(prompts)


@settings(max_examples=15)
@given(
    size=st.integers(10, 60),
    seed=st.integers(0, 2**40),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    kinds=st.none() | st.lists(st.sampled_from([*KINDS]), min_size=1, max_size=4, unique=True),
)
def test_any_settings_make_sound_questions(size: int, seed: int, share: float, kinds: list[str] | None):
    args = {"size": size, "seed": seed, "multiple_choice": share, "kinds": kinds}
    prompts = sounds(None, **args)
    well_formed(prompts)
    assert len({p.id for p in prompts}) == len(prompts) == inspect(DataConfig("sounds", args=args)).rows
    assert all(len(waveform(clip)) >= 0.15 * SAMPLE_RATE for p in prompts for clip in p.clips)


def test_every_answer_of_a_made_kind_is_right_equally_often():
    for split in ("train", "test"):
        for kind, counted in answers(sounds(split, size=800)).items():
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
            pitches = [QUANTITIES["pitch"].show(x) for x in (a, b)]
            word = "higher" if asks_more else "lower"
            assert p.demonstration is not None
            assert p.demonstration.reasoning == f"a {pitches[0]} b {pitches[1]} {p.answer} {word}"


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


@real
def test_two_digits_are_heard_and_added():
    speakers = ["george", "jackson", "lucas", "nicolas"]
    parts = {
        split: recordings("fsdd", split, kinds=["digits", "sum"], limit=190, speakers=speakers) for split in SPLITS
    }
    unseen = recordings("fsdd", "test", kinds=["sum"], limit=57, speakers=["theo"])
    takes = []
    for prompts in parts.values():
        well_formed(prompts)
        assert len(prompts) == 380
        takes.append({take for p in prompts for take in p.id.split("/")[1:]})
        assert set(Counter(p.answer for p in of_kind(prompts, "sum")).values()) == {10}, "each sum equally often"
        assert len({len(waveform(p.clips[0])) for p in prompts}) == 1, "its length tells nothing"
        for p in prompts:
            digits = [int(take[0]) for take in p.id.split("/")[1:]]
            assert p.fields["attributes"] == [{"digits": "{} {}".format(*digits)}]
            assert p.answer == (str(sum(digits)) if p.fields["kind"] == "sum" else "{} {}".format(*digits))
            assert p.demonstration
            assert p.demonstration.reasoning.endswith(f" = {p.answer}") == (p.fields["kind"] == "sum")
    assert not takes[0] & takes[2]
    assert not any("theo" in take for split in takes for take in split)
    assert all(take.split("_")[1] == "theo" for p in unseen for take in p.id.split("/")[1:])
    asked = {p.fields["kind"] for p in recordings("fsdd", "test", limit=4)}
    assert not asked & {"digits", "sum", "labels"}, "only where they are named"


@real
@pytest.mark.parametrize(
    ("collection", "line"),
    [
        ("fsdd", r"recordings\.speakers: fsdd has no 'thea'; did you mean 'theo'\?"),
        ("esc10", r"recordings\.speakers: esc10 has no speakers; remove the key"),
    ],
)
def test_a_speaker_who_is_not_there_is_one_line(collection: str, line: str):
    with pytest.raises(ConfigError, match=line):
        recordings(collection, "train", speakers=["thea"])


# --- what is heard, measured ---------------------------------------------------------------------------------------


def of_kind(prompts: list[Prompt], kind: str) -> list[Prompt]:
    return [p for p in prompts if p.fields["kind"] == kind]


def test_made_sounds_measure_as_they_say():
    import librosa

    prompts = sounds(size=75, kinds=["pitch", "higher", "louder", "longer", "brighter"])
    for p in prompts:
        for clip, attributes in zip(p.clips, p.fields["attributes"], strict=True):
            samples = waveform(clip)
            if "pitch" in attributes:
                f0 = np.median(librosa.yin(samples, fmin=60, fmax=1100, sr=SAMPLE_RATE, frame_length=1024))
                assert abs(12 * math.log2(f0 / attributes["pitch"])) < 0.5
            if "loudness" in attributes:
                assert 10 * np.log10(np.mean(samples**2)) == pytest.approx(attributes["loudness"], abs=0.1)
            if "duration" in attributes:
                assert len(samples) / SAMPLE_RATE == pytest.approx(attributes["duration"], abs=1e-4)
            if "brightness" in attributes:
                centroid = np.median(librosa.feature.spectral_centroid(y=samples, sr=SAMPLE_RATE))
                assert abs(np.log(centroid / attributes["brightness"])) < 0.2


def bursts(samples: np.ndarray) -> list[int]:
    """Where sound begins after silence."""
    loud = np.convolve(np.abs(samples), np.ones(80) / 80, "same") > 0.02 * np.abs(samples).max()
    return np.flatnonzero(np.diff(loud.astype(int)) == 1).tolist()


def test_beats_rates_patterns_and_sweeps_are_what_is_heard():
    for p in sounds(size=500, kinds=["beats", "faster", "pattern", "direction"]):
        kind, samples = p.fields["kind"], [waveform(clip) for clip in p.clips]
        if kind == "beats":
            assert len(samples[0]) == SAMPLE_RATE
            assert len(bursts(np.pad(samples[0], 200))) == int(str(p.answer))
        elif kind == "faster":
            gaps = [np.diff(bursts(np.pad(s, 200))).mean() for s in samples]
            rates = [attributes["rate"] for attributes in p.fields["attributes"]]
            assert [SAMPLE_RATE / gap for gap in gaps] == pytest.approx(rates, rel=0.01)
            first = (rates[0] > rates[1]) == p.question.endswith("faster?")
            assert p.answer == ("first" if first else "second")
        elif kind == "pattern":
            starts = bursts(np.pad(samples[0], 200))
            peaks = [np.argmax(np.abs(np.fft.rfft(samples[0][s : s + 2800], 16_000))) for s in starts]
            assert p.answer == " ".join("low" if peak < 300 else "high" for peak in peaks)
        else:
            halves = np.array_split(samples[0], 2)
            low, high = (np.argmax(np.abs(np.fft.rfft(half, 16_000))) for half in halves)
            assert p.answer == ("rising" if low < high else "falling")


def test_options_are_shuffled_and_the_right_letter_is_anywhere():
    from rewards.verifiers.choice import verify
    from rl.types import Rollout

    prompts = sounds(size=1200, multiple_choice=1.0)
    for p in prompts:
        letters = p.question.splitlines()[1:]
        assert letters == [f"{'ABCD'[i]}. {option}" for i, option in enumerate(p.fields["options"])]
        assert p.demonstration is not None
        for said, score in ((str(p.answer), 1.0), ("ABCD"[("ABCD".index(str(p.answer)) + 1) % len(letters)], 0.0)):
            empty = np.zeros(0, np.int64)
            rollout = Rollout(p, 0, empty, empty.astype(bool), empty, "stop", 0, f"<think>\nx\n</think>\n{said}")
            assert verify(p, rollout).score == score
    for kind, counted in answers(prompts).items():
        assert max(counted.values()) - min(counted.values()) <= 0.1 * sum(counted.values()), kind
    for kind in ("higher", "pattern"):
        right = Counter(p.fields["options"]["ABCD".index(str(p.answer))] for p in of_kind(prompts, kind))
        assert max(right.values()) - min(right.values()) <= 1
    half = sounds(size=500, multiple_choice=0.5)
    assert 0.4 < sum("options" in p.fields for p in half) / len(half) < 0.6


def test_silence_says_nothing_of_what_was_heard():
    from rl.data.controls import silence

    prompts = sounds(size=300)
    quiet = silence(prompts)
    assert len({clip.data for p in quiet for clip in p.clips}) == 1
    assert [(p.id, p.question, p.answer) for p in quiet] == [(p.id, p.question, p.answer) for p in prompts]


def test_labels_name_what_one_clip_is():
    prompts = sounds(size=500, kinds=["labels"])
    labels = [p.fields["labels"] for p in prompts]
    assert Counter(each["sound"] for each in labels) == dict.fromkeys(("tone", "sweep", "noise", "beats", "tones"), 80)
    names = {name for each in labels for name in each}
    assert names == {
        *("sound", "pitch_bin", "loudness_bin", "duration_bin", "brightness_bin", "rate_bin", "beats"),
        *("direction", "pattern"),
    }
    assert len({each["pitch_bin"] for each in labels if "pitch_bin" in each}) == 13


SETS = {
    "fsdd": ("digit", "speaker", "accent", "higher", "louder", "longer", "brighter", "faster", "order", "count"),
    "esc10": ("sound", "louder", "brighter", "order", "count"),
    "sonicpi_oneshots": ("instrument", "louder", "longer", "brighter", "order", "count"),
}


@real
@pytest.mark.parametrize("name", SETS)
def test_every_question_on_recordings_keeps_its_split_its_margin_and_its_balance(name: str):
    import json

    rows = {row["id"]: row for row in map(json.loads, (DATA / name / "metadata.jsonl").open())}
    for split in ("train", "validation"):
        prompts = recordings(name, split, limit=60)
        well_formed(prompts)
        counted = answers(prompts)
        assert set(counted) == set(SETS[name])
        config = DataConfig("recordings", args={"path": str(DATA / name), "limit": 60})
        assert inspect(config, split).rows == len(prompts)
        for p in prompts:
            kind = p.fields["kind"]
            ids = p.id.split("/")[1:]
            assert {rows[each]["split"] for each in ids} == {split}
            if kind not in COMPARISONS:
                continue
            quantity = QUANTITIES[COMPARISONS[kind]]
            a, b = (attributes[COMPARISONS[kind]] for attributes in p.fields["attributes"])
            assert quantity.differ(a, b)
            word = p.id.split("/")[0]
            assert p.answer == ("first" if (a > b) == (word == quantity.more_word) else "second")
            assert f"{quantity.show(a)} b {quantity.show(b)} {p.answer} {word}" in p.demonstration.reasoning
        for kind in counted.keys() & {*COMPARISONS, "count"}:
            assert max(counted[kind].values()) - min(counted[kind].values()) <= 1


@real
def test_recordings_in_a_row_are_those_named():
    for p in recordings("fsdd", "validation", kinds=["order", "count"], limit=20):
        samples, ids = waveform(p.clips[0]), p.id.split("/")[1:]
        whole = {q.id.split("/")[1]: q.clips[0] for q in recordings("fsdd", "validation", kinds=["digit"])}
        assert len(samples) == round({"order": 2.2, "count": 3.0}[p.fields["kind"]] * SAMPLE_RATE)
        assert p.answer == (" ".join(each[0] for each in ids) if p.fields["kind"] == "order" else str(len(ids)))
        start = 0
        for each in ids:
            part = waveform(whole[each])
            assert np.abs(samples[start : start + len(part)] - part).max() < 1e-4
            start += len(part) + round(0.2 * SAMPLE_RATE)
        assert not samples[start:].any()


@real
def test_where_there_is_no_test_split_validation_stands_for_it():
    assert recordings("esc10", "test", limit=5) == recordings("esc10", "validation", limit=5)
    assert [p.id for p in recordings("fsdd", "test", limit=5)] != [p.id for p in recordings("fsdd", limit=5)]


@real
def test_a_collection_without_its_metadata_is_read_from_the_file(tmp_path: Path):
    file = tmp_path / "sonicpi.parquet"
    file.symlink_to(DATA / "sonicpi_oneshots" / "sonicpi.parquet")
    for path in (file, tmp_path):
        prompts = load(DataConfig("recordings", args={"path": str(path), "limit": 3}), "train")
        assert [p.id for p in prompts] == [p.id for p in recordings("sonicpi_oneshots", limit=3)]


def test_mistakes_with_listening_tasks_are_one_line(tmp_path: Path):
    for source, args, message in [
        ("sounds", {"kinds": ["pich"]}, "sounds.kinds: no kind 'pich'; did you mean 'pitch'?"),
        ("sounds", {"multiple_choice": 2}, "sounds.multiple_choice: 2 is no share; use 0 to 1"),
        ("recordings", {"path": str(tmp_path)}, f"recordings.path: {tmp_path} holds no fsdd.parquet or esc10.parquet"),
        ("recordings", {"path": "/no"}, "recordings.path: no such file: /no; correct the path"),
        ("recordings", {}, "data.args: missing key 'path'; add `path: …`"),
    ]:
        with pytest.raises(ValueError, match=r".") as caught:
            load(DataConfig(source, args=args))
        assert str(caught.value).startswith(message)
    with pytest.raises(ValueError, match=r"^sounds: no split 'dev'; there are train, validation, test$"):
        sounds("dev")


@real
def test_mistakes_with_recordings_are_one_line():
    for args, split, message in [
        ({"kinds": ["sound"]}, None, "recordings.kinds: no kind 'sound'; did you mean 'count'?"),
        ({}, "heldout", "recordings: fsdd: no split 'heldout'; there are test, validation, train"),
    ]:
        with pytest.raises(ValueError, match=r".") as caught:
            recordings("fsdd", split, **args)
        assert str(caught.value).startswith(message)


def claims(prompts: list[Prompt]) -> tuple[int, int, list[str]]:
    """How many claims of the chains were checked on the clips, how many hold, and what was said of those that do not."""
    from rewards.verifiers.grounding import verify
    from rl.types import Rollout

    empty, checked, true, reasons = np.zeros(0, np.int64), 0, 0, list[str]()
    for p in prompts:
        assert p.demonstration is not None
        text = f"<think>\n{p.demonstration.reasoning}\n</think>\n{p.answer}"
        verdict = verify(p, Rollout(p, 0, empty, empty.astype(bool), empty, "stop", 0, text))
        checked, true = checked + int(verdict.parts["checked"]), true + int(verdict.parts["true"])
        if verdict.parts["true"] < verdict.parts["checked"]:
            reasons.append(verdict.reason)
    return checked, true, reasons


def test_what_chains_say_of_made_sounds_is_true_of_them():
    checked, true, reasons = claims(sounds("test", size=1100))
    assert checked > 200
    assert true >= 0.99 * checked, reasons


@real
def test_what_chains_say_of_recordings_is_true_of_them():
    kinds = ["speaker", "higher", "louder", "longer", "brighter"]
    checked, true, reasons = claims(recordings("fsdd", "validation", kinds=kinds, limit=30))
    assert checked > 300
    assert true >= 0.99 * checked, reasons


@real
def test_spoken_digits_are_one_clip_or_one_each() -> None:
    (joined,) = recordings("fsdd", "train", kinds=["string"], limit=1)
    (apart,) = recordings("fsdd", "train", kinds=["string"], limit=1, apart=True)
    assert (joined.id, joined.answer) == (apart.id, apart.answer)
    assert joined.question.count(AUDIO_PATCH) == len(joined.clips) == 1
    assert apart.question.count(AUDIO_PATCH) == len(apart.clips) == 3


@real
def test_no_option_gives_a_string_of_digits_away() -> None:
    """Its choices are single digits, beside which three would stand out."""
    prompts = recordings("fsdd", "train", kinds=["string", "order"], limit=4, multiple_choice=1.0)
    assert [len(prompt.fields.get("options", ())) for prompt in prompts] == [0, 4] * 4


@real
@pytest.mark.parametrize(
    ("kinds", "style", "speakers"),
    [(["digits"], "misled", None), (["string"], "mistaken", None), (["order", "transcript"], "misled", None), (["speaker"], "mistaken", ["jackson"])],
)  # fmt: skip
def test_chains_that_claim_another_answer_need_one(kinds: list[str], style: str, speakers: list[str] | None) -> None:
    settings = {"path": str(DATA / "fsdd"), "kinds": kinds, "limit": 2, "chains": {style: 1.0}, "speakers": speakers}
    for ask in (recordings_task.count, lambda *a, **k: list(recordings_task.recordings(*a, **k))):
        with pytest.raises(
            ConfigError, match=rf"^recordings\.chains\.{style}: '{kinds[-1]}' questions have no other answer"
        ):
            ask("train", **settings)


@real
def test_digits_that_arrive_are_waited_for_in_the_chain() -> None:
    (whole,) = recordings("fsdd", "train", kinds=["restated_sum"], limit=1, apart=True)
    (arriving,) = recordings("fsdd", "train", kinds=["restated_sum"], limit=1, arriving=True)
    assert arriving.question.count(AUDIO_PATCH) == len(arriving.clips) == 1
    assert arriving.clips + arriving.later == whole.clips
    assert whole.demonstration
    assert arriving.demonstration
    assert arriving.demonstration.reasoning.count("<more> then ") == len(arriving.later) == 2
    assert arriving.demonstration.reasoning.replace("<more>", "") == whole.demonstration.reasoning
    assert (arriving.id, arriving.answer, whole.later) == (whole.id, whole.answer, ())


@pytest.mark.parametrize("kinds", [None, ["digits"], ["sum_first", "digits"]])
def test_what_has_no_chain_to_wait_in_does_not_arrive(kinds: list[str] | None) -> None:
    with pytest.raises(
        ConfigError, match=r"recordings\.arriving: only of the kinds restated_sum, sum_first; name these alone"
    ):
        next(iter(recordings("fsdd", "train", kinds=kinds, arriving=True)))
    with pytest.raises(ConfigError, match=r"recordings\.arriving"):  # `rl check` counts, and makes none
        recordings_task.count("train", "nowhere", kinds=kinds, arriving=True)


@real
@pytest.mark.parametrize("kind", ["restated_sum", "sum_first"])
def test_sentences_on_sums_tell_the_sum_at_their_end_or_first(kind: str) -> None:
    prompts = recordings("fsdd", "train", kinds=[kind], limit=60)
    assert len({p.id for p in prompts}) == len(prompts) == 60
    for p in prompts:
        assert p.demonstration
        *_, total = p.demonstration.reasoning.split()
        heard = [int(word) for word in p.fields["attributes"][0]["digits"].split()]
        words = " ".join(map(str, heard))
        sums = [sum(heard[:2]), sum(heard)]
        assert (
            p.demonstration.reasoning == f"{heard[0]} then {heard[1]} makes {sums[0]} then {heard[2]} makes {sums[1]}"
        )
        assert total == str(sums[1])
        begins = "i hear" if kind == "restated_sum" else str(sums[1])
        assert p.answer == p.demonstration.response
        assert p.answer.startswith(begins)
        assert p.answer.endswith(str(sums[1]) if kind == "restated_sum" else words)
        assert words in p.answer
