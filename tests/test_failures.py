"""Runs that fail: each says in one line what and where, keeps that in its summary, and goes on once it can."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from rl.recipe import load
from rl.report.tables import show
from rl.run.summary import Recovery, read_summary
from rl.run.tracker import read_metrics
from rl.runner import run

TINY = """
name: tiny
model: {build: {hidden_size: 64, heads: 2, layers: 1}}
data:
  words: {source: reasoning_gym, args: {dataset: spell_backward, size: 60, config: {max_word_len: 4}}}
  taste: {source: jsonl, path: taste.jsonl, fields: {question: question, chosen: chosen, rejected: rejected}}
reward: {parts: [{verifier: text, weight: 0.8}, {verifier: format, name: format, weight: 0.2}]}
engines: {kv_cache_mb: 64}
"""
TOO_FAST: dict[str, Any] = {"optimizer": {"learning_rate": 1e6}}
SFT = {"data": "words", "sequences_per_step": 8, "max_sequence_tokens": 48}
RLVR = {"data": "words", "steps": 4, "prompts_per_step": 4, "samples_per_prompt": 4, "max_sequence_tokens": 48}
PAIRS = {"data": "taste", "epochs": 4, "pairs_per_step": 4, "max_sequence_tokens": 64}
STAGES = {
    "sft": (
        {**SFT, **TOO_FAST, "checkpoint_every": 1},
        r"step 2: .*; lower optimizer\.learning_rate \(1e\+06\) and run anew",
    ),
    "rlvr": (
        {**RLVR, "critic_optimizer": TOO_FAST["optimizer"]},
        r"step \d: .*critic_optimizer\.learning_rate \(1e\+06\)",
    ),
    "dpo": ({**PAIRS, **TOO_FAST}, r"step 2: .*; lower optimizer\.learning_rate \(1e\+06\) and run anew"),
    "reward_model": (
        {**PAIRS, "optimizer": {"learning_rate": 1e25}, "held_out": 0.4},
        r"step \d+: .*; lower optimizer\.learning_rate \(1e\+25\) and run anew",
    ),
}


def recipe(folder: Path, stage: str, settings: dict[str, Any], **changes: Any) -> Any:
    values: Any = OmegaConf.to_container(OmegaConf.create(TINY))
    # Every third pair is the other way round, so that no head is right about all and has nothing left to learn.
    answers = [(f"{i}", f"no {i}")[:: 1 if i % 3 else -1] for i in range(24)]
    rows = [{"question": f"Say {i}", "chosen": good, "rejected": bad} for i, (good, bad) in enumerate(answers)]
    (folder / "taste.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values["data"]["taste"]["path"] = str(folder / "taste.jsonl")
    return load({**values, **changes, "stages": [{stage: settings}]})


def strictly(text: str) -> Any:
    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_diverges_is_named(ray_session: None, tmp_path: Path, stage: str) -> None:
    settings, says = STAGES[stage]
    out = tmp_path / "run"
    for resume in (False, True) if stage in ("sft", "dpo") else (False,):  # from a checkpoint, and where there is none
        with pytest.raises(
            ValueError, match=rf"^{stage} '{stage}', {says}.* --resume goes on from the last good checkp"
        ) as e:
            run(recipe(tmp_path, stage, settings), out, resume, say=lambda _: None)
        assert "\n" not in str(e.value)
    summary = read_summary(out)
    assert summary is not None
    assert summary.failure is not None
    assert (summary.status, summary.failure.error, summary.failure.stage) == ("failed", str(e.value), stage)
    assert summary.failure.step == int(str(e.value).partition("step ")[2].partition(":")[0])
    for line in (out / "metrics.jsonl").read_text().splitlines() if (out / "metrics.jsonl").exists() else ():
        strictly(line)
    strictly((out / "summary.json").read_text())
    assert not (out / "model").exists()
    assert not list((out / "stages").glob("*/model")), "nothing was exported"
    assert len(list((out / "stages").glob("*/checkpoints/step-*"))) == (stage == "sft"), "the last good one is kept"
    assert str(e.value) in (out / "report.html").read_text().replace("&#x27;", "'")
    assert show(out) is not None


@pytest.mark.parametrize(
    ("stage", "settings"),
    [("evaluate", {"data": "words", "limit": 2, "samples": 2, "max_sequence_tokens": 32}), ("sft", SFT)],
)
def test_a_broken_model_to_start_from_is_named(
    ray_session: None, tied: Path, tmp_path: Path, stage: str, settings: dict[str, Any]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tied, model)
    state = load_file(model / "model.safetensors")
    state["model.norm.weight"][3] = float("nan")
    save_file(state, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        ValueError, match=rf"{model}: its weights are broken: model\.norm\.weight is NaN in 1 of 64 values"
    ):
        run(recipe(tmp_path, stage, settings, model={"path": str(model)}), tmp_path / "run", say=lambda _: None)
    assert read_metrics(tmp_path / "run") == []


@pytest.mark.parametrize("score", ["nan"])
def test_a_reward_that_is_no_number_is_named(ray_session: None, tmp_path: Path, score: str) -> None:
    """Each such sample is an error, and too many of them end the run: by the part of the reward."""
    (tmp_path / "mine.py").write_text(
        f"from rl.types import Verdict\ndef verify(prompt, rollout): return Verdict(float('{score}'))\n"
    )
    reward = {"parts": [{"verifier": f"{tmp_path}/mine.py:verify", "name": "mine"}]}
    settings = {**RLVR, "limit": 12, "algorithm": "grpo"}
    with pytest.raises(ValueError, match=rf"could not be judged .*: mine: score {score} is not a number in \[0, 1\]$"):
        run(recipe(tmp_path, "rlvr", settings, reward=reward), tmp_path / "run", say=lambda _: None)
    failure = getattr(read_summary(tmp_path / "run"), "failure", None)
    assert (failure.stage, failure.step) == ("rlvr", 1)


SHORT = [
    {"sft": {**SFT, "epochs": 1}},
    {"rlvr": {**RLVR, "steps": 1000, "checkpoint_every": 1, "optimizer": {"learning_rate": 1e-3}}},
]


def start(file: Path, out: Path, *arguments: str) -> subprocess.Popen[str]:
    """A run of the command, whose lines go to `said` beside its folder."""
    command = [sys.executable, "-m", "rl.cli", "run", str(file), "--out", str(out), *arguments]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background job starts deaf to it
    with (out.parent / "said").open("w") as said:
        return subprocess.Popen(
            command, stdout=said, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heard
        )


def last_step(out: Path) -> int:
    rows = read_metrics(out) if (out / "recipe.yaml").exists() else []
    return max((row["step"] for row in rows if row["stage"] == "rlvr"), default=0)


def recoveries(out: Path) -> Sequence[Recovery]:
    summary = read_summary(out)
    assert summary is not None
    return summary.recoveries


def wait_until(process: subprocess.Popen[str], is_so: Callable[[], bool]) -> None:
    while not is_so():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def find_below(process: subprocess.Popen[str], title: str) -> psutil.Process:
    return next(p for p in psutil.Process(process.pid).children(recursive=True) if title in " ".join(p.cmdline()))


RAYLET = r"Ray's raylet \(pid \d+\) has not run for \d+ s: it is stopped \(SIGSTOP\)"
TRAINER = r"the policy's trainer \(pid \d+, node \S+\) has died: .*(SIGKILL|memory).*"
ENGINE = r"engine 0 \(pid \d+\) has not run for \d+ s: it is stopped \(SIGSTOP\)"


@pytest.mark.timeout(900)
def test_a_process_that_is_lost_ends_the_run_in_one_line_or_is_recovered_from(tmp_path: Path) -> None:
    """It ends and leaves nothing where no retry is allowed; what was learned by then is there to go on with, at another stage of
    ZeRO too. Where one is allowed the run gets over the next loss by itself, and over another after a step gained; told to end
    amid that, it ends."""
    file, out = tmp_path / "tiny.yaml", tmp_path / "run"
    values = recipe(tmp_path, "sft", SFT, cluster={"heartbeat_s": 6}, run={"retries": 0}).source
    OmegaConf.save(OmegaConf.create({**values, "stages": SHORT}), file)
    first = start(file, out)
    wait_until(first, lambda: last_step(out) >= 2)
    below = psutil.Process(first.pid).children(recursive=True)
    find_below(first, "raylet/raylet").send_signal(signal.SIGSTOP)
    _, stderr = first.communicate(timeout=300)
    assert first.returncode == 2, stderr
    assert re.fullmatch(rf"error: rlvr 'rlvr', step \d+: {RAYLET}.* go on with --resume\n", stderr), stderr
    assert psutil.wait_procs(below, timeout=30)[1] == []
    summary = read_summary(out)
    assert summary is not None
    assert summary.failure is not None
    assert f"error: {summary.failure.error}\n" == stderr
    assert (summary.status, summary.failure.stage) == ("failed", "rlvr")

    done = last_step(out)
    again = start(file, out, "--resume", "run.retries=1", "trainer.zero_stage=2")
    wait_until(again, lambda: last_step(out) > done)
    find_below(again, "ray::PolicyWorker").kill()
    wait_until(again, lambda: len(recoveries(out)) == 1)
    (loss,) = recoveries(out)
    assert re.fullmatch(TRAINER, loss.error)
    assert loss.stage == "rlvr"
    assert loss.checkpoint > 0
    wait_until(again, lambda: last_step(out) > loss.checkpoint + 1)  # further than before the loss
    assert getattr(read_summary(out), "failure", 0) is None
    below = psutil.Process(again.pid).children(recursive=True)
    find_below(again, "ray::EngineWorker").send_signal(signal.SIGSTOP)
    says = rf"warning: rlvr 'rlvr', step \d+: {ENGINE}.*; building the cluster anew, retry 1 of 1"
    wait_until(again, lambda: re.search(says, " ".join((tmp_path / "said").read_text().split())) is not None)
    below += psutil.Process(again.pid).children(recursive=True)
    again.send_signal(signal.SIGINT)
    _, stderr = again.communicate(timeout=60)
    assert again.returncode == 130, stderr
    assert re.fullmatch(rf"interrupted; go on with: rl run .*--resume --out {out}\n", stderr), stderr
    assert json.loads((out / "summary.json").read_text())["status"] == "interrupted"
    assert psutil.wait_procs(below, timeout=30)[1] == []
