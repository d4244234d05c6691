"""Gives trainers one interface to the audio front-end of a loaded model, whatever its architecture.

An encoder turns waves into features (frozen: computed once per clip and cached); an adapter, which trains, turns features
into the embeddings that stand at the prompt's audio tokens.

Suffixes: T tokens of a pack, S some of them (or, of a wave, samples at 16 kHz), P encoder frames, D encoder width, K tokens, H decoder width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from rl.audio import SAMPLE_RATE, fingerprint, waveform

if TYPE_CHECKING:
    from rl.types import Clip

Wave = np.ndarray | Tensor


@dataclass(frozen=True, slots=True)
class Hearing:
    """The audio parts of a model, from `get_hearing`. Modules are the model's own, not copies."""

    patch_id: int
    """Id of the token that stands for audio: once per clip in what an engine is sent, K times in what the model sees."""
    width: int
    """Encoder width D."""
    encoder: nn.Module | None
    """Encoder; None where only features arrive (a critic)."""
    adapter: nn.Module
    tokens: Callable[[int], int]
    """Function from a clip's samples S to its tokens K. It raises ValueError for a clip without tokens."""
    _encode: Callable[[nn.Module, Sequence[Wave]], list[Tensor]]
    _adapt: Callable[[nn.Module, Sequence[Tensor]], list[Tensor]]

    def encode(self, waves: Sequence[Wave]) -> list[Tensor]:
        """Return features [P, D] of each clip, on the encoder's device and in its dtype; differentiable if the encoder
        trains."""
        assert self.encoder is not None, "it has no encoder and takes features only"
        return self._encode(self.encoder, waves)

    def embed(self, sounds: Sequence[Tensor]) -> list[Tensor]:
        """Return embeddings [K, H] of each clip, from its features [P, D] or, when the encoder trains, its wave [S]."""
        # By identity: a clip is encoded once, however many samples of a group share it.
        waves = {id(sound): sound for sound in sounds if sound.dim() == 1}
        fresh = dict(zip(waves, self.encode([*waves.values()]), strict=True)) if waves else {}
        return self._adapt(self.adapter, [fresh.get(id(sound), sound) for sound in sounds])

    def place(
        self,
        embeddings_SH: Tensor,
        tokens_S: Tensor,
        tokens_T: Tensor,
        action_mask_T: Tensor,
        sounds: Sequence[Tensor],
    ) -> Tensor:
        """Return `embeddings_SH`, of the pack's tokens at `tokens_S`, with the clips' embeddings, in order, at the audio tokens
        that the policy did not write itself. Raises ValueError unless the pack has as many of both."""
        device = embeddings_SH.device
        if not sounds:
            # A pack without clips still runs what trains, with weight 0: under ZeRO every rank's backward must reach the
            # same parameters.
            trains = self.encoder is not None and any(p.requires_grad for p in self.encoder.parameters())
            silence = torch.zeros(SAMPLE_RATE // 10 if trains else (1, self.width), device=device)
            return embeddings_SH + 0 * self.embed([silence])[0].sum().to(embeddings_SH.dtype)
        patches_T = (tokens_T == self.patch_id) & ~action_mask_T
        # Each distinct clip is moved once, so that `embed` still recognises those that are shared.
        on_device = {id(sound): sound.to(device) for sound in sounds}
        sound_KH = torch.cat(self.embed([on_device[id(sound)] for sound in sounds])).to(embeddings_SH.dtype)
        if int(patches_T.sum()) != len(sound_KH):
            raise ValueError(f"{int(patches_T.sum())} audio tokens in the pack for {len(sound_KH)} tokens of audio")
        # Audio tokens are numbered over the whole pack, since a rank's share may begin in the middle of a clip.
        patches_S, sound_S = patches_T[tokens_S], (patches_T.cumsum(0) - 1)[tokens_S]
        return embeddings_SH.masked_scatter(patches_S[:, None], sound_KH[sound_S[patches_S]])


def clip_counter(path: str | Path) -> Callable[[Clip], int] | None:
    """Return a function from a clip to the number of tokens that it expands to in the model at `path`, or None for a model
    of text only. It reads config.json alone, and raises ValueError naming a clip that cannot be decoded."""
    from transformers import AutoConfig

    from models import audio

    audio.register()
    tokens = _tokens_of(AutoConfig.from_pretrained(path, trust_remote_code=False))
    if tokens is None:
        return None
    counts: dict[str, int] = {}

    def count(clip: Clip) -> int:
        name = fingerprint(clip)
        if name not in counts:
            wave = waveform(clip)
            try:
                counts[name] = tokens(len(wave))
            except ValueError as error:
                raise ValueError(f"{clip.path}: {error}" if clip.path else str(error)) from error
        return counts[name]

    return count


def get_hearing(model: Any) -> Hearing | None:
    """Return the audio parts of `model`; None for a model of text only."""
    tokens = _tokens_of(model.config)
    if tokens is None:
        return None
    if model.config.model_type == "qwen2_audio":
        return _qwen2_audio(model, tokens)
    return _own_parts(model, tokens)


def _tokens_of(config: Any) -> Callable[[int], int] | None:
    """Return the function from a clip's samples to its tokens; None for a model of text only."""
    if config.model_type in ("step_audio_2", "step_audio_qwen2", "groundtone_audio"):
        from models.audio import features

        return lambda samples: features.tokens(samples, config.audio_encoder_config)
    return _qwen2_audio_tokens if config.model_type == "qwen2_audio" else None


def _own_parts(model: Any, tokens: Callable[[int], int]) -> Hearing:
    """Return the parts of a model whose network is ours (`models.audio.modeling`)."""
    from models.audio import modeling

    config = model.config.audio_encoder_config
    return Hearing(
        model.config.audio_token_id,
        config.n_audio_state,
        model.encoder,
        model.adapter,
        tokens,
        lambda encoder, waves: modeling.encode(encoder, config, waves),
        lambda adapter, clips: modeling.adapt(adapter, config, clips),
    )


def _qwen2_audio_tokens(samples: int) -> int:
    # Of two mel frames no token is left.
    if not SAMPLE_RATE // 50 < samples <= 30 * SAMPLE_RATE:
        raise ValueError(f"a clip of {samples / SAMPLE_RATE:g} s; Qwen2-Audio hears more than 0.02 and at most 30 s")
    return ((samples + 159) // 160 + 1) // 2 // 2  # mel frames, halved by a convolution, then by pooling


def _qwen2_audio(model: Any, tokens: Callable[[int], int]) -> Hearing:
    """Return Qwen2-Audio's parts: its encoder takes 30 s whatever the clip's length, and its adapter ("projector") is one
    linear layer per frame."""
    from transformers import WhisperFeatureExtractor

    tower, projector = model.model.audio_tower, model.model.multi_modal_projector
    # The model was loaded with attention over packs (`models.attention`), which takes no mask; the encoder needs one.
    tower.set_attn_implementation("sdpa")
    extractor = WhisperFeatureExtractor(feature_size=model.config.audio_config.num_mel_bins)

    def encode(encoder: Any, waves: Sequence[Wave]) -> list[Tensor]:
        counts = [tokens(len(wave)) for wave in waves]
        arrays = [wave.cpu().numpy() if isinstance(wave, Tensor) else wave for wave in waves]
        mels = extractor(arrays, sampling_rate=SAMPLE_RATE, return_tensors="pt", return_attention_mask=True)
        halves_n = (mels["attention_mask"].sum(-1) + 1) // 2
        # The encoder's first convolution halves the frames; attention to those of the padding is masked.
        real_nF = torch.arange(mels["input_features"].shape[-1] // 2) < halves_n[:, None]
        mask = real_nF[:, None, None].expand(-1, 1, real_nF.shape[1], -1)
        out = encoder(mels["input_features"].to(encoder.device), attention_mask=mask.to(encoder.device))
        return [row[:count] for row, count in zip(out.last_hidden_state, counts, strict=True)]

    def adapt(adapter: Any, clips: Sequence[Tensor]) -> list[Tensor]:
        frames_PD = torch.cat(list(clips)).to(adapter.linear.weight)
        return list(adapter(frames_PD).split([len(clip) for clip in clips]))

    width = model.config.audio_config.d_model
    return Hearing(model.config.audio_token_id, width, tower, projector, tokens, encode, adapt)
