from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.heads import CRITIC_FILE, LogprobModel, ValueModel
from models.load import build, load_model, load_tokenizer
from models.settings import BuildConfig, ModelConfig
from models.tokenizer import VOCABULARY
from rl.config import ConfigError
from rl.config import build as build_config


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"hidden_size": 100, "heads": 3}, "model.build: hidden_size 100 is not a multiple of heads 3"),
        (
            {"hidden_size": 64, "heads": 4},
            "model.build: hidden_size / heads = 16 is no head size of the engine; choose",
        ),
        ({"heads": 4, "kv_heads": 3}, "model.build: heads 4 is not a multiple of kv_heads 3"),
        ({"heads": 0}, "model.build.heads: must be at least 1; got 0"),
        ({"layers": 0}, "model.build.layers: must be at least 1; got 0"),
        ({"kv_heads": 0}, "model.build.kv_heads: must be at least 1; got 0"),
        ({"ffn_size": -1}, "model.build.ffn_size: must be at least 1; got -1"),
        ({"hidden": 64}, "model.build: unknown key 'hidden'"),
        ({"audio": {"mel_bins": 0}}, "model.build.audio.mel_bins: must be at least 1; got 0"),
        ({"audio": {"coarse": 0}}, "model.build.audio.coarse: must be at least 1; got 0"),
        ({"audio": {"coarse_above_s": 0.0}}, "model.build.audio.coarse_above_s: 0.0 is no length of clips in seconds"),
        (
            {"audio": {"coarse": 4, "coarse_above_s": 10.0}},
            "model.build.audio.coarse_above_s: 10 s heard whole have more tokens than 25 s heard 4 × more coarsely; at most 6.25",
        ),
        ({"audio": {"layer": 2}}, "model.build.audio: unknown key 'layer'; did you mean 'layers'?"),
        (
            {"audio": {"hidden_size": 100, "heads": 3}},
            "model.build.audio: hidden_size 100 is not a multiple of heads 3",
        ),
    ],
)
def test_an_impossible_model_is_one_line(values: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        build_config(ModelConfig, {"build": values}, "model")
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "values", [{}, {"path": "x", "build": {}}, {"path": "x", "compose": {"decoder": "x", "encoder": "y"}}]
)
def test_a_model_is_a_path_built_or_composed(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"^model: give `path: …`, `build: \{…\}` or `compose: \{…\}`, exactly one"):
        build_config(ModelConfig, values, "model")


def test_build_is_seeded_whole_and_made_once(tmp_path: Path) -> None:
    config = BuildConfig(hidden_size=64, layers=1, heads=2)
    (tmp_path / ".a.tmp").mkdir()  # what a killed run left
    first, again, other = (build(config, tmp_path / name, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    weights = [load_file(f / "model.safetensors")["model.embed_tokens.weight"] for f in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert build(config, first, seed=5) == first
    assert torch.equal(load_file(first / "model.safetensors")["model.embed_tokens.weight"], weights[0])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]
    assert ModelConfig(build=config).shape()["vocab_size"] == len(VOCABULARY)
    shape = ModelConfig(path=str(first)).shape()
    assert {**ModelConfig(build=config).shape(), **shape} == shape


def test_a_fork_of_the_random_state_does_not_leak(tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    build(BuildConfig(hidden_size=64, layers=1, heads=2), tmp_path / "m", seed=0)
    assert torch.equal(torch.rand(3), expected)


def rewrite(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    return apply


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])


NORM = "model.norm.weight"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (shutil.rmtree, "no such folder"),
        (lambda folder: (folder / "config.json").unlink(), "model_type"),
        (lambda folder: (folder / "config.json").write_text("{"), "not a valid JSON file"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no file named model.safetensors"),
        (cut, "incomplete metadata"),
        (rewrite(lambda tensors: tensors.pop(NORM)), f"its weights are not .* config.json; missing: {NORM}$"),
        (rewrite(lambda tensors: tensors.update({NORM: torch.zeros(3)})), f"config.json; of another shape: {NORM}$"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_one_line(
    tied: Path, tmp_path: Path, damage: Callable[[Path], object], reason: str
) -> None:
    folder = Path(shutil.copytree(tied, tmp_path / "m"))
    damage(folder)
    with pytest.raises(ValueError, match=rf"^model {folder}: .*{reason}") as error:
        load_model(folder)
    assert "\n" not in str(error.value)


def with_model(model: dict[str, object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        file = folder / "tokenizer.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "model": model}))

    return apply


def without_end(folder: Path) -> None:
    (folder / "config.json").unlink()  # a model type that transformers knows has an end token of its own
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "eos_token"}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (shutil.rmtree, "no such folder"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no vocabulary"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "expected a tokenizer"),
        # For which `tokenizers` raises a bare Exception.
        (with_model({"type": "new"}), "did not match any variant .*; expected a tokenizer"),
        (with_model({"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}), "initializing BPE: .*; expected"),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "no chat template"),
        (without_end, "no eos_token"),
    ],
)
def test_a_tokenizer_that_cannot_be_used_is_one_line(
    tied: Path, tmp_path: Path, damage: Callable[[Path], object], reason: str
) -> None:
    folder = Path(shutil.copytree(tied, tmp_path / "m"))
    damage(folder)
    with pytest.raises(ValueError, match=rf"^model {folder}: .*{reason}") as error:
        load_tokenizer(folder)
    assert "\n" not in str(error.value)


def test_a_fresh_critic_values_everything_at_zero(tied: Path) -> None:
    """Its trunk is the policy's; the values start at zero so that the first advantages are plain returns."""
    critic, policy = ValueModel(tied, "float32"), LogprobModel(tied, "float32")
    values_A = critic(torch.arange(9), torch.tensor([4, 5]), torch.tensor([0, 1, 1, 1, 0, 0, 0, 1, 1]).bool())
    assert values_A.tolist() == [0.0] * 5
    trunk = dict(critic.trunk.named_parameters())
    assert trunk.keys() == dict(policy.lm.get_decoder().named_parameters()).keys()
    assert all(torch.equal(trunk[n], p) for n, p in policy.lm.get_decoder().named_parameters())


def test_a_saved_critic_comes_back_whole(tied: Path, tmp_path: Path) -> None:
    critic = ValueModel(tied, "float32")
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.add_(torch.randn_like(parameter))
    critic.save_config(tmp_path)
    save_file(critic.state_dict(), tmp_path / CRITIC_FILE)
    pack = (torch.arange(9), torch.tensor([4, 5]), torch.arange(9) % 4 > 0)
    assert torch.equal(ValueModel(tmp_path, "float32")(*pack), critic(*pack))

    save_file({**critic.state_dict(), "head.weight": torch.zeros(1, 3)}, tmp_path / CRITIC_FILE)
    with pytest.raises(ValueError, match=rf"^critic {tmp_path / CRITIC_FILE}: size mismatch for head.weight") as error:
        ValueModel(tmp_path, "float32")
    assert "\n" not in str(error.value)
    (tmp_path / CRITIC_FILE).write_bytes(b"")
    with pytest.raises(ValueError, match=rf"^critic {tmp_path / CRITIC_FILE}: .*header"):
        ValueModel(tmp_path, "float32")
