"""`rl check` on a model that is given ears: what it plans, and what it refuses before anything starts."""

from __future__ import annotations

import json
from pathlib import Path

import ears
import numpy as np
import pytest

from models.settings import ComposeConfig, ModelConfig
from models.shape import read_shape
from rl.audio import SAMPLE_RATE, encode
from rl.planning.plan import Plan, plan
from rl.recipe import load


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    ears.decoder(folder / "llama", "llama")
    ears.whisper(folder / "whisper")
    ears.qwen2_audio(folder / "qwen2_audio")
    wave = np.random.default_rng(0).normal(0, 0.1, 20 * SAMPLE_RATE).clip(-1, 1).astype(np.float32)
    (folder / "long.flac").write_bytes(encode(wave))
    (folder / "short.flac").write_bytes(encode(wave[:SAMPLE_RATE]))
    rows = [{"id": n, "question": "who?", "clip": f"{n}.flac", "answer": "Ann"} for n in ("short", "long")]
    (folder / "calls.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def planned(parts: Path, tokens: int = 512, decoder: str = "llama", encoder: str = "whisper") -> Plan:
    return plan(
        load(
            {
                "name": "calls",
                "model": {"compose": {"decoder": str(parts / decoder), "encoder": str(parts / encoder)}},
                "data": {"calls": {"source": "jsonl", "path": str(parts / "calls.jsonl"), "fields": {"audio": "clip"}}},
                "reward": {"parts": [{"verifier": "text"}]},
                "stages": [{"evaluate": {"data": "calls", "split": None, "max_sequence_tokens": tokens}}],
            }
        )
    )


def test_a_composed_model_is_planned(parts: Path) -> None:
    result = planned(parts)
    assert result.problems == []
    assert "llama with the ears of " in result.model
    assert [line.partition(" ")[0] for line in result.origins[:2]] == ["model.compose.decoder", "model.compose.encoder"]
    assert result.roles
    assert result.roles[0].parts["weights"] > 0


def test_its_clips_take_room(parts: Path) -> None:
    """12.5 tokens a second, by either encoder."""
    for encoder in ("whisper", "qwen2_audio"):
        shape = read_shape(ModelConfig(compose=ComposeConfig(str(parts / "llama"), str(parts / encoder))))
        assert shape
        assert shape.token_rate == 12.5
        (problem,) = planned(parts, tokens=200, encoder=encoder).problems
        assert problem.startswith(
            "stages[0].evaluate.max_sequence_tokens: 200, and prompt 'long' of 'calls' has at least 2"
        )
        assert planned(parts, tokens=300, encoder=encoder).problems == []


@pytest.mark.parametrize(
    ("decoder", "encoder", "line"),
    [
        (
            "llama",
            "llama",
            "model.compose.encoder: {}/llama/config.json: model_type 'llama' has no encoder that is known",
        ),
        (
            "qwen2_audio",
            "whisper",
            "model.compose.decoder: {}/qwen2_audio/config.json has text_config: it is no causal",
        ),
        ("whisper", "whisper", "model.compose.decoder: {}/whisper/config.json has is_encoder_decoder: it is no causal"),
        (
            "llama",
            "nowhere",
            "model.compose.encoder: no such folder: {}/nowhere; correct it or name a model of the hub",
        ),
        (
            "nowhere",
            "whisper",
            "model.compose.decoder: no such folder: {}/nowhere; correct it or name a model of the hub",
        ),
    ],
)
def test_what_cannot_be_composed_is_one_line(parts: Path, decoder: str, encoder: str, line: str) -> None:
    problems = planned(parts, decoder=decoder, encoder=encoder).problems
    assert any(problem.startswith(line.format(parts)) for problem in problems), problems
    assert all("\n" not in problem for problem in problems)


def test_a_decoder_that_is_not_computed_is_one_line(parts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "capped"
    ears.decoder(folder, "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "layer_types": ["linear_attention"] * 2}))
    result = plan(
        load(
            {
                "name": "calls",
                "model": {"compose": {"decoder": str(folder), "encoder": str(parts / "whisper")}},
                "data": {"calls": {"source": "jsonl", "path": str(parts / "calls.jsonl"), "fields": {"audio": "clip"}}},
                "reward": {"parts": [{"verifier": "text"}]},
                "stages": [{"rlvr": {"data": "calls", "split": None, "steps": 1, "max_sequence_tokens": 512}}],
            }
        )
    )
    assert any(
        p.startswith(f"model.compose.decoder: {folder}: layer_types: linear_attention in") for p in result.problems
    )


def test_a_model_of_text_has_no_adapter_to_warm_up(tmp_path: Path) -> None:
    (tmp_path / "words.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    fields = {"question": "question", "answer": "answer", "response": "answer"}
    recipe = {
        "name": "words",
        "model": {"build": {}},
        "data": {"words": {"source": "jsonl", "path": str(tmp_path / "words.jsonl"), "fields": fields}},
        "reward": {"parts": [{"verifier": "text"}]},
        "stages": [{"sft": {"data": "words", "train": "adapter"}}],
    }
    result = plan(load(recipe))
    assert result.problems == [
        "stages[0].sft.train: adapter, and the model reads text only; add `audio: {}` to model.build"
    ]
    assert any(
        n.startswith("stages[0].sft.optimizer.learning_rate: 1e-05 is little for an adapter") for n in result.notes
    )
