"""Refuses language models that would be computed wrongly.

The trunk is transformers' own, but attention (`models.attention`) and the head (`models.logprobs`) are not, and what
they do not implement would be silently missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from models.folder import CONFIG_FIX
from rl.json_files import Fields

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

REFUSED_FAMILIES = {
    **dict.fromkeys(
        ("phi", "gptj", "codegen"), "has a bias in its head, which is not supported (the head is one matrix)"
    ),
    **dict.fromkeys(
        ("mamba", "mamba2", "falcon_mamba", "falcon_h1", "jamba", "bamba", "zamba2", "rwkv", "recurrent_gemma"),
        "has recurrent layers, which are not supported (neighbours in a pack would mix)",
    ),
    **dict.fromkeys(("bloom", "mpt"), "has an attention of its own, which is not supported"),
    "gpt_oss": "has attention sinks, which are not supported",
    "cohere2": "is not supported (through a sliding window vLLM sees one token more than transformers does)",
}
"""`model_type` → the feature that is not supported; `find_unsupported_part` finds the same in a model that is
loaded."""
LAYER_TYPES = {"full_attention", "sliding_attention"}
"""Values of `layer_types` that `models.attention` computes."""


def find_unsupported_key(config: Mapping[str, object], place: str = "config.json") -> str | None:
    """Return what the config.json of a language model asks for that is not supported, as text; None if nothing. Raises
    ValueError, which begins with `place`, for a value of the wrong kind. Imports nothing heavy."""
    text = _text_config(config, place)
    if reason := REFUSED_FAMILIES.get(text.text("model_type") or ""):
        return f"'{text.text('model_type')}' {reason}"
    if cap := text.number("logits_soft_cap"):  # of RecurrentGemma
        return f"logits_soft_cap: {cap} in its config.json is not supported (final_logit_softcapping is)"
    if unknown := sorted(set(text.texts("layer_types")) - LAYER_TYPES):
        return f"layer_types: {', '.join(unknown)} in its config.json is not supported (full and sliding attention are)"
    # Read here so that a value of another kind is named before anything starts.
    logit_divisor(config, place)
    logit_cap(config, place)
    text.number("attn_logit_softcapping")
    return None


def find_unsupported_part(model: PreTrainedModel) -> str | None:
    """Return what a loaded model has that is not supported, as text, where its config.json does not say so; None if
    nothing."""
    head = cast("nn.Module", model.get_output_embeddings())
    trunk = cast("nn.Module", model.get_decoder())
    if getattr(head, "bias", None) is not None:
        return "lm_head.bias is not supported (the head is one matrix)"
    if getattr(trunk, "_is_stateful", False):
        return f"'{model.config.model_type}' has recurrent layers, which are not supported (neighbours would mix)"
    if not getattr(trunk, "_supports_attention_backend", False):
        return f"'{model.config.model_type}' has an attention of its own, which is not supported"  # ours would never be called
    if any(name.endswith(".sinks") for name, _ in trunk.named_parameters()):
        return "attention sinks are not supported"
    return None


def _text_config(config: Mapping[str, object], place: str) -> Fields:
    """Return the keys of the language model, which in a model that takes other inputs stand in `text_config`."""
    inner = Fields(config, place, CONFIG_FIX).inner("text_config")
    return Fields({**config, **inner.values}, place, CONFIG_FIX)


def logit_divisor(config: Mapping[str, object], place: str = "config.json") -> float:
    """Return the number by which the product of hidden states and head is divided to give logits: Granite's
    logits_scaling, or one over Cohere's logit_scale; 1 for other models."""
    text = _text_config(config, place)
    return (text.number("logits_scaling") or 1.0) / (text.number("logit_scale") or 1.0)


def logit_cap(config: Mapping[str, object], place: str = "config.json") -> float | None:
    """Return the number that bounds the logits, cap × tanh(logit / cap) (Gemma 2); None for other models."""
    return _text_config(config, place).number("final_logit_softcapping") or None
