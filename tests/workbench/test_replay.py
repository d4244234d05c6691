"""`rl verifiers replay`: a run's samples under another reward."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rewards.contract import Case
from rl.run.tracker import Tracker
from rl.types import Scored, Verdict

NEW = """
from rl.types import Verdict
def verify(prompt, rollout):
    if rollout.response == "raise":
        raise RuntimeError("no luck")
    return Verdict(score=float(rollout.response.startswith("good")), parts={"long": len(rollout.text) / 100})
def from_data(prompt, rollout):
    return Verdict(score=float(prompt.fields["hint"] == rollout.response))
"""
RECIPE = """
name: tiny
data: {rows: {source: jsonl, path: rows.jsonl, fields: {question: question, answer: answer, hint: hint}}}
stages:
  - rlvr: {name: rlvr, data: rows, split: null, limit: null}
"""
GROUPS = {
    "rows/1": [("good a", 0.0), ("bad b", 1.0), ("good c", 1.0)],  # a and b turn round
    "rows/2": [("good a", 1.0), ("good b", 0.5), ("good c", 0.0)],  # its spread goes
    "rows/3": [("raise", 1.0), ("bad", None), ("good", 1.0)],
}


@pytest.fixture
def run_dir(home: Path) -> Path:
    (home / "new.py").write_text(NEW)
    rows = [{"question": f"q{i}", "answer": "a", "hint": "good a", "id": f"rows/{i}"} for i in (1, 2, 3)]
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tracker = Tracker(home / "run", "rlvr")
    for step in (1, 2):
        tracker.record_rollouts(step, [scored(id, n, *s) for id, group in GROUPS.items() for n, s in enumerate(group)])
    (home / "run" / "recipe.yaml").write_text(RECIPE)
    return home / "run"


def scored(id: str, sample: int, text: str, score: float | None) -> Scored:
    made = Case(text, "a").rollout()
    verdict = Verdict(error="hung") if score is None else Verdict(score, {"accuracy": score})
    return Scored(replace(made, sample=sample, prompt=replace(made.prompt, id=id)), verdict)


def test_what_would_have_been_different(rl, run_dir: Path):
    code, out, err = rl("verifiers", "replay", "run", "--with", "new.py:verify", "--steps", "1", "--json")
    assert code == 0, err
    assert "has no GOLD" in err
    found = json.loads(out)
    assert (found["n"], found["changed"]) == (9, 4)
    assert found["means"]["score"] == {"before": pytest.approx(5.5 / 8), "after": pytest.approx(6 / 8)}
    assert found["means"]["errors"] == {"before": 1.0, "after": 1.0}
    assert found["means"]["part/accuracy"]["after"] == pytest.approx(6 / 8)
    assert found["means"]["part/accuracy/long"]["before"] is None
    assert (found["groups"], found["other_best"]) == (2, 0)
    assert (found["without_spread_before"], found["without_spread_after"]) == (0, 1)
    assert found["pairs_turned"] == pytest.approx(1 / 6)
    assert found["pairs_tied_or_untied"] == pytest.approx(5 / 6)
    first = found["flips"][0]
    assert (first["stage"], first["step"], first["id"], first["before"], first["after"]) == ("rlvr", 2, "rows/1", 0.0, 1.0)  # fmt: skip


def test_fields_come_from_the_runs_data(rl, run_dir: Path):
    found = json.loads(rl("verifiers", "replay", "run", "--with", "new.py:from_data", "--json")[1])
    assert found["means"]["score"]["after"] == pytest.approx(2 / 9)
    (run_dir.parent / "rows.jsonl").unlink()
    _, out, err = rl("verifiers", "replay", "run", "--with", "new.py:from_data", "--json")
    assert "warning: data.rows.path: no such file" in err
    assert "18 of 18 samples: their data cannot be read" in err
    assert json.loads(out)["means"]["errors"]["after"] == 18.0


def test_a_reward_in_yaml_and_a_table(rl, run_dir: Path):
    rewards = "parts: [{verifier: new.py:verify, weight: 0.5}, {verifier: text, name: same, weight: 0.5}]"
    (run_dir.parent / "reward.yaml").write_text(rewards)
    code, out, _ = rl("verifiers", "replay", "run", "--with", "reward.yaml", "--steps", "1")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "score 0.688 0.375 -0.312" in lines
    assert "part/same – 0.000" in lines
    assert any(line.startswith("2 groups: ") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--with", "nothing.yaml"], "--with: no such file: nothing.yaml"),
        (["run", "--with", "txt"], "reward.parts[0].verifier: unknown verifier 'txt'; did you mean 'text'?"),
        (["run", "--with", "text", "--stage", "sft"], "--stage: 'sft' left no rollouts; rlvr did"),
        (["nowhere", "--with", "text"], "nowhere: holds no rollouts"),
        (["run", "--with", "broken.yaml"], "broken.yaml:2: not valid YAML"),
    ],
)
def test_a_mistake_is_one_line(rl, run_dir: Path, arguments: list[str], says: str):
    (run_dir.parent / "broken.yaml").write_text("parts: [")
    code, _, err = rl("verifiers", "replay", *arguments)
    assert code == 2
    assert err.startswith(f"error: {says}"), err


def test_it_needs_neither_torch_nor_ray(run_dir: Path):
    program = (
        "import sys; sys.argv = ['rl', 'verifiers', 'replay', 'run', '--with', 'text']\n"
        "import atexit; atexit.register(lambda: print([m for m in ('torch', 'ray', 'vllm') if m in sys.modules]))\n"
        "from rl.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=run_dir.parent, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
