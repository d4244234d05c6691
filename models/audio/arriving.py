"""Encodes a clip while it arrives, so that what was heard need not wait for the rest.

Suffixes: S samples, P encoder frames, D encoder width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from models.audio import features

if TYPE_CHECKING:
    from models.audio.config import StepAudioEncoderConfig


class ArrivingClip:
    """Features of a clip whose samples come piece by piece, of any size.

    The encoder hears a long clip in chunks of `chunk_seconds`, each as if it were alone. So a chunk can be encoded as soon as it is
    whole, and the features are those of the whole clip, chunk by chunk; only the last one waits for the end."""

    def __init__(self, encoder: nn.Module, config: StepAudioEncoderConfig) -> None:
        self.encoder, self.config = encoder, config
        self.window = features.window(config)
        self.rest_S = torch.zeros(0)  # what no chunk holds yet
        self.is_empty = True

    def add(self, wave_S: Tensor) -> Tensor:
        """Take samples at 16 kHz, and return the features [P, D] of the chunks that they complete, perhaps none."""
        self.is_empty = self.is_empty and not len(wave_S)
        # Each call copies only what is left over, at most a chunk, however long the clip becomes.
        self.rest_S = torch.cat([self.rest_S, wave_S.float().cpu()])
        whole = len(self.rest_S) // self.window * self.window
        chunks, self.rest_S = self.rest_S[:whole].split(self.window), self.rest_S[whole:]
        # Where no chunk is whole yet, the split of nothing is one empty piece.
        return self._encode([chunk for chunk in chunks if len(chunk)])

    def finish(self) -> Tensor:
        """Return the features [P, D] of what is left at the end of the clip, perhaps none. Raises ValueError for an empty clip."""
        if self.is_empty:
            raise ValueError("an audio clip has no samples; drop the row or correct the file")
        rest_S, self.rest_S = self.rest_S, torch.zeros(0)
        return self._encode([rest_S] if len(rest_S) else [])

    def _encode(self, chunks: list[Tensor]) -> Tensor:
        weight = next(self.encoder.parameters())
        if not chunks:
            return torch.zeros(0, self.config.n_audio_state, device=weight.device, dtype=weight.dtype)
        mels = [features.log_mel(chunk, self.config).to(weight.device) for chunk in chunks]
        return torch.cat(self.encoder(mels))
