"""Transcripts by Whisper: real speech as text, and nothing but a Whisper taken for one."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
from pretrained_models import pretrained_model
from real_data import data_file, real

from models.transcription import check_recogniser, most_tokens, transcribe
from rl.config import ConfigError
from rl.data.tasks.recordings import recordings
from rl.data.transcripts import write_digits


@real
def test_whisper_hears_spoken_digits() -> None:
    folder = pretrained_model("whisper-tiny.en")
    check_recogniser(folder, "--ear")
    prompts = islice(recordings("test", path=str(data_file("fsdd")), kinds=["string"], noise_db=[20], limit=100), 3)
    pairs = [(prompt.answer, prompt.clips[0]) for prompt in prompts]
    heard = [write_digits(text) for text in transcribe(folder, [clip for _, clip in pairs])]
    assert heard == [answer for answer, _ in pairs]


@pytest.mark.parametrize(("seconds", "tokens"), [(0.0, 16), (0.55, 22), (3.0, 46), (30.0, 316), (600.0, 440)])
def test_no_more_is_heard_than_can_be_said(seconds: float, tokens: int) -> None:
    assert most_tokens(seconds) == tokens


def test_only_a_whisper_is_taken(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    with pytest.raises(ConfigError, match=r"--ear: .* is a model of type 'qwen2', which is no Whisper; name one"):
        check_recogniser(tmp_path, "--ear")
