"""How the command helps: its version, its flags, the bundled recipes, and what a shell completes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rl import bundled
from rl.commands.jobs import slurm
from rl.commands.transcribe import transcribe
from rl.config import ConfigError
from rl.recipe import load

BIN = Path(sys.executable).parent
COMMANDS = [
    "run",
    "check",
    "show",
    "compare",
    "eval",
    "benchmark",
    "curate",
    "init",
    "submit",
    "recipes",
    "pretrained",
    "verifiers",
    "data",
]
INNER = ["verifiers list", "verifiers new", "verifiers test", "verifiers attack", "verifiers replay", "data list"]


def rl(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "rl"), *arguments], env=os.environ | env, capture_output=True, text=True, timeout=60
    )


def completions(line: str) -> list[str]:
    """Return what bash offers after `line`."""
    words = line.split(" ")
    done = rl(COMP_WORDS=line, COMP_CWORD=str(len(words) - 1), _RL_COMPLETE="complete_bash")
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("command", ["", *COMMANDS, *INNER])
def test_h_is_help(command: str) -> None:
    short, long = rl(*command.split(), "-h"), rl(*command.split(), "--help")
    assert short.returncode == 0
    assert short.stdout == long.stdout
    assert f"Usage: rl {command}".strip() in short.stdout


def test_version_also_as_a_module() -> None:
    assert rl("--version").stdout.startswith("groundtone 0.")
    module = subprocess.run([sys.executable, "-m", "rl", "--version"], capture_output=True, text=True)
    assert module.stdout == rl("--version").stdout


def test_every_bundled_recipe_is_listed_in_a_line_and_printed_as_it_is(tmp_path: Path) -> None:
    table = rl("recipes").stdout
    for name in bundled.names():
        assert bundled.path_of(name).read_text().startswith("# ")
        assert f"{name} " in table
        assert bundled.summary(name) in table  # on one line of 120 columns
    (tmp_path / "mine.yaml").write_text(rl("recipes", "spell_backward").stdout)
    assert load(tmp_path / "mine.yaml").source == load("spell_backward").source
    assert Path(rl("recipes", "quickstart", "--path").stdout.strip()) == bundled.path_of("quickstart")


def test_a_working_directory_that_is_gone_is_one_line(tmp_path: Path) -> None:
    command = f"mkdir gone && cd gone && rmdir ../gone && {BIN / 'rl'} check quickstart"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: the working directory is gone; change to another one\n")


SPOKEN = """
model: {build: {}}
data: {said: {source: jsonl, path: rows.jsonl, fields: {audio: audio}, template: "What is said?"}}
reward: {parts: [{verifier: text}]}
stages: [{sft: {data: said}}]
"""


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("beep.wav", np.zeros(1600), 16000)
    Path("rows.jsonl").write_text('{"audio": "beep.wav", "answer": "7"}\n')
    Path("spoken.yaml").write_text(SPOKEN)
    Path("ear").mkdir()
    Path("ear/config.json").write_text('{"model_type": "whisper"}')
    why = "cannot be written (No such file or directory); name another file"
    with pytest.raises(ConfigError) as caught:
        slurm("spoken.yaml", 2, script=Path("/proc/x.sbatch"))
    assert str(caught.value) == f"--script /proc/x.sbatch: {why}"
    with pytest.raises(ConfigError) as caught:
        transcribe("spoken.yaml", "said", Path("/proc/x.jsonl"), ear="ear")
    assert str(caught.value) == f"--out: /proc/x.jsonl {why}"


def test_an_unknown_recipe_is_one_line() -> None:
    done = rl("recipes", "quickstrat")
    assert done.returncode == 2
    assert done.stderr == "error: rl recipes: no bundled recipe 'quickstrat'; did you mean 'quickstart'?\n"


def test_a_shell_completes_commands_recipes_and_options() -> None:
    assert completions("rl che") == ["check"]
    for beginning in ("step", "findings/"):
        recipes = [name for name in bundled.names() if name.startswith(beginning)]
        assert len(recipes) > 1
        assert completions(f"rl check {beginning}") == recipes
    assert completions("rl recipes ") == bundled.names()
    assert completions("rl run --see") == ["--seeds"]
    assert completions("rl eval --recipe gsm8k_") == ["gsm8k_7b", "gsm8k_words"]


def test_completion_imports_nothing_heavy() -> None:
    program = (
        "import atexit, sys\n"
        "heavy = ['torch', 'ray', 'transformers', 'omegaconf', 'numpy', 'rl.recipe']\n"
        "atexit.register(lambda: print([m for m in heavy if m in sys.modules], file=sys.stderr))\n"
        "from rl.cli import main; main()"
    )
    line = {"COMP_WORDS": "rl check q", "COMP_CWORD": "2", "_RL_COMPLETE": "complete_bash"}
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | line, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr.strip()) == ("quickstart", "[]")


def test_completion_installs_itself_in_bash(tmp_path: Path) -> None:
    env = os.environ | {"HOME": str(tmp_path), "PATH": f"{BIN}:{os.environ['PATH']}"}
    program = (
        "rl --install-completion; source ~/.bashrc; complete -p rl\n"
        "COMP_WORDS=(rl check quick); COMP_CWORD=2; _rl_completion rl; echo offers ${COMPREPLY[*]}"
    )
    done = subprocess.run(["bash", "-c", program], env=env, capture_output=True, text=True, timeout=60)
    assert "complete -o default -F _rl_completion rl" in done.stdout, done.stdout + done.stderr
    assert "offers quickstart" in done.stdout
