"""Adapts StepFun's released checkpoints: adds what their tokenizers lack, and renames parameters of their encoder.

Their own parameter names are those of `models.audio.modeling`, so loading and exporting need no renaming.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rl.types import AUDIO_PATCH

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

AUDIO_TOKEN_ID = 151690
"""Id of `<audio_patch>`."""
END_OF_TURN = "<|EOT|>"
CONTROL = ("<|BOT|>", END_OF_TURN, "<audio_start>", AUDIO_PATCH, "<audio_end>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|BOT|>{{ 'human' if message['role'] == 'user' else message['role'] }}\n"
    "{{ message['content'] }}<|EOT|>{% endfor %}{% if add_generation_prompt %}<|BOT|>assistant\n<think>\n{% endif %}"
)
"""Step-Audio-R1's format: the user is `human`, and the policy starts inside its chain."""

ENCODER_NAMES = {
    "layers.": "blocks.",
    "self_attn.q_proj.": "attn.query.",
    "self_attn.k_proj.": "attn.key.",
    "self_attn.v_proj.": "attn.value.",
    "self_attn.out_proj.": "attn.out.",
    "self_attn_layer_norm.": "attn_ln.",
    "final_layer_norm.": "mlp_ln.",
    "fc1.": "mlp.0.",
    "fc2.": "mlp.2.",
    "embed_positions.": "positional_embedding.",
}
"""Parts of parameter names in transformers' Qwen2AudioEncoder (and Whisper's) → StepFun's."""


def encoder_name(name: str, inverse: bool = False) -> str:
    """Return StepFun's name of a parameter of transformers' Qwen2AudioEncoder; with `inverse`, the other way round."""
    # `layer_norm.` is also the end of names within the layers, so only the outermost one is renamed.
    outer = ("layer_norm.", "after_norm.")
    prefix, replacement = outer[::-1] if inverse else outer
    if name.startswith(prefix):
        return replacement + name.removeprefix(prefix)
    for theirs, ours in ENCODER_NAMES.items():
        name = name.replace(*((ours, theirs) if inverse else (theirs, ours)))
    return name


def complete(tokenizer: PreTrainedTokenizerFast, audio_token_id: int, place: str) -> None:
    """Give a released tokenizer the chat template and end of turn that it may lack. Raises ValueError when it is not the
    model's: a control token is absent, or `<audio_patch>` has another id than the config says."""
    vocabulary: Mapping[str, int] = tokenizer.get_vocab()
    if absent := [token for token in CONTROL if token not in vocabulary]:
        raise ValueError(f"{place}: its tokenizer lacks {', '.join(absent)}; use the one released with the model")
    if vocabulary[AUDIO_PATCH] != audio_token_id:
        raise ValueError(
            f"{place}: {AUDIO_PATCH} is token {vocabulary[AUDIO_PATCH]} and the config's audio_token_id is "
            f"{audio_token_id}; correct config.json"
        )
    tokenizer.chat_template = tokenizer.chat_template or CHAT_TEMPLATE
    tokenizer.eos_token = END_OF_TURN
