"""The adapters of several stages, joined into one: it does what they do one on another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.heads import LogprobModel
from models.joined_adapters import join_adapters, joined_rank
from models.load import save_model
from models.lora import (
    ADAPTER_CONFIG,
    ADAPTER_FILE,
    LoraConfig,
    adapter_name,
    merged_parameters,
    save_adapter,
    trained_names,
)

LORA = LoraConfig(rank=3, alpha=7.5)
IDS = torch.arange(40, 70)[None]


def train(start: Path, out: Path, seed: int) -> Path:
    """Write a stage's folder: an adapter with an effect on the model `start`, and that model with it."""
    model = LogprobModel(start, "float32", lora=LORA)
    draw = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, weight in model.lm.named_parameters():
        if name in trained_names(model.lm):
            torch.nn.init.normal_(weight, std=0.2, generator=draw)
            state[adapter_name(name)] = weight
    for folder in ("model", "adapter"):
        (out / folder).mkdir(parents=True)
    save_model(model.lm, out / "model", dict(merged_parameters(model.lm.named_parameters(), LORA.scale)))
    save_adapter(model.lm, out / "adapter", state)
    return out / "model"


def test_one_adapter_leads_from_the_first_model_to_the_last(untied: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    last = untied
    stages = [tmp_path / f"stage-{i}" for i in range(3)]
    for i, stage in enumerate(stages):
        last = train(last, stage, seed=i)
    join_adapters([stage / "adapter" for stage in stages], "me/base", tmp_path / "joined")
    config = json.loads((tmp_path / "joined" / ADAPTER_CONFIG).read_text())
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (9, 22.5, "me/base")
    assert joined_rank([tmp_path / "joined"]) == 9
    base = AutoModelForCausalLM.from_pretrained(untied, dtype=torch.float32)
    first = base(IDS).logits
    adapted = PeftModel.from_pretrained(base, str(tmp_path / "joined"))
    final = AutoModelForCausalLM.from_pretrained(last, dtype=torch.float32)(IDS).logits
    assert (adapted(IDS).logits - final).abs().max() <= 1e-4
    assert (final - first).abs().max() > 0.5


def write_adapter(folder: Path, **config: object) -> Path:
    folder.mkdir()
    (folder / ADAPTER_CONFIG).write_text(json.dumps({"r": 1, "lora_alpha": 2, "target_modules": ["q"], **config}))
    value = float(len(folder.name))
    tensors = {
        "q.lora_A.weight": torch.ones(1, 2),
        "q.lora_B.weight": torch.ones(2, 1),
        "ear.weight": torch.tensor(value),
    }
    save_file(tensors, folder / ADAPTER_FILE)
    return folder


def test_a_module_that_trains_whole_is_the_last_ones(tmp_path: Path) -> None:
    folders = [
        write_adapter(tmp_path / "a"),
        write_adapter(tmp_path / "bb", base_model_name_or_path="of a", peft_version="9"),
    ]
    join_adapters(folders, "me/base", tmp_path / "joined")
    tensors = load_file(tmp_path / "joined" / ADAPTER_FILE)
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
        "q.lora_A.weight": (2, 2),
        "q.lora_B.weight": (2, 2),
        "ear.weight": (),
    }
    assert tensors["ear.weight"] == 2


@pytest.mark.parametrize("other", [{"r": 2}, {"lora_alpha": 4}, {"target_modules": ["q", "v"]}])
def test_adapters_of_other_settings_are_not_joined(tmp_path: Path, other: dict[str, object]) -> None:
    folders = [write_adapter(tmp_path / "a"), write_adapter(tmp_path / "b", **other)]
    with pytest.raises(ValueError, match=r"b: an adapter of other settings than .*a; publish the whole model"):
        join_adapters(folders, "me/base", tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_a_damaged_adapter_is_one_line(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", r=None)
    with pytest.raises(ValueError, match=r"a/adapter_config\.json: 'r' is no number; publish the whole model"):
        joined_rank([folder])
