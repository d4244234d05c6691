"""Under ZeRO-3 a model is divided while it is loaded; what ranks hold together is what a file holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_gradient_invariance import STAGES

from models.heads import CRITIC_FILE, LogprobModel, ValueModel
from models.load import build
from models.lora import LoraConfig
from models.settings import AudioConfig, BuildConfig

LORA = LoraConfig(rank=4)


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Path:
    audio = AudioConfig(hidden_size=32, layers=1, heads=1)
    config = BuildConfig(hidden_size=64, layers=1, heads=2, audio=audio)
    return build(config, tmp_path_factory.mktemp("models") / "listener", seed=3)


def expect(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert found[name].dtype == weight.dtype, name
        assert torch.equal(found[name], weight), name


@pytest.mark.parametrize("lora", [None, LORA])
@pytest.mark.parametrize("model", ["tied", "untied", "listener"])
def test_weights_are_those_of_the_file(
    worlds: Callable[[int], Any], request: pytest.FixtureRequest, tmp_path: Path, model: str, lora: LoraConfig | None
) -> None:
    """Of policy and critic; then of what they save."""
    world, folder = worlds(2), request.getfixturevalue(model)
    dtype: Any = "float32" if lora else "bfloat16"
    policy = world.load("policy", folder, 3, dtype=dtype, lora=lora, **STAGES[3])
    plain = LogprobModel(folder, dtype, lora=lora)
    expect(world.parameters("policy"), dict([*plain.named_parameters(), *plain.frozen_parameters()]))
    assert {divided for divided, _ in world.everyone("divided", "policy")} == {True}
    critic = world.load("critic", folder, 3, dtype=dtype, lora=lora, **STAGES[3])
    expect(world.parameters("critic"), dict(ValueModel(folder, dtype, lora=lora).named_parameters()))
    if lora:
        return
    policy.export(tmp_path / "policy")
    expect(dict(LogprobModel(tmp_path / "policy", dtype).named_parameters()), dict(plain.named_parameters()))
    critic.save(tmp_path / "critic")
    assert (tmp_path / "critic" / CRITIC_FILE).is_file()
    again = world.load("critic", tmp_path / "critic", 3, dtype=dtype, **STAGES[3])
    again.restore_optimizer(tmp_path / "critic")
    expect(world.parameters("critic"), dict(ValueModel(folder, dtype).named_parameters()))


def test_what_is_wrong_with_a_model_is_said(worlds: Callable[[int], Any], untied: Path, tmp_path: Path) -> None:
    """By every rank alike, so that none waits for the others."""
    from safetensors.torch import load_file, save_file

    for file in untied.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    weights["model.norm.weight"][3] = float("inf")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"its weights are broken: model\.norm\.weight is infinite in 1 of 64 values"):
        worlds(2).load("policy", tmp_path, 3, **STAGES[3])
