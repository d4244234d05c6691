"""Shape and memory of a model, as arithmetic on its config.json: nothing heavy is imported.

Legend: P parameters, H hidden size, I feed-forward size, V vocabulary, L layers, q = heads × head size,
k = kv heads × head size, b bytes of a number (4 in float32, 2 in bfloat16), T tokens of a micro-batch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.folder import count_parameters, read_config
from models.settings import ModelConfig

BYTES = {"float32": 4, "bfloat16": 2}
"""Bytes of a number."""
TIED_FAMILIES = {"gpt2", "opt", "bloom", "gemma", "gemma2", "gemma3_text", "cohere"}
"""Values of `model_type` whose head is the embedding unless config.json says otherwise."""
CONFIG_KEYS = {
    "hidden": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "k": "width of keys (kv heads × head size)",
    "ffn": "intermediate_size",
    "vocabulary": "vocab_size",
    "tied": "tie_word_embeddings",
}
"""Fields of a `Shape` by which two models are compared, and their names in config.json."""
UNGATED_FAMILIES = {"gpt2", "gpt_neox", "gptj", "opt", "bloom", "falcon", "phi", "codegen", "mpt", "starcoder2"}
"""Values of `model_type` whose feed-forward layers have two matrices (up, down) and not three (gate, up, down)."""


@dataclass(frozen=True)
class Shape:
    """A decoder as its config.json describes it."""

    hidden: int
    layers: int
    q: int
    """Width of queries: heads × head size."""
    k: int
    """Width of keys, and of values: kv heads × head size."""
    heads: int
    ffn: int
    """Feed-forward size that a token passes (of its experts together, where there are several)."""
    vocabulary: int
    tied: bool
    """True if embedding and head share one matrix."""
    positions: int | None
    """Longest sequence in tokens, where config.json names one."""
    parameters: int
    """Number of parameters, the audio encoder's included."""
    frozen: int = 0
    """Parameters of the audio encoder, which stays whole on every rank that has it."""

    @property
    def active(self) -> int:
        """Number of parameters in the matrices that a token is multiplied with: of the layers and the head."""
        layer = self.hidden * (2 * self.q + 2 * self.k) + 3 * self.hidden * self.ffn
        return self.layers * layer + self.vocabulary * self.hidden

    def activations(self, dtype: str, keep: str) -> int:
        """Return the bytes of activations for one token. `keep`: what stays until the backward pass. `all`: what autograd
        keeps; `inputs`: the layers' inputs, and one layer at a time (gradient checkpointing); `none`: one layer (a forward
        alone).

        L × b × (6H + 3q + 2k + 4I) + 3bH for a gated layer with a flash-like attention (no T² term): both norms' inputs,
        values and outputs, q, k and v rotated and laid out by segment, and gate, up, activation and product of the
        feed-forward; then the last norm. In bfloat16 float32 copies in the norms add 2H to a layer and H at the end. As
        Korthikanti et al. 2022 (arXiv 2205.05198, eq. 1) count for GPT; within 5 % of what autograd keeps on Qwen2."""
        b, copies = BYTES[dtype], 0 if dtype == "float32" else 2
        layer = b * ((6 + copies) * self.hidden + 3 * self.q + 2 * self.k + 4 * self.ffn)
        layers = {"all": self.layers * layer, "inputs": self.layers * b * self.hidden + layer, "none": layer}
        return layers[keep] + (3 + copies // 2) * b * self.hidden

    def kv_per_token(self, dtype: str) -> int:
        """Return the bytes of the engine's cache for one token: keys and values of every layer, 2 L k b."""
        return 2 * self.layers * self.k * BYTES[dtype]


def read_shape(model: ModelConfig) -> Shape | None:
    """Return the shape of the recipe's model, or None without a config.json that describes a decoder known here.
    Parameters on disk are counted exactly, by their files' headers. A model that is not on disk has the shape that the
    recipe expects. Raises ValueError for a broken config.json, or one of another model than the recipe expects."""
    if model.build is not None:
        return config_shape({**model.shape(), "model_type": "qwen2"})
    expected_shape = config_shape(model.expect) if model.expect is not None else None
    if model.expect is not None and expected_shape is None:
        keys = "hidden_size, num_hidden_layers, num_attention_heads and vocab_size"
        raise ValueError(f"model.expect: describes no decoder that is known here; give at least {keys}")
    folder = folder_of(str(model.path))
    shape = folder_shape(folder, "model.path")
    if shape is None or expected_shape is None:
        return shape or expected_shape
    for name, key in CONFIG_KEYS.items():
        want, have = getattr(expected_shape, name), getattr(shape, name)
        if want != have:
            raise ValueError(
                f"model.expect: {key} {want} expected, {folder}/config.json has {have}; correct it or the path"
            )
    return shape


def folder_shape(folder: Path | None, place: str) -> Shape | None:
    """Return the shape of the model in a folder, or None without a config.json that describes a decoder known here. Raises
    ValueError, beginning with `place`, for a broken one."""
    if folder is None or not (folder / "config.json").is_file():
        return None
    try:
        return config_shape(read_config(folder), count_parameters(folder) or None)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def folder_of(path: str) -> Path | None:
    """Return the model's folder: `path` itself, or a hub name's newest snapshot in the local cache; None without either."""
    if Path(path).is_dir():
        return Path(path)
    home = os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE", Path(home) / "hub"))
    snapshots = sorted((cache / f"models--{path.replace('/', '--')}").glob("snapshots/*"), key=os.path.getmtime)
    return snapshots[-1] if snapshots else None


def config_shape(config: Mapping[str, Any], parameters: int | None = None) -> Shape | None:
    """Return the shape that the keys of a config.json (of its `text_config`, if it has one) describe, or None if they
    describe no decoder known here. `parameters`: their number, where it is known; by default by formula."""
    text: Mapping[str, Any] = config.get("text_config") or config

    def first(*names: str, default: Any = None) -> Any:
        # Families have their own names for the same number.
        return next((text[name] for name in names if text.get(name) is not None), default)

    hidden, layers = first("hidden_size", "n_embd", "d_model"), first("num_hidden_layers", "n_layer", "num_layers")
    heads, vocabulary = first("num_attention_heads", "n_head", "num_heads"), first("vocab_size")
    if not all(isinstance(value, int) and value > 0 for value in (hidden, layers, heads, vocabulary)):
        return None
    kind = str(text.get("model_type", ""))
    size = first("head_dim", default=hidden // heads)
    q, k = heads * size, first("num_key_value_heads", "num_attention_groups", default=heads) * size
    tied = bool(first("tie_word_embeddings", default=config.get("tie_word_embeddings", kind in TIED_FAMILIES)))
    experts = first("num_experts", "num_local_experts", "n_routed_experts", default=0)
    ffn = first("moe_intermediate_size" if experts else "intermediate_size", "intermediate_size", "n_inner", "ffn_dim")
    ffn = ffn or 4 * hidden
    biases = q + 2 * k if "qwen2" in kind or text.get("attention_bias") or kind in UNGATED_FAMILIES else 0
    norms = 2 * hidden + (2 * size if kind.startswith("qwen3") else 0)
    feed_forward = (2 if kind in UNGATED_FAMILIES else 3) * hidden * ffn * max(experts, 1) + hidden * experts
    layer = hidden * (2 * q + 2 * k) + biases + norms + feed_forward
    formula = layers * layer + vocabulary * hidden * (1 if tied else 2) + hidden
    encoder, adapter = _audio_parameters(config, hidden)
    active = ffn * first("num_experts_per_tok", default=1)
    positions = first("max_position_embeddings", "n_positions")
    return Shape(
        hidden,
        layers,
        q,
        k,
        heads,
        active,
        vocabulary,
        tied,
        positions,
        parameters or formula + encoder + adapter,
        encoder,
    )


def _audio_parameters(config: Mapping[str, Any], hidden: int) -> tuple[int, int]:
    """Return the numbers of parameters of Step-Audio's encoder (width d) and of its adapter; 0 for a model of text only."""
    audio = config.get("audio_encoder_config")
    if not audio:
        return 0, 0
    d, width = audio.get("n_audio_state", 1280), audio.get("adapter_width", 2048)
    ends = 3 * d * audio.get("n_mels", 128) + 3 * d * d + (audio.get("n_audio_ctx", 1500) + 4) * d
    blocks = audio.get("n_audio_layer", 32) * 12 * (d * d + d)
    return ends + blocks, 3 * d * d + d + (d + 1) * width + (width + 1) * hidden
