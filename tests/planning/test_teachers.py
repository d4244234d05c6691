"""What `rl check` says of a teacher before anything starts: its tokenizer, its ears, its prompt, its memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from plans import QWEN2_32B, planned, whole

from models.tokenizer import VOCABULARY
from models.vocabulary import describe_difference, read_vocabulary
from rl.config import ConfigError

SMALL = {
    **QWEN2_32B,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": len(VOCABULARY),
    "tie_word_embeddings": True,
}
STAGES = [
    {"sft": {"data": "words"}},
    {
        "rlvr": {
            "data": "words",
            "prompts_per_step": 16,
            "algorithm": "opd",
            "teacher": "big",
            "max_sequence_tokens": 512,
        }
    },
]
SOUNDS = {"words": {"source": "sounds", "args": {"kinds": ["direction"], "size": 200}}}
EARS = {"build": {"hidden_size": 64, "heads": 2, "layers": 1, "audio": {}}}


def teacher(folder: str = "big", vocabulary: dict[str, int] = VOCABULARY, **config: Any) -> None:
    """A folder that a plan takes for a teacher with that vocabulary."""
    whole(Path(folder), {**SMALL, **config})
    tokens = [{"id": id, "content": token} for token, id in vocabulary.items() if id >= 256]
    content = {"model": {"vocab": {t: i for t, i in vocabulary.items() if i < 256}}, "added_tokens": tokens}
    Path(folder, "tokenizer.json").write_text(json.dumps(content))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def problems(*overrides: str, **header: Any) -> list[str]:
    return [line for line in planned(*overrides, stages=STAGES, **header).problems if "teacher" in line]


def test_a_teacher_of_another_size_is_counted_by_its_own_shape() -> None:
    teacher(num_hidden_layers=12, hidden_size=256, num_attention_heads=4, num_key_value_heads=4, intermediate_size=1024)
    made = planned(stages=STAGES)
    assert [line for line in made.problems if "teacher" in line] == []
    roles = {role.role: role for role in made.roles}
    assert roles.keys() == {"engine", "policy", "teacher"}
    assert roles["teacher"].parts["weights"] > 10 * roles["policy"].parts["weights"]
    assert "gradients" not in roles["teacher"].parts or not roles["teacher"].parts["gradients"]
    adapted = planned("model.lora.rank=4", stages=STAGES)
    weights = {role.role: role.parts["weights"] for role in adapted.roles}
    assert weights["teacher"] == roles["teacher"].parts["weights"], "the recipe's adapter is the policy's"


def test_a_teacher_that_the_recipe_makes_needs_no_look() -> None:
    assert problems("rlvr.teacher=sft") == []
    assert [role.role for role in planned("rlvr.teacher=sft", stages=STAGES).roles if role.role == "teacher"]
    with pytest.raises(
        ConfigError, match=r"rlvr\.teacher: 'stf' is no earlier stage and no folder of a model; did you"
    ):
        planned("rlvr.teacher=stf", stages=STAGES)


MOVED = {**VOCABULARY, "a": VOCABULARY["b"], "b": VOCABULARY["a"]}
LACKING = {token: id for token, id in VOCABULARY.items() if token != "</think>"}
OTHER = {f"x{i}": i for i in range(len(VOCABULARY))}


@pytest.mark.parametrize(
    ("vocabulary", "text"),
    [
        (MOVED, "'a' is 97 here and 98 there, 2 of 267 tokens differ"),
        (LACKING, None),
        (OTHER, "is not there, 267 of 267 tokens are not"),
    ],
)
def test_another_tokenizer_is_refused_in_one_line(vocabulary: dict[str, int], text: str | None) -> None:
    teacher(vocabulary=vocabulary)
    lines = problems()
    if text is None:
        assert lines == [], "the teacher has a row for the token and finds it unlikely"
    else:
        (line,) = lines
        assert line.startswith("stages[1].rlvr.teacher: big has another tokenizer: ")
        assert text in line
        assert line.endswith("; name a model with the policy's tokenizer")


def test_tokens_beyond_the_teachers_rows_are_refused() -> None:
    teacher(vocabulary=LACKING, vocab_size=len(VOCABULARY) - 5)
    assert "'</think>' (263) is not there" in problems()[0]


def test_vocabularies_by_hand(tmp_path: Path) -> None:
    assert describe_difference({"a": 0, "b": 1}, {"a": 0, "b": 1, "c": 2}, 3) is None, "one that has more"
    assert describe_difference({"a": 0, "b": 1, "c": 2}, {"a": 0, "b": 1}, 3) is None, "a row without a token"
    assert (
        describe_difference({"a": 0, "b": 1, "c": 2}, {"a": 0, "b": 1}, 2)
        == "'c' (2) is not there, 1 of 3 tokens are not"
    )
    assert describe_difference({"a": 0, "b": 1}, {}, 9) == "2 of 2 tokens are not there"
    assert read_vocabulary(tmp_path) is None
    file = tmp_path / "tokenizer.json"
    file.write_text(
        json.dumps(
            {"model": {"vocab": [["<unk>", 0.0], ["▁the", -1.5]]}, "added_tokens": [{"id": 2, "content": "<s>"}]}
        )
    )
    assert read_vocabulary(tmp_path) == {"<unk>": 0, "▁the": 1, "<s>": 2}
    file.write_text("{}")
    assert read_vocabulary(tmp_path) is None
    file.write_text("[")
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        read_vocabulary(tmp_path)


def test_a_tokenizer_that_cannot_be_read_is_a_note() -> None:
    whole(Path("big"), SMALL)
    made = planned(stages=STAGES)
    assert (
        "stages[1].rlvr.teacher: its tokenizer cannot be compared with the policy's here; it must be the same"
        in made.notes
    )


def test_a_teacher_without_ears_needs_a_text() -> None:
    teacher()
    (line,) = problems(data=SOUNDS, model=EARS)
    assert line == (
        "stages[1].rlvr.teacher: big reads text only, the prompts have sound; say what it reads in its place: "
        "teacher_template: '{description} {question}'"
    )
    assert problems("rlvr.teacher_template='{description} {question}'", data=SOUNDS, model=EARS) == []
    (line,) = problems("rlvr.teacher_template='{audio} {question}'", data=SOUNDS, model=EARS)
    assert "reads text only" in line


def test_a_column_that_the_rows_lack_is_named_before_anything_starts() -> None:
    teacher()
    (line,) = problems("rlvr.teacher_template='{caption} {question}'")
    assert line.startswith("stages[1].rlvr: prompt '")
    assert "the template's {caption} is no column" in line
    assert line.endswith("; map the column in data.words.fields")


def test_a_column_of_made_sounds_is_looked_for_too() -> None:
    teacher()
    (line,) = problems("rlvr.teacher_template='{descripton} {question}'", data=SOUNDS, model=EARS)
    assert "the template's {descripton} is no column; did you mean 'description'?" in line


def test_a_teacher_of_short_sequences_is_refused() -> None:
    teacher(max_position_embeddings=256)
    (line,) = problems()
    assert (
        line
        == "stages[1].rlvr.teacher: big has 256 positions, max_sequence_tokens is 512; lower it or choose another model"
    )


def test_a_broken_teacher_is_one_line() -> None:
    teacher()
    Path("big/model.safetensors").unlink()
    assert [line for line in problems() if "model.safetensors" in line]
