"""Creates run directories, finds them again, and refuses to resume a run that is not there or is another recipe's."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from omegaconf import OmegaConf

from rl.config import ConfigError, did_you_mean, read_yaml
from rl.recipe import Recipe, load
from rl.redaction import redact
from rl.run.files import DiskFull, detect_full_disk, replacing
from rl.run.lock import RunLock
from rl.run.summary import RECIPE, read_summary
from rl.runner.prolong import is_longer, prolong

RUNS = Path("runs")
"""Folder of the runs whose `--out` is not named, in the working directory."""
_NAMED_RUNS = 5  # in a message
PLACEMENT = ("trainer", "cluster", "run")
"""Keys of a recipe that say where and how it runs, and not what it learns: a run may be resumed with others."""
SERVING_OPTIONS = ("gpu_memory_utilization", "max_num_seqs", "max_num_batched_tokens")
"""Options of `engines.vllm` of the same kind; others may change what an engine writes, so that these alone may differ of it."""


@contextmanager
def hold_run_dir(recipe: Recipe, out: Path, resume: bool, say: Callable[[str], None] = print) -> Generator[None]:
    """Hold the run directory for one run alone. Create it and save the recipe into it; or check that an existing one is to be
    resumed and is this recipe's, which may only train for longer or run elsewhere. Raises ConfigError."""
    # Before the directory is made: a mistyped --out must leave none behind.
    if resume and not os.path.exists(out / RECIPE):
        check_resumable(out)
    lock = lock_folder(out)
    try:
        _prepare(recipe, out, resume, say)
        yield
    finally:
        lock.release()


def lock_folder(out: Path) -> RunLock:
    """Create the folder that `--out` names and return its lock, taken. Raises ConfigError, also where another process is at
    work there, and DiskFull."""
    lock = RunLock(out)
    try:
        with detect_full_disk(out):
            out.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except DiskFull:  # an OSError whose message names its own fix
        raise
    except OSError as error:
        raise ConfigError(f"--out: {out} cannot be a run's directory ({error.strerror}); name another") from error
    return lock


def _prepare(recipe: Recipe, out: Path, resume: bool, say: Callable[[str], None]) -> None:
    """Save the recipe into the run directory, or compare it with the one there."""
    file = out / RECIPE
    # Through JSON, so that tuples and paths compare equal to what YAML reads back.
    values = json.loads(json.dumps(redact(recipe.source)))
    if os.path.exists(file):
        if not resume:
            raise ConfigError(f"{out}: holds a run already; go on with --resume or choose another --out")
        saved_values = read_recipe(file)
        if values == saved_values or values == _resolve_again(saved_values):
            return
        saved_lesson, lesson = _without_placement(saved_values), _without_placement(values)
        if saved_lesson != lesson and not is_longer(saved_lesson, lesson):
            # Unless a variable, or what it names, has appeared since.
            saved_values = _resolve_again(saved_values)
            saved_lesson = _without_placement(saved_values)
        if saved_lesson != lesson:
            if not is_longer(saved_lesson, lesson):
                difference = next(_find_differences(saved_lesson, lesson))
                raise ConfigError(f"{out}: was run with another recipe ({difference}); resume with the same one")
            prolong(saved_lesson, lesson, out, say)
        # Of the stages `prolong` has told already what is different.
        for difference in _find_differences({**saved_values, "stages": None}, {**values, "stages": None}):
            say(f"resumed with another placement: {difference}")
        with replacing(file) as temporary:  # last: until then the old recipe stands, and does again what is missing
            OmegaConf.save(OmegaConf.create(values), temporary)
            shutil.copystat(file, temporary)  # its time is that of the run's beginning: `newest_run` goes by it
        return
    try:
        with replacing(file) as temporary:
            OmegaConf.save(OmegaConf.create(values), temporary)
    except DiskFull:  # an OSError whose message names its own fix
        raise
    except OSError as error:
        raise ConfigError(f"--out: {out} cannot be a run's directory ({error.strerror}); name another") from error


def replay_overrides(recipe: Recipe, run: Path) -> list[str]:
    """Return the changes to the recipe of a run that make another one repeat its course. Raises ConfigError where `run` is no
    run of this recipe, or has no course of its own."""
    if not os.path.exists(run / RECIPE):
        raise ConfigError(f"--replay: {run} holds no run; name its directory, such as runs/NAME")
    values = json.loads(json.dumps(redact(recipe.source)))
    saved_values = _resolve_again(read_recipe(run / RECIPE))
    if values != saved_values:
        raise ConfigError(
            f"--replay: {run} was run with another recipe ({next(_find_differences(saved_values, values))}); repeat the same one"
        )
    summary = read_summary(run)
    if summary is None or summary.status != "done":
        raise ConfigError(
            f"--replay: {run} is not finished, so that only a part of its course is known; resume it first"
        )
    # A stage of a repeated block is named once, without its iteration.
    names = [stage.name.partition("@")[0] for stage in recipe.stages if getattr(stage.config, "max_lag", 0)]
    lagging = list(dict.fromkeys(names))
    if not lagging:
        raise ConfigError("--replay: without `rlvr.max_lag` a run takes the same course anyway; leave it out")
    return [f"{name}.replay={run.absolute()}" for name in lagging]


def check_resumable(out: Path, seeds: bool = False) -> None:
    """Raise ConfigError, with the runs that may be meant, unless a run lies in `out`, or runs of several `seeds` do."""
    if _holds_run(out, seeds):
        return
    if _holds_run(out, not seeds):
        fix = "leave out --seeds" if seeds else "add --seeds, as when they began"
        raise ConfigError(f"--resume: {out} holds {'one run' if seeds else 'runs of several seeds'}; {fix}")
    holders = [folder for folder in out.parents if _holds_run(folder, seeds)]
    runs = {str(path) for folder in (out.parent, RUNS) for path in folder.glob("*") if _holds_run(path, seeds)}
    newest = sorted(runs, key=lambda run: (Path(run).stat().st_mtime, run))[-_NAMED_RUNS:]
    if holders:
        hint = f"; it lies in a run: did you mean '{holders[0]}'?"
    elif "did you mean" in (near := did_you_mean(str(out), sorted(runs))):
        hint = near
    else:
        hint = f"; there are {', '.join(newest)}" if newest else ""
    raise ConfigError(f"--resume: {out} holds no run{hint}; leave out --resume to begin one")


def _holds_run(folder: Path, seeds: bool) -> bool:
    return next(folder.glob("seed-*/recipe.yaml" if seeds else "recipe.yaml"), None) is not None


def read_recipe(file: Path) -> dict[str, object]:
    """Return the content of a run's recipe.yaml. Raises ConfigError for a damaged one."""
    fix = "put back the recipe it was run with, or start anew with another --out"
    try:
        values = OmegaConf.to_container(read_yaml(file))
    except ConfigError as error:
        raise ConfigError(f"{error}; {fix}") from error
    if not isinstance(values, dict) or "name" not in values:
        raise ConfigError(f"{file}: holds no recipe; {fix}")
    return cast(dict[str, object], values)


def _resolve_again(saved_values: dict[str, object]) -> dict[str, object]:
    """Return a saved recipe with what it takes from the environment as that is now, and with the defaults of keys that its
    stages could not have then; redacted like the recipe of a run."""
    try:
        return json.loads(json.dumps(redact(load(saved_values, check=False).source)))
    except ConfigError:  # a variable is no longer set, or a key is no longer known
        return saved_values


def _without_placement(recipe: dict[str, object]) -> dict[str, object]:
    """Return a recipe as it is saved with nothing but what decides what a run learns."""
    lesson = {key: value for key, value in recipe.items() if key not in (*PLACEMENT, "engines")}
    engines = recipe.get("engines")
    options = cast("dict[str, object]", engines).get("vllm") if isinstance(engines, dict) else None
    if isinstance(options, dict):
        options = {
            key: value for key, value in cast("dict[str, object]", options).items() if key not in SERVING_OPTIONS
        }
    return lesson | {"engines": {"vllm": options}} if options else lesson


def _find_differences(old: object, new: object, place: str = "") -> Iterator[str]:
    """Yield the places where two recipes differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        old_values, new_values = cast("dict[str, object]", old), cast("dict[str, object]", new)
        for key in dict.fromkeys([*old_values, *new_values]):
            yield from _find_differences(old_values.get(key), new_values.get(key), f"{place}.{key}".lstrip("."))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):  # pyright: ignore[reportUnknownArgumentType]
        pairs = zip(cast("list[object]", old), cast("list[object]", new), strict=True)
        for i, (old_item, new_item) in enumerate(pairs):
            yield from _find_differences(old_item, new_item, f"{place}[{i}]")
    elif old != new:
        yield f"{place}: {old!r} then, {new!r} now"


def free_folder(folder: Path, is_numbered: bool = False) -> Path:
    """Return `folder`, or where that holds something, the first of `folder-2`, `folder-3`, … that does not. With
    `is_numbered` the folder's own number is dropped first."""
    if is_numbered:
        folder = folder.with_name(re.sub(r"-\d+$", "", folder.name))
    candidate, number = folder, 2
    while os.path.exists(candidate) and (not candidate.is_dir() or any(candidate.iterdir())):
        candidate, number = folder.with_name(f"{folder.name}-{number}"), number + 1
    return candidate


def newest_run(name: str, seeds: bool) -> Path:
    """Return the directory of the recipe's latest run, of several `seeds` or of one. Raises ConfigError."""
    runs: list[tuple[float, Path]] = []
    for folder in RUNS.glob(f"{name}*"):
        file = next(folder.glob("seed-*/recipe.yaml" if seeds else "recipe.yaml"), None)
        # `quick*` also matches the runs of a recipe called `quickstart`.
        is_run_name = re.fullmatch(rf"{re.escape(name)}(-\d+)?", folder.name)
        if file and is_run_name and read_recipe(file)["name"] == name:
            runs.append((file.stat().st_mtime, folder))  # the time when the run began: one that is prolonged keeps it
    if not runs:
        raise ConfigError(f"--resume: no run of '{name}' in {RUNS}/; name its directory with --out")
    return max(runs)[1]
