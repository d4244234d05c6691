"""Defines networks that listen: audio encoder → strided adapter → decoder. Step-Audio's decoder is a Qwen2, that of a
composed model any causal LM. Parameter names are StepFun's.

The encoder is Qwen2-Audio's arithmetic, on each clip's own frames: pieces of similar length are padded together, frames
past a piece's end are zeroed before both strided convolutions and masked in attention. So a clip's features do not depend
on the clips beside it (in the released encoder padding leaks in: features differ by 1.29, where their mean is 0.76).

Suffixes: n pieces of a bucket, m mel bins, F mel frames, P encoder frames, K tokens, D encoder width, H decoder width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, relu, scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel, Qwen2Model
from transformers.modeling_outputs import CausalLMOutputWithPast

from models.audio import features
from models.audio.config import (
    GroundtoneAudioConfig,
    StepAudioConfig,
    StepAudioEncoderConfig,
    StepAudioFlatConfig,
)


class Attention(nn.Module):
    """Self-attention of the encoder, whose keys have no bias (Whisper's)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x_nPD: Tensor, mask: Tensor | None) -> Tensor:
        """Return [n, P, D]; `mask` [n, 1, 1, P] is True at real frames, None where all are."""
        projections = (projection(x_nPD) for projection in (self.query, self.key, self.value))
        qkv = [x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in projections]  # [n, heads, P, D / heads]
        return self.out(scaled_dot_product_attention(*qkv, attn_mask=mask).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A layer of the encoder: attention and feed-forward, each after a norm and added to its input."""

    def __init__(self, width: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.attn_ln = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, ffn), nn.GELU(), nn.Linear(ffn, width))
        self.mlp_ln = nn.LayerNorm(width)

    def forward(self, x_nPD: Tensor, mask: Tensor | None) -> Tensor:
        """Return [n, P, D]."""
        x_nPD = x_nPD + self.attn(self.attn_ln(x_nPD), mask)
        return x_nPD + self.mlp(self.mlp_ln(x_nPD))


class Encoder(nn.Module):
    """The audio encoder: forward(mels: list of [F, n_mels]) -> list of [P, D], each as if it were alone."""

    def __init__(self, config: StepAudioEncoderConfig) -> None:
        super().__init__()
        width = config.n_audio_state
        self.conv1 = nn.Conv1d(config.n_mels, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.positional_embedding = nn.Embedding(config.n_audio_ctx, width)
        ffn = config.n_audio_ffn or 4 * width
        self.blocks = nn.ModuleList([Block(width, config.n_audio_head, ffn) for _ in range(config.n_audio_layer)])
        self.pooling = config.pooling
        self.after_norm = nn.LayerNorm(width)

    def forward(self, mels: Sequence[Tensor]) -> list[Tensor]:
        """Return the features of each piece."""
        return _by_bucket(mels, self._bucket)

    def _bucket(self, mels_nFm: Tensor, frames_n: Tensor) -> tuple[Tensor, Tensor]:
        """Return (features [n, P, D], P of each piece) of padded pieces with so many real frames."""
        mels_nFm = mels_nFm.to(self.conv1.weight)
        # Padding is zero in the input, but conv1 and its bias fill it: zeroed again, conv2 sees each piece as if alone.
        x_nDF = gelu(self.conv1(mels_nFm.transpose(1, 2))) * _real_frames(frames_n, mels_nFm.shape[1])[:, None]
        x_nPD = gelu(self.conv2(x_nDF)).transpose(1, 2)
        halves_n = (frames_n + 1) // 2  # the second convolution has stride 2
        x_nPD = x_nPD + self.positional_embedding(torch.arange(x_nPD.shape[1], device=x_nPD.device))
        mask = None  # none is needed where no piece is padded
        if bool((halves_n != halves_n[0]).any()):
            mask = _real_frames(halves_n, x_nPD.shape[1])[:, None, None]
        for block in self.blocks:
            x_nPD = block(x_nPD, mask)
        if self.pooling > 1:  # P halves once more, to 25 Hz
            x_nPD = nn.functional.avg_pool1d(x_nPD.transpose(1, 2), self.pooling).transpose(1, 2)
        return self.after_norm(x_nPD), halves_n // self.pooling


class Adapter(nn.Module):
    """The adapter to the decoder: forward(features: list of [P, D]) -> list of [K, H]."""

    def __init__(self, config: StepAudioEncoderConfig, hidden_size: int) -> None:
        super().__init__()
        self.config, width = config, config.n_audio_state
        stride = config.adapter_stride
        self.conv = nn.Conv1d(width, width, config.kernel_size, stride=stride, padding=stride // 2)
        self.linear1 = nn.Linear(width, config.adapter_width)
        self.linear2 = nn.Linear(config.adapter_width, hidden_size)

    def forward(self, pieces: Sequence[Tensor]) -> list[Tensor]:
        """Return the embeddings of each piece."""
        # In one call: under ZeRO-3 every call gathers the weights, so all ranks must make the same number of calls. No
        # mask is needed: the zeros behind a shorter piece are what the convolution's own padding would be.
        features_nPD = pad_sequence(list(pieces), batch_first=True).to(self.conv.weight)
        x_nKD = gelu(self.conv(features_nPD.transpose(1, 2))).transpose(1, 2)
        lengths = [features.chunk_tokens(len(piece), self.config) for piece in pieces]
        return [row[:length] for row, length in zip(self.linear2(relu(self.linear1(x_nKD))), lengths, strict=True)]


def _real_frames(lengths_n: Tensor, longest: int) -> Tensor:
    """Return [n, longest] bool, True before each piece's end."""
    return torch.arange(longest, device=lengths_n.device) < lengths_n[:, None]


def _by_bucket(pieces: Sequence[Tensor], call: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Run `call(padded [n, L, …], lengths_n) -> (padded, lengths_n)` on pieces of similar length at a time; return each
    piece's result, in the order of the pieces."""
    results: dict[int, Tensor] = {}
    for members in features.buckets([len(piece) for piece in pieces]):
        padded_nL = pad_sequence([pieces[i] for i in members], batch_first=True)
        lengths_n = torch.tensor([len(pieces[i]) for i in members], device=padded_nL.device)
        out, out_lengths_n = call(padded_nL, lengths_n)
        results |= {i: row[:length] for i, row, length in zip(members, out, out_lengths_n.tolist(), strict=True)}
    return [results[i] for i in range(len(pieces))]


def join_pieces(pieces: Sequence[Tensor], counts: Sequence[int]) -> list[Tensor]:
    """Return the pieces of each clip end to end; clip i has `counts[i]` of them."""
    ends = np.cumsum(counts).tolist()
    return [torch.cat(list(pieces[end - count : end])) for end, count in zip(ends, counts, strict=True)]


class ListeningModel(PreTrainedModel, GenerationMixin):
    """A causal LM with `encoder` and `adapter`, as a transformers model. `<audio_patch>` in `input_ids` stands once for
    every token of a clip (expanded); `sounds` are the clips, in order, as waves [S] or as encoder features from `encode`.

    A subclass says what its decoder is."""

    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    def __init__(self, config: Any) -> None:  # StepAudioConfig or GroundtoneAudioConfig
        super().__init__(config)
        self.encoder = Encoder(config.audio_encoder_config)
        self.adapter = Adapter(config.audio_encoder_config, config.text_config.hidden_size)

    def encode(self, waves: Sequence[np.ndarray | Tensor]) -> list[Tensor]:
        """Return features [P, D] of each clip (16 kHz mono), a long clip's chunks end to end."""
        return encode(self.encoder, self.config.audio_encoder_config, waves)

    def adapt(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """Return embeddings [K, H] of each clip, from its features."""
        return adapt(self.adapter, self.config.audio_encoder_config, clips)

    def embed(self, input_ids: Tensor | None, sounds: Sequence[Tensor] | None) -> Tensor:
        """Return the decoder's embeddings of a prompt, those of the clips at its audio tokens."""
        inputs_embeds: Tensor = self.get_input_embeddings()(input_ids)
        if not sounds:
            return inputs_embeds
        embeddings = self.adapt([sound if sound.dim() == 2 else self.encode([sound])[0] for sound in sounds])
        patches = (input_ids == self.config.audio_token_id)[..., None]
        return inputs_embeds.masked_scatter(patches, torch.cat(embeddings).to(inputs_embeds.dtype))

    def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the inputs of the next `forward`; clips go into the first one alone."""
        sounds = kwargs.pop("sounds", None)
        inputs = super().prepare_inputs_for_generation(*args, **kwargs)
        if kwargs.get("is_first_iteration", False) or not kwargs.get("use_cache", True):
            inputs["sounds"] = sounds  # afterwards they are in the cache
        return inputs


class StepAudio2ForCausalLM(ListeningModel):
    """Step-Audio's network."""

    config_class = StepAudioConfig
    base_model_prefix = "model"
    _no_split_modules: ClassVar = ["Qwen2DecoderLayer", "Block"]
    _tied_weights_keys: ClassVar = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: StepAudioConfig) -> None:
        super().__init__(config)
        text: Any = config.text_config
        self.model = Qwen2Model(text)
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the decoder's embedding."""
        return self.model.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the decoder's embedding."""
        self.model.embed_tokens = value

    def get_output_embeddings(self) -> nn.Module:
        """Return the head."""
        return self.lm_head

    def get_decoder(self) -> nn.Module:
        """Return the decoder without its head."""
        return self.model

    def forward(
        self,
        input_ids: Tensor | None = None,
        sounds: Sequence[Tensor] | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Compute logits, and with `labels` the loss, as transformers' causal LMs do."""
        if inputs_embeds is None:
            inputs_embeds = self.embed(input_ids, sounds)
        out = self.model(inputs_embeds=inputs_embeds, **kwargs)
        positions = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(out.last_hidden_state[:, positions])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config.text_config.vocab_size)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=out.past_key_values)


class GroundtoneAudioForCausalLM(ListeningModel):
    """A composed model: any causal LM of transformers, with its own head, hears through encoder and adapter."""

    config_class = GroundtoneAudioConfig
    base_model_prefix = "language_model"

    def __init__(self, config: GroundtoneAudioConfig) -> None:
        super().__init__(config)
        self.language_model = AutoModelForCausalLM.from_config(config.text_config, trust_remote_code=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the decoder's embedding."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the decoder's embedding."""
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """Return the head."""
        return self.language_model.get_output_embeddings()

    def get_decoder(self) -> nn.Module:
        """Return the decoder without its head."""
        return self.language_model.get_decoder()

    def forward(
        self,
        input_ids: Tensor | None = None,
        sounds: Sequence[Tensor] | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Compute logits, and with `labels` the loss, as the decoder does."""
        if inputs_embeds is None:
            inputs_embeds = self.embed(input_ids, sounds)
        return self.language_model(inputs_embeds=inputs_embeds, **kwargs)


class StepAudioFlatForCausalLM(StepAudio2ForCausalLM):
    """Step-Audio's network under the 32B model's config."""

    config_class = StepAudioFlatConfig


def encode(encoder: nn.Module, config: StepAudioEncoderConfig, waves: Sequence[np.ndarray | Tensor]) -> list[Tensor]:
    """Return features [P, D] of each clip, a long clip's chunks end to end."""
    device = next(encoder.parameters()).device
    mels = [[mel.to(device) for mel in features.mels(wave, config)] for wave in waves]
    return join_pieces(encoder([mel for clip in mels for mel in clip]), [len(clip) for clip in mels])


def adapt(adapter: nn.Module, config: StepAudioEncoderConfig, clips: Sequence[Tensor]) -> list[Tensor]:
    """Return embeddings [K, H] of each clip, from its features."""
    # Chunk by chunk, as they were encoded: the adapter's convolution must not reach across a cut.
    full = features.encoder_frames(features.frames(features.window(config), config), config)
    pieces = [clip.split(full) for clip in clips]
    return join_pieces(adapter([piece for clip in pieces for piece in clip]), [len(clip) for clip in pieces])
