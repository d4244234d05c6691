"""An adapter beside a frozen model: where it lies, what it computes, what it costs, and what other libraries read of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from models.heads import TRAINED_FILE, LogprobModel, ValueModel
from models.load import build as build_model
from models.load import load_model, save_model
from models.logprobs import chunked_logprobs
from models.lora import (
    ADAPTER_CONFIG,
    LoraConfig,
    adapter_name,
    adapter_off,
    attach,
    changes,
    has_adapter,
    is_adapter,
    load_adapter,
    merged_parameters,
    save_adapter,
    target_modules,
    trained_names,
)
from models.settings import AudioConfig, BuildConfig, ModelConfig
from rl.config import ConfigError, build

LORA = LoraConfig(rank=4, alpha=8)
IDS = torch.arange(40, 70)[None]
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def randomise(parameters: Iterator[tuple[str, Tensor]]) -> None:
    """Gives the adapter an effect: B is 0 at first."""
    draw = torch.Generator().manual_seed(5)
    for name, weight in parameters:
        if ".lora_B." in name:
            torch.nn.init.normal_(weight, std=0.2, generator=draw)


@pytest.fixture
def model(untied: Path) -> LogprobModel:
    model = LogprobModel(untied, "float32", lora=LORA)
    randomise(model.named_parameters())
    return model


def adapter_state(model: LogprobModel) -> dict[str, Tensor]:
    trains = trained_names(model.lm)
    return {adapter_name(name): weight for name, weight in model.lm.named_parameters() if name in trains}


def pack(model: LogprobModel, count: int = 30) -> Tensor:
    """Logprobs of one sequence."""
    tokens_T = torch.arange(40, 40 + count)
    return model(tokens_T, torch.tensor([count]), tokens_T >= 45)[0]


def test_only_the_adapter_trains_and_is_the_same_each_time(untied: Path) -> None:
    one, other = (LogprobModel(untied, "float32", lora=LORA) for _ in range(2))
    trains = {name for name, weight in one.named_parameters() if weight.requires_grad}
    assert trains == {name for name, _ in one.named_parameters() if is_adapter(name)}
    assert len(trains) == 2 * 2 * len(LINEARS), "A and B of each matrix of two layers"
    for (name, weight), (_, again) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(weight, again), name
    assert torch.equal(pack(one), pack(LogprobModel(untied, "float32"))), "B is 0: the first policy is the model"


def test_with_the_adapter_off_it_is_the_model_it_started_from(model: LogprobModel, untied: Path) -> None:
    start = pack(LogprobModel(untied, "float32"))
    adapted = pack(model)
    assert not torch.allclose(adapted, start, atol=0.01)
    with adapter_off(model):
        assert torch.equal(pack(model), start)
    assert torch.equal(pack(model), adapted)
    assert all(weight.requires_grad for name, weight in model.named_parameters() if is_adapter(name))


def test_exports_are_what_transformers_and_peft_read(model: LogprobModel, untied: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    (tmp_path / "model").mkdir()
    (tmp_path / "adapter").mkdir()
    save_model(model.lm, tmp_path / "model", dict(merged_parameters(model.lm.named_parameters(), LORA.scale)))
    save_adapter(model.lm, tmp_path / "adapter", adapter_state(model))
    assert has_adapter(tmp_path / "adapter")
    assert json.loads((tmp_path / "adapter" / ADAPTER_CONFIG).read_text())["r"] == LORA.rank
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(untied, dtype=torch.float32)
    first = base(IDS).logits
    adapted = PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
    with torch.no_grad():
        difference = (merged(IDS).logits - adapted(IDS).logits).abs().max()
        assert difference <= 1e-5
        assert (merged(IDS).logits - first).abs().max() > 0.1
    again = LogprobModel(untied, "float32", lora=LORA, adapter=str(tmp_path / "adapter"))
    assert torch.equal(pack(again), pack(model))
    merged_pack = pack(LogprobModel(tmp_path / "model", "float32"))
    assert torch.allclose(merged_pack, pack(model), atol=1e-5)


def test_the_backward_spares_the_frozen_weights(untied: Path) -> None:
    """Of the three products of a matrix, the forward's and two of the backward's, the gradient of the weight is not made."""
    backward: list[float] = []
    for lora in (None, LORA):
        model = LogprobModel(untied, "float32", lora=lora)
        logprobs_A = pack(model, 200)
        with FlopCounterMode(display=False) as count:
            logprobs_A.sum().backward()
        backward.append(count.get_total_flops())
        frozen = [weight for name, weight in model.named_parameters() if lora and not is_adapter(name)]
        assert all(weight.grad is None for weight in frozen)
    assert backward[1] < 0.75 * backward[0], backward


def test_activations_may_be_computed_anew(untied: Path) -> None:
    gradients: list[dict[str, Tensor]] = []
    for checkpointing in (False, True):
        model = LogprobModel(untied, "float32", checkpointing, lora=LORA)
        randomise(model.named_parameters())
        model.train()
        pack(model).sum().backward()
        gradients.append({n: w.grad for n, w in model.named_parameters() if w.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() == trained_names(model)
    assert all(torch.allclose(gradients[0][name], gradients[1][name], atol=1e-6) for name in gradients[0])


def test_a_frozen_head_gets_no_gradient_and_passes_the_same_one_on() -> None:
    draw = torch.Generator().manual_seed(0)
    hidden_AH, weight_VH = torch.randn(20, 8, generator=draw), torch.randn(50, 8, generator=draw)
    gradients: list[Tensor] = []
    for trains in (True, False):
        hidden, weight = hidden_AH.clone().requires_grad_(), weight_VH.clone().requires_grad_(trains)
        logprobs_A, entropy_A = chunked_logprobs(hidden, weight, torch.arange(20), 0.7)
        (logprobs_A.sum() + entropy_A.sum()).backward()
        assert hidden.grad is not None
        gradients.append(hidden.grad)
        assert (weight.grad is not None) == trains
    assert torch.equal(*gradients)


def test_a_critic_has_an_adapter_and_a_head_that_trains(untied: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    critic = ValueModel(untied, "float32", lora=LORA)
    trains = {name: weight for name, weight in critic.named_parameters() if weight.requires_grad}
    assert {name for name in trains if not is_adapter(name)} == {"head.weight", "head.bias"}
    randomise(critic.named_parameters())
    torch.nn.init.normal_(critic.head.weight)
    save_file({name: weight.detach() for name, weight in trains.items()}, tmp_path / TRAINED_FILE)
    again = ValueModel(untied, "float32", lora=LORA, trained=str(tmp_path))
    tokens_T = torch.arange(40, 60)
    values = [c(tokens_T, torch.tensor([20]), tokens_T >= 45) for c in (critic, again)]
    assert torch.equal(*values)
    with pytest.raises(ValueError, match=r"critic_adapter.safetensors: of other targets or another rank; resume with"):
        ValueModel(untied, "float32", lora=LoraConfig(rank=2), trained=str(tmp_path))


def test_a_model_that_listens_trains_its_audio_adapter_too(tmp_path: Path) -> None:
    """The low-rank adapter is the decoder's alone. The model it started from hears as it did, also after a resume."""
    config = BuildConfig(hidden_size=64, layers=2, heads=2, audio=AudioConfig(mel_bins=16, hidden_size=16, layers=1))
    folder = build_model(config, tmp_path / "hearing", seed=0)
    model = LogprobModel(folder, "float32", lora=LORA)
    names = [name for name, _ in model.named_parameters() if is_adapter(name)]
    assert all(name.startswith("lm.model.layers.") for name in names)
    assert len(names) == 2 * 2 * len(LINEARS)
    assert all(name.startswith("lm.") for name, _ in model.named_parameters()), "copies are no part of the model"
    others = trained_names(model) - {*names}
    assert others
    assert all(name.startswith("lm.adapter.") for name in others)
    assert model.hearing is not None
    tokens_T = torch.tensor([60, *[model.hearing.patch_id] * model.hearing.tokens(16000), 61, 62, 63])
    features = model.encode([np.sin(np.arange(16000) / 9).astype(np.float32)])
    written_T = tokens_T >= 62
    written_T[tokens_T == model.hearing.patch_id] = False

    def heard(model: LogprobModel) -> Tensor:
        return model(tokens_T, torch.tensor([len(tokens_T)]), written_T, sounds=features)[0]

    start = heard(model)
    randomise(model.named_parameters())
    torch.nn.init.normal_(model.hearing.adapter.linear1.weight)  # type: ignore[arg-type, union-attr]
    learned = heard(model)
    assert not torch.allclose(learned, start, atol=0.01)
    with model.start_model():
        assert torch.equal(heard(model), start)
    assert torch.equal(heard(model), learned)
    save_adapter(model.lm, tmp_path, adapter_state(model))
    assert json.loads((tmp_path / ADAPTER_CONFIG).read_text())["modules_to_save"] == ["adapter"]
    again = LogprobModel(folder, "float32", lora=LORA, adapter=str(tmp_path))
    assert torch.equal(heard(again), learned)
    with again.start_model():
        assert torch.equal(heard(again), start)
    critic = ValueModel(folder, "float32", lora=LORA)
    assert {n for n in trained_names(critic) if not is_adapter(n)} >= {"head.weight", "adapter.linear1.weight"}


@pytest.mark.parametrize(
    ("targets", "count"),
    [(["q_proj"], 2), (["q_proj", "v_proj"], 4), (["self_attn.q_proj"], 2), (["0.self_attn.q_proj"], 1)],
)
def test_targets_by_name(untied: Path, targets: list[str], count: int) -> None:
    model = load_model(untied)
    config = LoraConfig(rank=2, targets=targets)
    modules = target_modules(model, config)
    assert len(modules) == count
    attach(model, config)
    adapted = {name.partition(".lora_")[0] for name, _ in model.named_parameters() if is_adapter(name)}
    assert adapted == {*modules}


@pytest.mark.parametrize("name", ["lm_head", "embed_tokens", "q_prj", "norm", "self_attn", "proj", "кью", "model"])
def test_a_target_that_is_no_layer_of_the_decoder_is_refused(untied: Path, name: str) -> None:
    with pytest.raises(
        ValueError, match=rf"^model.lora.targets: the decoder has no linear layer '{name}'; it has q_proj"
    ):
        attach(load_model(untied), LoraConfig(targets=["q_proj", name]))


def test_engines_get_all_of_what_they_fuse(untied: Path) -> None:
    """q_proj alone trains; an engine that fuses q, k and v into one matrix must be sent all three, with their biases."""
    model = LogprobModel(untied, "float32", lora=LoraConfig(rank=2, targets=["q_proj"]))
    names = [name for name, _ in model.named_parameters()]
    sent = {name for name in names if changes(model)(name)}
    assert {n.partition("self_attn.")[2] for n in sent if "layers.0" in n and not is_adapter(n)} == {
        "q_proj.base_layer.weight",
        "q_proj.base_layer.bias",
        *(f"{proj}_proj.{part}" for proj in "kv" for part in ("weight", "bias")),
        "o_proj.weight",
    }
    assert not any("mlp" in name or "embed" in name or "norm" in name for name in sent)


def test_an_adapter_of_another_rank_is_refused(model: LogprobModel, untied: Path, tmp_path: Path) -> None:
    save_adapter(model.lm, tmp_path, adapter_state(model))
    other = load_model(untied)
    attach(other, LoraConfig(rank=2))
    with pytest.raises(
        ValueError, match=r"an adapter of other targets or another rank; resume with the model.lora that"
    ):
        load_adapter(other, tmp_path)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"rank": 0}, r"model.lora.rank: must be at least 1; got 0"),
        ({"rank": -3}, r"model.lora.rank: must be at least 1; got -3"),
        ({"rank": 1000}, r"model.lora.rank: engines take at most 512; got 1000"),
        ({"rank": 2.5}, r"model.lora.rank: expected"),
        ({"alpha": 0}, r"model.lora.alpha: must be above 0, or the adapter does nothing; got 0"),
        ({"targets": []}, r"model.lora.targets: name at least one matrix"),
        ({"targets": [""]}, r"model.lora.targets: name at least one matrix"),
        ({"targets": "q_proj"}, r"model.lora.targets: expected a list"),
        ({"engines": "both"}, r"model.lora.engines: 'both' is not allowed"),
        ({"r": 8}, r"model.lora: unknown key 'r'"),
    ],
)
def test_settings_out_of_bounds_are_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{message}"):
        build(ModelConfig, {"path": "x", "lora": keys}, "model")


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^model.lora: freezes all weights, and train_encoder trains some"):
        build(ModelConfig, {"path": "x", "lora": {}, "train_encoder": True}, "model")
    with pytest.raises(ConfigError, match=r"^model.lora.engines: merged in bfloat16 would lose small updates"):
        build(ModelConfig, {"path": "x", "dtype": "bfloat16", "lora": {"engines": "merged"}}, "model")


def test_what_engines_get_depends_on_the_dtype() -> None:
    assert LoraConfig().engines_merge("float32")
    assert not LoraConfig().engines_merge("bfloat16")
    assert not LoraConfig(engines="adapter").engines_merge("float32")
    assert [LoraConfig(rank=rank).engine_rank("bfloat16") for rank in (1, 4, 16, 65)] == [1, 8, 16, 128]
    assert LoraConfig().engine_rank("float32") == 0
