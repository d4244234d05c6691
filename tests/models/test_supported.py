"""Tiny random models of several families: ours gives the logprobs that the model's own forward gives, or refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from models.heads import LogprobModel
from models.supported import REFUSED_FAMILIES, find_unsupported_key, find_unsupported_part

SMALL = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "vocab_size": 64,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def save_family(folder: Path, family: str, **more: Any) -> Path:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SMALL | more))
    with torch.no_grad():
        for parameter in model.parameters():  # what starts at zero or one shall count too
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("llama", {}),
        ("qwen2", {}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
        ("qwen3", {}),
        ("mistral", {"sliding_window": None}),
        ("mistral", {"sliding_window": 4}),
        ("gemma3_text", {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}),
        ("granite", {"logits_scaling": 8.0, "attention_multiplier": 0.1, "embedding_multiplier": 3.0}),
        ("gemma2", {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}),
        ("gemma2", {"final_logit_softcapping": 1.0, "attn_logit_softcapping": 0.5}),
        ("gemma2", {"final_logit_softcapping": None, "attn_logit_softcapping": None}),
        ("cohere", {"logit_scale": 0.25}),
        ("gpt2", {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 128}),
    ],
)
def test_logprobs_are_those_of_the_models_own_forward(tmp_path: Path, family: str, more: dict[str, Any]) -> None:
    from transformers import AutoModelForCausalLM

    folder, lengths = save_family(tmp_path, family, **more), [11, 3]
    tokens_T = torch.randint(3, 64, (14,), generator=torch.Generator().manual_seed(1))
    action_mask_T = torch.cat([torch.arange(n) > 0 for n in lengths])
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.no_grad():
        ours_A, _ = LogprobModel(folder, "float32").eval()(tokens_T, torch.tensor(lengths), action_mask_T, 0.7)
        tables = [(plain(ids[None]).logits[0, :-1] / 0.7).log_softmax(-1) for ids in tokens_T.split(lengths)]
    targets = torch.cat([ids[1:] for ids in tokens_T.split(lengths)])
    torch.testing.assert_close(ours_A, torch.cat(tables).gather(1, targets[:, None])[:, 0], atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("family", "more", "reason"),
    [
        ("phi", {}, r"'phi' has a bias in its head, which is not supported"),
        ("bloom", {"n_layer": 1, "n_head": 2}, r"'bloom' has an attention of its own, which is not supported"),
        ("mamba", {}, r"'mamba' has recurrent layers, which are not supported"),
        ("lfm2", {"layer_types": ["conv", "full_attention"]}, r"layer_types: conv in its config\.json is not"),
        ("gpt_oss", {"num_local_experts": 2, "num_experts_per_tok": 1}, r"'gpt_oss' has attention sinks, which are"),
    ],
)
def test_what_would_be_computed_wrongly_is_refused(
    tmp_path: Path, family: str, more: dict[str, Any], reason: str
) -> None:
    folder = save_family(tmp_path, family, **more)
    with pytest.raises(ValueError, match=rf"^model {folder}: {reason}.*; choose another model$") as error:
        LogprobModel(folder, "float32")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("family", ["phi", "mamba", "bloom", "gpt_oss"])
def test_what_is_refused_by_its_name_has_such_a_part(family: str) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(family, **SMALL | {"num_local_experts": 2, "num_experts_per_tok": 1})
    assert find_unsupported_key(config.to_dict()) == f"'{family}' {REFUSED_FAMILIES[family]}"
    assert find_unsupported_part(AutoModelForCausalLM.from_config(config)) is not None


def test_a_config_that_wraps_a_decoder_is_read_through() -> None:
    assert find_unsupported_key({"text_config": {"logits_soft_cap": 30.0}})
    assert find_unsupported_key({"text_config": None, "logits_soft_cap": None, "layer_types": None}) is None
