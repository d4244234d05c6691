"""Preferences on the real engines: what is chosen becomes likely."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from judge_api import served
from rich.console import Console

from rl.config import ConfigError
from rl.recipe import load
from rl.report.tables import show
from rl.run.provenance import read_provenance
from rl.run.tracker import read_metrics
from rl.runner import run

LETTERS = "abcdefghij"


def preferences(path: Path) -> dict[str, Any]:
    """A data set in which the letter asked for is preferred to the one after it."""
    following = dict(zip(LETTERS, LETTERS[1:] + LETTERS[0], strict=True))
    rows = [
        {"id": f"{a}{b}", "question": f"{a} {b}", "answer": a, "chain": b, "chosen": f"<think>{b}</think>{a}"}
        | {"rejected": f"<think>{b}</think>{following[a]}", "split": "test" if i % 5 == 4 else "train"}
        for a in LETTERS
        for i, b in enumerate(LETTERS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = {name: name for name in ("question", "answer", "chosen", "rejected")}
    fields |= {"reasoning": "chain", "response": "answer"}
    return {"source": "jsonl", "path": str(path), "fields": fields}


def recipe(tmp_path: Path, stages: list[dict[str, Any]], **header: Any) -> Any:
    values = {
        "name": "tiny",
        "model": {"build": {"hidden_size": 64, "heads": 2, "layers": 1}},
        "data": {"letters": preferences(tmp_path / "letters.jsonl")},
        "reward": {"parts": [{"verifier": "text"}]},
        "engines": {"kv_cache_mb": 64},
        **header,
    }
    return load({**values, "stages": stages})


LIMIT = {"max_sequence_tokens": 48}
WARM = {"name": "warm_up", "data": "letters", "epochs": 16, "sequences_per_step": 16, **LIMIT}
LEARNS = {"optimizer": {"learning_rate": 3e-3}}


def pipeline(judge: str) -> list[dict[str, Any]]:
    """Warm start, own samples, the right ones imitated, pairs of right and wrong preferred, a reward model, its part in
    RL, and preferences that were given."""
    judged = {"data": "letters", "split": "test", "samples": 8, **LIMIT}
    mixed = {"data": {"distill": 0.75, "letters": 0.25}, "epochs": 6, "sequences_per_step": 16, **LIMIT}
    pairs = {"data": "letters", "per_prompt": 2, **LIMIT}
    dpo = {"pairs_per_step": 16, **LIMIT}
    taste = {"name": "taste", "data": "letters", "held_out": 0.25, "epochs": 20, "pairs_per_step": 16, **LIMIT}
    parts = [
        {"verifier": "text", "weight": 0.5},
        {"verifier": "reward_model", "name": "preferred", "weight": 0.3, "args": {"served": "taste"}},
        {"verifier": "judge", "name": "compared", "weight": 0.2}
        | {"args": {"endpoint": judge, "model": "m", "against": "answer"}},
    ]
    jointly = {"model": "warm_up", "algorithm": "grpo", "objective": {"kl_coef": 0.05}, "reward": {"parts": parts}}
    jointly |= {"data": "letters", "steps": 2, "prompts_per_step": 4, "samples_per_prompt": 4, **LIMIT}
    return [
        {"sft": {**WARM, **LEARNS}},
        {"evaluate": {"name": "warm", **judged}},
        {"distill": {"data": "letters", "samples": 8, "per_question": 2, **LIMIT}},
        {"pairs": {"name": "earlier", "samples_of": "distill", **pairs}},
        {"sft": {"name": "again", **mixed, **LEARNS}},
        {"evaluate": {"name": "imitated", "budgets": [0, 1, "full"], "votes": 8, **judged}},
        {"pairs": {"samples": 8, **pairs}},
        {"dpo": {"data": "pairs", "epochs": 3, "optimizer": {"learning_rate": 3e-4}, **dpo}},
        {"reward_model": {**taste, **LEARNS}},
        {"rlvr": jointly},
        {"dpo": {"name": "given", "data": "letters", "model": "warm_up", "epochs": 10, **LEARNS, **dpo}},
        {"dpo": {"name": "ipo", "data": "letters", "model": "given", "loss": "ipo", **LEARNS, **dpo}},
    ]


Done = tuple[Path, dict[str, dict[str, float]]]
"""(folder of the finished pipeline, metrics by stage)."""


@pytest.fixture(scope="module")
def done(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Done:
    home = tmp_path_factory.mktemp("preferences")
    with served() as api:
        made = recipe(home, pipeline(api.address))
        assert made.roles == {"engine", "policy", "critic", "reference", "reward_model"}
        summary = run(made, home / "run", say=lambda _: None)
    return home / "run", {stage.name: stage.metrics for stage in summary.stages}


def steps(folder: Path, stage: str) -> list[dict[str, Any]]:
    return [row for row in read_metrics(folder) if row["stage"] == stage]


def told(folder: Path, stage: str) -> dict[str, Any]:
    """What the finished stage has left for later ones."""
    (file,) = (folder / "stages").glob(f"*-{stage}/done.json")
    return json.loads(file.read_text())


def test_a_model_learns_from_its_own_chains(done: Done) -> None:
    folder, of = done
    assert of["imitated"]["accuracy/low"] > of["warm"]["accuracy/high"]
    assert of["dpo"]["margin"] > 0.05
    assert of["dpo"]["accuracy"] > 0.6
    assert of["taste"]["accuracy"] > 0.9
    assert of["taste"]["calibration_error"] < 0.1

    imitated = of["imitated"]
    assert imitated["accuracy@full"] == imitated["accuracy"]
    assert imitated["tokens@0"] == 0
    assert imitated["tokens@1"] <= 1 < imitated["tokens@full"] == imitated["reasoning_tokens"]
    assert imitated["vote@full"] >= imitated["accuracy"]
    page = (folder / "report.html").read_text()
    assert all(f'id="{section}"' in page for section in ("thinking", "funnels", "lineage"))


def test_what_was_distilled_knows_where_it_comes_from(done: Done) -> None:
    folder, of = done
    (file,) = (folder / "stages").glob("*-distill/distilled.jsonl.provenance.json")
    record = json.loads(file.read_text())
    assert record["counts"] == {name: int(of["distill"][name]) for name in record["counts"]}
    assert list(record["counts"]) == [
        *("available", "asked", "sampled", "judged", "whole", "correct", "distinct", "best", "kept"),
    ]
    assert record["parents"][0] == {"kind": "model", "name": "warm_up", "stage": True, "split": None}
    assert len(record["model_fingerprint"]) == 16
    assert "accuracy below 1" in record["dropped"]
    assert {(parent["kind"], parent["name"]) for parent in told(folder, "again")["parents"]} == {
        ("model", "warm_up"),
        ("distilled", "distill"),
        ("data", "letters"),
    }
    drawn = Console(width=200, record=True, file=io.StringIO())
    drawn.print(show(folder))
    assert "← letters (train)\n" in drawn.export_text(clear=False).replace(" \n", "\n")
    assert f"→ kept {record['counts']['kept']}" in drawn.export_text()


def test_dpo_prefers_what_was_chosen(done: Done) -> None:
    folder, of = done
    rows = steps(folder, "given")
    assert rows[0]["margin"] == rows[0]["reward/chosen"] == 0, "the policy starts as its own reference"
    assert rows[0]["loss"] == 0.6931471824645996
    assert rows[0]["accuracy"] == 0.5
    assert len(rows) == 50
    assert of["given"]["accuracy"] > 0.9
    assert of["given"]["margin"] > 0.5
    assert steps(folder, "ipo")[0]["loss"] == 25.0
    assert told(folder, "given")["counts"] == {"pairs": 800, "steps": 50}


def test_what_is_preferred_and_what_is_verified_in_one_objective(done: Done) -> None:
    """RLHF beside RLVR is configuration: a reward model's part, a judge's that compares with a reference answer, a
    verifier's, KL to the reference."""
    folder, _ = done
    rows = steps(folder, "rlvr")
    assert len(rows) == 2
    assert all(row["verifier_errors"] == 0 and 0 < row["part/preferred"] < 1 and "kl/ref" in row for row in rows)
    assert all(0 <= row["part/compared"] <= 0.5 and row["judge/compared/failed"] == 0 for row in rows)
    weights = {"accuracy": 0.5, "preferred": 0.3, "compared": 0.2}
    blend = [sum(weight * row[f"part/{name}"] for name, weight in weights.items()) for row in rows]
    assert [row["reward"] for row in rows] == pytest.approx(blend)
    parents = told(folder, "rlvr")["parents"]
    assert {"kind": "reward_model", "name": "taste", "stage": True, "split": None} in parents
    counts = told(folder, "taste")["counts"]
    assert counts["learned from"] + counts["held out"] == counts["pairs"] == 80
    assert counts["steps"] == len(steps(folder, "taste"))
    (checkpoint,) = (folder / "stages").glob("*-rlvr/checkpoints/step-*")
    record = read_provenance(checkpoint) or {}
    assert {(parent["kind"], parent["name"]) for parent in record["parents"]} == {
        (parent["kind"], parent["name"]) for parent in parents
    }


FLAKY = """
from pathlib import Path
from rl.types import Verdict

def verify(prompt, rollout):
    if rollout.sample == 1 and (Path(__file__).parent / "down").exists():
        raise RuntimeError("down")
    return Verdict(float(rollout.response == prompt.answer))

def asks_for_more(prompt, rollout):
    return Verdict(float(prompt.question.split()[1] < "f"))
"""


def test_distill_goes_on_in_the_middle(done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flaky.py").write_text(FLAKY)
    (tmp_path / "down").touch()
    distill = {"data": "letters", "samples": 4, "per_question": 4, **LIMIT}
    distill |= {"reward": {"parts": [{"verifier": "flaky.py:verify"}]}}
    distill |= {"select_by": {"verifier": "flaky.py:asks_for_more"}}
    warm = {"path": str(done[0] / "stages" / "01-warm_up" / "model"), "think": True}
    made = recipe(tmp_path, [{"distill": distill}], model=warm)
    first = run(made, tmp_path / "run", say=lambda _: None)
    counts = {
        name: int(first.stages[0].metrics[name]) for name in ("available", "selected", "asked", "sampled", "judged")
    }
    assert counts == {"available": 80, "selected": 40, "asked": 40, "sampled": 160, "judged": 120}
    folder = tmp_path / "run" / "stages" / "01-distill"
    lines = (folder / "samples.jsonl").read_bytes().splitlines(True)
    assert len(lines) == 160
    (folder / "done.json").unlink()
    (folder / "samples.jsonl").write_bytes(b"".join(lines[:100]) + lines[100][:30])
    (tmp_path / "down").unlink()
    said: list[str] = []
    second = run(made, tmp_path / "run", resume=True, say=said.append)
    failed = sum(b"RuntimeError: down" in line for line in lines[:100])
    assert 0 < failed < 40
    again = f"distill: 100 of 160 samples are there already; {failed} of them could not be judged and are judged again"
    assert again in said
    assert "distill: 80 of 80 questions are judged already" in said
    after = (folder / "samples.jsonl").read_bytes().splitlines(True)
    assert after[:100] == lines[:100]
    assert len(after) == 160 + failed, "nothing is sampled twice"
    before, now = ({(s["prompt"], s["sample"]): s for s in map(json.loads, found)} for found in (lines, after))
    assert {key: s["text"] for key, s in now.items()} == {key: s["text"] for key, s in before.items()}, (
        "the same samples, whoever asks for them, and whenever"
    )
    assert all(s["error"] is None and s["again"] is None for s in now.values())
    assert second.stages[0].metrics["judged"] == 160
    distilled = (folder / "distilled.jsonl").read_text().splitlines()
    assert len(distilled) > first.stages[0].metrics["kept"]


def test_an_empty_harvest_stops_with_its_funnel(ray_session: None, tmp_path: Path) -> None:
    never = {"data": "letters", "samples": 2, "limit": 10, **LIMIT}
    with pytest.raises(
        ValueError, match=r"distill 'distill': nothing is left of 'letters' \(available 10, asked 10, sampled 20"
    ):
        run(recipe(tmp_path, [{"distill": never}]), tmp_path / "run", say=lambda _: None)
    assert "failed" in (tmp_path / "run" / "report.html").read_text(), "what was sampled can be looked at"


def test_a_reward_model_is_made_before_it_is_asked(tmp_path: Path) -> None:
    parts = [{"verifier": "reward_model", "args": {"served": "taste"}}]
    with pytest.raises(
        ConfigError,
        match=r"rlvr\.reward\.parts\[0\]\.args\.served: 'taste' is no earlier stage and no folder of a reward",
    ):
        recipe(tmp_path, [{"rlvr": {"data": "letters", "reward": {"parts": parts}}}])
