"""The command `rl` as a user meets it: how soon it answers, what it says of every mistake, and one whole run."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from omegaconf import OmegaConf

BIN = Path(sys.executable).parent
HEAVY = ["torch", "ray", "transformers", "vllm", "deepspeed", "datasets", "sympy", "pyarrow"]
RECIPE = """
name: tiny
model: {build: {hidden_size: 64, heads: 2, layers: 1}}
data:
  words: {source: reasoning_gym, args: {dataset: spell_backward, size: 60, config: {max_word_len: 4}}}
  rows: {source: jsonl, path: rows.jsonl, fields: {question: question, answer: answer, response: answer}}
reward:
  parts: [{verifier: text, weight: 0.8}, {verifier: format, name: format, weight: 0.2}]
engines: {kv_cache_mb: 64}
stages:
  - evaluate: {name: before, data: words, limit: 4, samples: 2, max_sequence_tokens: 32}
  - sft: {data: rows, sequences_per_step: 2, max_sequence_tokens: 64}
  - rlvr: {data: words, steps: 1, prompts_per_step: 4, samples_per_prompt: 4, max_sequence_tokens: 32}
  - evaluate: {name: after, data: words, limit: 4, samples: 2, max_sequence_tokens: 32}
"""
FUNCTION = """
import errno, hashlib, time
from pathlib import Path
from rl.run.files import DiskFull

def slow(split, **_):
    Path("began").touch()
    time.sleep(600)

def stuck(split, **_):
    Path("began").touch()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # in C, for minutes

def full(split, **_):
    raise DiskFull(Path("runs"))

def broken(split, **_):
    raise KeyError("a bug")
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    (folder / "tiny.yaml").write_text(RECIPE)
    (folder / "own.py").write_text(FUNCTION)
    (folder / "rows.jsonl").write_text('{"question": "reverse: ab", "answer": "ba"}\n' * 2)
    (folder / "bad.jsonl").write_text('{"question": "q", "answer": "a"}\n{"question": "", "answer": "a"}\n')
    return folder


def rl(home: Path, *arguments: str, timeout: float = 60, **env: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "GROUNDTONE_DATA")} | env
    command = [str(BIN / "rl"), *arguments]
    return subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, timeout=timeout)


def one_line(done: subprocess.CompletedProcess[str], code: int = 2) -> str:
    """The single line of a complaint."""
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stderr.strip()


# --- quick answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "seconds"), [(["--help"], 0.5), (["check", "quickstart"], 1.5)])
def test_it_answers_soon_and_imports_nothing_heavy(arguments: list[str], seconds: float, home: Path) -> None:
    """Seconds of CPU: what the wall clock says on an idle machine, the best of some on a busy one."""

    def spent() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert rl(home, *arguments).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(spent() for _ in range(4)) < seconds

    program = (
        f"import sys, atexit; sys.argv = {['rl', *arguments]}\n"
        f"atexit.register(lambda: print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr))\n"
        "from rl.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=home, capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


def test_check_shows_the_plan_and_gives_it_as_json(home: Path) -> None:
    text = rl(home, "check", "tiny.yaml", COLUMNS="400").stdout
    assert "4 prompts × 4 samples = 16 rollouts of ≤ 32 tokens → 1 optimiser step of ≤ 1 micro-batch" in text
    assert "[1 CPU: engine policy critic]" in text
    done = rl(home, "check", "tiny.yaml", "rlvr.steps=3", "--json")
    assert done.stderr == ""
    plan = json.loads(done.stdout)
    assert [stage["steps"] for stage in plan["stages"]] == [0, 1, 3, 0]
    assert plan["problems"] == []


def test_lists(home: Path) -> None:
    verifiers, data = rl(home, "verifiers", "list").stdout, rl(home, "data", "list").stdout
    assert all(name in verifiers for name in ("math", "choice", "text", "format", "file.py:fn"))
    assert all(name in data for name in ("jsonl", "parquet", "huggingface", "words", "reasoning_gym"))


# --- mistakes ------------------------------------------------------------------------------------------------------

MISTAKES = {
    "unknown key": ("sft.epoch=1", "stages[1].sft: unknown key 'epoch'; did you mean 'epochs'?"),
    "wrong type": ("sft.epochs=many", "stages[1].sft.epochs: expected a number; got 'many'"),
    "missing file": ("data.rows.path=nowhere.jsonl", "data.rows.path: no such file: nowhere.jsonl; correct the path"),
    "bad row": ("data.rows.path=bad.jsonl", "bad.jsonl:2: "),
    "unknown verifier": (
        "reward.parts[0].verifier=txt",
        "reward.parts[0].verifier: unknown verifier 'txt'; did you mean",
    ),
    "missing resource": ("trainer.ranks=4096", "cluster: 4096 CPUs asked for (engine, 4096 × policy, 4096 × critic), "),
    "mini-batches": (
        "rlvr.minibatches=7",
        "stages[2].rlvr.minibatches: 4 prompts × 4 samples = 16 rollouts do not divide",
    ),
    "too few prompts": (
        "rlvr.prompts_per_step=999",
        "stages[2].rlvr.prompts_per_step: 999 prompts asked for, 'words' has",
    ),
    "unknown stage": (
        "stages=[{sftt: {data: words}}]",
        "stages[0]: expected one stage such as `- sft: {…}`; got 'sftt'",
    ),
    "unknown override": ("rlrv.steps=3", "unknown key 'rlrv'; did you mean 'rlvr'?"),
    "no override": ("rlvr.steps", "override 'rlvr.steps': expected key=value, for example rlvr.steps=10"),
    "no list item": ("stages[9].sft.epochs=1", "override 'stages[9].sft.epochs=1': "),
    "unknown data": ("sft.data=word", "stages[1].sft.data: no data set 'word'; did you mean 'words'?"),
    "missing model": ("model={path: ./nowhere,build: null}", "model.path: no such folder: ./nowhere; "),
    "interpolation": ("sft.data=${nope}", "tiny.yaml: sft.data: Interpolation key 'nope' not found"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_names_place_and_fix(mistake: str, home: Path) -> None:
    override, says = MISTAKES[mistake]
    assert one_line(rl(home, "check", "tiny.yaml", override)).startswith(f"error: {says}")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check", "quickstrat"], "recipe 'quickstrat': no such file or bundled recipe; did you mean 'quickstart'?"),
        (["run", "tiny.yaml", "trainer.ranks=4096"], "cluster: 4096 CPUs asked for"),
        (["run", "tiny.yaml", "--resume"], "--resume: no run of 'tiny' in runs/; name its directory with --out"),
        (["run", "tiny.yaml", "--out", "rows.jsonl/run"], "--out: "),
        (["show", "nowhere"], "nowhere: no such directory"),
        (["show", "tiny.yaml"], "tiny.yaml: is a file, not a run's directory"),
        (["check", "tiny.yaml", "extends=quickstart"], "extends: stands in a recipe's file alone"),
        (["compare", "nowhere", "here"], "nowhere: no such directory"),
        (["compare", "alone"], "rl compare: one run, nothing to compare it with; name another, or use rl show alone"),
        (["rum"], "No such command 'rum'. Did you mean 'run'?; see rl --help"),
        (["check"], "Missing argument 'RECIPE'; see rl check --help"),
        (["run", "tiny.yaml", "--sed", "3"], "No such option: --sed"),
        (
            ["run", "tiny.yaml", "--rlvr.steps=3"],
            "No such option: --rlvr.steps; overrides have no sign before them; write r",
        ),
        (
            ["check", "tiny.yaml", "--rlvr.steps", "3"],
            "No such option: --rlvr.steps; overrides have no sign before them; write r",
        ),
        (
            ["run", "tiny.yaml", "--num_generations=8"],
            "No such option: --num_generations; overrides have no sign before them, and",
        ),
        (["eval", "./nowhere", "--data", "rows.jsonl"], "model.path: no such folder: ./nowhere"),
        (["eval", "./nowhere", "--data", "nowhere.jsonl"], "--data: no such file: nowhere.jsonl"),
        (["eval", "./nowhere"], "--data: name a jsonl or parquet file"),
        (
            ["curate", "x", "--data", "rows.jsonl", "--out", "d.parquet", "--keep", "3", "9"],
            "stages[0].curate.keep: [3, 9] ",
        ),
    ],
)
def test_so_is_one_on_the_command_line(arguments: list[str], says: str, home: Path) -> None:
    assert one_line(rl(home, *arguments)).startswith(f"error: {says}")
    assert not (home / "runs" / "tiny").exists()


def test_several_things_that_are_missing_are_all_named(home: Path) -> None:
    done = rl(home, "check", "tiny.yaml", "trainer.ranks=4096", "data.rows.path=nowhere.jsonl")
    assert done.returncode == 2
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["error", "error"]
    assert "what it does" in done.stdout


def test_debug_shows_where_a_mistake_was_found(home: Path) -> None:
    done = rl(home, "check", "tiny.yaml", "sft.epoch=1", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "ConfigError" in done.stderr


def test_a_package_of_our_name_beside_the_user_is_named(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home, tmp_path / "user")
    (tmp_path / "user" / "models").mkdir()
    assert rl(tmp_path / "user", "check", "tiny.yaml").returncode == 0
    (tmp_path / "user" / "models" / "__init__.py").touch()
    assert "has the name of a package of ours" in one_line(rl(tmp_path / "user", "run", "tiny.yaml"))


# --- how a run ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code", "function"),
    [(signal.SIGINT, 130, "slow"), (signal.SIGTERM, 143, "slow"), (signal.SIGTERM, 143, "stuck")],
)
def test_told_to_end_it_says_one_line(home: Path, number: signal.Signals, code: int, function: str) -> None:
    """Also in the midst of C code, which hears no signal before it returns."""
    (home / "began").unlink(missing_ok=True)
    out = f"{function}-{code}"
    command = [BIN / "rl", "run", "tiny.yaml", f"data.words={{source: own.py:{function}}}", "--out", out]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background job starts deaf to it
    process = subprocess.Popen(
        command, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard
    )
    while not (home / "began").exists():
        assert process.poll() is None
        time.sleep(0.05)
    for _ in range(2):  # wrappers of commands pass on what the terminal has sent already
        process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "Traceback" not in stdout
    assert stderr.count("\n") == 1
    assert stderr.startswith("interrupted; go on with: rl run tiny.yaml")
    assert shlex.split(stderr.partition("go on with: ")[2]) == ["rl", *map(str, command[1:4]), "--resume", "--out", out]
    assert json.loads((home / out / "summary.json").read_text())["status"] == "interrupted"


def test_a_full_disk_is_one_line(home: Path) -> None:
    done = rl(home, "run", "tiny.yaml", "data.words={source: own.py:full}", "--out", "full")
    assert "the disk is full" in one_line(done)


def test_a_bug_shows_its_traceback(home: Path) -> None:
    done = rl(home, "run", "tiny.yaml", "data.words={source: own.py:broken}", "--out", "broken")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "KeyError: 'a bug'" in done.stderr


def test_stdout_is_kept_for_json_whoever_else_writes(home: Path) -> None:
    program = (
        "import os; from rl.terminal import print_json, reserve_stdout\n"
        "with reserve_stdout(True):\n    print('library'); os.system('echo child')\n"
        "print_json({'a': 1})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert json.loads(done.stdout) == {"a": 1}
    assert sorted(done.stderr.split()) == ["child", "library"]


# --- one whole run, and what follows from it -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(home: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    done = rl(home, "run", "tiny.yaml", timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return home / "runs" / "tiny", done


def test_a_run_ends_with_its_table_and_what_to_try_next(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    run_dir, done = finished
    assert done.stderr == ""
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0].startswith("tiny ")
    (before,) = (line for line in lines if re.match("before [01]", line))
    assert before.count("[") == 2  # accuracy and greedy accuracy
    (after,) = (line for line in lines if re.match("after [01]", line))
    assert after.count("[") == 3  # and what was gained
    for says in ("report runs/tiny/report.html", "model runs/tiny/model", "look rl show runs/tiny"):
        assert says in lines
    assert "try rl run tiny.yaml rlvr.algorithm=grpo --out runs/tiny-2" in lines
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["status"] == "done"
    assert [stage["name"] for stage in summary["stages"]] == ["before", "sft", "rlvr", "after"]
    assert "<html" in (run_dir / "report.html").read_text()
    assert (run_dir / "model" / "config.json").is_file()


def test_a_finished_run_is_gone_on_with_by_name(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    run_dir, _ = finished
    done = rl(run_dir.parent.parent, "run", "tiny.yaml", "--resume")
    assert done.returncode == 0, done.stderr
    assert "after" in done.stdout
    again = rl(run_dir.parent.parent, "run", "tiny.yaml", "--out", "runs/tiny")
    assert "holds a run already" in one_line(again)
    other = rl(run_dir.parent.parent, "run", "tiny.yaml", "rlvr.temperature=0.5", "--resume")
    assert "was run with another recipe" in one_line(other)


def test_show_and_compare(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    run_dir, _ = finished
    assert "rlvr" in rl(run_dir, "show", ".").stdout
    both = rl(run_dir, "compare", ".", str(run_dir))
    assert both.returncode == 0
    assert "accuracy" in both.stdout


def test_seeds_end_with_their_spread(
    finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, home: Path
) -> None:
    for seed in (0, 1):
        folder = tmp_path / f"seed-{seed}"
        shutil.copytree(finished[0], folder)
        values = OmegaConf.load(folder / "recipe.yaml")
        values.seed = seed
        OmegaConf.save(values, folder / "recipe.yaml")
    done = rl(home, "run", "tiny.yaml", "--seeds", "2", "--resume", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "evaluation metric mean ± sd seed 0 seed 1" in lines
    (accuracy,) = (line for line in lines if line.startswith("after accuracy"))
    assert "± 0.000" in accuracy
    assert accuracy.count("[") == 2
    (gained,) = (line for line in lines if line.startswith("after − before accuracy"))
    assert gained.count("[") == 2
