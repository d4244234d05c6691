"""Public sets are read from a user's download, a row that is odd or damaged hurts no other, and prompts are the sets' own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from set_files import CAPTION, DCASE, MMAR, MMAU, MMSU, SPOKEN_MQA, sound, write_json, write_parquet, write_set

from rl.benchmarks.sets import BENCHMARKS
from rl.config import ConfigError
from rl.data.sources import DataConfig, load
from rl.types import AUDIO_PATCH, Prompt


def read(folder: Path, name: str, prompt: str | None = None, say: Any = None, **settings: Any) -> list[Prompt]:
    args = {"set": name} | ({"prompt": prompt} if prompt else {})
    config = DataConfig("benchmark", str(folder), args=args, **settings)
    return load(config, "test", say=say or (lambda line: None))


EXPECTED: dict[str, tuple[str | None, int, dict[str, str]]] = {
    "mmau": ("a woman", 1, {"task": "speech", "difficulty": "easy"}),
    "mmar": ("rain", 1, {"modality": "sound", "category": "Signal Layer"}),
    "mmsu": ("4", 1, {"category": "Perception", "task": "tone"}),
    "big_bench_audio": ("Yes", 1, {"category": "navigate"}),
    "spoken_mqa": ("7", 1, {"split": "multi_step_reasoning", "kind": "reasoning"}),
    "wildspeech": (None, 1, {"task type": "prosodical · stuttering", "noise": "human_noise"}),
    "step_caption": (None, 1, {"speakers": "one"}),
    "step_spqa": ("女", 1, {"task": "gender"}),
    "step_dialogue": ("tired / sleepy: slow speech", 1, {"primary": "state"}),
    "dcase2025": ("a cat", 1, {"part": "Temporal Soundscapes QA"}),
    "mmau_pro": ("no", 2, {"category": "multi-audio", "form": "closed"}),
    "gsm8k": ("4", 0, {}),
    "math500": ("\\frac{1}{2}", 0, {"subject": "Algebra", "level": "1"}),
    "aime": ("204", 0, {"year": "2024"}),
    "bbh": ("Yes", 0, {"task": "navigate"}),
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_download_is_read(name: str, tmp_path: Path) -> None:
    answer, clips, groups = EXPECTED[name]
    for wording in BENCHMARKS[name].prompts:
        prompt = read(write_set(tmp_path / wording, name), name, wording)[0]
        assert (prompt.answer, len(prompt.clips), prompt.source) == (answer, clips, name)
        assert groups.items() <= prompt.fields["groups"].items()  # type: ignore[union-attr]
        assert prompt.question.count(AUDIO_PATCH) == clips
        assert set(BENCHMARKS[name].tables) == {*prompt.fields["groups"]}  # type: ignore[misc]


def test_step_audio_r1_asks_text_first_and_sound_last(tmp_path: Path) -> None:
    (prompt,) = read(write_set(tmp_path, "mmau"), "mmau", "r1")
    assert prompt.question == (
        "Who speaks?\nPlease choose the answer from the following options, do not provide any additional explanations or "
        f"content: \nA. a man\nB. a woman\n{AUDIO_PATCH}"
    )
    (prompt,) = read(write_set(tmp_path / "big", "big_bench_audio"), "big_bench_audio", "r1")
    assert prompt.question.startswith(f"{AUDIO_PATCH}仅用")
    (prompt,) = read(write_set(tmp_path / "wild", "wildspeech"), "wildspeech")
    assert prompt.question == AUDIO_PATCH
    prompt = read(write_set(tmp_path / "spoken", "spoken_mqa"), "spoken_mqa", "r1")[0]
    assert prompt.question == f"Solve the given math question step by step.{AUDIO_PATCH}"


@pytest.mark.parametrize("instruction", [{"text": "Solve it."}, "Solve it.", {"text": ""}, {"text": None}, None])
def test_spoken_mqa_asks_officially_by_the_instruction_of_its_row(instruction: object, tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(sound())
    write_json(tmp_path / "a.jsonl", [{**SPOKEN_MQA, "context": "x.wav", "instruction": instruction}], lines=True)
    (prompt,) = read(tmp_path, "spoken_mqa", "official")
    has_text = instruction in ("Solve it.", {"text": "Solve it."})
    assert prompt.question == (
        f"{AUDIO_PATCH}Solve it." if has_text else f"Solve the given math question step by step.{AUDIO_PATCH}"
    )


def test_step_caption_asks_by_the_file_of_its_download(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "step_caption", "step_caption")
    assert read(folder, "step_caption")[0].question.startswith(f"{AUDIO_PATCH}Describe who speaks in one paragraph")
    (folder / "prompts").mkdir()
    (folder / "prompts/model_user_prompt.txt").write_text("请描述说话人。\n", encoding="utf-8")
    for path in (folder, folder / "metadata.jsonl", tmp_path):
        assert read(path, "step_caption")[0].question == f"{AUDIO_PATCH}请描述说话人。"


def test_mmsu_lists_four_letters_as_its_own_script_does(tmp_path: Path) -> None:
    (prompt,) = read(write_set(tmp_path, "mmsu"), "mmsu", "official")
    assert prompt.question.endswith("\n\nQuestion: How many?\n\nA. 3\nB. 4\nC. \nD. ")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"category": ["Reasoning"]}, "Reasoning"),  # 13 items of MMAU
        ({"category": None}, "(none)"),
        ({"category": 7}, "7"),
        ({"category": ["a", "b"]}, "a, b"),
        ({"choices": [1, "a woman"]}, "Reasoning"),  # a number among the options
        ({"id": None}, "Reasoning"),
        ({"more": {"nested": [1]}}, "Reasoning"),
    ],
)
def test_odd_rows_are_read(change: dict[str, Any], expected: str, tmp_path: Path) -> None:
    write_set(tmp_path, "mmau")
    write_json(tmp_path / "mmau-test-mini.json", [{**MMAU, **change}], lines=False)
    (prompt,) = read(tmp_path, "mmau")
    assert prompt.fields["groups"]["category"] == expected  # type: ignore[index]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"question": None}, "no text in column 'question'"),
        ({"answer": None}, "no text in column 'answer'"),
        ({"answer": "a child"}, "none of its 2 options"),
        ({"choices": "a man"}, "holds 0 options"),
        ({"choices": ["a woman"]}, "holds 1 options"),
        ({"audio_id": None}, "no sound in column 'audio_id'"),
        ({"audio_id": "gone.wav"}, "no such file"),
        ({"audio_id": 7}, "not bytes or a path"),
    ],
)
def test_a_damaged_row_is_left_out_and_named(change: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    write_set(tmp_path, "mmau")
    good = [{**MMAU, "id": f"m{i}"} for i in (2, 3)]
    write_json(tmp_path / "mmau-test-mini.json", [good[0], {**MMAU, **change}, good[1]], lines=False)
    said: list[str] = []
    prompts = read(tmp_path, "mmau", say=said.append, on_bad_row="skip")
    assert [prompt.id for prompt in prompts] == ["m2", "m3"]
    assert len(said) == 1
    assert "1 row skipped" in said[0]
    assert "row 2" in said[0]
    assert complaint in said[0]
    with pytest.raises(ValueError, match=r"mmau-test-mini.json: row 2"):
        read(tmp_path, "mmau")


@pytest.mark.parametrize("gold", ["B", "(B)", "b.", "a woman"])
def test_a_gold_may_be_a_letter(gold: str, tmp_path: Path) -> None:
    write_set(tmp_path, "mmau")
    write_json(tmp_path / "mmau-test-mini.json", [{**MMAU, "answer": gold}], lines=False)
    assert read(tmp_path, "mmau")[0].answer == "a woman"


@pytest.mark.parametrize(
    ("options", "gold", "answer", "written"),
    [
        ([3.0, 4.0], 3.0, "3", ["3", "4"]),
        ([3, 4.5], 4.5, "4.5", ["3", "4.5"]),
        ([3.0, 4], 3, "3", ["3", "4"]),
        ([0.0, 1.0], 0.0, "0", ["0", "1"]),
        (["3.0", "4.0"], "3.0", "3.0", ["3.0", "4.0"]),
    ],
)
def test_numbers_are_written_alike_in_gold_and_options(
    options: list[object], gold: object, answer: str, written: list[str], tmp_path: Path
) -> None:
    write_set(tmp_path, "mmau")
    write_json(tmp_path / "mmau-test-mini.json", [{**MMAU, "choices": options, "answer": gold}], lines=False)
    (prompt,) = read(tmp_path, "mmau")
    assert (prompt.answer, prompt.fields["options"]) == (answer, written)


def test_numbers_among_the_options_of_mmsu(tmp_path: Path) -> None:
    write_json(tmp_path / "rows.jsonl", [{**MMSU, "audio": "x.wav", "answer_gt": 3}], lines=True)
    (tmp_path / "x.wav").write_bytes(write_set(tmp_path / "m", "mmau").joinpath("test-mini-audios/m1.wav").read_bytes())
    (prompt,) = read(tmp_path / "rows.jsonl", "mmsu")
    assert (prompt.answer, prompt.fields["options"]) == ("3", ["3", "4"])


def dcase(question: str, path: str | None, level: int = 0, **changes: Any) -> dict[str, Any]:
    row = {key: value for key, value in DCASE.items() if key != "audio_url"}
    return {**row, "filename": None, "question": question, "audio": {"bytes": sound(level), "path": path}, **changes}


def test_the_part_of_dcase_is_told_by_the_name_of_the_file_beside_its_bytes(tmp_path: Path) -> None:
    rows = [
        dcase("1?", "fold1-a.wav", id="1"),
        dcase("2?", "clips/audio_7.wav", id="2"),
        dcase("3?", "whale.wav", id="3"),
        dcase("4?", None, id="4", filename="fold2-b.wav"),
        dcase("5?", None, id="5"),
    ]
    write_parquet(tmp_path / "test.parquet", rows)
    parts = [prompt.fields["groups"]["part"] for prompt in read(tmp_path, "dcase2025")]  # type: ignore[index]
    expected = ["Temporal Soundscapes QA", "Complex QA", "Bioacoustics QA", "Temporal Soundscapes QA", "(none)"]
    assert parts == expected


@pytest.mark.parametrize("has_ids", [True, False])
def test_ids_may_begin_anew_in_each_file(has_ids: bool, tmp_path: Path) -> None:
    """No item is dropped, be the question the same and the sound alone another."""
    for level, part in enumerate(("bio", "complex")):
        rows = [dcase(f"Which {n}?", "x.wav", level, id=str(n) if has_ids else None) for n in (1, 2)]
        write_parquet(tmp_path / part / "dev.parquet", rows)
    said: list[str] = []
    ids = [prompt.id for prompt in read(tmp_path, "dcase2025", say=said.append, on_bad_row="skip")]
    plain = ["1", "2"] if has_ids else ["dev/1", "dev/2"]
    assert ids == [*plain, *(f"complex/dev.parquet/{id}" for id in plain)]
    assert said == []


def test_ids_may_begin_anew_in_a_file(tmp_path: Path) -> None:
    rows = [dcase(f"Which {n}?", "x.wav", id="1") for n in range(4)]
    write_parquet(tmp_path / "dev.parquet", rows)
    ids = [prompt.id for prompt in read(tmp_path, "dcase2025")]
    assert ids[0] == "1"
    assert len({*ids}) == 4


def test_an_item_that_is_there_twice_is_named(tmp_path: Path) -> None:
    write_parquet(tmp_path / "dev.parquet", [dcase("Which?", "x.wav", id="1"), dcase("Which?", "x.wav", id="1")])
    said: list[str] = []
    assert len(read(tmp_path, "dcase2025", say=said.append, on_bad_row="skip")) == 1
    assert "id '1' is that of" in said[0]


def test_the_readme_of_mmar_names_json(tmp_path: Path) -> None:
    write_set(tmp_path, "mmar")
    (tmp_path / "MMAR-meta.jsonl").unlink()
    write_json(tmp_path / "MMAR-meta.json", [MMAR], lines=True)
    assert read(tmp_path, "mmar")[0].id == "r1"


@pytest.mark.parametrize(
    ("args", "path", "complaint"),
    [
        ({"set": "mmua"}, ".", "did you mean 'mmau'?"),
        ({}, ".", "missing key 'set'"),
        ({"set": "mmau", "prompt": "R1"}, ".", "use r1 or official"),
        ({"set": "dcase2025", "prompt": "r1"}, ".", "has no prompt 'r1'; use official"),
        ({"set": "mmau", "form": 1}, ".", "unknown key 'form'"),
        ({"set": "mmau"}, None, "needs `path: …`"),
        ({"set": "mmau"}, ".", "holds no mmau-test-mini.json"),
        ({"set": "mmau"}, "nowhere", "no such file"),
    ],
)
def test_mistakes_are_one_line(
    args: dict[str, object], path: str | None, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=complaint.replace("?", r"\?").replace("…", ".")):
        load(DataConfig("benchmark", path, args=args))


def test_a_task_of_big_bench_hard_as_its_repository_has_it(tmp_path: Path) -> None:
    tasks = {
        "navigate": [{"input": "Do you return?", "target": "Yes"}, "no row"],
        "web": [{"input": "True?", "target": "No"}],
    }
    for name, examples in tasks.items():
        write_json(tmp_path / "bbh" / f"{name}.json", [], lines=False)
        (tmp_path / "bbh" / f"{name}.json").write_text(json.dumps({"canary": "x", "examples": examples}))
    prompts = read(tmp_path, "bbh", on_bad_row="skip")
    assert [(p.answer, p.fields["groups"]) for p in prompts] == [("Yes", {"task": "navigate"}), ("No", {"task": "web"})]


def test_flags_and_lists_as_texts(tmp_path: Path) -> None:
    write_set(tmp_path / "c", "step_caption")
    for value, group in (("false", "one"), ("True", "several"), (1, "several"), (None, "one")):
        write_json(tmp_path / "c" / "metadata.jsonl", [{**CAPTION, "is_multi_speakers": value}], lines=True)
        assert read(tmp_path / "c", "step_caption")[0].fields["groups"] == {"speakers": group}


@pytest.mark.parametrize("form", ["one object", "behind a line break", "behind a mark", "one on each line", "a list"])
def test_a_json_file_of_any_form_is_read(form: str, tmp_path: Path) -> None:
    folder = write_set(tmp_path, "dcase2025")
    (file,) = folder.rglob("*.json")
    row = json.loads(file.read_text())
    other = {**row, "id": "t2"}
    one = json.dumps(row)
    text = {
        "one object": json.dumps(row, indent=1),
        "behind a line break": f"\n{one}",
        "behind a mark": f"\ufeff{one}",
        "one on each line": f"{one}\n{json.dumps(other)}\n",
        "a list": json.dumps([row, other]),
    }[form]
    file.write_text(text)
    assert len(read(folder, "dcase2025")) == (2 if form in ("one on each line", "a list") else 1)
