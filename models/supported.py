"""Refusal of language models that would be computed wrongly. The trunk is transformers' own, but attention
(`models.attention`) and the head (`models.logprobs`) are not, and what they leave out would be missing in silence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from models.folder import CONFIG_FIX
from rl.json_files import Fields

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

CAPS = ("final_logit_softcapping", "logits_soft_cap", "attn_logit_softcapping")
"""Keys of config.json that cap logits or attention scores (Gemma 2)."""
LAYER_TYPES = {"full_attention", "sliding_attention"}
"""Values of `layer_types` that `models.attention` computes."""


def find_unsupported_key(config: Mapping[str, object], place: str = "config.json") -> str | None:
    """Return what the config.json of a language model asks for that is not supported, as text; None if nothing. Raises
    ValueError, which begins with `place`, for a value of the wrong kind. Imports nothing heavy."""
    text = _text_config(config, place)
    for key in CAPS:
        if cap := text.number(key):
            return f"{key}: {cap} in its config.json is not supported (scores are used as they are, without a cap)"
    if unknown := sorted(set(text.texts("layer_types")) - LAYER_TYPES):
        return f"layer_types: {', '.join(unknown)} in its config.json is not supported (full and sliding attention are)"
    logit_divisor(config, place)
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
