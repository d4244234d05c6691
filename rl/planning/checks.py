"""Finds mistakes in a recipe's numbers and data, and settings that are allowed but probably not intended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rl.benchmarks.sets import BENCHMARKS
from rl.data.benchmark_rows import SOURCE
from rl.data.inspection import DataFacts
from rl.data.mixture import quoted, weights_of
from rl.data.sources import FILES, DataConfig
from rl.data.standard_forms import recognise
from rl.data.tasks import TASKS
from rl.data.tasks.procedural import COMPACT
from rl.units import many

if TYPE_CHECKING:
    from rl.recipe import Recipe
    from rl.recipe.stage_list import Stage

SOURCES_OF_SOUND = ("sounds", "recordings", "folder")
"""Sources whose every prompt has a clip."""

LEAST = {"max_sequence_tokens": 2, "limit": 1, "keep": 1}
"""Least values of keys, in any stage that has them. A curate stage's `keep` is a range, which it checks itself."""

FIELDS = {"demonstrations": ("response", "messages"), "pairs": ("chosen",)}
"""Fields of a file's rows, one of which must be mapped, by the kind of rows that a stage reads."""


def problems(stage: Stage, recipe: Recipe, rows: int | None, positions: int | None) -> list[str]:
    """Return the mistakes in a stage that has `rows` prompts and a model of `positions` tokens, one line each."""
    lines = _bounds(stage, positions)
    config = stage.config
    if rows == 0 and not lines:
        lines.append(
            f"{stage.place}.data: {quoted(config.data)}, split '{config.split}', has no rows; choose another split"
        )
    for key in ("budgets", "pace"):
        if getattr(config, key, None) and recipe.header.model.think is False:
            lines.append(f"{stage.place}.{key}: the model does not think (model.think: false); remove it")
    lines += _missing_fields(stage, recipe) + _unheard_sound(stage, recipe) + _public_sets(stage, recipe)
    return lines or config.problems(stage.place, rows)


def _bounds(stage: Stage, positions: int | None) -> list[str]:
    """Return a line for each number that is too small, or larger than the model takes."""
    lines: list[str] = []
    settings = {stage.place: stage.config}
    if stage.config.evaluation:
        settings[f"{stage.place}.eval"] = stage.config.evaluation[0]
    for place, config in settings.items():
        for key, least in LEAST.items():
            value = getattr(config, key, None)
            if isinstance(value, int) and value < least:
                lines.append(f"{place}.{key}: must be at least {least}; got {value}")
        longest = getattr(config, "max_sequence_tokens", 0)
        if positions is not None and longest > positions:
            lines.append(
                f"{place}.max_sequence_tokens: {longest} asked for, the model has {positions} positions; lower it"
            )
    return lines


def _public_sets(stage: Stage, recipe: Recipe) -> list[str]:
    """Return a line for each public set that a stage reads for anything but a measurement."""
    if stage.facts.measures:
        return []
    data = ((name, recipe.header.data.get(name)) for name in weights_of(stage.config.data))
    return [
        f"{stage.place}.data: '{name}' is a public test set, for evaluations alone; train on other data"
        for name, config in data
        if config is not None and config.source == SOURCE
    ]


def _missing_fields(stage: Stage, recipe: Recipe) -> list[str]:
    """Return a line for each data set whose rows have no demonstration, or no pair, for a stage that reads these."""
    lines: list[str] = []
    for read in stage.config.reads:
        row_kind = stage.facts.reads
        if read.key:  # an evaluation on the way needs prompts alone
            row_kind = "demonstrations" if read.key == "chains" else "prompts"
        place = f"{stage.place}.{read.key or 'data'}"
        for name in weights_of(read.data) if row_kind in FIELDS else ():
            data = recipe.header.data.get(name)
            if data is not None and (fix := _missing_field(row_kind, name, data)):
                lines.append(f"{place}: '{name}' has no {row_kind}; {fix}")
    return lines


def _missing_field(row_kind: str, name: str, data: DataConfig) -> str:
    """Return how to give a data set rows of that kind; "" where it has them, or nobody knows before they are loaded."""
    if data.source == "huggingface" and not data.fields:
        return ""  # its columns may have usual names, which only loading it shows
    fields = FIELDS[row_kind]
    if data.source in FILES and not set(fields) & recognise(data).fields.keys():
        return f"map `{fields[0]}:` in data.{name}.fields"
    if data.source not in FILES and _task_lacks(row_kind, data):
        return "name a data set that has, or the stage that makes it"
    return ""


def _task_lacks(row_kind: str, data: DataConfig) -> bool:
    """Return whether a built-in task surely makes no rows with pairs, or with demonstrations."""
    if row_kind == "pairs":
        return data.source in TASKS
    return data.source == "reasoning_gym" and data.args.get("dataset", "spell_backward") not in COMPACT


def has_sound(data: DataConfig) -> bool:
    """Return whether the prompts of a data set have clips."""
    if data.source == SOURCE:
        return BENCHMARKS[str(data.args.get("set"))].is_heard
    if data.source == "sounds" and data.args.get("described"):  # questions on descriptions in words, without clips
        return False
    return data.source in SOURCES_OF_SOUND or "audio" in recognise(data).fields


def _unheard_sound(stage: Stage, recipe: Recipe) -> list[str]:
    """Return a line for each data set with sound, where the model has no audio encoder."""
    build, lines = recipe.header.model.build, list[str]()
    if build is None or build.audio or stage.config.model:
        return lines
    if getattr(stage.config, "train", "all") == "adapter":
        lines.append(f"{stage.place}.train: adapter, and the model reads text only; add `audio: {{}}` to model.build")
    for name in weights_of(stage.config.data):
        data = recipe.header.data.get(name)
        if data is not None and has_sound(data):
            lines.append(
                f"{stage.place}.data: '{name}' has sound, the model reads text only; add `audio: {{}}` to model.build"
            )
    return lines


def notes(stage: Stage, rows: int | None) -> list[str]:
    """Return notes on settings that are probably not intended in a stage with `rows` prompts, and on when a block ends."""
    lines = stage.config.notes(stage.place, rows)
    block = stage.repeat
    if block and block.until and stage.base == block.until.stage and stage.iteration == 1:
        patience = many(block.until.patience, "iteration")
        lines.append(f"{block.name}: ends early once {block.until.metric} has not improved for {patience}")
    return lines


def same_rows(facts: Mapping[tuple[str, str | None], DataFacts]) -> list[str]:
    """Return a note for each data set without splits of which several are read, from the facts of each (data set, split)."""
    splits_of: dict[str, list[str]] = {}
    for (name, split), fact in facts.items():
        if fact.without_splits and split is not None:
            splits_of.setdefault(name, []).append(split)
    return [
        f"data.{name} has no split column: {' and '.join(splits)} read the same rows"
        for name, splits in splits_of.items()
        if len(splits) > 1
    ]


def foreign_difficulties(
    recipe: Recipe, facts: Mapping[tuple[str, str | None], DataFacts]
) -> tuple[list[str], list[str]]:
    """Return (problems, notes) about stages whose `difficulty` was measured on other data. Prompts are matched by id, so no
    prompt is left where the ids surely differ."""
    data = recipe.header.data
    problems, notes = dict[str, None](), dict[str, None]()  # ordered sets: iterations of a block repeat a line
    # Rows without an id are called FILE/NUMBER, so ids of two such files never match.
    numbered_data = {name for (name, _), fact in facts.items() if fact.without_ids}
    curators = {stage.base: stage for stage in recipe.stages if "difficulty" in stage.facts.makes}
    for stage in recipe.stages:
        curator = curators.get(getattr(stage.config, "difficulty", None) or "")
        if curator is None:
            continue
        curated = weights_of(curator.config.data)
        for name in weights_of(stage.config.data):
            if name in curated or any(_same_rows(data.get(name), data.get(source)) for source in curated):
                continue
            problem = f"{stage.place}.difficulty: '{curator.base}' judges {quoted(curator.config.data)}, not '{name}'"
            if all((name in data) != (source in data) or {name, source} <= numbered_data for source in curated):
                problems[f"{problem}, of which no prompt would be left; give both stages the same data"] = None
            else:
                notes[f"{problem}: only prompts whose id is in both are kept"] = None
    return list(problems), list(notes)


def _same_rows(one: DataConfig | None, other: DataConfig | None) -> bool:
    """Return whether both read the same rows."""
    if one is None or other is None:
        return False
    return all(getattr(one, key) == getattr(other, key) for key in ("source", "path", "args"))
