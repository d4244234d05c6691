from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rl.audio import SAMPLE_RATE, waveform
from rl.config import ConfigError, build
from rl.data.clips import place_marks
from rl.data.inspection import inspect
from rl.data.sources import DataConfig, load
from rl.types import Clip, Message, Prompt

MARK = "<audio_patch>"


def sound(hertz: float = 440, seconds: float = 0.1, kind: str = "WAV") -> bytes:
    samples = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE)
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format=kind)
    return file.getvalue()


def inline(data: bytes) -> str:
    return f"data:audio/wav;base64,{base64.b64encode(data).decode()}"


def jsonl(folder: Path, *rows: object, **keys: object) -> DataConfig:
    file = folder / "rows.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return build(DataConfig, {"source": "jsonl", "path": str(file), "fields": {"audio": "clip"}, **keys}, "data")


def parquet(folder: Path, rows: list[dict[str, Any]], **keys: object) -> DataConfig:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "rows.parquet")
    values = {"source": "parquet", "path": str(folder / "rows.parquet"), "fields": {"audio": "clip"}, **keys}
    return build(DataConfig, values, "data")


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    (tmp_path / "a.wav").write_bytes(sound())
    return tmp_path / "a.wav"


def test_a_path_beside_the_data_file_or_bytes_in_it(wav: Path):
    folder = wav.parent
    rows = [{"question": "q", "clip": value} for value in ("a.wav", str(wav), inline(sound(880)), {"path": "a.wav"})]
    prompts = load(jsonl(folder, *rows))
    assert [p.clips for p in prompts] == [
        (Clip(str(wav)),),
        (Clip(str(wav)),),
        (Clip(f"{folder}/rows.jsonl:3", sound(880)),),
        (Clip(str(wav)),),
    ]
    assert {p.question for p in prompts} == {f"{MARK}q"}
    bytes_and_path = [{"question": "q", "clip": {"bytes": sound(), "path": "gone.wav"}}]
    assert load(parquet(folder, bytes_and_path))[0].clips == (Clip(f"{folder}/rows.parquet: row 1", sound()),)
    [prompt] = load(parquet(folder, [{"question": "q", "clip": sound(kind="OGG")}]))
    assert len(waveform(prompt.clips[0])) == 1600


def test_several_clips_none_and_where_they_are_heard(wav: Path):
    rows = [{"question": "q", "clip": clips} for clips in (["a.wav", inline(sound(880))], [], None, ["a.wav"])]
    prompts = load(jsonl(wav.parent, *rows, template="{question}{audio}?"))
    assert [p.question for p in prompts] == [f"q{MARK}{MARK}?", "q?", "q?", f"q{MARK}?"]
    assert [len(p.clips) for p in prompts] == [2, 0, 0, 1]
    turns = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "?"},
    ]
    marked = [{"role": "user", "content": f"one {MARK}"}, *turns[1:]]
    rows = [{"m": m, "clip": "a.wav"} for m in (turns, marked)]
    first, second = load(jsonl(wav.parent, *rows, fields={"audio": "clip", "messages": "m"}))
    assert [m.content for m in first.messages] == ["one", "a", f"{MARK}?"]
    assert [m.content for m in second.messages] == [f"one {MARK}", "a", "?"]
    typed = load(jsonl(wav.parent, {"question": f"what is {MARK}?", "clip": None}))
    assert typed[0].question == f"what is {MARK}?"


BAD = [
    ({"question": "q", "clip": "gone.wav"}, "column 'clip': no such file: FOLDER/gone.wav; correct the path"),
    ({"question": "q", "clip": 7}, "column 'clip' is number, not bytes or a path of audio; correct the row"),
    ({"question": "q", "clip": ["a.wav", ""]}, "column 'clip' is text, not bytes or a path of audio; correct the row"),
    ({"question": "q", "clip": "data:audio/wav,x"}, "column 'clip' is no base64 audio (no `;base64,`); write it again"),
    ({"question": "q", "clip": "data:;base64,x"}, "column 'clip' is no base64 audio ("),
    ({"question": f"{MARK}{MARK}", "clip": "a.wav"}, "2 <audio_patch> in the text for 1 clips; write one for each"),
    ({"question": "q", "clip": "bad.wav"}, "FOLDER/bad.wav: no audio that can be read (Format not recognised); use"),
    ({"question": "q", "clip": "empty.wav"}, "FOLDER/empty.wav: empty, no audio in it; record it again or remove it"),
    ({"question": "q", "clip": ["a.wav", "cut.wav"]}, "FOLDER/cut.wav: cut short, it ends after 0.0488 s; copy it"),
    ({"question": "q", "clip": inline(b"")}, "empty, no audio in it; record it again or remove it"),
    ({"question": "q", "clip": [inline(sound(seconds=0.01))]}, "clip 1: 0.01 s long, at least 0.02 s are needed"),
    ({"question": "q"}, "no column 'clip'; known: question"),
]


@pytest.mark.parametrize(("row", "reason"), BAD, ids=[reason[:40] for _, reason in BAD])
def test_a_bad_clip_is_named_with_its_row_or_skipped_and_counted(row: object, reason: str, wav: Path):
    (wav.parent / "bad.wav").write_bytes(b"hello")
    (wav.parent / "empty.wav").touch()
    (wav.parent / "cut.wav").write_bytes(sound()[:1606])
    good = {"question": "q", "clip": "a.wav"}
    config = jsonl(wav.parent, good, row, good)
    with pytest.raises(ValueError, match=r"rows\.jsonl:2") as caught:
        load(config)
    expected = reason.replace("FOLDER", str(wav.parent))
    line = str(caught.value).replace(", clip 1: ", ": clip 1: ")
    assert line.startswith(f"{config.path}:2: {expected}")
    assert "\n" not in line
    lines: list[str] = []
    skipping = jsonl(wav.parent, good, row, good, row, on_bad_row="skip")
    prompts = load(skipping, say=lines.append)
    assert [p.id for p in prompts] == ["rows/1", "rows/3"]
    assert lines == [f"data: 2 rows skipped, first {caught.value}"]


def test_what_is_skipped_beside_clips(wav: Path):
    good, lines = {"id": "x", "question": "q", "clip": "a.wav", "split": "train"}, list[str]()
    bad = ["{", "[1]", {**good, "split": None}, {**good, "id": "y", "question": ""}, good]
    config = jsonl(wav.parent, good, *bad, on_bad_row="skip")
    assert [p.id for p in load(config, "train", say=lines.append)] == ["x"]
    assert lines == [
        f"data: 5 rows skipped, first {config.path}:2: invalid JSON: Expecting property name enclosed in double quotes "
        "at column 2; write one JSON object a line"
    ]
    assert inspect(config, "train").rows == 1
    assert inspect(config, "train").notes == lines
    with pytest.raises(ValueError, match=r"rows\.jsonl holds no prompts; 1 row skipped, first .*:1: invalid JSON"):
        load(jsonl(wav.parent, "{", on_bad_row="skip"))
    with pytest.raises(ConfigError, match=r"^data\.on_bad_row: no choice 'skp'; did you mean 'skip'\?"):
        jsonl(wav.parent, on_bad_row="skp")


def test_looking_at_a_data_set_decodes_nothing(wav: Path):
    (wav.parent / "bad.wav").write_bytes(b"hello")
    config = jsonl(wav.parent, *({"question": "q", "clip": "bad.wav"} for _ in range(3)))
    assert inspect(config).rows == 3
    with pytest.raises(ValueError, match=r"rows\.jsonl:1: .*bad\.wav: no audio"):
        load(config)


def folder(path: Path, **keys: object) -> DataConfig:
    return build(DataConfig, {"source": "folder", "path": str(path), "template": "what?", **keys}, "data")


def test_a_folder_of_classes(tmp_path: Path):
    for name in ("dog/1.wav", "dog/2.WAV", "cat/3.flac", "cat/.hidden.wav", "cat/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(sound(kind="FLAC" if name.endswith("flac") else "WAV"))
    prompts = load(folder(tmp_path, fields={"answer": "label"}))
    assert prompts == [
        Prompt(name, (Message("user", f"{MARK}what?"),), answer=name[:3], clips=(Clip(str(tmp_path / file)),))
        for name, file in (("cat/3", "cat/3.flac"), ("dog/1", "dog/1.wav"), ("dog/2", "dog/2.WAV"))
    ]
    assert inspect(folder(tmp_path)).rows == 3
    (tmp_path / "stray.wav").write_bytes(sound())
    with pytest.raises(ValueError, match=r"stray\.wav: no label in its path; lay it into a class folder or give args"):
        load(folder(tmp_path))
    assert len(load(folder(tmp_path, on_bad_row="skip"))) == 3


def test_a_folder_whose_names_say_what_is_in_them(tmp_path: Path):
    for name in ("3_theo_0", "7_jackson_1", "7_theo_2"):
        (tmp_path / f"{name}.wav").write_bytes(sound())
    pattern = r"(?P<digit>\d)_(?P<speaker>[a-z]+)_\d+\.wav$"
    fields = {"answer": "digit", "who": "speaker"}
    prompts = load(folder(tmp_path, args={"pattern": pattern}, fields=fields))
    assert [(p.id, p.answer, p.fields) for p in prompts] == [
        ("3_theo_0", "3", {"who": "theo"}),
        ("7_jackson_1", "7", {"who": "jackson"}),
        ("7_theo_2", "7", {"who": "theo"}),
    ]
    with pytest.raises(ConfigError, match=r"^data\.args\.pattern: missing \), unterminated subpattern"):
        folder(tmp_path, args={"pattern": "(?P<a>"})
    with pytest.raises(ConfigError, match=r"^data\.args\.pattern: no named group; write for example"):
        folder(tmp_path, args={"pattern": "a"})
    with pytest.raises(ConfigError, match=r"^data\.args: unknown key 'patern'; known: pattern"):
        folder(tmp_path, args={"patern": "a"})
    with pytest.raises(ConfigError, match=r"^data\.template: a folder holds no questions; write one"):
        build(DataConfig, {"source": "folder", "path": str(tmp_path)}, "data")
    with pytest.raises(ConfigError, match=r"data\.path: .*\.wav is a file; name the folder of the audio files"):
        load(folder(tmp_path / "3_theo_0.wav"))
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match=r"none holds no audio files \(\.wav .*; correct the path"):
        load(folder(tmp_path / "none"))


def test_the_splits_of_a_folder(tmp_path: Path):
    for i in range(40):
        (tmp_path / "hash" / "x").mkdir(parents=True, exist_ok=True)
        (tmp_path / "hash" / "x" / f"{i}.wav").write_bytes(sound())
        own = tmp_path / "own" / ("test" if i % 4 == 0 else "train") / "x"
        own.mkdir(parents=True, exist_ok=True)
        (own / f"{i}.wav").write_bytes(sound())
    ids = [{p.id for p in load(folder(tmp_path / "hash"), split)} for split in ("train", "validation", "test")]
    assert sum(map(len, ids)) == len(set.union(*ids)) == 40
    assert len(ids[0]) > 25
    assert [len(load(folder(tmp_path / "own"), split)) for split in ("train", "test")] == [30, 10]
    with pytest.raises(ValueError, match=r"no split 'validation'; there are test, train$"):
        load(folder(tmp_path / "own"), "validation")


def test_what_hugging_face_stores_as_audio(tmp_path: Path):
    import datasets

    rows = {"question": ["q", "r"], "clip": [{"bytes": sound(), "path": None}, {"bytes": sound(880), "path": None}]}
    held = datasets.Dataset.from_dict(rows).cast_column("clip", datasets.Audio())
    held.save_to_disk(tmp_path / "one")
    several = datasets.Dataset.from_dict({"question": ["q"], "clip": [rows["clip"]]})
    several.cast_column("clip", datasets.List(datasets.Audio())).save_to_disk(tmp_path / "many")
    for name, counts in (("one", [1, 1]), ("many", [2])):
        prompts = load(DataConfig("huggingface", str(tmp_path / name), fields={"audio": "clip"}))
        assert [len(p.clips) for p in prompts] == counts
        assert [clip.data for p in prompts for clip in p.clips] == [sound(), sound(880)]


def test_clips_of_a_function_of_ones_own(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from rl.types import Clip, Message, Prompt\n"
        "def prompts(split, text, data):\n"
        "    return [Prompt('a', (Message('user', text),), clips=(Clip(data=data.encode('latin-1')),))]\n"
    )

    def config(text: str, data: bytes) -> DataConfig:
        return DataConfig(f"{file}:prompts", args={"text": text, "data": data.decode("latin-1")})

    assert load(config("what?", sound()))[0].question == f"{MARK}what?"
    assert load(config(f"what {MARK}?", sound()))[0].question == f"what {MARK}?"
    for text, data, reason in [
        ("what?", b"hello", "audio clip: no audio that can be read (Format not recognised); use WAV, FLAC, OGG or MP3"),
        (MARK * 2, sound(), "2 <audio_patch> in the text for 1 clips; write one for each"),
    ]:
        with pytest.raises(ValueError, match=r".") as caught:
            load(config(text, data))
        assert str(caught.value) == f"data: {file}:prompts: prompt 1: {reason}"


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ((), "row: no messages, so nothing is asked; give it at least one"),
        (
            (Message("assistant", "a"),),
            "row: clips, and no message of a user to put them into; write one, or <audio_patch>",
        ),
    ],
)
def test_clips_without_a_place_are_one_line(messages: tuple[Message, ...], says: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        place_marks(messages, (Clip(path="a.wav"),), "row")
    assert str(caught.value).startswith(says)


def attempt(config: DataConfig) -> tuple[list[Prompt], str]:
    try:
        return load(config), ""
    except ValueError as error:
        return [], str(error)


VALUE = st.recursive(
    st.none() | st.integers() | st.text(max_size=9) | st.just("a.wav") | st.binary(max_size=60).map(inline),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["bytes", "path", "x"]), inner),
    max_leaves=4,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUE, question=st.text(max_size=5) | st.just(MARK))
def test_any_value_of_an_audio_column_is_clips_or_one_line(wav: Path, value: object, question: str):
    config = jsonl(wav.parent, {"question": f"q{question}", "clip": value})
    prompts, refusal = attempt(config)
    if prompts:
        assert all(len(waveform(clip)) for clip in prompts[0].clips)
        assert not prompts[0].clips or prompts[0].question.count(MARK) == len(prompts[0].clips)
    else:
        assert refusal.startswith(f"{config.path}:1")
        assert "\n" not in refusal
