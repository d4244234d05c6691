"""`rl init`: a first recipe for a model, a data file, a reward and a machine."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rl.starter.guesses import DataGuess
    from rl.workers.machine import Machine

Out = Annotated[
    Path | None, typer.Argument(metavar="RECIPE", help="The file to write; NAME.yaml unless said otherwise.")
]
Model = Annotated[str | None, typer.Option(help="A model's folder, a run's directory, or a name.")]
DataFile = Annotated[str | None, typer.Option("--data", metavar="FILE", help="Prompts: jsonl, json, csv or parquet.")]
Test = Annotated[str | None, typer.Option(metavar="FILE", help="Prompts to measure on, with the same columns.")]
Fields = Annotated[str, typer.Option(help="Which column holds what, such as question=problem,answer=gold.")]
Reward = Annotated[
    str | None, typer.Option(help="math, choice, text, code, judge or FILE.py:FUNCTION (default: what the data tell).")
]
JudgeModel = Annotated[
    str | None, typer.Option("--judge", metavar="MODEL", help="The model that the reward judge asks.")
]
Gpus = Annotated[
    int | None, typer.Option(min=0, help="GPUs of the machine that it is to run on (default: those here).")
]
GpuMemory = Annotated[
    float | None, typer.Option(min=1, help="GB of memory of each GPU (default: 80, or what is here).")
]
Name = Annotated[str | None, typer.Option(help="The recipe's name (default: the data file's).")]


@dataclass
class Answers:
    """Choices that flags and the user have made so far."""

    model: str | None
    data: str | None
    fields: str
    reward: str | None
    gpus: int | None
    gpu_memory_gb: float | None


def init(
    out: Out = None,
    model: Model = None,
    data_file: DataFile = None,
    test: Test = None,
    fields: Fields = "",
    reward: Reward = None,
    judge: JudgeModel = None,
    gpus: Gpus = None,
    gpu_memory: GpuMemory = None,
    name: Name = None,
) -> None:
    """Write a first recipe, with comments, from a few questions or flags; it never overwrites a file."""
    from rl.starter.draft import draft, looks_large, model_values, read_data, recipe_name
    from rl.starter.recipe_text import Choices
    from rl.terminal import console, say, shell_command
    from rl.workers.machine import Machine

    answers = Answers(model, data_file, fields, reward or None, gpus, gpu_memory)
    asks = sys.stdin.isatty() and not (model and data_file and reward)
    _settle_data(answers, asks)
    data = read_data(str(answers.data), answers.fields)
    console().print(_columns(data))
    _settle_model(answers, asks, "audio" in data.fields)
    _settle_reward(answers, asks, data)
    here = Machine.detect()
    _settle_machine(answers, asks, here)
    name = name or recipe_name(str(answers.data))
    path = out or Path(f"{name}.yaml")
    folder = _check_free(path)
    choices = Choices(
        name,
        model_values(str(answers.model), bool(answers.gpus)),
        _from_folder(data, folder),
        str(Path(test).absolute()) if test and folder != Path.cwd() and not test.startswith(("$", "~")) else test,
        str(answers.reward),
        answers.gpus or 0,
        answers.gpu_memory_gb or 80.0,
        here.cpus,
        judge,
        is_large=looks_large(str(answers.model)),
    )
    result = draft(choices, folder)
    _write(path, result.text)
    for note in result.plan.notes:
        say(f"note: {note}")
    say(
        f"lengths    prompts of up to about {result.sizes.prompt_tokens} tokens, answers of up to {result.sizes.answer_tokens}"
    )
    say(f"wrote {path}")
    say(f"next       {shell_command('rl', 'check', path)}, then {shell_command('rl', 'run', path)}")


def _settle_data(answers: Answers, asks: bool) -> None:
    from rl.config import ConfigError

    if answers.data is None and asks:
        answers.data = typer.prompt("Data file (jsonl, json, csv or parquet)")
    if answers.data is None:
        raise ConfigError("--data: name a jsonl, json, csv or parquet file")


def _settle_model(answers: Answers, asks: bool, listens: bool) -> None:
    from models.pretrained.catalogue import find_pretrained
    from rl.config import ConfigError

    small = "smollm2-135m-instruct-q4"
    default = small if find_pretrained(small) and not listens else "Qwen/Qwen2.5-1.5B-Instruct"
    if answers.model is None and asks:
        answers.model = typer.prompt(
            "Model (a folder, a run's directory, or a name)", default=None if listens else default
        )
    if answers.model is None:
        example = "a model that listens" if listens else f"for example {default}"
        raise ConfigError(f"--model: name a model's folder, a run's directory, or a model of the hub, {example}")


def _settle_reward(answers: Answers, asks: bool, data: DataGuess) -> None:
    from rl.config import ConfigError
    from rl.starter.rewards import REWARDS, guess_reward
    from rl.terminal import console, say, two_columns

    reward, why = guess_reward(data)
    if answers.reward is not None:
        return
    if not reward and data.has_demonstrations:
        say(f"reward     none: {why}, and rows show what to answer; the recipe imitates them")
        answers.reward = ""
    elif asks:
        console().print(
            two_columns(
                "reward", [*REWARDS.items(), ("FILE.py:FUNCTION", "your own: `rl verifiers new NAME` writes one")]
            )
        )
        answers.reward = typer.prompt(f"Reward ({why})", default=reward or None)
    elif not reward:
        names = ", ".join(c.name for c in data.columns)
        raise ConfigError(
            f"--reward: {why} of {data.path}; name it with --fields answer=COLUMN (columns: {names}), or choose a reward"
        )
    else:
        say(f"reward     {reward}: {why}")
        answers.reward = reward


def _settle_machine(answers: Answers, asks: bool, here: Machine) -> None:
    present = here.gpus
    if answers.gpus is None and asks:
        answers.gpus = typer.prompt("GPUs of the machine that it is to run on (0: this CPU)", default=present, type=int)
        if answers.gpus and answers.gpus > present and answers.gpu_memory_gb is None:
            answers.gpu_memory_gb = typer.prompt("Memory of each GPU in GB", default=80.0, type=float)
    answers.gpus = present if answers.gpus is None else answers.gpus
    if answers.gpus and answers.gpu_memory_gb is None and present:
        answers.gpu_memory_gb = round(here.gpu_memory / 2**30, 1) or None


def _columns(data: DataGuess) -> object:
    """Return a table of the columns found and what they were taken for."""
    from rich.text import Text

    from rl.report.bare_table import bare_table

    parts = {column: key for key, column in data.fields.items()}
    table = bare_table("column", "rows", "holds", "for example", "taken for")
    for c in data.columns:
        cells = [c.name, f"{c.filled}/{data.rows}", ", ".join(sorted(c.kinds)), c.example, parts.get(c.name, "")]
        table.add_row(*(Text(cell, "" if c.name in parts else "dim") for cell in cells))
    return table


def _from_folder(data: DataGuess, folder: Path) -> DataGuess:
    """Return the data with a path that is found from a recipe in another folder too."""
    if folder != Path.cwd() and not data.path.startswith(("$", "~", "/")):
        data.path = str(Path.cwd() / data.path)
    return data


def _check_free(path: Path) -> Path:
    """Return the folder of a file to be written. Raises ConfigError where the file exists or the folder does not."""
    from rl.config import ConfigError

    if os.path.lexists(path):
        raise ConfigError(f"{path}: exists already; name another file: rl init FILE.yaml")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: no such folder: {path.parent}; make it first")
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{path}: a recipe's file ends in .yaml; name it {path}.yaml")
    return path.parent.absolute()


def _write(path: Path, text: str) -> None:
    from rl.config import ConfigError

    try:
        with open(path, "x", encoding="utf-8") as file:  # never over a file that has come meanwhile
            file.write(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); name another file") from error
