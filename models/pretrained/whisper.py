"""Whisper tiny.en from CTranslate2's format to a Hugging Face folder."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GenerationConfig, WhisperConfig

FORMAT, SPEC = 6, "WhisperSpec"
"""Version of the format, and what such a file says it holds."""
NUMBERS = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
"""Code of a type in the file → the type."""
END, START, NO_TIMESTAMPS = 50256, 50257, 50362
"""Ids of the tokenizer's control tokens."""
ATTENTION = ("q_proj", "k_proj", "v_proj")
PARTS = {
    "self_attention/layer_norm": ["self_attn_layer_norm"],
    "self_attention/linear_0": [f"self_attn.{name}" for name in ATTENTION],
    "self_attention/linear_1": ["self_attn.out_proj"],
    "attention/layer_norm": ["encoder_attn_layer_norm"],
    "attention/linear_0": ["encoder_attn.q_proj"],
    "attention/linear_1": ["encoder_attn.k_proj", "encoder_attn.v_proj"],
    "attention/linear_2": ["encoder_attn.out_proj"],
    "ffn/layer_norm": ["final_layer_norm"],
    "ffn/linear_0": ["fc1"],
    "ffn/linear_1": ["fc2"],
    "layer_norm": ["layer_norm"],
    "conv1": ["conv1"],
    "conv2": ["conv2"],
    "position_encodings": ["embed_positions"],
    "embeddings": ["embed_tokens"],
}
"""Part of a model in CTranslate2 → in transformers: several where CTranslate2 lays their matrices end to end."""
ENDINGS = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "encodings": "weight"}
NAME = re.compile(r"(encoder|decoder)/(?:layer_(\d+)/)?(.+)/(\w+)")
"""Name of a tensor: encoder or decoder, number of the layer, part, ending. Settings, such as `decoder/num_heads`, have no part."""


def write(file: Path, folder: Path) -> None:
    """Write the model in CTranslate2's `model.bin`, beside which its settings and tokenizer lie, to `folder`."""
    import torch
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    model = WhisperForConditionalGeneration(_config())
    arrays = {name: array for key, value in read_tensors(file.read_bytes()) for name, array in rename(key, value)}
    tensors: dict[str, Tensor] = {name: torch.from_numpy(array) for name, array in arrays.items()}
    missing, extra = model.load_state_dict(tensors, strict=False)
    assert set(missing) <= {"proj_out.weight"}, missing  # the head is the embedding
    assert not extra, extra
    model.tie_weights()
    model.generation_config = _generation_config(json.loads(file.with_name("config.json").read_text()))
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    shutil.copy(file.with_name("tokenizer.json"), folder)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def read_tensors(content: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, array) of each tensor in a CTranslate2 model file.

    The file holds its version, the length and letters of its kind, a revision, and the number of tensors; for each the
    length and letters of its name, its rank, its sizes, the code of its type, its bytes and the data."""
    place = 0

    def take(form: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from(f"<{form}", content, place)
        place += struct.calcsize(f"<{form}")
        return value

    def text() -> str:
        nonlocal place
        length = take("H")  # the closing zero included
        place += length
        return content[place - length : place - 1].decode()

    version, spec = take("I"), text()
    assert (version, spec) == (FORMAT, SPEC), (version, spec)
    take("I")  # the revision
    for _ in range(take("I")):
        name, rank = text(), take("B")
        shape = [take("I") for _ in range(rank)]
        kind, size = np.dtype(NUMBERS[take("B")]), take("I")
        yield name, np.frombuffer(content, kind, size // kind.itemsize, place).reshape(shape)
        place += size


def rename(stored: str, value: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name in transformers, float32 array) of what a tensor holds; nothing for a setting."""
    match = NAME.fullmatch(stored)
    if match is None:
        return
    side, layer, part, ending = match.groups()
    prefix = f"model.{side}." if layer is None else f"model.{side}.layers.{layer}."
    names = PARTS[part]
    for name, piece in zip(names, np.split(value, len(names)), strict=True):
        if name.endswith("k_proj") and ending == "bias":
            continue  # Whisper's keys have none, and CTranslate2 stores zeros
        yield f"{prefix}{name}.{ENDINGS[ending]}", piece.astype(np.float32)


def _config() -> WhisperConfig:
    from transformers import WhisperConfig

    return WhisperConfig(
        vocab_size=51864,
        num_mel_bins=80,
        d_model=384,
        encoder_layers=4,
        decoder_layers=4,
        encoder_attention_heads=6,
        decoder_attention_heads=6,
        encoder_ffn_dim=1536,
        decoder_ffn_dim=1536,
        max_source_positions=1500,
        max_target_positions=448,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=END,
        decoder_start_token_id=START,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )


def _generation_config(settings: dict[str, list[int]]) -> GenerationConfig:
    """Return how the model transcribes: without timestamps, and without the tokens that it was told never to write."""
    from transformers import GenerationConfig

    return GenerationConfig(
        decoder_start_token_id=START,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=END,
        max_length=448,
        suppress_tokens=settings["suppress_ids"],
        begin_suppress_tokens=settings["suppress_ids_begin"],
        no_timestamps_token_id=NO_TIMESTAMPS,
        is_multilingual=False,
        return_timestamps=False,
    )
