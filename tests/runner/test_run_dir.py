"""Run directories that cannot be, or that are another recipe's."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from omegaconf import OmegaConf
from run_dirs import prepare_run_dir

from rl.config import ConfigError
from rl.recipe import Recipe, load
from rl.run.lock import LOCK, RunLock, _start_of, is_at_work
from rl.run.summary import Summary, mark_interrupted, write_summary
from rl.runner.run_dir import check_resumable, hold_run_dir, newest_run, replay_overrides

RECIPE = {
    "name": "tiny",
    "model": {"build": {"hidden_size": 64, "heads": 2, "layers": 1}},
    "data": {"words": {"source": "reasoning_gym"}},
    "reward": {"parts": [{"verifier": "text"}]},
    "stages": [{"sft": {"data": "words"}}],
}


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.chdir(tmp_path)
    return load(RECIPE)


def test_it_is_taken_once_and_gone_on_with_by_the_same_recipe(recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "a" / "run"
    prepare_run_dir(recipe, out, resume=False)
    prepare_run_dir(recipe, out, resume=True)
    with pytest.raises(ConfigError, match=r"run: holds a run already; go on with --resume or choose another --out"):
        prepare_run_dir(recipe, out, resume=False)
    with pytest.raises(ConfigError, match=r"was run with another recipe \(seed: None then, 3 now\)"):
        prepare_run_dir(load(RECIPE, ["seed=3"]), out, resume=True)


@pytest.mark.parametrize(
    ("out", "why"),
    [("file", "File exists|Not a directory"), ("file/run", "Not a directory"), ("/proc/run", "No such file")],
)
def test_what_cannot_be_a_directory_is_named(recipe: Recipe, out: str, why: str) -> None:
    Path("file").touch()
    with pytest.raises(
        ConfigError, match=rf"^--out: {out} cannot be a run's directory \(({why})[^)]*\); name another$"
    ):
        prepare_run_dir(recipe, Path(out), resume=False)


@pytest.mark.parametrize(
    ("out", "seeds", "says"),
    [
        ("runs/tinny", False, "--resume: runs/tinny holds no run; did you mean 'runs/tiny'?; leave out --resume to begin one"),
        ("run/tiny", False, "run/tiny holds no run; did you mean 'runs/tiny'?"),
        ("elsewhere", False, "elsewhere holds no run; there are runs/"),
        ("runs/tiny/stages/01-sft", False, "holds no run; it lies in a run: did you mean 'runs/tiny'?"),
        ("runs", False, "runs holds no run; did you mean 'runs/tiny'?"),
        ("runs/spread", False, "runs/spread holds runs of several seeds; add --seeds, as when they began"),
        ("runs/tiny", True, "runs/tiny holds one run; leave out --seeds"),
        ("runs/spred", True, "did you mean 'runs/spread'?"),
        ("runs/empty", False, "runs/empty holds no run"),
        ("file", False, "file holds no run"),
        ("file/run", False, "file/run holds no run"),
        ("/proc/run", False, "/proc/run holds no run"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_not_resumed(recipe: Recipe, out: str, seeds: bool, says: str) -> None:
    for name in ("tiny", "tiny-2", "spread/seed-0", "spread/seed-1"):
        prepare_run_dir(recipe, Path("runs") / name, resume=False)
    Path("runs/empty").mkdir()
    Path("runs/tiny/stages/01-sft").mkdir(parents=True)
    Path("file").touch()
    with pytest.raises(ConfigError) as caught:
        check_resumable(Path(out), seeds)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    if not seeds and "several seeds" not in says:
        with pytest.raises(ConfigError, match="holds no run"):
            prepare_run_dir(recipe, Path(out), resume=True)
        assert not Path(out).is_dir() or not (Path(out) / "recipe.yaml").exists()
    for run in ("runs/tiny", "runs/tiny-2"):
        check_resumable(Path(run))


@pytest.mark.parametrize(("text", "says"), [("{bad", ":2: not valid YAML (did not find"), ("", ": holds no recipe;")])
def test_a_damaged_recipe_is_named(recipe: Recipe, text: str, says: str) -> None:
    out = Path("runs/tiny")
    prepare_run_dir(recipe, out, resume=False)
    (out / "recipe.yaml").write_text(text)
    for find in (lambda: prepare_run_dir(recipe, out, resume=True), lambda: newest_run("tiny", seeds=False)):
        with pytest.raises(ConfigError) as caught:
            find()
        assert str(caught.value).startswith(f"runs/tiny/recipe.yaml{says}")
        assert str(caught.value).endswith("; put back the recipe it was run with, or start anew with another --out")


HOLD = """
import sys, time
from pathlib import Path
from rl.recipe import load
from rl.runner.run_dir import hold_run_dir
import os, subprocess
with hold_run_dir(load(%r), Path(sys.argv[1]), resume=False):
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    forked = os.fork()
    if not forked:
        time.sleep(60)
        os._exit(0)
    print(child.pid, forked, flush=True)
    time.sleep(60)
"""


def test_one_run_at_a_time_works_in_it(recipe: Recipe, tmp_path: Path) -> None:
    """Until it ends, or is killed: then at once, although what it has started lives on."""
    out = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", HOLD % RECIPE, str(out)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    children = [int(pid) for pid in process.stdout.readline().split()]
    try:
        says = (
            rf"^{out}: a run is at work here already \(process {process.pid} on {socket.gethostname()}\); wait for it"
        )
        for resume in (False, True):
            with pytest.raises(ConfigError, match=says):
                prepare_run_dir(recipe, out, resume)
        assert is_at_work(out)
        process.kill()
        process.wait()
        assert all(psutil.pid_exists(pid) for pid in children)
        assert not is_at_work(out)
        prepare_run_dir(recipe, out, resume=True)
    finally:
        for pid in (process.pid, *children):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_whether_a_run_is_at_work_is_seen_without_its_lock(recipe: Recipe, tmp_path: Path) -> None:
    """A run in another container, whose process id means nothing here, is at work by its lock alone."""
    assert not is_at_work(tmp_path), "none has been"
    with hold_run_dir(recipe, tmp_path, resume=False):
        assert is_at_work(tmp_path)
        (tmp_path / LOCK).write_text(json.dumps({"pid": 2**22 - 1, "start": "5", "host": socket.gethostname()}))
        assert is_at_work(tmp_path)
    assert not is_at_work(tmp_path)
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and its parent has not looked yet
    assert _start_of(process.pid) is None
    process.wait()


def test_two_runs_of_one_process_exclude_each_other(recipe: Recipe, tmp_path: Path) -> None:
    with (
        hold_run_dir(recipe, tmp_path / "run", resume=False),
        pytest.raises(ConfigError, match=rf"a run is at work here already \(process {os.getpid()} on"),
    ):
        prepare_run_dir(recipe, tmp_path / "run", resume=True)
    prepare_run_dir(recipe, tmp_path / "run", resume=True)


def test_only_the_run_that_holds_a_directory_is_marked_interrupted(recipe: Recipe, tmp_path: Path) -> None:
    """A second one, interrupted in the moment before it is refused, says nothing of the first."""
    out = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", HOLD % RECIPE, str(out)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    children = [int(pid) for pid in process.stdout.readline().split()]
    try:
        write_summary(out, Summary("tiny", "running", 1.0))
        mark_interrupted(out)
        with pytest.raises(ConfigError, match="a run is at work here already"):
            prepare_run_dir(recipe, out, resume=True)
        mark_interrupted(out)
        assert json.loads((out / "summary.json").read_text())["status"] == "running"
    finally:
        holders = [psutil.Process(pid) for pid in children]
        for pid in (process.pid, *children):
            os.kill(pid, signal.SIGKILL)
        process.wait()
        psutil.wait_procs(holders)  # the forked one holds the lock until the kernel has closed its files
    with hold_run_dir(recipe, out, resume=True):
        mark_interrupted(Path(os.path.relpath(out)))
    assert json.loads((out / "summary.json").read_text())["status"] == "interrupted"


@pytest.mark.parametrize(
    ("owner", "is_free"),
    [
        ("", True),
        ("{torn", True),
        ({"pid": 2**22 - 1, "start": "5"}, True),  # ended
        ({"pid": os.getppid(), "start": "5"}, True),  # another process has its id by now
        ({"pid": os.getppid(), "start": _start_of(os.getppid())}, False),
        ({"pid": 1, "start": "5", "host": "elsewhere"}, False),
    ],
)
def test_where_the_file_system_has_no_locks_the_file_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str | dict[str, object], is_free: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    text = owner if isinstance(owner, str) else json.dumps({"host": socket.gethostname(), **owner})
    (tmp_path / LOCK).write_text(text)
    assert is_at_work(tmp_path) != is_free
    lock = RunLock(tmp_path)
    if is_free:
        lock.acquire()
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
        lock.release()
        assert (tmp_path / LOCK).read_text() == ""
    else:
        with pytest.raises(
            ConfigError, match=rf"a run is at work here already .*if it is not, delete {tmp_path / LOCK}"
        ):
            lock.acquire()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["trainer.ranks=2"], ["trainer: None then, {'ranks': 2} now"]),
        (["engines.count=3", "engines.kv_cache_mb=64"], ["engines: None then, {'count': 3, 'kv_cache_mb': 64} now"]),
        (["trainer.zero_stage=3", "cluster.placement=split", "run.retries=0", "engines.vllm.max_num_seqs=8"], None),
        (["trainer.deepspeed.zero_optimization.offload_optimizer.device=cpu", "sft.epochs=9"], None),
    ],
)
def test_a_run_goes_on_elsewhere(recipe: Recipe, tmp_path: Path, changes: list[str], says: list[str] | None) -> None:
    """With other ranks, engines and stages of ZeRO, which change nothing of what it learns; and as it began."""
    lines: list[str] = []
    prepare_run_dir(recipe, tmp_path / "run", resume=False)
    prepare_run_dir(load(RECIPE, changes), tmp_path / "run", resume=True, say=lines.append)
    assert says is None or lines == [f"resumed with another placement: {line}" for line in says]
    assert lines
    prepare_run_dir(load(RECIPE, changes), tmp_path / "run", resume=True, say=lines.append)
    if not any(change.startswith("sft.") for change in changes):
        prepare_run_dir(recipe, tmp_path / "run", resume=True)


def test_the_newest_run_is_the_one_that_began_last(recipe: Recipe) -> None:
    """Not the one that was prolonged last, or moved elsewhere."""
    for name, began in (("tiny", 1000), ("tiny-2", 2000)):
        prepare_run_dir(recipe, Path("runs") / name, resume=False)
        os.utime(f"runs/{name}/recipe.yaml", (began, began))
    prepare_run_dir(load(RECIPE, ["sft.epochs=9"]), Path("runs/tiny"), resume=True)
    assert "epochs: 9" in Path("runs/tiny/recipe.yaml").read_text()
    assert newest_run("tiny", seeds=False) == Path("runs/tiny-2")


def test_only_a_run_that_is_done_is_replayed(recipe: Recipe) -> None:
    """One that was killed before it wrote its summary has no course yet, like one that has stopped."""
    out = Path("runs/tiny")
    prepare_run_dir(recipe, out, resume=False)
    for status in (None, "interrupted"):
        if status:
            write_summary(out, Summary("tiny", status, 1.0))
        with pytest.raises(ConfigError) as caught:
            replay_overrides(recipe, out)
        assert str(caught.value) == (
            "--replay: runs/tiny is not finished, so that only a part of its course is known; resume it first"
        )


def test_a_run_of_a_version_whose_stages_had_fewer_keys_goes_on(recipe: Recipe, tmp_path: Path) -> None:
    file = tmp_path / "run" / "recipe.yaml"
    prepare_run_dir(recipe, tmp_path / "run", resume=False)
    saved = OmegaConf.load(file)
    del saved.stages[0].sft["keep"]  # as if it had come later
    OmegaConf.save(saved, file)
    prepare_run_dir(recipe, tmp_path / "run", resume=True)
    with pytest.raises(ConfigError, match=r"another recipe \(stages\[0\].sft.keep: 1 then, 2 now"):
        prepare_run_dir(load(RECIPE, ["sft.keep=2"]), tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    "change", ["engines.vllm.quantization=fp8", "model.dtype=bfloat16", "sft.sequences_per_step=64"]
)
def test_what_would_learn_something_else_is_refused(recipe: Recipe, tmp_path: Path, change: str) -> None:
    prepare_run_dir(recipe, tmp_path / "run", resume=False)
    with pytest.raises(ConfigError, match=rf"was run with another recipe \(.*{change.split('.')[0]}|stages"):
        prepare_run_dir(load(RECIPE, [change, "trainer.ranks=2"]), tmp_path / "run", resume=True)
