"""Repeated blocks and mixed sources on the real engines."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from rl.recipe import load
from rl.report.tables import show
from rl.run.provenance import read_provenance
from rl.runner import run

TINY: dict[str, Any] = {
    "name": "tiny",
    "model": {"build": {"hidden_size": 64, "heads": 2, "layers": 1}},
    "data": {
        "short": {
            "source": "reasoning_gym",
            "args": {"dataset": "spell_backward", "size": 40, "config": {"max_word_len": 4}},
        },
        "digits": {"source": "reasoning_gym", "args": {"dataset": "chain_sum", "size": 40}},
    },
    "reward": {"parts": [{"verifier": "text", "weight": 0.8}, {"verifier": "format", "name": "format", "weight": 0.2}]},
    "engines": {"kv_cache_mb": 64},
}


def test_a_block_goes_on_from_its_last_iteration_until_nothing_improves(ray_session: None, tmp_path: Path) -> None:
    """Of sources that are mixed."""
    limits = {"max_sequence_tokens": 80}
    mixed = {"data": {"short": 0.75, "digits": 0.25}, **limits}
    block = [
        {"curate": {"limit": 12, "samples": 2, "keep": [0, 2], **mixed}},
        {
            "rlvr": {
                "difficulty": "curate",
                "algorithm": "grpo",
                "steps": 1,
                "limit": 12,
                "prompts_per_step": 4,
                "samples_per_prompt": 2,
                **mixed,
            }
        },
        {"evaluate": {"name": "check", "data": "short", "split": None, "limit": 4, "samples": 1, **limits}},
    ]
    until = {"metric": "check/prompts", "patience": 1}  # always 4: the second iteration is no better
    stages = [
        {"sft": {"sequences_per_step": 8, "checkpoint_every": 2, **mixed}},
        {"repeat": {"times": 4, "until": until, "stages": block}},
        {"evaluate": {"name": "after", "model": "rlvr", "data": "short", "split": None, "limit": 4, **limits}},
    ]
    said: list[str] = []
    made = load({**TINY, "stages": stages})
    summary = run(made, tmp_path / "run", say=said.append)
    assert [stage.name for stage in summary.stages] == [
        *("sft", "curate@1", "rlvr@1", "check@1", "curate@2", "rlvr@2", "check@2", "after"),
    ]
    assert summary.stages[1].metrics["prompts"] == 12
    assert "repeat: check/prompts no longer improves (4, 4); the block ends after 2 iterations" in said
    done = {
        path.parent.name: json.loads(path.read_text()) for path in (tmp_path / "run" / "stages").glob("*/done.json")
    }
    parents = {(p["kind"], p["name"]) for p in done["06-rlvr@2"]["parents"]}
    assert parents == {("model", "rlvr@1"), ("difficulty", "curate@2"), ("data", "short"), ("data", "digits")}
    assert [p["name"] for p in done["14-after"]["parents"] if p["kind"] == "model"] == ["rlvr@2"]
    moved = (tmp_path / "run").rename(tmp_path / "moved")  # what stages leave to others is found there too
    again = run(made, moved, resume=True, say=lambda _: None)
    assert [stage.name for stage in again.stages] == [stage.name for stage in summary.stages]
    assert (moved / "model" / "config.json").is_file()
    record = json.loads((moved / "stages" / "06-rlvr@2" / "model.provenance.json").read_text())
    assert (record["recipe"], record["stage"], record["made_by"]) == ("tiny", "rlvr@2", "rlvr")
    assert record["settings"]["steps"] == 1
    assert record["code"]["version"]
    assert record["counts"].items() >= {"prompts": 4, "rollouts": 8, "steps": 1}.items()
    assert 8 * 2 < record["counts"]["tokens"] <= 8 * 80
    (folder,) = (moved / "stages" / "06-rlvr@2" / "checkpoints").glob("step-*")
    checkpoint = read_provenance(folder) or {}
    assert {**checkpoint, "parents": sorted(map(str, checkpoint["parents"]))} == {
        **record,
        "artifact": "step-000001",
        "kind": "checkpoint",
        "parents": sorted(map(str, record["parents"])),
    }
    curated = read_provenance(moved / done["05-curate@2"]["artifacts"]["difficulty"]) or {}
    kept = int(summary.stages[4].metrics["kept"])
    assert curated["counts"] == {"asked": 12, "sampled": 24, "judged": 24, "kept": kept}
    drawn = Console(width=200, record=True, file=io.StringIO())
    drawn.print(show(moved))
    assert f"asked 12 → sampled 24 → judged 24 → kept {kept}" in drawn.export_text()
