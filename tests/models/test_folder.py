"""What a model's folder is found to lack, before anything reads it in earnest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open

from models.folder import (
    GENERATION_CONFIG,
    INDEX,
    check_whole,
    count_parameters,
    declared_ends,
    declared_sampling,
    read_config,
    write_chat_template,
    write_ends,
)

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 988097824\n"


def test_a_model_as_it_is_saved_is_whole_and_counted(tied: Path) -> None:
    check_whole(tied)
    assert read_config(tied)["model_type"] == "qwen2"
    with safe_open(tied / "model.safetensors", "pt") as weights:
        assert count_parameters(tied) == sum(weights.get_tensor(name).numel() for name in weights.keys())  # noqa: SIM118


def content(name: str, text: str | bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def without(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])


def shards(folder: Path) -> None:
    there = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors").rename(folder / there["a"])
    (folder / INDEX).write_text(json.dumps({"weight_map": there}))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (
            content("model.safetensors", POINTER),
            "{}/model.safetensors is a Git LFS pointer, not the file itself; run `git lfs pull`",
        ),
        (content("tokenizer.json", POINTER), "{}/tokenizer.json is a Git LFS pointer, not the file itself; run"),
        (content("config.json", POINTER), "{}/config.json is a Git LFS pointer, not the file itself; run"),
        (content("model.safetensors", ""), "{}/model.safetensors: 0 bytes are no whole safetensors file; fetch it"),
        (content("model.safetensors", b"\x10" + b"\0" * 7 + b'{"a"'), "{}/model.safetensors: 12 bytes are no whole"),
        (
            content("model.safetensors", b"\x02" + b"\0" * 7 + b"[]"),
            "{}/model.safetensors: header: holds a list, not a mapping",
        ),
        (cut, "{}/model.safetensors: cut short, "),
        (shards, "{} holds no model-00002-of-00002.safetensors; fetch it again"),
        (content(INDEX, "{}"), f"{{}}/{INDEX}: has no weight_map; fetch it again"),
        (without("model.safetensors"), "{} holds no model.safetensors; expected its weights as safetensors"),
        (without("tokenizer.json"), "{} holds no tokenizer; expected tokenizer.json beside the weights"),
        (without("config.json"), "{} holds no config.json; expected the files of a Hugging Face model"),
        (
            content("config.json", "[]"),
            "{}/config.json: holds a list, not a mapping; expected the files of a Hugging Face",
        ),
        (content("config.json", "{"), "{}/config.json: invalid JSON: Expecting property name"),
    ],
)
def test_what_is_missing_or_broken_is_one_line(
    tied: Path, tmp_path: Path, damage: Callable[[Path], object], says: str
) -> None:
    folder = Path(shutil.copytree(tied, tmp_path / "m"))
    damage(folder)
    with pytest.raises(ValueError, match=r".") as caught:
        check_whole(folder)
    assert str(caught.value).startswith(says.replace("{}", str(folder)))
    assert "\n" not in str(caught.value)


def test_a_critic_needs_no_tokenizer(tied: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tied, tmp_path / "m"))
    (folder / "tokenizer.json").unlink()
    check_whole(folder, tokenizer=False)


@pytest.mark.parametrize(
    ("config", "generation", "declared", "written"),
    [
        ({"eos_token_id": 2}, None, [2], None),
        ({"eos_token_id": 2}, {"eos_token_id": 2, "top_p": 0.9}, [2], None),
        ({"eos_token_id": 2}, {"eos_token_id": [7, 2]}, [7, 2], None),
        ({"eos_token_id": 1}, {"eos_token_id": 1, "top_p": 0.9}, [1], {"eos_token_id": [2, 1], "top_p": 0.9}),
        ({"eos_token_id": 1}, None, [1], {"eos_token_id": [2, 1]}),
        ({"eos_token_id": [1, 2]}, {"eos_token_id": 1}, [1, 2], {"eos_token_id": [2, 1]}),
        ({"text_config": {"eos_token_id": [1, 106]}}, {}, [1, 106], {"eos_token_id": [2, 1, 106]}),
        ({"text_config": None, "eos_token_id": None}, {}, [], {"eos_token_id": [2]}),
    ],
)
def test_engines_stop_where_a_turn_ends(
    tmp_path: Path,
    config: dict[str, object],
    generation: dict[str, object] | None,
    declared: list[int],
    written: dict[str, object] | None,
) -> None:
    """The token 2 ends a turn; what stops engines there already is left alone."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    file = tmp_path / GENERATION_CONFIG
    if generation is not None:
        file.write_text(json.dumps(generation))
    assert declared_ends(tmp_path) == declared
    before = file.read_bytes() if file.exists() else None
    write_ends(tmp_path, [2])
    if written is None:
        assert (file.read_bytes() if file.exists() else None) == before
    else:
        assert json.loads(file.read_text()) == written


@pytest.mark.parametrize(
    ("files", "written"),
    [
        ({}, {"chat_template.jinja": "new"}),
        ({"chat_template.jinja": "old"}, {"chat_template.jinja": "new"}),
        (
            {"tokenizer_config.json": {"a": "é"}, "chat_template.jinja": "old"},
            {"tokenizer_config.json": {"a": "é"}, "chat_template.jinja": "new"},
        ),
        ({"tokenizer_config.json": {"chat_template": "old"}}, {"tokenizer_config.json": {"chat_template": "new"}}),
        (
            {"tokenizer_config.json": {"chat_template": "old"}, "chat_template.json": {"chat_template": "old"}},
            {"tokenizer_config.json": {"chat_template": "new"}, "chat_template.json": {"chat_template": "new"}},
        ),
        (
            {"tokenizer_config.json": {"chat_template": [{"name": "default", "template": "old"}, {"name": "rag"}]}},
            {"tokenizer_config.json": {"chat_template": [{"name": "default", "template": "new"}, {"name": "rag"}]}},
        ),
        (
            {"tokenizer_config.json": {"chat_template": [{"name": "rag"}]}},
            {"tokenizer_config.json": {"chat_template": [{"name": "rag"}, {"name": "default", "template": "new"}]}},
        ),
    ],
)
def test_a_template_is_written_where_it_stands(
    tmp_path: Path, files: dict[str, object], written: dict[str, object]
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    write_chat_template(tmp_path, "new")
    contents = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert {n: text if n.endswith("jinja") else json.loads(text) for n, text in contents.items()} == written
    write_chat_template(tmp_path, "new")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == contents


@pytest.mark.parametrize(
    ("generation", "declared"),
    [
        (None, {}),
        ({"do_sample": True, "top_p": None}, {}),
        ({"temperature": 0, "top_k": -1}, {"temperature": 0, "top_k": -1}),
        # What Qwen2.5-Instruct has.
        (
            {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05, "eos_token_id": [1]},
            {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05},
        ),
    ],
)
def test_answers_are_sampled_as_the_models_files_say(
    tmp_path: Path, generation: dict[str, object] | None, declared: dict[str, float]
) -> None:
    if generation is not None:
        (tmp_path / GENERATION_CONFIG).write_text(json.dumps(generation))
    assert declared_sampling(tmp_path) == declared


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("temperature", "hot", "a finite number"),
        ("temperature", -1, "a number from 0 to 2"),
        ("temperature", 2.1, "a number from 0 to 2"),
        ("temperature", True, "a finite number"),
        ("top_p", 0, "a number above 0, at most 1"),
        ("top_k", 2.5, "a whole number from -1"),
        ("min_p", 1.5, "a number from 0 to 1"),
        ("repetition_penalty", 0, "a number above 0"),
    ],
)
def test_what_cannot_be_sampled_by_is_one_line(tmp_path: Path, name: str, value: object, words: str) -> None:
    (tmp_path / GENERATION_CONFIG).write_text(json.dumps({name: value}))
    with pytest.raises(ValueError, match=rf"^{tmp_path}/{GENERATION_CONFIG}: {name} is .+, not {words}; "):
        declared_sampling(tmp_path)
