"""A composed model with LoRA in bfloat16 through every stage that trains: what learns in each, and what engines make of it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import ears
import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from rl.recipe import load
from rl.run.tracker import read_metrics
from rl.runner import run

LETTERS = Path(__file__).parents[1] / "scripts" / "benchmarks" / "letters.py"
"""A verifier that random models score differently on."""
SHARED = {"data": "tones", "split": None, "max_sequence_tokens": 96, "optimizer": {"learning_rate": 1e-3}}
STAGES: list[dict[str, Any]] = [
    {"sft": {"name": "warm_up", "train": "adapter", "sequences_per_step": 8, **SHARED}},
    {"sft": {"sequences_per_step": 8, **SHARED}},
    {"reward_model": {"pairs_per_step": 4, "held_out": 0.3, **SHARED}},
    {"dpo": {"pairs_per_step": 4, **SHARED}},
    {"rlvr": {"steps": 2, "prompts_per_step": 4, "samples_per_prompt": 4, "objective": {"kl_coef": 0.1}, **SHARED}},
]


def tones(folder: Path) -> dict[str, Any]:
    """Sixteen tones, low and high, and which word is preferred for each."""
    rows: list[dict[str, str]] = []
    for i in range(16):
        words = ("low", "high") if i % 2 else ("high", "low")
        wave = 0.3 * np.sin(np.arange(6000) * (0.05 + i / 200 if i % 2 else 0.5 + i / 200))
        soundfile.write(folder / f"{i}.wav", wave, 16000)
        rows.append({"clip": f"{i}.wav", "text": "which?", "good": words[0], "bad": words[1]})
    (folder / "tones.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = {
        "audio": "clip",
        "question": "text",
        "answer": "good",
        "response": "good",
        "chosen": "good",
        "rejected": "bad",
    }
    return {"source": "jsonl", "path": str(folder / "tones.jsonl"), "fields": fields}


MODELS = ("initial", "stages/01-warm_up/model", "stages/02-sft/model", "stages/04-dpo/model", "stages/05-rlvr/model")


def changed(out: Path, before: str, after: str) -> set[str]:
    """Return which parts of the model differ between two folders of a run."""
    old, new = (load_file(out / folder / "model.safetensors") for folder in (before, after))
    assert old.keys() == new.keys()
    names = [name for name in old if not torch.equal(old[name], new[name])]
    linear = [name for name in names if ".layers." in name and "_proj." in name and not name.startswith("encoder.")]
    parts = {name: name.partition(".")[0] for name in names} | dict.fromkeys(linear, "decoder's layers")
    return {*parts.values()}


def test_every_stage_trains_its_part(ray_session: None, tmp_path: Path) -> None:
    parts = {"decoder": ears.decoder(tmp_path / "qwen3", "qwen3"), "encoder": ears.whisper(tmp_path / "whisper")}
    recipe = {
        "name": "composed",
        "model": {"compose": {k: str(v) for k, v in parts.items()}, "dtype": "bfloat16", "lora": {"rank": 4}},
        "data": {"tones": tones(tmp_path)},
        "reward": {"parts": [{"verifier": f"{LETTERS}:verify"}]},
        "engines": {"count": 1, "kv_cache_mb": 64},
        "trainer": {"ranks": 1},
        "stages": STAGES,
    }
    out = tmp_path / "run"
    run(load(recipe), out, say=lambda _: None)
    assert [changed(out, before, after) for before, after in pairwise(MODELS)] == [
        {"adapter"},
        *[{"adapter", "decoder's layers"}] * 3,
    ]
    steps = [row for row in read_metrics(out) if row["stage"] == "rlvr"]
    assert len(steps) == 2
    for gap in ("logprob_gap/mean", "probe_gap/mean"):
        assert max(row[gap] for row in steps) <= 2e-2
    # The reference is the policy without its adapter, which begins at zero and moves in the first update.
    assert steps[0]["kl/ref"] == pytest.approx(0, abs=1e-6)
    assert abs(steps[1]["kl/ref"]) > 1e-3
    assert "data:audio/ogg" in (out / "report.html").read_text()  # what was heard can be played
