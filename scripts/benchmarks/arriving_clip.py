"""Measures what encoding a clip while it arrives saves, and what shorter chunks change, with Whisper's encoder.

The results are in docs/realtime.md.

.venv/bin/python scripts/benchmarks/arriving_clip.py WHISPER --clips FOLDER [--seconds 65]
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor

from models.audio.arriving import ArrivingClip
from models.audio.config import StepAudioEncoderConfig
from models.audio.encoders import encoder_config
from models.audio.modeling import encode
from models.compose import load_encoder
from rl.audio import SAMPLE_RATE, waveform
from rl.types import Clip

CHUNKS_S = (1.0, 2.0, 5.0, 10.0)
PIECE_S = 0.1
"""Seconds of sound in a piece, as a microphone gives them."""


def read_speech(folder: Path, seconds: float) -> Tensor:
    """Return spoken words end to end, as many as fill `seconds`."""
    files = [file for kind in ("*.wav", "*.flac", "*.ogg") for file in sorted(folder.rglob(kind))]
    waves, samples = list[Tensor](), 0
    for file in files[:: max(1, len(files) // 200)]:
        waves.append(torch.from_numpy(waveform(Clip(str(file))).copy()))
        samples += len(waves[-1])
        if samples >= seconds * SAMPLE_RATE:
            break
    return torch.cat(waves)[: int(seconds * SAMPLE_RATE)]


def relative_distance(one: Tensor, other: Tensor) -> float:
    """Return the root mean square of the difference over that of the second."""
    length = min(len(one), len(other))
    return float((one[:length] - other[:length]).square().mean().sqrt() / other[:length].square().mean().sqrt())


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("whisper", type=Path)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=65.0)
    arguments = parser.parse_args()
    config = StepAudioEncoderConfig(**encoder_config(arguments.whisper, 64))
    encoder = load_encoder(arguments.whisper, SimpleNamespace(audio_encoder_config=config))
    wave = read_speech(arguments.clips, arguments.seconds)
    began = time.monotonic()
    (whole,) = encode(encoder, config, [wave])
    whole_s = time.monotonic() - began
    clip, pieces = ArrivingClip(encoder, config), list[Tensor]()
    for piece in wave.split(int(PIECE_S * SAMPLE_RATE)):
        pieces.append(clip.add(piece))
    began = time.monotonic()
    pieces.append(clip.finish())
    last_s = time.monotonic() - began
    figures: dict[str, object] = {
        "seconds of sound": len(wave) / SAMPLE_RATE,
        "chunk, s": config.chunk_seconds,
        "encoding behind the end of the clip, s": {"whole": round(whole_s, 3), "arriving": round(last_s, 3)},
        "largest difference of a feature": float((torch.cat(pieces) - whole).abs().max()),
    }
    for seconds in CHUNKS_S:
        shorter = copy.copy(config)
        shorter.chunk_seconds = seconds
        (other,) = encode(encoder, shorter, [wave])
        figures[f"distance by chunks of {seconds:g} s"] = round(relative_distance(other, whole), 3)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
