"""Audio players of a run's clips for the report: sound and spectrogram as data URLs."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from rl.audio import SAMPLE_RATE, waveform
from rl.data.rows import fail
from rl.run.clips import CLIPS, stored_clip
from rl.run.tracker import Refuse

if TYPE_CHECKING:
    import numpy as np

MAX_SECONDS = 30
"""Longest part of a clip that a player holds, from its beginning."""


class Player(TypedDict):
    """A clip as `page.js` reads it: `audio` and `image` are data URLs, `seconds` is the length of the whole clip."""

    audio: str
    image: str
    seconds: float


def render_players(run_dir: Path, names: Iterable[str], max_bytes: int, refuse: Refuse = fail) -> dict[str, Player]:
    """Return {fingerprint: player} of the first clips among `names` that fit into about `max_bytes`. `refuse` gets a
    ValueError for a clip that cannot be decoded."""
    players: dict[str, Player] = {}
    size = 0
    for name in dict.fromkeys(names):
        if size > max_bytes or not os.path.isfile(run_dir / CLIPS / name):
            continue
        try:
            samples = waveform(stored_clip(run_dir, name))
        except ValueError as error:
            refuse(error)
            continue
        excerpt = samples[: MAX_SECONDS * SAMPLE_RATE]
        players[name] = {
            "audio": _data_url("audio/ogg", _encode_vorbis(excerpt)),
            "image": _data_url("image/png", _render_spectrogram(excerpt)),
            "seconds": round(len(samples) / SAMPLE_RATE, 2),
        }
        size += len(players[name]["audio"]) + len(players[name]["image"])
    return players


def _encode_vorbis(samples: np.ndarray) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="OGG", subtype="VORBIS")
    return file.getvalue()


def _render_spectrogram(samples: np.ndarray) -> bytes:
    """Return 64 mel bands over at most 240 columns, 60 dB from black to white, as a PNG."""
    import librosa
    import numpy as np
    from PIL import Image

    hop = max(160, -(-len(samples) // 240))  # 10 ms, or longer so that 240 columns hold the clip
    samples = np.pad(samples, (0, max(0, 512 - len(samples))))  # a clip shorter than one window has no column
    mel = librosa.feature.melspectrogram(y=samples, sr=SAMPLE_RATE, n_fft=max(512, hop), hop_length=hop, n_mels=64)
    decibels = librosa.power_to_db(mel, ref=max(float(mel.max()), 1e-10), top_db=60)
    # Digital silence has one level everywhere: the bound keeps it from being divided by 0.
    grey = ((decibels - decibels.min()) / max(float(np.ptp(decibels)), 1e-9) * 255).astype("uint8")
    file = io.BytesIO()
    Image.fromarray(grey[::-1]).save(file, "PNG", optimize=True)  # low bands at the bottom
    return file.getvalue()


def _data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
