"""Drafts a recipe from a model, a data file, a reward and a machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from models.folder import folder_of
from models.settings import ModelConfig
from models.shape import Shape, read_shape
from rl.config import ConfigError
from rl.data.inspection import inspect
from rl.data.paths import data_files
from rl.planning.lengths import TokenCounter
from rl.planning.plan import Plan
from rl.recipe.single_stage import describe_model
from rl.starter.fitting import fit, load_text
from rl.starter.guesses import DataGuess, guess
from rl.starter.recipe_text import DATA, Choices, Sizes, render, split_names
from rl.starter.rewards import check_reward

PLACEHOLDER = Sizes(answer_tokens=256, prompt_tokens=256, tokens_per_microbatch=2048)
"""Sizes until the prompts have been read."""

UNKNOWN_TOKENS = 256
"""Tokens that the longest prompt is taken to have where none could be read."""
CAUTION = 1.5
"""Factor on tokens that were estimated by bytes: other languages and formulas have fewer bytes a token than English."""
LARGEST_WHOLE = 2.0
"""Billions of parameters up to which a model that is not here is planned whole on each GPU."""
GENERIC_NAMES = {"train", "test", "data", "dataset", "validation", "prompts", "questions", "rows"}
"""Names of files that say less than that of their folder."""


@dataclass(frozen=True)
class Draft:
    """A recipe before it is written."""

    text: str
    plan: Plan
    sizes: Sizes


def read_data(path: str, fields: str) -> DataGuess:
    """Return what a data file seems to hold, with what `fields` (`question=problem,answer=gold`) says of it. Raises
    ConfigError."""
    mapping: dict[str, str] = {}
    for pair in filter(None, fields.split(",")):
        key, equals, name = (part.strip() for part in pair.partition("="))
        if not (equals and key and name):
            raise ConfigError(f"--fields: '{pair}' is not KEY=COLUMN, for example question=problem,answer=gold")
        mapping[key] = name
    file = data_files(path, "--data")[0]
    try:
        data = guess(path, file, mapping)
    except ValueError as error:
        raise ConfigError(f"--data: {error}" if not str(error).startswith("--") else str(error)) from error
    if not {"question", "messages", "audio"} & data.fields.keys():
        names = ", ".join(c.name for c in data.columns)
        names += "; the first line of a csv file is its header" if data.source == "csv" else ""
        raise ConfigError(
            f"--data: no column of {path} looks like a question; name it with --fields question=COLUMN ({names})"
        )
    return data


def draft(choices: Choices, folder: Path) -> Draft:
    """Return a recipe that is to lie in `folder`. Raises ConfigError where the model, the data or the reward do not do."""
    if choices.reward:
        check_reward(choices.reward, choices.data)
    shape = _shape(choices)
    choices, longest_prompt = _read_prompts(choices, folder, shape)
    text, plan, sizes = fit(choices, longest_prompt, shape.positions if shape else None, folder)
    if plan.problems:
        raise ConfigError(plan.problems[0])
    return Draft(text, plan, sizes)


def recipe_name(path: str) -> str:
    """Return a name for a recipe that trains on a file: `gsm8k` of `gsm8k/train-00000-of-00001.parquet`."""
    stem = re.sub(r"-\d+-of-\d+$", "", Path(path).stem)
    if stem.casefold() in GENERIC_NAMES:
        stem = Path(path).absolute().parent.name
    return re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_-") or "first"


def model_values(model: str, on_gpus: bool) -> Mapping[str, str]:
    """Return the recipe's `model:` for a folder, a run's directory or a name, in its stored dtype where it is here."""
    if not model.strip():
        raise ConfigError("--model: is empty; name a folder or a model of the hub")
    values = describe_model(model)
    return values if folder_of(values["path"]) or not on_gpus else {**values, "dtype": "bfloat16"}


def looks_large(model: str) -> bool:
    """Return whether the name of a model that is not here says that it has billions of parameters: `Qwen/Qwen2.5-7B`."""
    sizes = re.findall(r"(?<![\w.])(\d+(?:\.\d+)?)b(?![a-z])", re.sub(r"[-_/]", " ", model).casefold())
    return folder_of(model) is None and any(float(size) > LARGEST_WHOLE for size in sizes)


def _shape(choices: Choices) -> Shape | None:
    """Return the model's shape; None where it is not on this machine. Raises ConfigError for one that cannot be read, and
    for one that cannot hear where it has to."""
    try:
        shape = read_shape(ModelConfig(path=choices.model["path"]))
    except ValueError as error:
        raise ConfigError(f"--model: {error}") from error
    if shape is not None and "audio" in choices.data.fields and not shape.token_rate:
        column = choices.data.fields["audio"]
        raise ConfigError(
            f"--model: {choices.model['path']} reads text only, and column '{column}' holds sound; name a model that listens, "
            f"or one of its parts with `model.compose` (docs/audio_data.md)"
        )
    return shape


def _read_prompts(choices: Choices, folder: Path, shape: Shape | None) -> tuple[Choices, int]:
    """Return the choices, with what the rows themselves tell, and the tokens of the longest prompt. Raises ConfigError where the
    rows cannot be read."""
    recipe = load_text(render(choices, PLACEHOLDER), folder)
    config = recipe.header.data[DATA]
    facts = inspect(config, None, f"data.{DATA}")
    if facts.problems:  # a few rows that cannot be read need not keep the others from being trained on
        tolerant = inspect(replace(config, on_bad_row="skip"), None, f"data.{DATA}")
        if tolerant.problems:
            raise ConfigError(facts.problems[0])
        choices, facts = replace(choices, skips_bad_rows=True), tolerant
    train, _ = split_names(choices.data)
    rows = inspect(replace(config, on_bad_row="skip"), train, f"data.{DATA}").rows if train else facts.rows
    choices = replace(choices, train_rows=rows)
    if not facts.prompts:
        return choices, UNKNOWN_TOKENS
    counter = TokenCounter(recipe, shape.token_rate if shape else 0.0)
    tokens, _ = counter.longest(facts.prompts, with_answer=not choices.reward)
    return choices, tokens if counter.is_exact else int(tokens * CAUTION)
