"""Configures models that listen: the Step-Audio architecture (Step-Audio 2, Step-Audio-R1) under StepFun's key names,
and our own, which gives ears to any decoder.

Defaults are the values of StepFun's released models, not those of its public config class (512 / 8 / 6).
"""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import AutoConfig, PretrainedConfig, Qwen2Config

from models.audio.released import AUDIO_TOKEN_ID

TEXT_KEYS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_attention_groups",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
    "rope_theta",
    "rope_scaling",
    "eos_token_id",
    "bos_token_id",
    "pad_token_id",
    "tie_word_embeddings",
)
"""Keys of the decoder in the 32B model's flat config, beside `audio_encoder_config`."""


class StepAudioEncoderConfig(PretrainedConfig):
    """Sizes of encoder and adapter. `n_audio_ctx` positions at 50 Hz bound a chunk; clips longer than `chunk_seconds` are cut
    there, as StepFun's public client does."""

    model_type = "step_audio_2_encoder"

    n_mels: int = 128
    n_audio_ctx: int = 1500
    n_audio_state: int = 1280
    n_audio_head: int = 20
    n_audio_layer: int = 32
    n_audio_ffn: int | None = None
    """Width of the feed-forward layers; default: 4 × n_audio_state."""
    pooling: int = 2
    """Neighbouring frames that are averaged after the last layer: 2 gives 25 Hz (Qwen2-Audio), 1 leaves 50 Hz (Whisper)."""
    tail_samples: int | None = 479
    """Zeros after a clip: Step-Audio's; None: as many as fill its last hop, so that 30 s are Whisper's 3,000 frames."""
    llm_dim: int | None = None
    """Width of the decoder, which StepFun's files repeat here."""
    kernel_size: int = 3
    adapter_stride: int = 2
    adapter_width: int = 2048
    chunk_seconds: float = 25.0
    coarse: int = 1
    """Tokens that one token stands for in a chunk longer than `coarse_above_s`, which is heard as the mean spectra of such
    stretches; 1: all is heard alike."""
    coarse_above_s: float = 2.0


class StepAudioConfig(PretrainedConfig):
    """Configuration of the model: `audio_encoder_config` and `text_config` (a Qwen2 config). It also reads the 32B model's
    flat layout, whose decoder keys stand at the top."""

    model_type = "step_audio_2"
    sub_configs: ClassVar = {"audio_encoder_config": StepAudioEncoderConfig, "text_config": Qwen2Config}

    audio_encoder_config: dict[str, Any] | PretrainedConfig | None = None
    text_config: dict[str, Any] | PretrainedConfig | None = None
    audio_token_id: int = AUDIO_TOKEN_ID
    """Id of `<audio_patch>`."""

    def __post_init__(self, **kwargs: Any) -> None:
        flat = {key: kwargs.pop(key) for key in TEXT_KEYS if key in kwargs}
        if "tie_word_embeddings" in self.__dict__ and self.text_config is None:
            flat.setdefault("tie_word_embeddings", self.tie_word_embeddings)
        if not isinstance(self.text_config, PretrainedConfig):
            self.text_config = _decoder({**flat, **(self.text_config or {})})
        if not isinstance(self.audio_encoder_config, PretrainedConfig):
            values = dict(self.audio_encoder_config or {})
            values.pop("model_type", None)
            self.audio_encoder_config = StepAudioEncoderConfig(**values)
        self.audio_encoder_config.llm_dim = self.text_config.hidden_size
        # transformers asks the outermost config whether embedding and head are one matrix.
        kwargs["tie_word_embeddings"] = self.text_config.tie_word_embeddings
        super().__post_init__(**kwargs)


class GroundtoneAudioEncoderConfig(StepAudioEncoderConfig):
    """Sizes of a Whisper-like encoder and of the adapter between it and a decoder."""

    model_type = "groundtone_audio_encoder"


class GroundtoneAudioConfig(PretrainedConfig):
    """Configuration of a composed model: `audio_encoder_config` as Step-Audio's, and as `text_config` that of any causal
    language model."""

    model_type = "groundtone_audio"
    sub_configs: ClassVar = {"audio_encoder_config": GroundtoneAudioEncoderConfig, "text_config": AutoConfig}

    audio_encoder_config: dict[str, Any] | PretrainedConfig | None = None
    text_config: dict[str, Any] | PretrainedConfig | None = None
    audio_token_id: int = -1
    """Id of `<audio_patch>`."""

    def __post_init__(self, **kwargs: Any) -> None:
        if not isinstance(self.text_config, PretrainedConfig):
            values = dict(self.text_config or {"model_type": "llama"})  # transformers makes one without arguments
            self.text_config = AutoConfig.for_model(values.pop("model_type"), **values)
        if not isinstance(self.audio_encoder_config, PretrainedConfig):
            values = dict(self.audio_encoder_config or {})
            values.pop("model_type", None)
            self.audio_encoder_config = GroundtoneAudioEncoderConfig(**values)
        # As in `StepAudioConfig`: transformers asks the outermost config.
        kwargs["tie_word_embeddings"] = self.text_config.tie_word_embeddings
        super().__post_init__(**kwargs)


class StepAudioFlatConfig(StepAudioConfig):
    """Step-Audio's configuration under the 32B model's type name."""

    model_type = "step_audio_qwen2"


def _decoder(values: dict[str, Any]) -> Qwen2Config:
    """Return the decoder's config from StepFun's keys."""
    values = {key: value for key, value in values.items() if key not in ("model_type", "torch_dtype", "architectures")}
    groups = values.pop("num_attention_groups", None)
    if groups is not None:
        values["num_key_value_heads"] = groups
    # transformers 5 writes the rotary base there; StepFun's files have it as `rope_theta`, or leave it out.
    if "rope_parameters" not in values:
        values.setdefault("rope_theta", 1e6)  # Qwen2.5's
    return Qwen2Config(architectures=["Qwen2ForCausalLM"], **values)
