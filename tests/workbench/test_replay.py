"""`rl verifiers replay`: a run's samples under another reward."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from run_dirs import prepare_run_dir

from rewards.contract import Case
from rl import bundled
from rl.messages import Exchange, Message, Reply
from rl.recipe import load
from rl.run.exchanges import read_exchanges
from rl.run.tracker import Tracker
from rl.types import Prompt, Rollout, Scored, Verdict
from rl.workbench.recorded_prompts import read_prompts

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
model: {path: a model that is gone}
reward: {parts: [{verifier: "gone.py:verify"}]}
data: {rows: {source: jsonl, path: rows.jsonl, fields: {question: question, answer: answer, hint: hint}}}
stages:
  - rlvr: {name: rlvr, data: rows, split: null, limit: null}
"""
EXCHANGE = '[{"text": "a", "messages": [["user", "b"]], "clips": [], "reward": null, "note": "", "tokens": %s}]'
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


def test_turns_are_judged_as_they_were(rl, run_dir: Path):
    """With what an environment said and paid, and with its words no actions."""
    (run_dir.parent / "turns.py").write_text(
        "def verify(prompt, rollout):\n"
        "    (first, last) = rollout.exchanges\n"
        "    assert last.reply.last and not first.is_inside, rollout.exchanges\n"
        "    written = ''.join(map(chr, rollout.tokens[rollout.action_mask]))\n"
        "    return float((first.text, first.reply.messages[0].content, written) == ('ab', 'sure?', 'abcd'))\n"
    )
    tokens = np.array([*b"??ab", *b"sure?", *b"cd"])
    mask = np.array([i in (2, 3, 9, 10) for i in range(11)])
    first = Exchange("ab", Reply((Message("user", "sure?"),), reward=0.25, note="asked"), 4, 9)
    last = Exchange("cd", Reply(reward=-0.5, last=True), 11, 11)
    prompt = Prompt("rows/1", (Message("user", "q1"),), answer="a")
    rollout = Rollout(prompt, 0, tokens, mask, np.zeros(4, np.float32), "stop", 1, "cd", exchanges=(first, last))
    tracker = Tracker(run_dir.parent / "turns", "rlvr")
    tracker.record_rollouts(1, [Scored(rollout, Verdict(0.75, {"accuracy": 1.0, "turns": -0.25}))])
    code, out, err = rl("verifiers", "replay", "turns", "--with", "turns.py:verify", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["changed"] == 0
    assert found["means"]["part/turns"] == {"before": -0.25, "after": -0.25}
    assert found["means"]["errors"]["after"] == 0


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "5",
        '["x"]',
        '[{"text": "a"}]',
        EXCHANGE % "[3, 2]",
        EXCHANGE % "[0, 99]",
        EXCHANGE % '["a", 1]',
        EXCHANGE % "[2]",
        "[" * 100_000,
    ],
)
def test_exchanges_that_no_run_has_written(text: str, tmp_path: Path):
    with pytest.raises(ValueError, match=r"^exchanges that no run has written$"):
        read_exchanges(text, tmp_path, 9)


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


CHAINED = """
name: chained
model: {build: {hidden_size: 64, layers: 1, heads: 2}}
reward: {parts: [{verifier: text}]}
data:
  a: {source: jsonl, path: a.jsonl, fields: {question: question, answer: answer, hint: hint}}
  b: {source: jsonl, path: b.jsonl, fields: {question: question, answer: answer, hint: hint}}
  same_ids: {source: jsonl, path: same_ids.jsonl, fields: {question: question, answer: answer, hint: hint}}
stages:
  - repeat:
      times: 2
      stages:
        - distill: {data: {a: 1, b: 1}, split: null, limit: 3}
        - rlvr: {data: {distill: 0.5, b: 0.5}, split: null, steps: 1, eval: {data: same_ids, split: null}, eval_every: 1}
  - evaluate: {data: same_ids, split: null}
  - evaluate: {name: once-more, data: distill, split: null}
"""


def write_rows(file: Path, ids: Sequence[str], hint: str) -> None:
    rows = [{"question": f"q of {id}", "answer": "a", "hint": hint, "id": id} for id in ids]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def chained(home: Path) -> Path:
    """A run whose stages read mixtures, what a `distill` stage wrote in each iteration, and data sets with equal ids."""
    write_rows(home / "a.jsonl", ["a/1", "a/2", "a/3"], "from a")
    write_rows(home / "b.jsonl", ["b/1", "b/2"], "from b")
    write_rows(home / "same_ids.jsonl", ["a/1", "b/1"], "from same_ids")
    (home / "chained.yaml").write_text(CHAINED)
    prepare_run_dir(load("chained.yaml"), home / "run", resume=False)
    for number, (stage, prompt) in enumerate([("distill@1", "a/1"), ("rlvr@1", ""), ("distill@2", "a/2")], 1):
        folder = home / "run" / "stages" / f"{number:02d}-{stage}"
        folder.mkdir(parents=True)
        row = {"id": f"{prompt}#0", "data": "a", "split": None, "prompt": prompt, "reasoning": "", "response": "a"}
        (folder / "distilled.jsonl").write_text(json.dumps(row) + "\n")
        artifacts = {"distilled": f"stages/{folder.name}/distilled.jsonl"} if prompt else {}
        (folder / "done.json").write_text(
            json.dumps({"kind": stage.partition("@")[0], "artifacts": artifacts, "metrics": {}, "seconds": 1.0})
        )
    return home / "run"


def test_every_stage_finds_the_prompts_that_it_read(chained: Path):
    said: list[str] = []
    stages = {"distill@1", "rlvr@1", "distill@2", "rlvr@2", "evaluate", "once-more"}
    prompts = read_prompts(chained, stages, said.append)
    assert said == []
    hints = {
        stage: {id: prompt.fields["hint"] for id, prompt in of_stage.items()} for stage, of_stage in prompts.items()
    }
    b = {"b/1": "from b", "b/2": "from b"}
    assert hints["distill@1"] == hints["distill@2"] == {"a/1": "from a", "a/2": "from a", "b/1": "from b"}
    assert hints["rlvr@1"] == {"a/1#0": "from a", **b}
    assert hints["rlvr@2"] == {"a/2#0": "from a", **b}
    assert hints["evaluate"] == {"a/1": "from same_ids", "b/1": "from same_ids"}
    assert hints["once-more"] == {"a/2#0": "from a"}


def test_samples_of_a_mixture_and_of_a_block_are_judged_again(rl, chained: Path):
    (chained.parent / "hint.py").write_text(
        "from rl.types import Verdict\n"
        "def verify(prompt, rollout):\n    return Verdict(float(prompt.fields['hint'] == rollout.response))\n"
    )
    recorded = {"distill@1": "a/1", "rlvr@2": "b/2", "evaluate": "a/1"}
    for stage, id in recorded.items():
        Tracker(chained, stage).record_rollouts(1, [scored(id, 0, "from same_ids", 0.0)])
    code, out, err = rl("verifiers", "replay", "run", "--with", "hint.py:verify", "--json")
    assert code == 0, err
    means = json.loads(out)["means"]
    assert means["score"]["after"] == pytest.approx(1 / 3)
    assert means["errors"]["after"] == 0
    (chained.parent / "b.jsonl").unlink()  # what is left of a mixture is still read
    _, out, err = rl("verifiers", "replay", "run", "--with", "hint.py:verify", "--json")
    assert err.count("no such file") == 1
    assert "1 of 3 samples: their data cannot be read" in err


@pytest.mark.parametrize("name", bundled.names())
def test_a_run_of_every_bundled_recipe_is_read(name: str, home: Path, monkeypatch: pytest.MonkeyPatch):
    for variable in ("GROUNDTONE_DATA", "STEP_AUDIO_MODEL"):
        monkeypatch.setenv(variable, str(home / "nowhere"))
    source = json.loads(json.dumps(load(name).source))
    for data in source["data"].values():
        if "size" in data.get("args", {}):
            data["args"]["size"] = 20  # drawing thousands takes seconds
    (home / "run").mkdir()
    OmegaConf.save(OmegaConf.create(source), home / "run" / "recipe.yaml")
    stages = {stage.name for stage in load(source, check=False).stages}  # its verifiers lie beside the bundled one
    said: list[str] = []
    assert set(read_prompts(home / "run", stages, said.append)) == stages
    assert all(line.startswith("warning: ") for line in said)


def test_a_recipe_that_no_longer_reads_is_a_warning(rl, run_dir: Path):
    (run_dir / "recipe.yaml").write_text(RECIPE + "  - gone: {data: rows}\n")
    code, _, err = rl("verifiers", "replay", "run", "--with", "new.py:verify", "--json")
    assert code == 0
    assert err.startswith("warning: stages[1]: ")
    assert "judged without audio and further fields" in err
