"""The sounds of a run: each clip that was asked about is kept once, as it came, under `clips/FINGERPRINT`, so that
samples can be heard in the report and judged again long after the data set has moved."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl.audio import SAMPLE_RATE, content, fingerprint, waveform
from rl.run.files import replacing
from rl.types import Clip

if TYPE_CHECKING:
    import numpy as np

CLIPS = "clips"
SHOWN_S = 30
"""A player holds the first so many seconds."""


def keep(run_dir: Path, clips: Sequence[Clip]) -> list[str]:
    """Fingerprints of the clips; those not kept yet are written. Raises DiskFull."""
    names = [fingerprint(clip) for clip in clips]
    for name, clip in zip(names, clips, strict=True):
        if not (file := run_dir / CLIPS / name).exists():
            with replacing(file) as temporary:
                temporary.write_bytes(content(clip))
    return names


def kept(run_dir: Path, name: str) -> Clip:
    """The clip that `keep` named so."""
    return Clip(path=str(run_dir / CLIPS / name))


def players(run_dir: Path, names: Iterable[str], most_bytes: int) -> dict[str, dict[str, Any]]:
    """Fingerprint → `{"audio", "image" (data addresses), "seconds"}` of as many clips as fit into `most_bytes`."""
    shown: dict[str, dict[str, Any]] = {}
    spent = 0
    for name in dict.fromkeys(names):
        if spent > most_bytes or not (run_dir / CLIPS / name).exists():
            continue
        samples = waveform(kept(run_dir, name))
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
