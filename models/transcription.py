"""Transcribes clips with a Whisper model, a second opinion for models that listen.

Clips are heard one by one, each padded to the 30 s on which Whisper was trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast  # for what transformers leaves untyped

from rl.audio import SAMPLE_RATE, waveform
from rl.config import ConfigError
from rl.json_files import read_object

if TYPE_CHECKING:
    from rl.types import Clip


MOST_TOKENS = 440
"""Tokens of the longest transcript: Whisper has 448 places, and begins with a few of its own."""


def most_tokens(seconds: float) -> int:
    """Return the most tokens that can be said in so many seconds: a model that has lost its way repeats itself until it is
    stopped, and Whisper tiny.en did so in one of a hundred clips of noisy digits."""
    # Fast speech has seven words a second, of which some are two tokens; the rest is room for a short clip.
    return min(16 + math.ceil(10 * seconds), MOST_TOKENS)


def check_recogniser(folder: Path, place: str) -> None:
    """Raise ConfigError where the folder holds no Whisper model."""
    kind = read_object(folder / "config.json", "name a model's folder").get("model_type")
    if kind != "whisper":
        raise ConfigError(f"{place}: {folder} is a model of type '{kind}', which is no Whisper; name one")


def transcribe(folder: Path, clips: Iterable[Clip]) -> Iterator[str]:
    """Yield the transcript of each clip, greedily decoded. A clip of more than 30 s is heard up to there. Raises ValueError for
    one that is no sound."""
    import torch
    from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor, WhisperForConditionalGeneration

    extractor: Any = WhisperFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
    tokenizer: Any = cast("Any", PreTrainedTokenizerFast).from_pretrained(folder, trust_remote_code=False)
    model: Any = WhisperForConditionalGeneration.from_pretrained(folder, trust_remote_code=False).eval()
    for clip in clips:
        samples = waveform(clip)
        mels = extractor(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        most = most_tokens(len(samples) / SAMPLE_RATE)
        with torch.inference_mode():
            ids = model.generate(mels, do_sample=False, num_beams=1, max_new_tokens=most)
        yield tokenizer.decode(ids[0], skip_special_tokens=True).strip()
