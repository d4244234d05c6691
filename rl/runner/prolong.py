"""Prolongs a run that is resumed with more steps: its stage goes on from the last checkpoint, the stages after it run again.

    rl run words rlvr.steps=50
    rl run words rlvr.steps=100 --resume

The steps that were taken keep their learning rates. From there on the schedule is that of the new number of steps: a constant
rate goes on as if the run had been that long from the beginning, one that had fallen to 0 is raised again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rl.config import ConfigError
from rl.run.checkpoint import Checkpoints
from rl.run.sinks.registry import KEEPING
from rl.run.tracker import Tracker
from rl.runner.outcomes import OUTCOME
from rl.stages.registry import STAGES

Settings = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Part:
    """A stage of a saved recipe as it runs; of a repeated block, one iteration."""

    name: str
    kind: str
    settings: Settings
    place: str
    """Place in the recipe, for messages: `stages[2].rlvr`."""

    @property
    def length(self) -> float:
        """Steps or epochs for which it trains; 0 for a stage that cannot be prolonged."""
        key = STAGES[self.kind].length
        return float(cast(float, self.settings[key])) if key else 0.0


def stage_folder(out: Path, number: int, name: str) -> Path:
    """Return the folder of a stage, which has this number in its run: `stages/03-rlvr`."""
    return out / "stages" / f"{number:02d}-{name}"


def is_longer(old: Settings, new: Settings) -> bool:
    """Return whether a recipe, as it is saved, differs from `old` only in stages that train for longer or blocks that have more
    iterations. Raises ConfigError where they would have to be shortened."""
    if {**old, "stages": None} != {**new, "stages": None}:
        return False
    old_entries, new_entries = _entries(old), _entries(new)
    if not all(isinstance(entry, Mapping) and len(entry) == 1 for entry in old_entries):  # edited by hand
        return False
    return len(old_entries) == len(new_entries) and all(
        _is_entry_longer(before, after, f"stages[{i}]")
        for i, (before, after) in enumerate(zip(old_entries, new_entries, strict=True))
    )


def _is_entry_longer(old: Settings, new: Settings, place: str) -> bool:
    (kind,), (new_kind,) = old, new
    if kind != new_kind:
        return False
    settings, new_settings = cast(Settings, old[kind]), cast(Settings, new[kind])
    place, key = f"{place}.{kind}", "times" if kind == "repeat" else STAGES[kind].length if kind in STAGES else None
    if kind == "repeat":
        pairs = list(zip(_entries(settings), _entries(new_settings), strict=False))
        same_length = len(_entries(settings)) == len(_entries(new_settings))
        if not same_length or not all(_is_entry_longer(*pair, f"{place}.stages[{i}]") for i, pair in enumerate(pairs)):
            return False
    # The stages of a block have been compared one by one above.
    if any(settings.get(k) != new_settings.get(k) for k in {*settings, *new_settings} - {key, "stages"}):
        return False
    if not key:
        return True
    length, new_length = cast(float, settings[key]), cast(float, new_settings[key])
    if new_length < length:
        lengths = f"{length} then, {new_length} now"
        raise ConfigError(f"{place}.{key}: {lengths}; a run that is resumed can be made longer, but not shorter")
    return True


def prolong(old: Settings, new: Settings, out: Path, say: Callable[[str], None]) -> None:
    """Make ready for the `new` recipe: the first stage that trains for longer is no longer finished, and what stages after it
    have left is removed. Raises ConfigError, before anything is, where that stage left no checkpoint."""
    before, after = _parts(old), _parts(new)
    # There is one: `is_longer` has found that the recipes differ in lengths alone. What is before it keeps its folders.
    first = next(i for i, part in enumerate(after) if i >= len(before) or part != before[i])
    later = [(number, part) for number, part in enumerate(before, 1) if number > first]
    part = after[first]
    if first < len(before) and before[first].name == part.name:
        # The same stage, only longer: its folder stays, with the checkpoint that it goes on from.
        folder, later = stage_folder(out, first + 1, part.name), later[1:]
        if (folder / OUTCOME).exists():
            # Without its outcome the stage counts as unfinished, and the run resumes it.
            say(_go_on(folder, before[first], part))
            (folder / OUTCOME).unlink()
    again = [(number, part.name) for number, part in later if stage_folder(out, number, part.name).exists()]
    if again:
        say(f"run again, since what is before them changes: {', '.join(name for _, name in again)}")
        if keeping := [name for name in KEEPING if name in cast("Sequence[str]", new.get("track") or ())]:
            say(f"{' and '.join(keeping)}: the old curves of these stages stay there; metrics.jsonl has the new ones")
    for number, name in again:
        Tracker(out, name).rewind(-1)  # -1: all that the stage has recorded
        shutil.rmtree(stage_folder(out, number, name))


def _go_on(folder: Path, before: Part, after: Part) -> str:
    """Return a line that says from where a finished stage goes on. Raises ConfigError where it left no checkpoint."""
    key = STAGES[after.kind].length
    checkpoint = Checkpoints(folder / "checkpoints").latest()
    if checkpoint is None:
        raise ConfigError(
            f"{after.place}.{key}: {before.length:g} then, {after.length:g} now, and '{after.name}' left no checkpoint to go on "
            f"from; set checkpoint_every in a run that may be prolonged, and begin anew with another --out"
        )
    optimizer = cast(Settings, after.settings["optimizer"])
    line = f"{after.name}: goes on from step {checkpoint[1]['step']}, {key} {before.length:g} → {after.length:g}"
    if optimizer["schedule"] == "constant":
        return line
    return (
        f"{line}; its learning rate follows the {optimizer['schedule']} schedule of the new length, and so rises again"
    )


def _parts(recipe: Settings) -> list[Part]:
    """Return the stages of a saved recipe in the order they run, iterations of a block one after the other."""
    parts: list[Part] = []
    for i, entry in enumerate(_entries(recipe)):
        (kind,) = entry
        settings = cast(Settings, entry[kind])
        if kind != "repeat":
            parts.append(Part(str(settings["name"]), kind, settings, f"stages[{i}].{kind}"))
            continue
        for iteration in range(1, cast(int, settings["times"]) + 1):
            for part in _parts(settings):
                place = f"stages[{i}].repeat.{part.place}"
                parts.append(Part(f"{part.name}@{iteration}", part.kind, part.settings, place))
    return parts


def _entries(recipe: Settings) -> Sequence[Settings]:
    entries = recipe.get("stages")
    return cast("Sequence[Settings]", entries) if isinstance(entries, list) else ()
