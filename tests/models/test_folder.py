"""What a model's folder is found to lack, before anything reads it in earnest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open

from models.folder import INDEX, check_whole, count_parameters, read_config

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
        (content("model.safetensors", b"\x02" + b"\0" * 7 + b"[]"), "{}/model.safetensors: its header is not that of"),
        (cut, "{}/model.safetensors: cut short, "),
        (shards, "{} holds no model-00002-of-00002.safetensors; fetch it again"),
        (content(INDEX, "{}"), f"{{}}/{INDEX}: has no weight_map; fetch it again"),
        (without("model.safetensors"), "{} holds no model.safetensors; expected its weights as safetensors"),
        (without("tokenizer.json"), "{} holds no tokenizer; expected tokenizer.json beside the weights"),
        (without("config.json"), "{} holds no config.json; expected the files of a Hugging Face model"),
        (content("config.json", "[]"), "{}/config.json: a list, not a mapping; expected the files of a Hugging Face"),
        (content("config.json", "{"), "{}/config.json: Expecting property name"),
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
