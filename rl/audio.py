"""Sound as numbers: any file soundfile reads, at any rate, with any channels, becomes 16 kHz mono float32.

Everything that listens (feature extraction, acoustic measurements, the report's players) starts from `waveform`, so
that all of them hear the same samples.
"""

from __future__ import annotations

import hashlib
import io
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from rl.types import Clip

if TYPE_CHECKING:
    import numpy as np

SAMPLE_RATE = 16_000
"""Hz, of every waveform in the house."""


def content(clip: Clip) -> bytes:
    """The clip's encoded bytes. Raises ValueError when its file cannot be read."""
    if clip.data is not None:
        return clip.data
    try:
        return Path(str(clip.path)).read_bytes()
    except OSError as error:
        raise ValueError(f"{clip.path}: {error.strerror}; correct the path") from error


def fingerprint(clip: Clip) -> str:
    """Names the clip by its content: the same sound under two paths is encoded and cached once."""
    return hashlib.blake2b(content(clip), digest_size=16).hexdigest()


def waveform(clip: Clip) -> np.ndarray:
    """[samples] float32 in [-1, 1], mono, 16 kHz; channels are averaged. Raises ValueError naming file and reason."""
    return _decoded(content(clip), clip.path or "audio clip")


@lru_cache(maxsize=512)
def _decoded(data: bytes, name: str) -> np.ndarray:
    import numpy as np
    import soundfile
    import soxr

    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{name}: no audio that can be read ({error.error_string}); use WAV, FLAC, OGG or MP3"
        ) from error
    mono = samples.mean(axis=1)
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    mono = np.ascontiguousarray(mono, dtype=np.float32)
    mono.setflags(write=False)
    return mono


def encode(samples: np.ndarray, rate: int = SAMPLE_RATE) -> bytes:
    """Mono samples in [-1, 1] as 16-bit FLAC. Raises ValueError for samples out of that range: a sound is never clipped
    in silence."""
    import numpy as np
    import soundfile

    if not np.abs(samples).max(initial=0.0) <= 1:
        raise ValueError("samples beyond full scale or not numbers; lower the level")
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()
