"""Builds recipes of one stage from flags, so that `rl eval` and `rl curate` judge any model on any file without YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from models.folder import folder_of, read_config
from models.settings import ModelConfig
from models.shape import read_shape
from rl.config import ConfigError, Values
from rl.data.files import ENDING_SOURCES, stored_columns
from rl.data.inspection import inspect
from rl.data.json_rows import json_rows
from rl.data.paths import data_files
from rl.data.rows import flat_names
from rl.recipe.loader import DataRead, Recipe, load
from rl.recipe.stage_list import Stage, stage_environment
from rl.recipe.thinking import choose_thinking
from rl.types import Prompt

QUESTIONS, ANSWERS = ("question", "problem", "prompt"), ("answer_final", "answer", "gold")
"""Usual names of the columns; without `--fields` the first that the file has is used."""
DEFAULT_MAX_TOKENS = 10240
"""max_sequence_tokens of a model that takes more, and of one whose limit is not known."""


def single_stage(
    kind: str,
    model: str,
    data: str | None,
    settings: Mapping[str, object],
    fields: str = "",
    verifier: str | None = None,
    recipe: str | None = None,
    think: bool | None = None,
    overrides: Sequence[str] = (),
) -> Recipe:
    """Return a recipe whose one stage of `kind` judges `model` on the file `data`. With `recipe`, data sets, reward,
    engines and the settings and environment of its last evaluation are taken from there. `data` may then name one of its
    data sets: the last evaluation of that one lends its settings, and without any all rows are read. `settings` that are
    None are left to that recipe or to the stage's default, and so is `think`. Raises ConfigError."""
    base = load(recipe) if recipe else None
    values: Values = {"name": kind, "reward": {"parts": [{"verifier": verifier or "math"}]}}
    stage: Values = {"split": None}
    if base is not None:
        # Without model and trainer: the model is the one that is named, and nothing is trained.
        values |= {
            key: base.source[key] for key in ("data", "reward", "engines", "cluster", "seed") if key in base.source
        }
        if think is None:
            think = _thinks(base)
        evaluations = [(s, s.config.evaluation[0]) for s in base.stages if s.config.evaluation]
        # Behind the others: the last one is taken, and an evaluate stage goes before the `eval` of an rlvr stage.
        evaluations += [(s, s.config) for s in base.stages if s.facts.measures]
        evaluations = [(s, config) for s, config in evaluations if config.data == data] or evaluations
        temperatures = [s.config.training_temperature for s in base.stages if s.config.training_temperature]
        if evaluations:
            keys = ("data", "split", "limit", "samples", "temperature", "max_sequence_tokens")
            stage = {key: value for key, value in asdict(evaluations[-1][1]).items() if key in keys}
        elif temperatures:
            stage["temperature"] = temperatures[-1]
        stage |= _environment(base, [evaluations[-1][0]] if evaluations else base.stages)
        if verifier:
            values["reward"] = {"parts": [{"verifier": verifier}]}
        else:  # the recipe's reward may ask its judges
            values["judges"] = base.source.get("judges", {})
    if data is not None and not (base and data in base.header.data):
        values["data"] = {"data": describe_data(data, fields)}
        stage |= {"data": "data", "split": None, "limit": None}
    elif data is not None and data != stage.get("data"):  # the split of another data set means nothing in this one
        stage |= {"data": data, "split": None, "limit": None}
    if "data" not in stage:
        raise ConfigError("--data: name a jsonl or parquet file" + (f", or a data set of {recipe}" if base else ""))
    stage |= {key: value for key, value in settings.items() if value is not None}
    model_values = describe_model(model)
    values["model"] = model_values if think is None else {**model_values, "think": think}
    if "max_sequence_tokens" not in stage:
        stage["max_sequence_tokens"] = default_max_tokens(model_values["path"])
    return load({**values, "stages": [{kind: stage}]}, overrides, base.folder if base else None)


def _thinks(recipe: Recipe) -> bool | None:
    """Return whether the model of a recipe thinks; None where its chat template has to tell."""

    def prompts(read: DataRead) -> Sequence[Prompt] | None:
        return inspect(recipe.header.data[read.data], read.split).prompts or None

    return choose_thinking(recipe, prompts, folder_of(str(recipe.header.model.text_source))).think


def _environment(recipe: Recipe, stages: Sequence[Stage]) -> Values:
    """Return the settings of the environment that answers the model in the last of the stages that has one: a model that
    learned with a tool is judged with it."""
    for stage in reversed(stages):
        config, _ = stage_environment(stage, recipe.header.environment)
        if config is not None:
            return {"environment": asdict(config)}
    return {}


def default_max_tokens(path: str) -> int:
    """Return the longest sequence that is asked of a model where nobody says more: what it takes, at most
    DEFAULT_MAX_TOKENS."""
    shape = read_shape(ModelConfig(path=path))
    return min(DEFAULT_MAX_TOKENS, shape.positions) if shape and shape.positions else DEFAULT_MAX_TOKENS


def describe_model(model: str) -> dict[str, str]:
    """Return the recipe's `model:` for a folder, a run's directory (its `model/`) or a hub name, in its stored dtype."""
    folder = folder_of(model)
    if folder and not (folder / "config.json").is_file() and (folder / "model" / "config.json").is_file():
        model, folder = str(folder / "model"), folder / "model"
    stored_dtype = ""
    if folder and (folder / "config.json").is_file():
        config = read_config(folder)
        stored_dtype = str(config.get("dtype") or config.get("torch_dtype") or "")
    # float16 weights are loaded as bfloat16, which has the range of float32.
    return {"path": model, "dtype": "bfloat16" if stored_dtype in ("bfloat16", "float16") else "float32"}


def describe_data(path: str, fields: str) -> dict[str, object]:
    """Return the recipe's entry in `data:` for a file, or files that a pattern matches, with its `fields` (`question=problem,answer=gold`),
    or the columns that have a usual name. Raises ConfigError."""
    file = data_files(path, "--data")[0]
    kind = ENDING_SOURCES.get(file.suffix.lower(), "jsonl")
    mapping: dict[str, str] = {}
    for pair in filter(None, fields.split(",")):
        key, equals, column = (part.strip() for part in pair.partition("="))
        if not (equals and key and column):
            raise ConfigError(
                f"--fields: '{pair}' is not key=column, for example question=question,answer=answer_final"
            )
        mapping[key] = column
    columns = _columns(file, kind)
    if "question" not in mapping and "messages" not in mapping:
        usual = next((name for name in QUESTIONS if name in columns), "messages" if "messages" in columns else None)
        if usual is None:
            raise ConfigError(f"--fields: {file} has no column 'question'; map one of {', '.join(columns)} to it")
        mapping["messages" if usual == "messages" else "question"] = usual
    if "answer" not in mapping and (usual := next((name for name in ANSWERS if name in columns), None)):
        mapping["answer"] = usual
    return {"source": kind, "path": path, "fields": mapping}


def _columns(file: Path, kind: str) -> list[str]:
    try:
        return stored_columns(kind, file) or flat_names(next((row for _, row in json_rows(file)), {}))
    except ValueError as error:
        raise ConfigError(f"--data: {error}") from error
