"""Computes the shape and memory of a model from its config.json; nothing heavy is imported.

Legend: P parameters, H hidden size, I feed-forward size, V vocabulary, L layers, q = heads × head size,
k = kv heads × head size, b bytes of a number (4 in float32, 2 in bfloat16), T tokens of a micro-batch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from models.folder import CONFIG_FIX, count_parameters, folder_of, read_config
from models.settings import ComposeConfig, ModelConfig
from rl.json_files import Fields

BYTES = {"float32": 4, "bfloat16": 2}
"""Bytes of a number."""
TIED_FAMILIES = {"gpt2", "opt", "bloom", "gemma", "gemma2", "gemma3_text", "cohere"}
"""Values of `model_type` whose head is the embedding unless config.json says otherwise."""
TIE = "tie_word_embeddings"
SIZES = {
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "heads": ("num_attention_heads", "n_head", "num_heads"),
    "vocabulary": ("vocab_size",),
    "kv_heads": ("num_key_value_heads", "num_attention_groups"),
    "head": ("head_dim",),
    "ffn": ("intermediate_size", "n_inner", "ffn_dim"),
    "experts": ("num_experts", "num_local_experts", "n_routed_experts"),
}
"""Names of sizes in the config.json files of families, the usual one first."""
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
    token_rate: float = 0.0
    """Tokens of a second of sound; 0 for a model of text only."""
    adapter: int = 0
    """Parameters of the audio adapter, between encoder and decoder."""
    caps_scores: bool = False
    """True if attention bounds its scores (Gemma 2), for which it computes all of them: no kernel of torch's does."""
    experts: int = 0
    """Feed-forwards of a layer of which a token passes some; 0 where there is one that all pass."""
    ffn_matrices: int = 3
    """Matrices of a feed-forward: gate, up and down, or the last two alone."""

    @property
    def active(self) -> int:
        """Number of parameters in the matrices that a token is multiplied with: of the layers and the head."""
        # Queries and the output are H × q, keys and values H × k; those of the feed-forward H × I.
        layer = self.hidden * (2 * self.q + 2 * self.k) + self.ffn_matrices * self.hidden * self.ffn
        return self.layers * layer + self.vocabulary * self.hidden

    def activations(self, dtype: str, keep: str, longest: int = 0) -> int:
        """Return the bytes of activations that stay until the backward pass, for one token of a sequence of `longest` tokens.
        `keep`: `all` that autograd keeps; `inputs` of the layers (gradient checkpointing); `two inputs`, the others in the host's
        memory; `none` (a forward alone).

        L times a layer's, or b H, and 3bH for the last norm; in bfloat16 a float32 copy in it adds H."""
        b, copies = BYTES[dtype], 0 if dtype == "float32" else 1
        layers = {
            "all": self.layers * self.layer_activations(dtype, longest),
            "inputs": self.layers * b * self.hidden,
            "two inputs": 2 * b * self.hidden,
            "none": 0,
        }
        return layers[keep] + (3 + copies) * b * self.hidden

    def layer_activations(self, dtype: str, longest: int = 0) -> int:
        """Return the bytes of activations of one layer, for one token of a sequence of `longest` tokens.

        b × (6H + 3q + 2k + 4I) for a gated layer with a flash-like attention (no T² term): both norms' inputs, values and
        outputs, q, k and v rotated and laid out by segment, and gate, up, activation and product of the feed-forward. In
        bfloat16 float32 copies in the norms add 2H. As Korthikanti et al. 2022 (arXiv 2205.05198, eq. 1) count for GPT; held
        against what autograd keeps on Qwen2 (tests/planning/test_meta_memory.py)."""
        b, copies = BYTES[dtype], 0 if dtype == "float32" else 2
        layer = b * ((6 + copies) * self.hidden + 3 * self.q + 2 * self.k + 4 * self.ffn)
        if self.caps_scores:  # of each score its tanh, and its share in float32 and in the model's type
            layer += self.heads * longest * 8
        return layer

    def kv_per_token(self, dtype: str) -> int:
        """Return the bytes of the engine's cache for one token: keys and values of every layer, 2 L k b."""
        return 2 * self.layers * self.k * BYTES[dtype]


def read_shape(model: ModelConfig) -> Shape | None:
    """Return the shape of the recipe's model, or None without a config.json that describes a decoder known here.
    Parameters on disk are counted exactly, by their files' headers. A model that is not on disk has the shape that the
    recipe expects. Raises ValueError for a broken config.json, or one of another model than the recipe expects."""
    if model.build is not None:
        # A built decoder is a Qwen2, which the recipe's keys do not say: its queries, keys and values have biases.
        return config_shape({**model.shape(), "model_type": "qwen2"})
    expected_shape = config_shape(model.expect, place="model.expect") if model.expect is not None else None
    if model.expect is not None and expected_shape is None:
        keys = "hidden_size, num_hidden_layers, num_attention_heads and vocab_size"
        raise ValueError(f"model.expect: describes no decoder that is known here; give at least {keys}")
    if model.compose is not None:
        return _composed_shape(model.compose)
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


def _composed_shape(compose: ComposeConfig) -> Shape | None:
    """Return the shape of a composed model, or None while a part is not on disk."""
    config = compose.shape()
    if not config:
        return None
    whole, text = config_shape(config), config_shape(config["text_config"])
    decoder = folder_shape(folder_of(compose.decoder), "model.compose.decoder")
    if whole is None or text is None or decoder is None:
        return None
    # The decoder is counted by its files, encoder and adapter by formula; rows for audio tokens are a few.
    return replace(whole, parameters=decoder.parameters + whole.parameters - text.parameters)


def folder_shape(folder: Path | None, place: str) -> Shape | None:
    """Return the shape of the model in a folder, or None without a config.json that describes a decoder known here. Raises
    ValueError, beginning with `place`, for a broken one."""
    if folder is None or not os.path.isfile(folder / "config.json"):
        return None
    try:
        return config_shape(read_config(folder), count_parameters(folder) or None, f"{folder}/config.json")
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def config_shape(
    config: Mapping[str, object], parameters: int | None = None, place: str = "config.json"
) -> Shape | None:
    """Return the shape that the keys of a config.json (of its `text_config`, if it has one) describe, or None if they
    describe no decoder known here. `parameters`: their number, where it is known; by default by formula. Raises ValueError,
    which begins with `place`, for a value of the wrong kind."""
    whole = Fields(config, place, CONFIG_FIX)
    text = whole.inner("text_config") if config.get("text_config") else whole
    # Families whose layers differ in size list a number for each of them.
    if any(isinstance(text.first(*names)[1], list) for names in SIZES.values()):
        return None
    # Families have their own names for the same number.
    hidden, layers, heads, vocabulary, kv_heads, stated_size, experts = (
        text.whole(*SIZES[name]) for name in ("hidden", "layers", "heads", "vocabulary", "kv_heads", "head", "experts")
    )
    if not (hidden and layers and heads and vocabulary):
        return None
    kind, experts = text.text("model_type") or "", experts or 0
    size = stated_size or hidden // heads
    if not size:
        raise ValueError(f"{text.place}: {heads} attention heads are more than hidden_size {hidden}; {CONFIG_FIX}")
    q, k = heads * size, (kv_heads or heads) * size
    tied = next((tie for tie in (text.flag(TIE), whole.flag(TIE)) if tie is not None), kind in TIED_FAMILIES)
    ffn = text.whole(*(("moe_intermediate_size",) if experts else ()), *SIZES["ffn"]) or 4 * hidden
    biases = q + 2 * k if "qwen2" in kind or text.flag("attention_bias") or kind in UNGATED_FAMILIES else 0
    # The two norms of a layer; Qwen3 also has one for a head's queries and one for its keys.
    norms = 2 * hidden + (2 * size if kind.startswith("qwen3") else 0)
    # A mixture holds the matrices of all its experts, and a router with a row for each.
    matrices = 2 if kind in UNGATED_FAMILIES else 3
    feed_forward = matrices * hidden * ffn * max(experts, 1) + hidden * experts
    layer = hidden * (2 * q + 2 * k) + biases + norms + feed_forward
    # The last term is the norm before the head.
    formula = layers * layer + vocabulary * hidden * (1 if tied else 2) + hidden
    encoder, adapter = _audio_parameters(whole.inner("audio_encoder_config"), hidden)
    active = ffn * (text.whole("num_experts_per_tok") or 1)
    positions = text.whole("max_position_embeddings", "n_positions", least=1)
    count = parameters or formula + encoder + adapter
    rate = _token_rate(whole)
    has_cap = bool(text.first("attn_logit_softcapping")[1])
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
        count,
        encoder,
        rate,
        adapter,
        has_cap,
        experts,
        matrices,
    )


def _token_rate(whole: Fields) -> float:
    """Return the tokens of a second of sound: of 50 frames, which an encoder may average and an adapter strides over."""
    audio = whole.inner("audio_encoder_config")
    if not audio.values:
        # Qwen2-Audio averages its 50 frames in pairs, each of which is a token.
        return 25.0 if whole.text("model_type") == "qwen2_audio" else 0.0
    # If long clips are heard coarsely, the rate of a long clip: only these may leave no room for an answer.
    stride = (audio.whole("adapter_stride", least=1) or 2) * (audio.whole("coarse", least=1) or 1)
    return 50.0 / ((audio.whole("pooling", least=1) or 2) * stride)


def _audio_parameters(audio: Fields, hidden: int) -> tuple[int, int]:
    """Return the numbers of parameters of Step-Audio's encoder (width d) and of its adapter; 0 for a model of text only."""
    if not audio.values:
        return 0, 0

    def size(name: str, default: int) -> int:
        stated_size = audio.whole(name, least=1)
        return default if stated_size is None else stated_size

    d, width = size("n_audio_state", 1280), size("adapter_width", 2048)
    # Two convolutions of width 3 and the positions; the 4 d are the convolutions' biases and the last norm.
    ends = 3 * d * size("n_mels", 128) + 3 * d * d + (size("n_audio_ctx", 1500) + 4) * d
    ffn = size("n_audio_ffn", 4 * d)
    # The 8 d of a block: biases of queries, values and output (keys have none), two norms, bias of the second matrix.
    blocks = size("n_audio_layer", 32) * (4 * d * d + 8 * d + (2 * d + 1) * ffn)
    adapter = size("kernel_size", 3) * d * d + d + (d + 1) * width + (width + 1) * hidden
    return ends + blocks, adapter
