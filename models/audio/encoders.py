"""Reads the config.json of other models' audio encoders, Whisper's and Qwen2-Audio's, into the keys of our networks.

Nothing heavy is imported.
"""

from __future__ import annotations

import os
from pathlib import Path

from models.folder import CONFIG_FIX, read_config
from rl.audio import SAMPLE_RATE
from rl.json_files import Fields, read_object

PREFIXES = {"whisper": ("model.encoder.", "encoder."), "qwen2_audio": ("audio_tower.", "model.audio_tower.")}
"""`model_type` of a model with an encoder → how the names of the encoder's weights may begin in its files."""
FRAME_RATE, TOKEN_RATE = 50.0, 12.5
"""Frames a second of an encoder without pooling, and tokens a second that a composed model's decoder reads, in Hz."""
SIZES = {
    "n_mels": ("num_mel_bins", 80, 128),
    "n_audio_ctx": ("max_source_positions", 1500, 1500),
    "n_audio_state": ("d_model", 384, 1280),
    "n_audio_head": ("encoder_attention_heads", 6, 20),
    "n_audio_layer": ("encoder_layers", 4, 32),
    "n_audio_ffn": ("encoder_ffn_dim", 1536, 5120),
}
"""Our key → (transformers' key, its default for Whisper, for Qwen2-Audio)."""
FRONT_END = {"sampling_rate": SAMPLE_RATE, "n_fft": 400, "hop_length": 160}
"""Settings of the spectrogram that our front-end computes: Whisper's."""


def encoder_config(folder: Path, hidden_size: int) -> dict[str, object]:
    """Return the `audio_encoder_config` of a composed model that hears with the encoder in `folder` and whose decoder is
    `hidden_size` wide. Raises ValueError, which names the file and the fix, for an encoder that we do not compute."""
    file = folder / "config.json"
    config = Fields(read_config(folder), file, CONFIG_FIX)
    kind = config.text("model_type") or ""
    if kind not in PREFIXES:
        raise ValueError(
            f"{file}: model_type '{kind}' has no encoder that is known here; name a Whisper or Qwen2-Audio"
        )
    is_whisper = kind == "whisper"
    audio = config if is_whisper else config.inner("audio_config")
    values: dict[str, object] = {}
    for name, (key, whisper, qwen) in SIZES.items():
        values[name] = audio.whole(key, least=1) or (whisper if is_whisper else qwen)
    if (activation := audio.text("activation_function") or "gelu") != "gelu":
        raise ValueError(f"{file}: activation_function '{activation}' of the encoder is not supported; only gelu is")
    chunk_seconds = _check_front_end(folder, values["n_mels"])
    pooling = 1 if is_whisper else 2
    stride = int(FRAME_RATE / pooling / TOKEN_RATE)
    return values | {
        "pooling": pooling,
        "tail_samples": None,
        "chunk_seconds": chunk_seconds,
        "adapter_stride": stride,
        "kernel_size": stride + 1,  # neighbouring tokens share a frame, as in Step-Audio's adapter
        "adapter_width": 2 * hidden_size,
        "llm_dim": hidden_size,
    }


def _check_front_end(folder: Path, mel_bins: object) -> float:
    """Return the longest stretch that the encoder hears at once, in seconds. Raises ValueError where its spectrogram is
    not Whisper's, or has other mel bins than the encoder reads."""
    file = folder / "preprocessor_config.json"
    if not os.path.isfile(file):
        return 30.0
    settings = Fields(read_object(file, CONFIG_FIX), file, CONFIG_FIX)
    for key, right_value in {**FRONT_END, "feature_size": mel_bins}.items():
        value = settings.whole(key)
        if value not in (None, right_value):
            fix = "fetch the encoder's own" if key == "feature_size" else "use an encoder with Whisper's spectrogram"
            raise ValueError(f"{file}: {key} is {value}, and {right_value} is what the encoder is given; {fix}")
    return float(settings.number("chunk_length") or 30.0)
