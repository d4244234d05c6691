"""Packs what a recipe needs: the recipe itself (resolved, so the recipes that it extends are not needed), the Python files
that it names with the modules beside them that these import and the files that these name, and small files with a
relative path. Everything else is expected to be on the cluster, and a line says so.
"""

from __future__ import annotations

import ast
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import cast

from omegaconf import OmegaConf

from rl.config import ConfigError, Values
from rl.data.files import FILES
from rl.data.paths import names_below
from rl.recipe import Recipe
from rl.recipe.stage_list import JUDGES
from rl.redaction import keep_interpolations, variables_in
from rl.stages.registry import STAGES
from rl.stages.teacher_chains import is_file
from rl.submit.named_clips import find_named_clips
from rl.submit.named_files import find_named_files, parse
from rl.submit.parcel import Parcel, is_relative
from rl.workers.machine import PACKAGES

RECIPE = "recipe.yaml"


def pack(recipe: Recipe, folder: Path) -> list[str]:
    """Write the job's working directory to `folder`; return a line for each file that the cluster may lack.

    Raises ConfigError if a Python file that the recipe names does not exist.
    """
    # A copy, in which files get the names that they have in the job's folder.
    values = cast("Values", OmegaConf.to_container(OmegaConf.create(recipe.source)))
    values.get("cluster", {}).pop("address", None)  # the job already runs on that cluster
    stages = list(_stages(values["stages"], "stages"))
    parcel = Parcel(folder)
    pack_rewards(recipe, values["reward"], stages, parcel)
    _pack_stage_code(recipe, stages, parcel)
    for place, config in [("", values), *((f"{place}.", config) for place, config in stages)]:
        if config.get("environment"):
            config["environment"] = _pack_environment(recipe, config["environment"], f"{place}environment", parcel)
    _pack_data(recipe, values.get("data") or {}, parcel)
    _pack_chains(stages, parcel)
    for i, entry in enumerate(values.get("track") or ()):
        values["track"][i] = _pack_tracker(recipe, entry, f"track[{i}]", parcel)
    judges: dict[str, Values] = values.get("judges") or {}
    # Texts there may be files of the user's, such as a chat template.
    settings = {"engines": values.get("engines"), "trainer": values.get("trainer")}
    settings |= {f"judges.{name}.vllm": judge.get("vllm") for name, judge in judges.items()}
    for place, value in settings.items():
        _pack_files_in(value, place, parcel)
    # Models and what runs have left are expected on the cluster: of a path that begins here only a warning goes out.
    paths = {**recipe.header.model.sources}
    paths |= {f"judges.{name}.model": judge["model"] for name, judge in judges.items()}
    for place, config in stages:
        keys = {key for kind in STAGES.values() for key in kind.references}
        paths |= {f"{place}.{key}": config.get(key) for key in keys}
        reuse = config.get("reuse")
        if reuse and is_relative(reuse):  # also where no such file exists yet: the stage writes it
            parcel.warn(f"{place}.reuse", reuse)
    for place, path in paths.items():
        if path and is_relative(path) and Path(path).exists():
            parcel.warn(place, path)
        elif path:
            parcel.add_path(path, Path.cwd(), place)
    OmegaConf.save(OmegaConf.create(keep_interpolations(values)), folder / RECIPE)
    # Sent along, a secret would stand in the cluster's logs and in its object store.
    names = variables_in((folder / RECIPE).read_text())
    return parcel.notes + [f"{name}: is not sent along; the job reads it from its own environment" for name in names]


def _stages(entries: list[Values], place: str) -> Iterator[tuple[str, Values]]:
    """Yield (place, config) of each stage, also of those in repeated blocks."""
    for i, entry in enumerate(entries):
        for kind, config in entry.items():
            here = f"{place}[{i}].{kind}"
            if kind == "repeat":
                yield from _stages(config["stages"], f"{here}.stages")
            else:
                yield here, config


# --- rewards and stages ------------------------------------------------------------------------------------------------


def pack_rewards(recipe: Recipe, reward: Values, stages: list[tuple[str, Values]], parcel: Parcel) -> None:
    """Pack the verifiers of the recipe's reward and of its stages' own rewards."""
    rewards = [("reward", reward)]
    rewards += [(f"{place}.reward", config["reward"]) for place, config in stages if config.get("reward")]
    for place, stage_reward in rewards:
        for key in ("parts", "watch"):
            for i, part in enumerate(stage_reward.get(key) or ()):
                _pack_verifier(recipe, part, f"{place}.{key}[{i}]", parcel)


def _pack_stage_code(recipe: Recipe, stages: list[tuple[str, Values]], parcel: Parcel) -> None:
    """Pack the verifiers of `select_by` and the functions of objectives."""
    for place, config in stages:
        if select_by := config.get("select_by"):
            _pack_verifier(recipe, select_by, f"{place}.select_by", parcel)
        objective = config.get("objective") or {}
        for key in ("advantage", "policy_loss"):
            _pack_code(objective.get(key, ""), f"{place}.objective.{key}", _import_folders(), parcel)


def _pack_verifier(recipe: Recipe, part: Values, place: str, parcel: Parcel) -> None:
    part["verifier"] = _pack_code(part["verifier"], f"{place}.verifier", [recipe.folder, Path.cwd()], parcel)
    args: Values = {**(part.get("args") or {})}
    if part["verifier"] in JUDGES:
        args.pop("served", None)  # the name of a judge in the recipe, though a folder may have it too
    _pack_files_in(args, f"{place}.args", parcel)


def _pack_environment(recipe: Recipe, environment: object, place: str, parcel: Parcel) -> object:
    """Pack the functions of an environment and the files that their arguments name; return it with the functions' new names."""
    folders = [recipe.folder, Path.cwd()]
    if isinstance(environment, str):
        return _pack_code(environment, place, folders, parcel)
    if isinstance(environment, list):
        tools = cast("list[object]", environment)
        return [_pack_environment(recipe, tool, f"{place}[{i}]", parcel) for i, tool in enumerate(tools)]
    values = cast("Values", environment)
    for key in ("step", "harness", "tool", "tools"):
        if values.get(key):
            values[key] = _pack_environment(recipe, values[key], f"{place}.{key}", parcel)
    for name, value in (values.get("args") or {}).items():
        # Looked up as functions are: beside the recipe first.
        for folder in folders:
            if isinstance(value, str) and value and os.path.isfile(folder / value):
                parcel.add_path(value, folder, f"{place}.args.{name}")
                break
    return values


def _pack_tracker(recipe: Recipe, entry: str, place: str, parcel: Parcel) -> str:
    """Pack the class behind an entry of `track`, if it is the user's; return the entry with the file's new name."""
    if ":" not in entry or entry.startswith("prometheus:"):
        return entry
    # Looked up as a run does: in the working directory first.
    return _pack_code(entry, place, [Path.cwd(), recipe.folder, *_import_folders()], parcel)


def _pack_files_in(value: object, place: str, parcel: Parcel) -> None:
    """Pack the small files and folders that the texts of a value name, a mapping's and a list's among them."""
    if isinstance(value, str) and value.strip("./~"):
        if len(value) < 1000 and "\0" not in value and "\n" not in value:
            parcel.add_path(value, Path.cwd(), place)
    elif isinstance(value, Mapping):
        for inner in cast("Mapping[str, object]", value).values():
            _pack_files_in(inner, place, parcel)
    elif isinstance(value, list | tuple):
        for inner in cast("list[object]", value):
            _pack_files_in(inner, place, parcel)


# --- data --------------------------------------------------------------------------------------------------------------


def _pack_data(recipe: Recipe, data: dict[str, Values], parcel: Parcel) -> None:
    """Pack the code of data sources, small data files, and the clips that their rows name."""
    for name, config in data.items():
        config["source"] = _pack_code(config["source"], f"data.{name}.source", [Path.cwd()], parcel)
        _pack_files_in(config.get("external"), f"data.{name}.external", parcel)
        if config["source"] not in FILES:
            _pack_files_in(config.get("args"), f"data.{name}.args", parcel)
            continue
        # A path is relative to the recipe if there is such a file, else to the working directory.
        base = recipe.folder if name in recipe.paths_beside else Path.cwd()
        config["path"] = recipe.paths_beside.get(name, config.get("path"))
        for path in names_below(base, config["path"]):
            _pack_rows(path, config["source"], base, name, parcel)


def _pack_chains(stages: list[tuple[str, Values]], parcel: Parcel) -> None:
    """Pack the files of other teachers' chains."""
    for place, config in stages:
        chains = config.get("chains") or ""
        if is_file(chains):  # else a data set of the recipe
            for path in names_below(Path.cwd(), chains):
                parcel.add_path(path, Path.cwd(), f"{place}.chains")


def _pack_rows(path: str, source: str, base: Path, name: str, parcel: Parcel) -> None:
    """Pack a data file and the clips of its rows."""
    place = f"data.{name}.path"
    if source == "huggingface" and is_relative(path) and (base / path).exists():
        parcel.warn(place, path)
        return
    parcel.add_path(path, base, place)
    if (parcel.folder / path).is_file() and is_relative(path):
        _pack_clips(source, path, base, f"data.{name}", parcel)


def _pack_clips(source: str, path: str, base: Path, place: str, parcel: Parcel) -> None:
    """Pack the sound files that the rows of a data file name; they lie beside it."""
    file = base / path
    names = find_named_clips(source, file)
    clips = [name for name in names if is_relative(name) and os.path.isfile(file.parent / name)]
    behind: list[str] = []
    for clip in clips:
        relative = os.path.relpath(file.parent / clip, base)
        if parcel.find_obstacle(relative, base) is None:
            parcel.add_path(relative, base, place)
        else:
            behind.append(clip)
    absolute = [name for name in names if not is_relative(name) and os.path.isfile(name)]
    if absolute:
        parcel.elsewhere.append(f"{place} '{absolute[0]}' and {len(absolute) - 1} more clips")
    if behind:  # one line for thousands of clips
        parcel.warn(place, behind[0], f"and {len(behind) - 1} more clips of its rows are not sent along")


# --- code --------------------------------------------------------------------------------------------------------------


def _pack_code(spec: str, place: str, bases: list[Path], parcel: Parcel) -> str:
    """Pack the Python behind `file.py:fn`, or `pkg.mod:fn` if it lies in a base; return the spec to use in the job."""
    where, colon, function = spec.rpartition(":")
    if not colon:  # the name of one of ours
        return spec
    if not where.endswith(".py"):
        for base in bases:
            _pack_modules([where.partition(".")[0]], base, place, parcel)
        return spec
    where = os.path.expanduser(os.path.expandvars(where))
    file = next((base / where for base in bases if (base / where).is_file()), None)
    if file is None:
        raise ConfigError(f"{place}: no file {where} in {' or '.join(map(str, bases))}")
    _pack_module(file, place, parcel)
    return f"{file.name}:{function}"


def _pack_module(file: Path, place: str, parcel: Parcel) -> None:
    """Copy a module, the modules beside it that it imports, and the files that it names."""
    if parcel.add_module(file):
        _pack_modules(_imports(file), file.parent, place, parcel)
        _pack_named_files(file, place, parcel)


def _pack_modules(names: Iterable[str], base: Path, place: str, parcel: Parcel) -> None:
    for name in names:
        if name in PACKAGES:  # ours are installed on the cluster
            continue
        if (base / f"{name}.py").is_file():
            _pack_module(base / f"{name}.py", place, parcel)
        elif (base / name / "__init__.py").is_file() and not (parcel.folder / name).exists():
            # With the data in it.
            shutil.copytree(base / name, parcel.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            for module in sorted((base / name).rglob("*.py")):
                _pack_named_files(module, place, parcel, package=base / name)


def _pack_named_files(file: Path, place: str, parcel: Parcel, package: Path | None = None) -> None:
    """Pack the files that a module names, those beside it and those in the working directory; of a module in a `package`,
    which is packed whole, the latter alone."""
    folders = [file.parent, *([Path.cwd()] if file.parent.resolve() != Path.cwd().resolve() else [])]
    named, has_unknown = find_named_files(file, folders)
    here = f"{place}: {file.name} names it"
    for folder, path in named:
        inside = package is not None and (folder / path).resolve().is_relative_to(package.resolve())
        if not inside:
            parcel.add_path(path, folder, here)
    if has_unknown and package is None:
        parcel.warnings.append(
            f"{place}: {file.name} looks for files beside itself (`__file__`) and its source does not tell which; none are "
            "sent along: write their names in it, or name paths that the cluster's machines share"
        )


def _imports(file: Path) -> Iterator[str]:
    """Yield the top-level names of the modules that a file imports. Raises ConfigError for invalid Python."""
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _import_folders() -> list[Path]:
    """Return the folders that the user's own modules are imported from: those of PYTHONPATH, and the current one."""
    entries = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return list(dict.fromkeys(Path(entry).resolve() for entry in (*entries, ".")))
