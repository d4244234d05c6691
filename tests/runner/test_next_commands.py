"""Commands that a run suggests: a shell reads them back as the run that they stand for."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from rl.cli import app
from rl.recipe import load
from rl.runner.next_commands import RunCommand, read_command, suggest_next_steps
from rl.terminal import complain, say, shell_command
from rl.workers.placement import SUBMITTED

WORDS: dict[str, Any] = {
    "name": "words",
    "model": {"build": {"hidden_size": 64, "layers": 1, "heads": 2}},
    "data": {"words": {"source": "reasoning_gym", "args": {"dataset": "spell_backward", "size": 20}}},
    "reward": {"parts": [{"verifier": "text"}]},
    "stages": [{"rlvr": {"data": "words", "algorithm": "grpo"}}, {"evaluate": {"data": "words"}}],
}
# Whatever a command line can hold: quotes, $, glob characters, line breaks, tabs, emoji, right-to-left marks.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30)
HOSTILE = ["it's", '"', "a\nb", "\t", "$(reboot)", "`ls`", "*", "~", "\\", "#", "[a, {b: 1}]", "ü 音", ":100:", "\x1b[2J", "\u202e", "é\n'1"]  # fmt: skip


def read_by_bash(line: str) -> list[str]:
    """The words of a command line, as bash takes it from a terminal."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


def read_by_rl(words: list[str]) -> dict[str, Any]:
    """The arguments that `rl` takes from the words of a command."""
    assert words[0] == "rl"
    command: Any = typer.main.get_command(app)
    return command.commands[words[1]].make_context(words[1], words[2:]).params


@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_a_shell_reads_back_any_words(texts: list[str]) -> None:
    line = shell_command(*texts)
    assert line.isprintable()
    assert read_by_bash(line) == texts


@given(st.lists(TEXTS.map(lambda text: f"data.x={text}"), max_size=3), TEXTS, st.integers(1, 3), st.booleans())
def test_a_resumed_run_is_the_same_run(overrides: list[str], out: str, seeds: int, resume: bool) -> None:
    command = RunCommand("my recipe.yaml", tuple(overrides), Path("runs", out), seeds)
    params = read_by_rl(read_by_bash(command.line(resume)))
    assert (params["recipe"], params["overrides"] or []) == ("my recipe.yaml", overrides)
    assert (params["out"], params["resume"], params["seeds"]) == (Path("runs", out), resume, seeds)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("write", [say, complain])
def test_a_command_survives_the_terminal(text: str, write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    line = shell_command("rl", "run", f"data.x={text}")
    write(line)
    captured = capsys.readouterr()
    assert captured.out + captured.err == line + "\n"
    assert read_by_bash(line)[2] == f"data.x={text}"


def test_a_plain_command_looks_plain() -> None:
    assert shell_command("rl", "run", "quickstart", "rlvr.steps=2") == "rl run quickstart rlvr.steps=2"


def next_steps(command: RunCommand, overrides: list[str]) -> dict[str, str]:
    lines = suggest_next_steps(command, load(WORDS, overrides))
    return {line[:8].strip(): line[8:] for line in lines}


def test_the_next_run_differs_by_one_change(tmp_path: Path) -> None:
    out = tmp_path / "my run"
    (out / "model").mkdir(parents=True)
    overrides = ["rlvr.steps=3", "rlvr.algorithm=dapo", "seed=4", "data.words.args={dataset: spell_backward, size: 9}"]
    steps = next_steps(RunCommand("words", tuple(overrides), out), overrides)
    params = read_by_rl(shlex.split(steps["try"]))
    before, after = load(WORDS, overrides).source, load(WORDS, params["overrides"]).source
    assert after["stages"][0]["rlvr"].pop("algorithm") == "grpo"
    assert before["stages"][0]["rlvr"].pop("algorithm") == "dapo"
    assert after == before
    assert params["out"] == tmp_path / "my run-2"
    assert shlex.split(steps["then"]) == ["rl", "compare", str(out), str(params["out"])]
    assert shlex.split(steps["look"]) == ["rl", "show", str(out)]
    assert steps["model"] == str(out / "model")


def test_seeds_are_compared_with_the_same_seed(tmp_path: Path) -> None:
    steps = next_steps(RunCommand("words", (), tmp_path / "run", seeds=3), [])
    params = read_by_rl(shlex.split(steps["try"]))
    assert params["overrides"] == ["rlvr.algorithm=rloo"]
    assert (params["seeds"], params["out"]) == (3, tmp_path / "run")
    assert shlex.split(steps["then"])[2:] == [str(tmp_path / "run" / "seed-0"), str(params["out"] / "seed-0")]


@pytest.mark.parametrize(
    ("overrides", "change"),
    [
        (["stages=[{evaluate: {data: words}}]"], "seed=1"),
        (["stages=[{evaluate: {data: words}}]", "seed=7"], "seed=8"),
        # An objective with a setting that only PPO takes: no other algorithm can be loaded with it.
        (["rlvr.algorithm=ppo", "rlvr.objective={value_clip: 0.1}"], None),
    ],
)
def test_what_is_suggested_can_be_loaded(tmp_path: Path, overrides: list[str], change: str | None) -> None:
    steps = next_steps(RunCommand("words", tuple(overrides), tmp_path / "run"), overrides)
    params = read_by_rl(shlex.split(steps["try"]))
    load(WORDS, params["overrides"])
    if change:
        assert params["overrides"][-1] == change


def test_a_run_on_a_cluster_is_sent_there_again(tmp_path: Path) -> None:
    sent = {"recipe": "mine.yaml", "overrides": ["a.b=c d"], "address": "http://head:8265"}
    command = read_command("recipe.yaml", [], tmp_path, environment={SUBMITTED: json.dumps(sent)})
    params = read_by_rl(shlex.split(command.line(resume=True)))
    assert (params["recipe"], params["overrides"], params["address"]) == ("mine.yaml", ["a.b=c d"], "http://head:8265")
    assert (params["out"], params["resume"]) == (str(tmp_path), True)
    steps = next_steps(command, [])
    assert steps["where"].startswith("on the cluster's storage")
    assert shlex.split(steps["try"])[:3] == ["rl", "submit", "mine.yaml"]
    assert "--address http://head:8265" in steps["try"]
    assert read_command("recipe.yaml", [], tmp_path, environment={}).line().startswith("rl run recipe.yaml")
