"""A stage of one file and one line: it is checked, run, resumed, shown and reported like those of the library."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from rl.config import ConfigError
from rl.planning.plan import plan
from rl.planning.table import render_plan
from rl.recipe import Recipe, load
from rl.report import tables
from rl.runner import run
from rl.stages.registry import STAGES

GUIDE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The stage of CONTRIBUTING.md, registered as `lengths`."""
    (source,) = re.findall(r"^```python\n# lengths\.py\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    module = ModuleType("lengths")
    monkeypatch.setitem(__import__("sys").modules, "lengths", module)  # dataclasses look their module up
    exec(compile(source, "lengths.py", "exec"), vars(module))
    monkeypatch.setitem(STAGES, "lengths", module.KIND)
    return module


def recipe(*overrides: str, **stage: Any) -> Recipe:
    settings = {"data": "words", "limit": 3, "samples": 2, "max_sequence_tokens": 48, **stage}
    values = {
        "name": "tiny",
        "model": {"build": {"hidden_size": 64, "layers": 1, "heads": 2}},
        "data": {"words": {"source": "reasoning_gym", "args": {"dataset": "spell_backward", "size": 40}}},
        "reward": {"parts": [{"verifier": "text"}]},
        "engines": {"count": 1, "kv_cache_mb": 64},
        "stages": [{"lengths": settings}, {"lengths": {**settings, "name": "whole", "count_prompt": True}}],
    }
    return load(values, overrides)


def text_of(renderable: Any) -> str:
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(renderable)
    return console.export_text()


def test_a_stage_of_one_file_is_checked_run_resumed_shown_and_reported(
    stage: ModuleType, ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"^stages\[0\]\.lengths: unknown key 'sample'; did you mean 'samples'"):
        recipe(sample=3)
    with pytest.raises(ConfigError, match=r"^stages\[0\]\.lengths\.samples: must be at least 1; got 0"):
        recipe(samples=0)
    checked = plan(recipe())
    assert checked.problems == []
    assert [(s.kind, s.rollouts, s.tokens) for s in checked.stages] == [("lengths", 6, 6 * 48)] * 2
    assert "3 prompts × 2 samples = 6 rollouts of ≤ 48 tokens" in text_of(render_plan(checked))
    assert recipe().roles == {"engine"}

    out = tmp_path / "run"
    summary = run(recipe(), out, say=lambda _: None)
    tokens = {s.name: s.metrics["tokens"] for s in summary.stages}
    assert 0 < tokens["lengths"] < tokens["whole"] <= 48
    (out / "stages" / "02-whole" / "done.json").unlink()  # as if it had been killed in its second stage
    lines: list[str] = []
    again = run(recipe(), out, resume=True, say=lines.append)
    assert [line for line in lines if line.startswith("stage")] == ["stage 2 of 2: whole"]
    assert {s.name: s.metrics["tokens"] for s in again.stages} == tokens

    shown = text_of(tables.show(out))
    assert [part for part in ("lengths", "whole", f"tokens {tokens['whole']:.4g}") if part not in shown] == [], shown
    page = (out / "report.html").read_text()
    assert ">whole<" in page
    assert json.loads((out / "stages" / "01-lengths" / "done.json").read_text())["counts"] == {"samples": 6}


def test_every_kind_declares_what_the_other_rooms_ask() -> None:
    for name, kind in STAGES.items():
        assert set(kind.references) <= set(kind.Config.__dataclass_fields__), name
        beside = kind.Config.__module__.replace(".config", ".plan")  # in a stage that is a folder
        assert kind.plan.__module__ == beside, name
