"""`rl submit`: what is packed, what is refused, and one job on a real Ray head with token authentication."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from ray_nodes import BIN, free_ports, ray_nodes

from rl.config import ConfigError
from rl.recipe import load
from rl.submit.pack import pack

RECIPE = """
name: tiny
model: {build: {hidden_size: 64, layers: 1, heads: 2}}
data:
  words: {source: jsonl, path: words.jsonl, fields: {question: question, answer: answer, response: answer}}
reward: {parts: [{verifier: "mine.py:verify"}]}
engines: {kv_cache_mb: 64}
stages:
  - evaluate: {data: words, split: null, samples: 1, greedy: false, max_sequence_tokens: 32}
"""
VERIFIER = """
import shared
from rl.types import Verdict

def verify(prompt, rollout):
    return Verdict(score=shared.score(prompt.answer, rollout.response))
"""
WAITING = """
import pathlib, time
from rl.types import Verdict

def verify(prompt, rollout):
    if rollout.response != "yes":  # what it is asked before the run
        pathlib.Path({judged!r}).touch()
        time.sleep(600)
    return Verdict(1.0)
"""
SHARED = "def score(gold, answer):\n    return float(gold == answer)\n"
ROWS = '{"question": "reverse: ab", "answer": "ba"}\n{"question": "reverse: cd", "answer": "dc"}\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder: a recipe that extends another, a verifier with a module beside it, a small data file."""
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "base.yaml": RECIPE,
        "tiny.yaml": "extends: base\nevaluate: {limit: 1}\n",
        "mine.py": VERIFIER,
        "shared.py": SHARED,
        "other.py": "raise SystemExit\n",
        "words.jsonl": ROWS,
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def packed(recipe: str, target: Path, *overrides: str) -> tuple[set[str], list[str]]:
    target.mkdir()
    warnings = pack(load(recipe, overrides), target)
    return {str(file.relative_to(target)) for file in target.rglob("*") if file.is_file()}, warnings


def test_what_the_recipe_names_is_packed_and_nothing_else(project: Path) -> None:
    files, warnings = packed("tiny.yaml", project / "job", "cluster.address=auto")
    assert files == {"recipe.yaml", "mine.py", "shared.py", "words.jsonl"}
    assert warnings == []
    sent = load(project / "job" / "recipe.yaml")
    assert sent.stages[0].config.limit == 1
    assert sent.header.cluster.address is None  # the job is on the cluster already


def test_python_from_elsewhere_is_found_under_its_own_name(project: Path) -> None:
    (project / "inner").mkdir()
    for name in ("mine.py", "shared.py"):
        (project / name).rename(project / "inner" / name)
    files, _ = packed("tiny.yaml", project / "job", "reward.parts=[{verifier: 'inner/mine.py:verify'}]")
    assert {"mine.py", "shared.py"} <= files
    values = OmegaConf.load(project / "job" / "recipe.yaml")
    assert values.reward.parts[0].verifier == "mine.py:verify"


def test_the_verifiers_of_a_repeated_stage_are_packed(project: Path) -> None:
    (project / "inner").mkdir()
    (project / "inner" / "strict.py").write_text(VERIFIER.replace("import shared", "import json"))
    reward = "{parts: [{verifier: 'inner/strict.py:verify'}]}"
    (project / "inner" / "picks.py").write_text(VERIFIER.replace("import shared", "import json"))
    by = "{verifier: 'inner/picks.py:verify'}"
    block = f"{{repeat: {{times: 2, stages: [{{distill: {{data: words, reward: {reward}, select_by: {by}}}}}]}}}}"
    files, _ = packed("tiny.yaml", project / "job", f"stages=[{{evaluate: {{data: words}}}}, {block}]")
    assert "strict.py" in files
    sent = load(project / "job" / "recipe.yaml")
    assert [stage.config.reward.parts[0].verifier for stage in sent.stages[1:]] == ["strict.py:verify"] * 2
    assert "picks.py" in files
    assert [stage.config.select_by.verifier for stage in sent.stages[1:]] == ["picks.py:verify"] * 2


def test_data_beside_the_recipe_are_packed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "drawn.py").write_text("def draw(split):\n    ...\n")
    (project / "elsewhere").mkdir()
    monkeypatch.chdir(project / "elsewhere")
    drawn = "data.drawn={source: 'drawn.py:draw'}"
    files, warnings = packed(str(project / "tiny.yaml"), project / "job", drawn)
    assert {"words.jsonl", "drawn.py", "mine.py"} <= files
    assert warnings == []
    values = OmegaConf.load(project / "job" / "recipe.yaml")
    assert (values.data.words.path, values.data.drawn.source) == ("words.jsonl", "drawn.py:draw")
    with pytest.MonkeyPatch.context() as there:  # as the job does
        there.chdir(project / "job")
        assert load("recipe.yaml").header.data["words"].path == "words.jsonl"


def test_own_packages_are_packed(project: Path) -> None:
    (project / "judges" / "deep").mkdir(parents=True)
    for folder in ("judges", "judges/deep"):
        (project / folder / "__init__.py").write_text("")
    (project / "judges" / "deep" / "fair.py").write_text(VERIFIER)
    files, _ = packed("tiny.yaml", project / "job", "reward.parts=[{verifier: 'judges.deep.fair:verify'}]")
    assert {"judges/__init__.py", "judges/deep/__init__.py", "judges/deep/fair.py"} <= files


def test_relative_paths_that_stay_behind_are_named(project: Path) -> None:
    (project / "model").mkdir()
    (project / "model" / "config.json").write_text("{}")
    shutil.copytree(project, project / "user", ignore=shutil.ignore_patterns("user"))
    os.chdir(project / "user")
    _, warnings = packed("tiny.yaml", project / "job", "data.words.path=../words.jsonl", "evaluate.model=model")
    assert [warning.partition(":")[0] for warning in warnings] == ["data.words.path", "stages[0].evaluate.model"]
    assert all("relative" in warning for warning in warnings)


def test_an_objective_of_ones_own_is_packed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, code in {
        "mine/gains.py": "import scale\ndef fair(batch, objective): ...\n",
        "mine/scale.py": "",
        "mine/steps/__init__.py": "def bold(logprobs, batch, objective): ...\n",
    }.items():
        (project / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        (project / "code" / name).write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(project / "code" / "mine"))
    monkeypatch.syspath_prepend(project / "code" / "mine")
    goal = "{advantage: 'gains:fair', policy_loss: 'steps:bold', critic: false}"
    rlvr = f"{{rlvr: {{data: words, split: null, steps: 1, objective: {goal}}}}}"
    files, _ = packed("tiny.yaml", project / "job", f"stages=[{{evaluate: {{data: words}}}}, {rlvr}]")
    assert {"gains.py", "scale.py", "steps/__init__.py"} <= files
    (sent,) = (stage for stage in load(project / "job" / "recipe.yaml").stages if stage.kind == "rlvr")
    assert (sent.config.build_objective().advantage, sent.config.build_objective().policy_loss) == (
        "gains:fair",
        "steps:bold",
    )


def test_models_and_files_that_a_reward_or_a_stage_names_are_named(project: Path) -> None:
    for name in ("judge", "scorer"):
        (project / name).mkdir()
        (project / name / "config.json").write_text("{}")
    served = "[{verifier: judge, args: {served: judge}}, {verifier: reward_model, args: {served: scorer}, name: other}]"
    curate = "{curate: {data: words, reuse: later/difficulty.parquet}}"
    changes = (f"reward.parts={served}", "judges={judge: {model: judge}}")
    _, warnings = packed("tiny.yaml", project / "job", *changes, f"stages=[{curate}, {{evaluate: {{data: words}}}}]")
    named = {warning.partition(":")[0] for warning in warnings}
    assert named == {"reward.parts[1].args", "judges.judge.model", "stages[0].curate.reuse"}


def test_two_files_of_one_name_are_refused(project: Path) -> None:
    (project / "inner").mkdir()
    (project / "inner" / "mine.py").write_text(VERIFIER + "\n# another\n")
    parts = "[{verifier: 'mine.py:verify'}, {verifier: 'inner/mine.py:verify', name: second}]"
    with pytest.raises(ConfigError, match=r"another mine\.py is sent along already"):
        packed("tiny.yaml", project / "job", f"reward.parts={parts}")


def rl(*arguments: str, env: dict[str, str], timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / "rl", *arguments], capture_output=True, text=True, timeout=timeout, env=env)


def test_a_cluster_that_is_away_is_one_line(project: Path) -> None:
    done = rl("submit", "tiny.yaml", "--address", f"http://127.0.0.1:{free_ports(1)[0]}", env=dict(os.environ))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: --address http://127.0.0.1:")
    assert done.stdout == ""


@pytest.fixture
def head() -> Iterator[tuple[str, dict[str, str]]]:
    """A Ray head of its own on the loopback interface, with a token; (address of its dashboard, environment)."""
    with ray_nodes(cpus=2) as nodes:
        yield f"http://127.0.0.1:{nodes.ports['dashboard-port']}", nodes.env


def wait_for(address: str, env: dict[str, str]) -> None:
    port = int(address.rpartition(":")[2])
    for _ in range(240):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise AssertionError(Path(env["HOME"], "node-0.log").read_text())


def test_a_job_on_a_real_head(project: Path, head: tuple[str, dict[str, str]]) -> None:
    address, env = head
    wait_for(address, env)
    wrong = rl("submit", "tiny.yaml", "--address", address, env={**env, "RAY_AUTH_TOKEN": "wrong"})
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1), wrong.stderr
    assert "RAY_AUTH_TOKEN" in wrong.stderr

    out = project / "shared storage"
    options = ["--follow", "--out", str(out), "--cpus", "0.5", "--memory-gb", "0.1"]
    done = rl("submit", "tiny.yaml", "--address", address, *options, env=env, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("job tiny-")
    assert "evaluate" in done.stdout
    assert done.stdout.rstrip().endswith("succeeded")
    assert f"try     rl submit tiny.yaml seed=1 --address {address} --out '{out}-2'" in done.stdout
    assert done.stderr == ""
    assert (out / "summary.json").is_file()
    assert (out / "report.html").is_file()

    first = done.stdout.removeprefix("job ").partition(",")[0]
    listed = json.loads(rl("jobs", "list", "--address", address, "--json", env=env).stdout)["jobs"]
    assert [(job["job"], job["status"], job["recipe"], job["out"]) for job in listed] == [
        (first, "succeeded", "tiny", str(out))
    ]
    back = project / "back"
    for brought in (" files, ", "0 files, "):  # the second time everything is here
        fetched = rl("jobs", "fetch", first, "--address", address, "--out", str(back), env=env)
        assert fetched.returncode == 0, fetched.stdout + fetched.stderr
        assert brought in fetched.stdout
    there = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    here = {str(path.relative_to(back)): path.read_bytes() for path in back.rglob("*") if path.is_file()}
    assert here == {name: content for name, content in there.items() if "checkpoints" not in Path(name).parts}
    assert not list(Path(env["HOME"]).glob("session_*/logs/groundtone-*")), "the files are shared no more"
    unknown = rl("jobs", "fetch", first + "x", "--address", address, env=env)
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)
    assert f"no job '{first}x'; did you mean '{first}'?" in unknown.stderr

    (project / "mine.py").write_text(WAITING.format(judged=str(project / "judged")))
    stopped = project / "stopped"
    sent = rl("submit", "tiny.yaml", "--address", address, "--out", str(stopped), env=env)
    job = sent.stdout.removeprefix("job ").partition(",")[0]
    until = time.monotonic() + 300
    while not (project / "judged").exists():
        assert time.monotonic() < until
        time.sleep(0.2)
    ended = rl("jobs", "stop", job, "--address", address, env=env)
    assert ended.stdout == f"job {job} is stopped\n", ended.stderr
    assert json.loads((stopped / "summary.json").read_text())["status"] == "interrupted"
    ended = rl("jobs", "stop", job, "--address", address, env=env)
    assert ended.stdout == f"job {job} had ended already: stopped\n", ended.stderr
    logs = rl("jobs", "logs", job, "--address", address, env=env).stdout
    again = f"rl submit tiny.yaml --address {address} --resume --out {stopped}"
    assert f"interrupted; go on with: {again}" in logs
    assert "Traceback" not in logs

    # More than any node has: it waits, and Ray's own stop does not reach it.
    sent = rl("submit", "tiny.yaml", "--address", address, "--cpus", "64", env=env)
    job = sent.stdout.removeprefix("job ").partition(",")[0]
    assert rl("jobs", "logs", job, "--address", address, env=env).stdout.startswith(f"job {job} is waiting for a node")
    fetched = rl("jobs", "fetch", job, "--address", address, "--out", str(project / "none"), env=env)
    assert (fetched.returncode, fetched.stderr.count("\n")) == (2, 1), fetched.stderr
    assert f"job '{job}' has written nothing: waiting for a node" in fetched.stderr
    ended = rl("jobs", "stop", job, "--address", address, env=env)
    assert ended.stdout == f"job {job} is stopped: stopped before it had begun\n", ended.stderr
    listed = json.loads(rl("jobs", "list", "--address", address, "--json", env=env).stdout)["jobs"]
    assert [listed[0]["job"], listed[0]["status"]] == [job, "stopped"], "and no job of our own is left"

    failed = rl("submit", "tiny.yaml", "--address", address, "--follow", "--out", str(out), env=env, timeout=120)
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "holds a run already" in failed.stdout
    assert failed.stdout.rstrip().endswith("failed: Job entrypoint command failed with exit code 2"), failed.stdout
