"""Refusal of language models that would be computed wrongly. The trunk is transformers' own, but attention
(`models.attention`) and the head (`models.logprobs`) are not, and what they leave out would be missing in silence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

CAPS = ("final_logit_softcapping", "logits_soft_cap", "attn_logit_softcapping")
"""Keys of config.json that cap logits or attention scores (Gemma 2)."""
LAYER_TYPES = {"full_attention", "sliding_attention"}
"""Values of `layer_types` that `models.attention` computes."""


def find_unsupported_key(config: Mapping[str, Any]) -> str | None:
    """Return what the config.json of a language model asks for that is not supported, as text; None if nothing. Imports
    nothing heavy."""
    text = _text_config(config)
    for key in CAPS:
        if text.get(key):
            return (
                f"{key}: {text[key]} in its config.json is not supported (scores are used as they are, without a cap)"
            )
    if unknown := sorted(set(text.get("layer_types") or ()) - LAYER_TYPES):
        return f"layer_types: {', '.join(unknown)} in its config.json is not supported (full and sliding attention are)"
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


def _text_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of the language model, which in a model that takes other inputs stand in `text_config`."""
    return {**config, **(config.get("text_config") or {})}


def logit_divisor(config: Mapping[str, Any]) -> float:
    """Return the number by which the product of hidden states and head is divided to give logits: Granite's
    logits_scaling, or one over Cohere's logit_scale; 1 for other models."""
    text = _text_config(config)
    return float(text.get("logits_scaling") or 1.0) / float(text.get("logit_scale") or 1.0)
