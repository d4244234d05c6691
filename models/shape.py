"""What a model weighs in memory, as arithmetic on its config.json: nothing heavy is imported.

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
from models.load import ModelConfig

BYTES = {"float32": 4, "bfloat16": 2}
TIED = {"gpt2", "opt", "bloom", "gemma", "gemma2", "gemma3_text", "cohere"}
NAMED = {
    "hidden": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "k": "width of keys (kv heads × head size)",
    "ffn": "intermediate_size",
    "vocabulary": "vocab_size",
    "tied": "tie_word_embeddings",
}
"""What config.json calls the parts of a `Shape` by which two models are told apart."""
UNGATED = {"gpt2", "gpt_neox", "gptj", "opt", "bloom", "falcon", "phi", "codegen", "mpt", "starcoder2"}


@dataclass(frozen=True)
class Shape:
    """A decoder as its config.json describes it."""

    hidden: int
    layers: int
    q: int
    k: int
    heads: int
    ffn: int
    """Feed-forward size that a token passes (of its experts together, where there are several)."""
    vocabulary: int
    tied: bool
    positions: int | None
    parameters: int
    frozen: int = 0
    """Of those, the audio encoder's: it never learns, and stays whole on every rank that has it."""

    @property
    def active(self) -> int:
        """Parameters of the matrices that a token is multiplied with: of the layers and the head."""
        layer = self.hidden * (2 * self.q + 2 * self.k) + 3 * self.hidden * self.ffn
        return self.layers * layer + self.vocabulary * self.hidden

    def activations(self, dtype: str, keep: str) -> int:
        """Bytes for one token while the model runs: of what autograd keeps (`all`), of the layers' inputs and one layer
        at a time (`inputs`: gradient checkpointing), or of one layer (`none`: a forward alone).

        L × b × (6H + 3q + 2k + 4I) + 3bH for a gated layer with a flash-like attention (no T² term): both norms' inputs,
        values and outputs, q, k and v rotated and laid out by segment, and gate, up, activation and product of the
        feed-forward; then the last norm. In bfloat16 float32 copies in the norms add 2H to a layer and H at the end. As
        Korthikanti et al. 2022 (arXiv 2205.05198, eq. 1) count for GPT; within 5 % of what autograd keeps on Qwen2."""
        b, copies = BYTES[dtype], 0 if dtype == "float32" else 2
        layer = b * ((6 + copies) * self.hidden + 3 * self.q + 2 * self.k + 4 * self.ffn)
        layers = {"all": self.layers * layer, "inputs": self.layers * b * self.hidden + layer, "none": layer}
        return layers[keep] + (3 + copies // 2) * b * self.hidden

    def kv_per_token(self, dtype: str) -> int:
        """Bytes of the engine's cache for one token: keys and values of every layer, 2 L k b."""
        return 2 * self.layers * self.k * BYTES[dtype]


def read_shape(model: ModelConfig) -> Shape | None:
    """The shape of the recipe's model; None where there is no config.json or it describes no decoder known here.
    Weights that are there are counted exactly, by their files' headers. A model that is not there has the shape that
    the recipe expects. Raises ValueError for a broken config.json, or one of another model than is expected."""
    if model.build is not None:
        return config_shape({**model.shape(), "model_type": "qwen2"})
    expected = config_shape(model.expect) if model.expect is not None else None
    if model.expect is not None and expected is None:
        known = "hidden_size, num_hidden_layers, num_attention_heads and vocab_size"
        raise ValueError(f"model.expect: describes no decoder that is known here; give at least {known}")
    found = folder_shape(folder := folder_of(str(model.path)), "model.path")
    for name in NAMED if expected and found else ():
        if (wanted := getattr(expected, name)) != (has := getattr(found, name)):
            raise ValueError(
                f"model.expect: {NAMED[name]} {wanted} expected, {folder}/config.json has {has}; correct it or the path"
            )
    return found or expected


def folder_shape(folder: Path | None, place: str) -> Shape | None:
    """As `read`, of the model in a folder."""
    if folder is None or not (folder / "config.json").is_file():
        return None
    try:
        return config_shape(read_config(folder), count_parameters(folder) or None)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def folder_of(path: str) -> Path | None:
    """The model's folder: `path` itself, or where a hub name's newest snapshot lies in the local cache."""
    if Path(path).is_dir():
        return Path(path)
    home = os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE", Path(home) / "hub"))
    snapshots = sorted((cache / f"models--{path.replace('/', '--')}").glob("snapshots/*"), key=os.path.getmtime)
    return snapshots[-1] if snapshots else None


def config_shape(config: Mapping[str, Any], counted: int | None = None) -> Shape | None:
    """From the keys of a config.json (its `text_config`, if it has one); `counted` parameters, else by formula."""
    text: Mapping[str, Any] = config.get("text_config") or config

    def first(*names: str, default: Any = None) -> Any:
        return next((text[name] for name in names if text.get(name) is not None), default)

    hidden, layers = first("hidden_size", "n_embd", "d_model"), first("num_hidden_layers", "n_layer", "num_layers")
    heads, vocabulary = first("num_attention_heads", "n_head", "num_heads"), first("vocab_size")
    if not all(isinstance(value, int) and value > 0 for value in (hidden, layers, heads, vocabulary)):
        return None
    kind = str(text.get("model_type", ""))
    size = first("head_dim", default=hidden // heads)
    q, k = heads * size, first("num_key_value_heads", "num_attention_groups", default=heads) * size
    tied = bool(first("tie_word_embeddings", default=config.get("tie_word_embeddings", kind in TIED)))
    experts = first("num_experts", "num_local_experts", "n_routed_experts", default=0)
    ffn = first("moe_intermediate_size" if experts else "intermediate_size", "intermediate_size", "n_inner", "ffn_dim")
    ffn = ffn or 4 * hidden
    biases = q + 2 * k if "qwen2" in kind or text.get("attention_bias") or kind in UNGATED else 0
    norms = 2 * hidden + (2 * size if kind.startswith("qwen3") else 0)
    feed_forward = (2 if kind in UNGATED else 3) * hidden * ffn * max(experts, 1) + hidden * experts
    layer = hidden * (2 * q + 2 * k) + biases + norms + feed_forward
    formula = layers * layer + vocabulary * hidden * (1 if tied else 2) + hidden
    encoder, adapter = _listening(config, hidden)
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
        counted or formula + encoder + adapter,
        encoder,
    )


def _listening(config: Mapping[str, Any], hidden: int) -> tuple[int, int]:
    """Parameters of Step-Audio's encoder (width d) and of its adapter; none for a model of text only."""
    audio = config.get("audio_encoder_config")
    if not audio:
        return 0, 0
    d, width = audio.get("n_audio_state", 1280), audio.get("adapter_width", 2048)
    ends = 3 * d * audio.get("n_mels", 128) + 3 * d * d + (audio.get("n_audio_ctx", 1500) + 4) * d
    blocks = audio.get("n_audio_layer", 32) * 12 * (d * d + d)
    return ends + blocks, 3 * d * d + d + (d + 1) * width + (width + 1) * hidden
