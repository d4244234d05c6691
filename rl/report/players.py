"""Players of a run's sounds for the report: audio and spectrogram as data addresses."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl.audio import SAMPLE_RATE, waveform
from rl.run.clips import CLIPS, stored_clip

if TYPE_CHECKING:
    import numpy as np


SHOWN_S = 30
"""A player holds the first so many seconds."""


def players(run_dir: Path, names: Iterable[str], most_bytes: int) -> dict[str, dict[str, Any]]:
    """Fingerprint → `{"audio", "image" (data addresses), "seconds"}` of as many clips as fit into `most_bytes`."""
    shown: dict[str, dict[str, Any]] = {}
    spent = 0
    for name in dict.fromkeys(names):
        if spent > most_bytes or not (run_dir / CLIPS / name).exists():
            continue
        samples = waveform(stored_clip(run_dir, name))
        shown[name] = {
            "audio": _address("audio/ogg", _vorbis(samples[: SHOWN_S * SAMPLE_RATE])),
            "image": _address("image/png", _spectrogram(samples[: SHOWN_S * SAMPLE_RATE])),
            "seconds": round(len(samples) / SAMPLE_RATE, 2),
        }
        spent += len(shown[name]["audio"]) + len(shown[name]["image"])
    return shown


def _vorbis(samples: np.ndarray) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="OGG", subtype="VORBIS")
    return file.getvalue()


def _spectrogram(samples: np.ndarray) -> bytes:
    """64 mel bands over at most 240 columns, 60 dB from black to white, as PNG."""
    import librosa
    import numpy as np
    from PIL import Image

    hop = max(160, -(-len(samples) // 240))
    samples = np.pad(samples, (0, max(0, 512 - len(samples))))
    mel = librosa.feature.melspectrogram(y=samples, sr=SAMPLE_RATE, n_fft=max(512, hop), hop_length=hop, n_mels=64)
    decibels = librosa.power_to_db(mel, ref=max(float(mel.max()), 1e-10), top_db=60)
    grey = ((decibels - decibels.min()) / max(float(np.ptp(decibels)), 1e-9) * 255).astype("uint8")[::-1]
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG", optimize=True)
    return file.getvalue()


def _address(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
