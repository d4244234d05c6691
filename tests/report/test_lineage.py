from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rl.report.figures import render_funnels, render_lineage, render_thinking
from rl.report.lineage import read_lineage, render_tree
from rl.report.run_data import Stage
from rl.run.provenance import fingerprint, read_provenance, write_provenance

MAKES = {"sft": "model", "distill": "distilled", "curate": "difficulty", "reward_model": "reward_model"}


def done(run: Path, place: int, name: str, kind: str, parents: list[tuple[str, str, bool]], **counts: int) -> None:
    folder = run / "stages" / f"{place:02d}-{name}"
    folder.mkdir(parents=True)
    told = [{"kind": k, "name": n, "stage": s, "split": "train" if k == "data" else None} for k, n, s in parents]
    made = {"artifacts": {MAKES[kind]: str(folder)}} if kind in MAKES else {}
    (folder / "done.json").write_text(json.dumps({"kind": kind, "parents": told, "counts": counts, **made}))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    start, words = ("model", "built from scratch", False), ("data", "words", False)
    done(tmp_path, 1, "sft", "sft", [start, words])
    done(tmp_path, 2, "distill@1", "distill", [("model", "sft", True), words], asked=80, sampled=640, kept=9)
    done(tmp_path, 3, "curate@1", "curate", [("model", "sft", True), words], asked=1200, sampled=9600, kept=264)
    again = [("model", "sft", True), ("distilled", "distill@1", True)]
    done(tmp_path, 10, "again@1", "sft", again, sequences=4096, tokens=1_048_576, steps=32)
    done(tmp_path, 11, "after", "evaluate", [("model", "again@1", True), words])
    return tmp_path


def test_stages_hang_from_the_models_they_started_from(run: Path) -> None:
    nodes = read_lineage(run)
    assert [node.name for node in nodes] == ["sft", "distill@1", "curate@1", "again@1", "after"]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render_tree(nodes))
    assert [line.rstrip() for line in console.export_text().splitlines()] == [
        "model: built from scratch",
        "└── sft  ← words (train)",
        "    ├── distill@1  ← words (train)",
        "    │   asked 80 → sampled 640 → kept 9",
        "    ├── curate@1  ← words (train)",
        "    │   asked 1,200 → sampled 9,600 → kept 264",
        "    └── again@1  sft  ← distilled of distill@1",
        "        4,096 sequences, 1,048,576 tokens, 32 steps",
        "        └── after  evaluate  ← words (train)",
    ]
    page = render_lineage(nodes)
    assert page.count("<li>") == 6
    assert "<b>distill@1</b> <span>← words (train)</span></li><li><b>curate@1</b>" in page
    assert render_funnels(nodes).count("<tr>") == 6, "what was learned from is no funnel"
    assert 'width="1.41%"' in render_funnels(nodes)


def test_a_record_that_cannot_be_read_says_which(run: Path) -> None:
    (run / "stages" / "02-distill@1" / "done.json").write_text("{")
    with pytest.raises(ValueError, match=r"02-distill@1/done\.json: .*--resume runs the stage again"):
        read_lineage(run)


def test_what_came_of_a_stage_whose_record_cannot_be_read_is_shown(run: Path) -> None:
    (run / "stages" / "01-sft" / "done.json").write_text("{")
    errors: list[ValueError] = []
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render_tree(read_lineage(run, errors.append)))
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert lines[:2] == ["model: sft", "├── distill@1  ← words (train)"]
    assert lines[-1].strip() == "└── after  evaluate  ← words (train)"
    assert len(errors) == 1


def test_a_line_for_each_evaluation_that_cut_its_chains() -> None:
    def stage(name: str, *budgets: tuple[str, float, float]) -> Stage:
        metrics: dict[str, Any] = {"accuracy": 0.5}
        for budget, tokens, accuracy in budgets:
            metrics |= {f"tokens@{budget}": tokens, f"accuracy@{budget}": accuracy}
            metrics |= {f"accuracy@{budget}/low": accuracy - 0.1, f"accuracy@{budget}/high": accuracy + 0.1}
        return Stage(name, "evaluate", True, 1.0, metrics, (), None)

    assert render_thinking([stage("plain")]) == ""
    page = render_thinking(
        [
            stage("before", ("0", 0, 0.2), ("full", 20, 0.4)),
            stage("plain"),
            stage("<b>", ("0", 0, 0.2), ("full", 40, 0.9)),
        ]
    )
    assert page.count("<polyline") == 2
    assert "<b>" not in page
    assert "before: accuracy 40.0 % at 20 tokens" in page


def test_an_artifact_knows_where_it_comes_from(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    assert read_provenance(model) is None
    (model / "model.safetensors").write_bytes(b"weights")
    before = fingerprint(model)
    assert write_provenance(model, {"stage": "sft", "parents": []}) == tmp_path / "model.provenance.json"
    assert read_provenance(model) == {"artifact": "model", "stage": "sft", "parents": []}
    (model / "model.safetensors").write_bytes(b"others")
    assert fingerprint(model) != before
    (tmp_path / "model.provenance.json").write_text("[")
    with pytest.raises(ValueError, match=r"model\.provenance\.json: .*delete it"):
        read_provenance(model)
