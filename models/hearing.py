"""How a loaded model hears: the seam between a trainer and whatever audio architecture the model has.

An encoder turns waves into features (frozen: computed once per clip and cached), an adapter turns features into the
embeddings that stand at the prompt's audio tokens (trains).

Legend: S samples (16 kHz), P encoder frames, D encoder width, K tokens, H decoder width.
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
    """Made by `get_hearing`. Modules are the model's own, not copies."""

    patch_id: int
    """Token that stands for audio: once per clip in what an engine is sent, K times in what the model sees."""
    width: int
    """D."""
    encoder: nn.Module | None
    """None where only features arrive (a critic)."""
    adapter: nn.Module
    tokens: Callable[[int], int]
    """tokens(S) -> K of a clip. Raises ValueError for a clip without samples."""
    _encode: Callable[[nn.Module, Sequence[Wave]], list[Tensor]]
    _adapt: Callable[[nn.Module, Sequence[Tensor]], list[Tensor]]

    def encode(self, waves: Sequence[Wave]) -> list[Tensor]:
        """[P, D] of each clip, on the encoder's device and in its dtype; differentiable if the encoder trains."""
        assert self.encoder is not None, "hears features only"
        return self._encode(self.encoder, waves)

    def embed(self, sounds: Sequence[Tensor]) -> list[Tensor]:
        """[K, H] of each clip, from its features [P, D] or, when the encoder trains, from its wave [S]."""
        waves = {id(sound): sound for sound in sounds if sound.dim() == 1}  # once, however many samples share the clip
        fresh = dict(zip(waves, self.encode([*waves.values()]), strict=True)) if waves else {}
        return self._adapt(self.adapter, [fresh.get(id(sound), sound) for sound in sounds])

    def place(self, embeddings_TH: Tensor, tokens_T: Tensor, action_mask_T: Tensor, sounds: Sequence[Tensor]) -> Tensor:
        """`embeddings_TH` with the sounds of the pack's clips, in order, at the patches that the policy did not write
        itself. Raises ValueError when they are not as many. A pack without clips still runs what trains, weighing
        nothing: every rank's gradient then has the same parameters."""
        device = embeddings_TH.device
        if not sounds:
            trains = self.encoder is not None and any(p.requires_grad for p in self.encoder.parameters())
            silence = torch.zeros(SAMPLE_RATE // 10 if trains else (1, self.width), device=device)
            return embeddings_TH + 0 * self.embed([silence])[0].sum().to(embeddings_TH.dtype)
        patches_T = (tokens_T == self.patch_id) & ~action_mask_T
        moved = {id(sound): sound.to(device) for sound in sounds}
        sound_KH = torch.cat(self.embed([moved[id(sound)] for sound in sounds])).to(embeddings_TH.dtype)
        if int(patches_T.sum()) != len(sound_KH):
            raise ValueError(f"{int(patches_T.sum())} audio tokens in the pack for {len(sound_KH)} tokens of audio")
        return embeddings_TH.masked_scatter(patches_T[:, None], sound_KH)


def clip_counter(path: str | Path) -> Callable[[Clip], int] | None:
    """How many tokens the model at `path` hears of a clip, from its config alone; None for a model of text only. The
    function raises ValueError naming a clip that cannot be heard."""
    from transformers import AutoConfig

    from models import audio

    audio.register()
    tokens = _tokens_of(AutoConfig.from_pretrained(path))
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
    """How `model` hears; None for a model of text only."""
    tokens = _tokens_of(model.config)
    if tokens is None:
        return None
    return (_qwen2_audio if model.config.model_type == "qwen2_audio" else _step_audio)(model, tokens)


def _tokens_of(config: Any) -> Callable[[int], int] | None:
    if config.model_type in ("step_audio_2", "step_audio_qwen2"):
        from models.audio import features

        return lambda samples: features.tokens(samples, config.audio_encoder_config)
    return _qwen2_audio_tokens if config.model_type == "qwen2_audio" else None


def _step_audio(model: Any, tokens: Callable[[int], int]) -> Hearing:
    from models.audio import modeling

    config = model.config.audio_encoder_config
    return Hearing(
        model.config.audio_token_id,
        config.n_audio_state,
        model.encoder,
        model.adapter,
        tokens,
        lambda encoder, waves: modeling.encode(encoder, config, waves),
        lambda adapter, encoded: modeling.adapt(adapter, config, encoded),
    )


def _qwen2_audio_tokens(samples: int) -> int:
    if not 0 < samples <= 30 * SAMPLE_RATE:
        raise ValueError(f"a clip of {samples / SAMPLE_RATE:g} s; Qwen2-Audio hears more than 0 and at most 30 s")
    return ((samples + 159) // 160 + 1) // 2 // 2  # mel frames, halved by a convolution, then by pooling


def _qwen2_audio(model: Any, tokens: Callable[[int], int]) -> Hearing:
    """Its encoder takes 30 s whatever the clip's length, and its projector is one linear layer per frame."""
    from transformers import WhisperFeatureExtractor

    tower, projector = model.model.audio_tower, model.model.multi_modal_projector
    tower.set_attn_implementation("sdpa")
    extractor = WhisperFeatureExtractor(feature_size=model.config.audio_config.num_mel_bins)

    def encode(encoder: Any, waves: Sequence[Wave]) -> list[Tensor]:
        counts = [tokens(len(wave)) for wave in waves]
        arrays = [wave.cpu().numpy() if isinstance(wave, Tensor) else wave for wave in waves]
        mels = extractor(arrays, sampling_rate=SAMPLE_RATE, return_tensors="pt", return_attention_mask=True)
        halves_n = (mels["attention_mask"].sum(-1) + 1) // 2
        heard = torch.arange(mels["input_features"].shape[-1] // 2) < halves_n[:, None]
        mask = heard[:, None, None].expand(-1, 1, heard.shape[1], -1)
        out = encoder(mels["input_features"].to(encoder.device), attention_mask=mask.to(encoder.device))
        return [row[:count] for row, count in zip(out.last_hidden_state, counts, strict=True)]

    def adapt(adapter: Any, encoded: Sequence[Tensor]) -> list[Tensor]:
        together = torch.cat(list(encoded)).to(adapter.linear.weight)
        return list(adapter(together).split([len(clip) for clip in encoded]))

    width = model.config.audio_config.d_model
    return Hearing(model.config.audio_token_id, width, tower, projector, tokens, encode, adapt)
