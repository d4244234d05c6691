"""Explains a key that a recipe does not have: by its name in another library, by its place, or by one that is written alike."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import cast

from rl.algorithms.presets import ALGORITHMS
from rl.config import ConfigError, UnknownKey, did_you_mean
from rl.recipe.other_libraries import SETTINGS, STAGE_NAMES, Setting, key_paths
from rl.stages.registry import STAGES

GENERIC = {"path", "name", "len", "enable", "model", "mode", "strategy", "names"}
"""Last parts of names in verl that say nothing without the part before them."""
_MOST_PLACES = 3  # a key of more places, such as `data`, is not explained by naming them all


def explain_key(error: UnknownKey, entries: object) -> str:
    """Return the message for an unknown key of a recipe with these `stages:`, with the best hint there is."""
    section, kinds = _section(error.place), [*_kinds(entries)]
    for path in _leaves(error.key, error.value):
        setting = find_setting(f"{section}.{path}")
        inside = setting is not None and _is_inside(setting, section)
        # A key that is almost one of this section's is a slip, unless what has that name elsewhere has its place here.
        if setting is None or (error.is_near and not inside):
            continue
        where = f"{error.place}: " if error.place else ""
        return f"{where}unknown key '{path}'; {describe(setting, section, kinds)}"
    if error.is_near:
        return str(error)
    places = [path for path in _known_paths() if _bare(path.rpartition(".")[2]) == _bare(error.key)]
    places = _nearest_places(places, section, kinds)
    if not 0 < len(places) <= _MOST_PLACES:
        return str(error)
    where = f"{error.place}: " if error.place else ""
    return f"{where}unknown key '{error.key}'; there is {_join(places, section, ' and ')}"


def check_data_names(data: object) -> None:
    """Raise ConfigError where `data:` has a setting of another library (`data.train_files`) in place of a data set."""
    for name, config in data.items() if isinstance(data, Mapping) else ():
        setting = find_setting(f"data.{name}")
        if setting and not isinstance(config, Mapping):
            hint = describe(setting, "", [])
            raise ConfigError(f"data.{name}: not a data set, whose value is a mapping (NAME: {{source: …}}); {hint}")


def stage_hint(word: str, kinds: Sequence[str]) -> str:
    """Return what a user who writes `- word: {…}` among the stages means, as the end of a message."""
    name = word.casefold().replace("-", "_")
    if name in ALGORITHMS:
        return f"; that is an algorithm: write `- rlvr: {{algorithm: {name}, …}}`"
    if name in STAGE_NAMES:
        return f"; here it is {STAGE_NAMES[name]}"
    return did_you_mean(word, kinds)


def explain_override(argument: str) -> str:
    """Return how to write an override that is given as an option or in Hydra's manner: `--rlvr.steps=3`, `+rlvr.steps=3`."""
    key, _, value = argument.lstrip("+~-").partition("=")
    setting = find_setting(key)
    if setting is None:
        return f"overrides have no sign before them; write {key}={value or '…'}"
    return f"overrides have no sign before them, and this one another name: {describe(setting, '', [])}"


def find_setting(path: str) -> Setting | None:
    """Return the setting whose name elsewhere has most parts in common with the end of `path`; None without any."""
    parts = [_bare(part) for part in path.split(".")]
    best, most = None, 0
    for setting in SETTINGS:
        for name in setting.names:
            name_parts = [_bare(part) for part in name.split(".")]
            common = 0
            while common < min(len(parts), len(name_parts)) and parts[-1 - common] == name_parts[-1 - common]:
                common += 1
            if common > most and (common > 1 or parts[-1] not in GENERIC):
                best, most = setting, common
    return best


def describe(setting: Setting, section: str, kinds: Sequence[str]) -> str:
    """Return `here it is 'optimizer.learning_rate'`, as one would write it in `section` of a recipe with stages of `kinds`."""
    if not setting.targets:
        return f"it has no counterpart here: {setting.note}"
    # Where no stage of the recipe has the key, as in one that only imitates: the stage that has it elsewhere.
    targets = list(_expand(setting, section, kinds)) or list(_expand(setting, "", ()))
    targets = _nearest_places(targets, section, kinds)
    if not section and not kinds:  # one stage is example enough
        targets = [path for path in targets if path.partition(".")[0] == targets[0].partition(".")[0]]
    note = f" ({setting.note})" if setting.note else ""
    return f"here it is {_join(targets, section, ' and ' if _is_inside(setting, section) else ' or ')}{note}"


def _expand(setting: Setting, section: str, kinds: Sequence[str]) -> Iterator[str]:
    """Yield the setting's keys, `*` replaced by the stage of the section, else by one of `kinds` that has the key."""
    here = section.partition(".")[0]
    for target in setting.targets.split():
        if not target.startswith("*."):
            yield target
            continue
        choices = [kind for kind in (here, *kinds, "rlvr", *STAGES) if f"{kind}{target[1:]}" in _known_paths()]
        if choices[0] == here or choices[0] in kinds or not kinds:
            yield f"{choices[0]}{target[1:]}"


def _is_inside(setting: Setting, section: str) -> bool:
    return bool(section) and any(_below(target, section) for target in _expand(setting, section, ()))


def _nearest_places(paths: Sequence[str], section: str, kinds: Sequence[str]) -> list[str]:
    """Return those of the paths that lie in the section, else those of its stage, else those outside of stages that the
    recipe does not have, else all."""
    here = section.partition(".")[0]
    for group in (
        [path for path in paths if section and _below(path, section)],
        [path for path in paths if here in STAGES and path.startswith(f"{here}.")],
        [path for path in paths if path.partition(".")[0] not in STAGES or path.partition(".")[0] in kinds],
    ):
        if group:
            return list(dict.fromkeys(group))
    return list(dict.fromkeys(paths))


def _below(path: str, section: str) -> bool:
    """Return whether a key such as `data.NAME.path` lies in a section such as `data.words`."""
    parts, section_parts = path.split("."), section.split(".")
    return len(parts) > len(section_parts) and all(
        part in (name, "NAME") or part == re.sub(r"\[\d+\]", "[i]", name)
        for part, name in zip(parts, section_parts, strict=False)
    )


def _join(paths: Sequence[str], section: str, word: str) -> str:
    written: list[str] = []
    for path in paths:
        if path.startswith("--"):
            written.append(f"the option {path} of rl run")
        elif section and _below(path, section):
            written.append(f"'{'.'.join(path.split('.')[len(section.split('.')) :])}'")
        elif section and path.partition(".")[0] not in STAGES:
            written.append(f"'{path}' of the recipe")
        else:
            written.append(f"'{path}'")
    return word.join(written)


def _section(place: str) -> str:
    """Return the place of a key without its way there: `rlvr.optimizer` of `stages[2].rlvr.optimizer`."""
    return re.split(r"stages\[\d+\]\.", place)[-1]


def _kinds(entries: object) -> Iterator[str]:
    """Yield the kinds of the stages in a list `stages:`, whatever it holds."""
    for entry in cast("list[object]", entries) if isinstance(entries, list) else []:
        kind, config = next(iter(entry.items())) if isinstance(entry, Mapping) and entry else (entry, None)
        if isinstance(config, Mapping) and "stages" in config:
            yield from _kinds(config["stages"])
        yield str(kind).casefold()


def _leaves(key: str, value: object) -> Iterator[str]:
    """Yield the paths of the values below a key: `actor.optim.lr`."""
    if isinstance(value, Mapping) and value:
        for inner, deeper in value.items():
            yield from _leaves(f"{key}.{inner}", deeper)
    else:
        yield key


def _bare(name: str) -> str:
    return re.sub(r"[-_]", "", name).casefold()


@cache
def _known_paths() -> frozenset[str]:
    return frozenset(key_paths())
