"""Models that listen, tiny and random but loud: what they write depends on what they hear."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl.types import AUDIO_PATCH, Clip, Message, Prompt

SECONDS = (0.2, 0.31, 0.5, 0.8, 1.3, 2.1, 3.0, 5.0, 9.0, 17.0, 26.0, 40.0)


@pytest.fixture(scope="session")
def clips() -> list[Clip]:
    """Tones in noise, of 0.2 to 40 s."""
    import soundfile

    rng, made = np.random.default_rng(0), []
    for seconds in SECONDS:
        t = np.arange(round(seconds * 16000)) / 16000
        wave = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 4000) * t) + rng.normal(0, 0.02, len(t))
        file = io.BytesIO()
        soundfile.write(file, wave, 16000, format="WAV")
        made.append(Clip(data=file.getvalue()))
    return made


@pytest.fixture(scope="session")
def prompts(clips: list[Clip]) -> list[Prompt]:
    """60 prompts: 0 to 3 clips each, at the start, between words and at the end, in one turn or two."""
    rng, asked = np.random.default_rng(1), []
    for i in range(60):
        heard = [clips[j] for j in rng.choice(len(clips), i % 4, p=np.array([3] * 8 + [1] * 4) / 28)]
        words = ["what", "is", "it", "?"[: i % 2]]
        for at in sorted(rng.choice(5, len(heard), replace=False), reverse=True):
            words.insert(at, AUDIO_PATCH)
        turns = [Message("user", " ".join(words[:2])), Message("user", " ".join(words[2:]))]
        whole = [Message("user", " ".join(words))]
        asked.append(Prompt(f"p{i}", tuple(turns if i % 5 == 0 else whole), clips=tuple(heard)))
    return asked


@pytest.fixture(scope="session", name="loud")
def loud_fixture() -> Callable[[Any, int], Any]:
    return loud


def loud(model: Any, seed: int) -> Any:
    """Random weights as they are made whisper: the same token wins whatever was heard."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                fan_in = parameter[0].numel() ** 0.5
                scale = 0.1 if "embed_tokens" in name else (2 if "layers." in name else 1) / fan_in
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return model


@pytest.fixture(scope="session")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Step-Audio's architecture with the byte tokenizer; embedding and head are one matrix."""
    from models.load import build, load_model
    from models.settings import AudioConfig, BuildConfig

    # Long clips coarsely: what is heard again of them is not what was heard at first.
    audio = AudioConfig(mel_bins=16, hidden_size=32, layers=2, coarse=4)
    config = BuildConfig(hidden_size=64, layers=2, heads=2, audio=audio)
    folder = build(config, tmp_path_factory.mktemp("models") / "listener", seed=0)
    loud(load_model(folder), 0).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def start_listener(ray_session: None) -> Callable[[Path], Any]:
    """An EngineWorker actor for a model that listens; prompts of 3 × 40 s fit."""
    from rollouts.remote import engine_actor
    from rollouts.serving import ENVIRONMENT, ServingConfig
    from rollouts.worker import EngineWorker

    def start(model: Path, max_sequence_tokens: int = 2048) -> Any:
        actor = engine_actor(EngineWorker).options(num_cpus=0, runtime_env={"env_vars": ENVIRONMENT})
        return actor.remote(str(model), "float32", max_sequence_tokens, ServingConfig(kv_cache_mb=64))

    return start


@pytest.fixture(scope="session")
def audio_engine(start_listener: Callable[[Path], Any], listener: Path) -> Any:
    """An engine with the listener; a test may load other weights, and loads the ones it needs."""
    return start_listener(listener)
