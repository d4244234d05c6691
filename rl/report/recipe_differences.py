"""Differences between the recipes of runs, key by key as overrides name them: `rlvr.algorithm: ppo → grpo`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TypedDict, cast

from rl.config import ConfigError, Values, read_yaml, resolve
from rl.recipe import load

ABSENT = "–"
"""Value of a key that a recipe does not have, in a table."""


class RecipeDifference(TypedDict):
    """A key of the recipe whose values are not all equal; a value is None where a run's recipe lacks the key."""

    key: str
    values: list[object]


def find_differences(run_dirs: Sequence[Path]) -> list[RecipeDifference]:
    """Return the keys in which the recipes of these runs differ, in the recipes' order. A run whose recipe is missing or
    cannot be read is left out of the comparison: its values are None."""
    recipes = [_read(run_dir) for run_dir in run_dirs]
    with suppress(ConfigError):  # of a recipe of another version what is written is compared, in all of them
        recipes = [_with_defaults(values) if values else values for values in recipes]
    flat = [_flatten(values) for values in recipes]
    keys = dict.fromkeys(key for values in flat for key in values)
    readable = [values for values in flat if values]
    return [
        {"key": key, "values": [values.get(key) for values in flat]}
        for key in keys
        if any(key not in values or values[key] != readable[0].get(key) for values in readable)
    ]


def format_value(value: object) -> str:
    """Return a value of a recipe in short."""
    if value is None:
        return ABSENT
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _read(run_dir: Path) -> Values:
    """Return the content of a run's recipe, empty where it is missing or cannot be read."""
    file = run_dir / "recipe.yaml"
    try:
        values = resolve(read_yaml(file), str(file)) if file.is_file() else {}
        return values if isinstance(cast(object, values), dict) else {}
    except ConfigError:
        return {}


def _with_defaults(values: Values) -> Values:
    """Return the recipe with the defaults of the keys that it leaves out."""
    recipe = load(values, check=False)
    return {**asdict(recipe.header), "stages": recipe.source["stages"]}


def _flatten(values: Values) -> dict[str, object]:
    """Return {key: value} of everything in a recipe; nothing of an empty one."""
    if not values:
        return {}
    entries = values.get("stages")
    flat = dict(_leaves({key: value for key, value in values.items() if key != "stages"}, ""))
    flat["stages"] = ", ".join(name for name, _ in _stages(entries))
    for name, config in _stages(entries):
        flat |= _leaves({key: value for key, value in config.items() if key not in ("name", "stages")}, name)
    return flat


def _stages(entries: object) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield (name, config) of each stage and repeated block, and of the stages in a block; of a recipe that was edited by hand
    only what is a stage."""
    for entry in cast("list[object]", entries) if isinstance(entries, list) else ():
        for kind, config in cast("dict[object, object]", entry).items() if isinstance(entry, dict) else ():
            settings = cast("dict[str, object]", config) if isinstance(config, dict) else {}
            yield str(settings.get("name", kind)), settings
            yield from _stages(settings.get("stages"))


def _leaves(value: object, place: str) -> Iterator[tuple[str, object]]:
    """Yield (key, value) of everything in a recipe that is no mapping, as overrides name it: `reward.parts[0].weight`."""
    if isinstance(value, Mapping) and value:
        for key, inner in cast("Mapping[str, object]", value).items():
            yield from _leaves(inner, f"{place}.{key}".lstrip("."))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in cast("list[object]", value)):
        for i, item in enumerate(cast("list[object]", value)):
            yield from _leaves(item, f"{place}[{i}]")
    else:
        yield place, value
