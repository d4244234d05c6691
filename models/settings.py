"""Settings of the model: which one it is, or the shape of one that is built from scratch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from models.folder import CONFIG_FIX, folder_of, read_config
from models.lora import LoraConfig
from rl.config import ConfigError
from rl.json_files import Fields

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


Dtype = Literal["float32", "bfloat16"]


ENGINE_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""Sizes of an attention head for which vLLM has a CPU kernel."""
PARTS = ("text_config", "audio_config", "vision_config", "audio_encoder_config")
"""Keys of a config.json that describe parts of a model which takes other inputs than text."""


# The default of `chunk_seconds` in models.audio.config, which cannot be asked here: it imports transformers.
CHUNK_S = 25.0
"""Longest piece of a clip that an encoder hears at once, s; longer clips are cut there."""


@dataclass
class AudioConfig:
    """Audio encoder and adapter of a built model, in the Step-Audio architecture."""

    mel_bins: int = 40
    """Mel bands of the spectrogram that the encoder reads."""
    hidden_size: int = 96
    """Width of the layers."""
    layers: int = 2
    """Number of transformer layers."""
    heads: int = 2
    """Attention heads of each layer."""
    adapter_size: int = 128
    """Width of the adapter between encoder and decoder."""
    coarse: int = 1
    """Factor by which clips longer than `coarse_above_s` are heard more coarsely: with 4 they have a quarter of the tokens, and
    each hears but the mean spectrum of its 0.32 s. What matters in a long clip is then to be heard again (`listen`)."""
    coarse_above_s: float = 2.0
    """Length beyond which a clip is heard coarsely, s."""

    def validate(self, place: str) -> None:
        """Raise ConfigError for a size that does not fit."""
        for name in ("mel_bins", "hidden_size", "layers", "heads", "adapter_size", "coarse"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{place}.{name}: must be at least 1; got {getattr(self, name)}")
        if not 0 < self.coarse_above_s < float("inf"):
            raise ConfigError(f"{place}.coarse_above_s: {self.coarse_above_s} is no length of clips in seconds")
        if self.coarse > 1 and self.coarse * self.coarse_above_s > CHUNK_S:
            raise ConfigError(
                f"{place}.coarse_above_s: {self.coarse_above_s:g} s heard whole have more tokens than {CHUNK_S:g} s heard "
                f"{self.coarse} × more coarsely; at most {CHUNK_S / self.coarse:g}"
            )
        if self.hidden_size % self.heads:
            raise ConfigError(f"{place}: hidden_size {self.hidden_size} is not a multiple of heads {self.heads}")

    def shape(self) -> dict[str, Any]:
        """Return the matching keys of `audio_encoder_config` in a Step-Audio config."""
        return {
            "n_mels": self.mel_bins,
            "n_audio_state": self.hidden_size,
            "n_audio_layer": self.layers,
            "n_audio_head": self.heads,
            "adapter_width": self.adapter_size,
            "coarse": self.coarse,
            "coarse_above_s": self.coarse_above_s,
        }


@dataclass
class BuildConfig:
    """A Qwen2-shaped decoder from scratch with a byte tokenizer; `audio:` adds an audio encoder."""

    hidden_size: int = 128
    """Width of the layers."""
    layers: int = 3
    """Number of transformer layers."""
    heads: int = 4
    """Attention heads of each layer."""
    kv_heads: int | None = None
    """Heads of keys and values; default: as many as heads."""
    ffn_size: int | None = None
    """Width of the feed-forward layers; default: 3 × hidden_size."""
    tied: bool = True
    """Embedding and head share one matrix."""
    max_positions: int = 16384
    """Tokens of the longest sequence that the model takes."""
    audio: AudioConfig | None = None
    """Encoder and adapter that let the model listen; null builds a model of text."""

    def validate(self, place: str) -> None:
        """Raise ConfigError for a size that does not fit, or that no engine serves."""
        for name in ("hidden_size", "layers", "heads", "kv_heads", "ffn_size", "max_positions"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{place}.{name}: must be at least 1; got {value}")
        if self.hidden_size % self.heads:
            raise ConfigError(f"{place}: hidden_size {self.hidden_size} is not a multiple of heads {self.heads}")
        if self.hidden_size // self.heads not in ENGINE_HEAD_SIZES:
            raise ConfigError(
                f"{place}: hidden_size / heads = {self.hidden_size // self.heads} is no head size of the engine; "
                f"choose one of {', '.join(map(str, ENGINE_HEAD_SIZES))}"
            )
        if self.heads % (self.kv_heads or self.heads):
            raise ConfigError(f"{place}: heads {self.heads} is not a multiple of kv_heads {self.kv_heads}")

    def shape(self) -> dict[str, Any]:
        """Return the matching keys of a Hugging Face Qwen2 config."""
        return {
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads or self.heads,
            "intermediate_size": self.ffn_size or 3 * self.hidden_size,
            "tie_word_embeddings": self.tied,
            "max_position_embeddings": self.max_positions,
        }


@dataclass
class ComposeConfig:
    """A model that listens, put together from two: an encoder's ears, a new adapter, a decoder's language."""

    decoder: str
    """Folder or hub name of a causal language model of text, with its tokenizer and chat template."""
    encoder: str
    """Folder or hub name of a Whisper or a Qwen2-Audio, of which the audio encoder is taken."""

    def validate(self, place: str) -> None:
        """Raise ConfigError for an empty name."""
        for name in ("decoder", "encoder"):
            if not getattr(self, name).strip():
                raise ConfigError(f"{place}.{name}: is empty; name a folder or a model of the hub")

    def shape(self) -> dict[str, Any]:
        """Return the config.json of the composed model, but for the audio tokens; empty while a part is not on disk.
        Raises ValueError for a decoder or an encoder that cannot be composed."""
        from models.audio.encoders import encoder_config

        decoder, encoder = folder_of(self.decoder), folder_of(self.encoder)
        if decoder is None or encoder is None:
            return {}
        text = read_config(decoder)
        check_text_only(text, decoder)
        width = Fields(text, decoder / "config.json", CONFIG_FIX).whole("hidden_size", "n_embd", "d_model", least=1)
        try:
            return {"text_config": text, "audio_encoder_config": encoder_config(encoder, width or 1)}
        except ValueError as error:
            raise ValueError(f"model.compose.encoder: {error}") from error


def check_text_only(config: Mapping[str, object], folder: Path) -> None:
    """Raise ValueError where a config.json is not that of a causal language model of text."""
    parts = [key for key in (*PARTS, "is_encoder_decoder") if config.get(key)]
    if parts:
        raise ValueError(
            f"model.compose.decoder: {folder}/config.json has {parts[0]}: it is no causal language model of text alone; "
            "name one"
        )


@dataclass
class ModelConfig:
    """The recipe's model: `path:`, `build:` or `compose:`."""

    path: str | None = None
    """Folder or hub name of a Hugging Face causal LM, or `smollm2-135m-instruct-q4`, which `scripts/pretrained` writes."""
    build: BuildConfig | None = None
    """A small model to build from scratch."""
    compose: ComposeConfig | None = None
    """A language model and an audio encoder to put together: ears for any model."""
    dtype: Dtype = "float32"
    """Type of the weights in engines and trainers. `auto`, as without the key: bfloat16 on GPUs, float32 on a CPU and for a model
    that is built."""
    think: Literal["auto"] | bool = "auto"
    """True if every assistant turn is opened with `<think>`, as for reasoning models; false if answers come at once. auto:
    true where demonstrations have chains, the reward or a stage asks for them, or the model's chat template knows the tag
    (`rl check` says what was chosen and why)."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass, which saves memory and costs time."""
    train_encoder: bool = False
    """True if the audio encoder learns wherever the policy does. Frozen, as in the Step-Audio-R1 paper, its features are
    computed once per clip; otherwise anew at every pass over a batch."""
    lora: LoraConfig | None = None
    """Train a low-rank adapter in place of all weights; null trains them all."""
    expect: dict[str, Any] | None = None
    """Keys of the config.json at `path`, for a plan on a machine without the model: `{hidden_size: 5120, …}`. Where the
    model is present, the two must describe the same one."""

    def validate(self, place: str) -> None:
        """Raise ConfigError for keys that contradict each other."""
        if sum(choice is not None for choice in (self.path, self.build, self.compose)) != 1:
            raise ConfigError(f"{place}: give `path: …`, `build: {{…}}` or `compose: {{…}}`, exactly one of them")
        if self.path is not None and not self.path.strip():
            raise ConfigError(f"{place}.path: is empty; name a folder or a model of the hub")
        if self.expect is not None and self.path is None:
            raise ConfigError(f"{place}.expect: the recipe makes the model, so its shape is known already; remove it")
        if self.train_encoder and self.build is not None and self.build.audio is None:
            raise ConfigError(f"{place}.train_encoder: the model reads text only; add `audio: {{}}` to {place}.build")
        if self.lora is not None and self.train_encoder:
            raise ConfigError(
                f"{place}.lora: freezes all weights, and train_encoder trains some; remove one of the two"
            )
        if self.lora is not None and self.lora.engines == "merged" and self.dtype != "float32":
            raise ConfigError(f"{place}.lora.engines: merged in {self.dtype} would lose small updates; use adapter")

    @property
    def adapter_rank(self) -> int:
        """Rank of the LoRA adapters that engines are started for; 0 where they get none."""
        return self.lora.engine_rank(self.dtype) if self.lora else 0

    @property
    def thinks(self) -> bool | None:
        """True if every assistant turn is opened with `<think>`; None where the model's chat template has to tell. A run
        settles it before it starts its actors (`rl.recipe.thinking`)."""
        return None if self.think == "auto" else self.think

    @property
    def sources(self) -> dict[str, str]:
        """Folders or hub names that the model comes from, by the recipe's key; none for one that is built."""
        if self.compose is not None:
            return {"model.compose.decoder": self.compose.decoder, "model.compose.encoder": self.compose.encoder}
        return {} if self.path is None else {"model.path": self.path}

    @property
    def text_source(self) -> str | None:
        """Folder or hub name that tokenizer and chat template come from; None for a model that is built."""
        # Of a composed model the decoder's, which `sources` names first.
        return next(iter(self.sources.values()), None)

    @property
    def title(self) -> str:
        """The model in a few words."""
        if self.compose is not None:
            return f"{self.compose.decoder} with the ears of {self.compose.encoder}"
        return "built by the recipe" if self.path is None else self.path

    def shape(self) -> dict[str, Any]:
        """Return the model's config.json as a dict, without transformers; empty for a hub name that is not on disk."""
        if self.compose is not None:
            return self.compose.shape()
        if self.build is not None:
            from models.tokenizer import VOCABULARY

            audio = {"audio_encoder_config": self.build.audio.shape()} if self.build.audio else {}
            return {**self.build.shape(), "vocab_size": len(VOCABULARY), **audio}
        folder = folder_of(str(self.path))
        return read_config(folder) if folder and os.path.isfile(folder / "config.json") else {}
