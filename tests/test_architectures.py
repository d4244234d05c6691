"""Three of the architectures that scripts/architectures takes through sft and rlvr, chosen for what is particular to them."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


# Gemma 3: layers with a window and a rotary base of their own, no head beside the embedding. Granite: scaled embeddings,
# attention, residuals and logits. Qwen3-MoE: experts, which trainer and engine store and name differently.
@pytest.mark.parametrize(
    ("name", "dtype"),
    [("Gemma 3", "float32"), ("Granite", "float32"), ("Qwen3-MoE", "float32"), ("Granite", "bfloat16")],
)
def test_engine_and_trainer_agree_also_after_an_update(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, dtype: str
) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts" / "benchmarks")
    architectures = importlib.import_module("architectures")
    gap = architectures.measure_gap(name, dtype, tmp_path)
    assert gap <= architectures.TOLERANCES[dtype]


def test_frozen_experts_stay_in_place(ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a LoRA adapter experts are sent once: the engine keeps what it has packed of them."""
    monkeypatch.syspath_prepend(ROOT / "scripts" / "benchmarks")
    architectures = importlib.import_module("architectures")
    gap = architectures.measure_gap("Qwen3-MoE", "float32", tmp_path, ["model.lora.rank=8"])
    assert gap <= architectures.TOLERANCES["float32"]


def test_what_is_refused_is_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts" / "benchmarks")
    architectures = importlib.import_module("architectures")
    reason = architectures.measure_gap("gpt-oss", "float32", tmp_path)
    assert reason == "model.path: 'gpt_oss' has attention sinks, which are not supported; choose another model"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
