"""Language models and encoders of other libraries' making, tiny and random, to compose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
"""Of a decoder, with heads that vLLM's CPU kernel knows."""
DECODERS: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 1, "tie_word_embeddings": True},
    "qwen2": {"num_key_value_heads": 2, "tie_word_embeddings": False, "vocab_size": 320},  # with spare rows
    "qwen3": {"num_key_value_heads": 1, "head_dim": 64, "tie_word_embeddings": True},
    "gemma3_text": {"num_key_value_heads": 1, "head_dim": 64, "query_pre_attn_scalar": 64},  # scales its embeddings
    "qwen3_moe": {"num_key_value_heads": 1, "head_dim": 64, "num_experts": 4, "num_experts_per_tok": 2}
    | {"moe_intermediate_size": 64, "decoder_sparse_step": 1},  # engines pack its experts
    "smollm3": {"num_key_value_heads": 1, "no_rope_layer_interval": 2},  # vLLM runs transformers' own modules
}


def tokenizer() -> Any:
    """Bytes and ChatML's two control tokens; nothing of audio."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from models.tokenizer import _byte_alphabet

    raw = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(_byte_alphabet())}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_tokens([AddedToken(token, special=True, normalized=False) for token in ("<|im_start|>", "<|im_end|>")])
    fast = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", clean_up_tokenization_spaces=False)
    fast.chat_template = CHATML
    return fast


def decoder(folder: Path, family: str) -> Path:
    """A language model of `family`, loud: what it writes depends on what it reads."""
    from transformers import AutoConfig, AutoModelForCausalLM

    words = tokenizer()
    values = {"vocab_size": len(words), "eos_token_id": words.eos_token_id, "bos_token_id": None, "pad_token_id": None}
    config = AutoConfig.for_model(family, **{**SIZES, **values, **DECODERS[family]}, max_position_embeddings=4096)
    model = _loud(AutoModelForCausalLM.from_config(config), seed=0)
    words.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def whisper(folder: Path, mel_bins: int = 16, bare: bool = False) -> Path:
    """A Whisper with its feature extractor; `bare` is a WhisperModel, without the head of transcriptions."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperModel

    torch.manual_seed(1)
    sizes = {"encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 48, "d_model": 32}
    sizes |= {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 48, "num_mel_bins": mel_bins}
    config = WhisperConfig(**sizes, vocab_size=100, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    _loud((WhisperModel if bare else WhisperForConditionalGeneration)(config), seed=1).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=mel_bins).save_pretrained(folder)
    return folder


def qwen2_audio(folder: Path) -> Path:
    """A Qwen2-Audio, of which the encoder is used, in the names in which it is released."""
    from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

    from models.load import save_model

    audio = {
        "num_mel_bins": 16,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "d_model": 32,
    }
    text = {"model_type": "qwen2", "vocab_size": 100, **SIZES, "num_key_value_heads": 2}
    model = Qwen2AudioForConditionalGeneration(
        Qwen2AudioConfig(audio_config=audio, text_config=text, audio_token_index=99)
    )
    save_model(_loud(model, seed=2), folder, model.state_dict())
    return folder


def _loud(model: Any, seed: int) -> Any:
    """Random weights as they are made whisper: the same token wins whatever was heard."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "embed_positions" not in name:
                scale = 0.1 if "embed_tokens" in name else 1 / parameter[0].numel() ** 0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model
