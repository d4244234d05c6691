"""Reads a recipe: YAML with `extends`, overrides and interpolation becomes a checked list of stages. Imports nothing heavy.

    name: quickstart
    model: {build: {hidden_size: 128}}
    data: {words: {source: reasoning_gym, args: {dataset: spell_backward}}}
    reward: {parts: [{verifier: text}]}
    stages:
      - sft: {data: words}
      - rlvr: {data: words, steps: 100}

Overrides (`rlvr.steps=10`) and recipes that extend this one address a stage by its name.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rl import bundled
from rl.config import ConfigError, UnknownKey, Values, build, did_you_mean, merge, read_assignment, read_yaml, resolve
from rl.data.mixture import limits
from rl.data.paths import Paths, resolve_beside
from rl.data.rows import resolve_in
from rl.recipe.header import Header
from rl.recipe.inherited_files import keep_files
from rl.recipe.key_hints import check_data_names, explain_key, explain_override
from rl.recipe.names import check_references
from rl.recipe.stage_list import (
    Stage,
    as_yaml,
    expand,
    parse_stages,
    reward_models,
    served_judges,
    stage_rewards,
)
from rl.redaction import forget, remember_secrets
from rl.workers.counts import fill
from rl.workers.machine import Machine
from rl.workers.placement import Devices, roles
from rollouts.judge_engine import JudgeConfig

DATA_ARTIFACTS = ("distilled", "pairs")
"""Artifacts that are data to later stages."""


@dataclass(frozen=True)
class DataRead:
    """One read of a data set of the recipe."""

    stage: Stage
    data: str
    """Name of the data set."""
    split: str | None
    limit: int | None
    key: str = ""
    """Key of the stage that asks for it, such as `eval`; empty for the stage's own data."""

    @property
    def place(self) -> str:
        """Place in the recipe that asks for it, for messages."""
        return f"{self.stage.place}.{self.key}" if self.key else self.stage.place


@dataclass(frozen=True)
class Recipe:
    """A checked recipe, as `load` returns it."""

    header: Header
    stages: tuple[Stage, ...]
    folder: Path
    """Folder of the recipe's file, in which verifiers and data are looked up as well as in the working directory."""
    source: Values
    """The resolved YAML; `load` makes the same recipe from it."""
    paths_beside: Mapping[str, Paths] = field(default_factory=dict[str, Paths])
    """Paths, as the recipe has them, of the data sets that lie beside the recipe and not in the working directory; in
    `header` and `source` they are absolute."""
    open_counts: Mapping[str, bool] = field(default_factory=dict[str, bool])
    """Counts (`engines.count`, `trainer.ranks`) that the recipe leaves to the machines; False where it does so on GPUs
    alone. In `header` they are numbers."""
    open_dtype: bool = False
    """True where the recipe leaves model.dtype to the machines."""

    @property
    def name(self) -> str:
        """Name of the recipe, and of its runs."""
        return self.header.name

    @property
    def max_sequence_tokens(self) -> int:
        """Tokens of the longest sequence of any stage, which the engines must hold."""
        configs = [stage.config for stage in self.stages]
        configs += [stage.config.evaluation[0] for stage in self.stages if stage.config.evaluation]
        return max((getattr(config, "max_sequence_tokens", 1) for config in configs), default=1)

    @property
    def roles(self) -> set[str]:
        """Actors that the stages need: engine, policy, critic, reference, teacher, reward_model, `judge NAME`."""
        roles: set[str] = set()
        rewards = [self.header.reward]
        for stage in {stage.base: stage for stage in self.stages}.values():  # iterations share a config
            roles |= stage.config.roles
            rewards += stage_rewards(stage.config, self.header.reward).values()
        if self.header.model.lora:
            roles.discard("reference")  # it is the policy with its adapter off
        # A run serves a judge or a reward model only where some reward asks it.
        for reward in rewards:
            roles |= {f"judge {name}" for name in served_judges(reward)}
            if reward_models(reward):
                roles.add("reward_model")
        return roles

    @property
    def judges(self) -> dict[str, JudgeConfig]:
        """Judges of the recipe that some reward asks."""
        return {name: judge for name, judge in self.header.judges.items() if f"judge {name}" in self.roles}

    def on(self, devices: Devices) -> Recipe:
        """Return the recipe for these devices: the counts that it leaves open are those that fill them. Raises ConfigError where
        a dtype that it leaves open contradicts it."""
        header = self.header
        kinds = roles(self.roles, header.engines, header.trainer, devices.gpus > 0, self.judges)
        engines, ranks = fill(kinds, header.cluster.placement, devices)
        if (is_named := self.open_counts.get("engines.count")) is not None:
            count = engines if devices.gpus or is_named else 1
            header = dataclasses.replace(header, engines=dataclasses.replace(header.engines, count=count))
        if (is_named := self.open_counts.get("trainer.ranks")) is not None:
            count = ranks if devices.gpus or is_named else 1
            sharing = header.trainer.sequence_parallel
            count = max(1, count // sharing) * sharing  # whole groups of ranks that share sequences
            header = dataclasses.replace(header, trainer=dataclasses.replace(header.trainer, ranks=count))
        model = header.model
        if self.open_dtype and model.build is None:  # a model that is built is too small to gain from fewer bits
            model = dataclasses.replace(model, dtype="bfloat16" if devices.gpus else "float32")
            model.validate("model")
        for stage in self.stages:
            stage.config.settle_dtype(model.dtype)
        return dataclasses.replace(self, header=dataclasses.replace(header, model=model))

    def loads(self) -> Iterator[DataRead]:
        """Yield everything that is read of the recipe's data sets; what an earlier stage writes is left out."""
        for stage in self.stages:
            for read in stage.config.reads:
                for name, limit in limits(read.data, read.limit).items():
                    if name in self.header.data:
                        yield DataRead(stage, name, read.split, limit, read.key)

    def largest_limit(self, data: str, split: str | None) -> int | None:
        """Return the largest limit with which a stage that writes data reads this split, or None if one reads all of it
        or none reads it."""
        limits = [
            read.limit
            for read in self.loads()
            if (read.data, read.split) == (data, split) and {*DATA_ARTIFACTS} & {*read.stage.facts.makes}
        ]
        if None in limits:
            return None
        return max((limit for limit in limits if limit is not None), default=None)


def load(
    recipe: str | Path | Mapping[str, object],
    overrides: Sequence[str] = (),
    folder: Path | None = None,
    check: bool = True,
) -> Recipe:
    """Return the recipe of that name or path, or of a mapping whose files are looked up in `folder` (default: the working
    directory), with `key=value` overrides, checked whole. Raises ConfigError; whether files exist is for `rl.planning.plan`.

    Without `check` the verifiers, stages and models that it names are not looked for: those of a past run may be gone."""
    if isinstance(recipe, Mapping):
        folder, whole = folder or Path.cwd(), OmegaConf.create(dict(recipe))
    else:
        path = find(recipe)
        folder, whole = path.parent, _read(path, ())
        if "name" not in whole and (name := re.sub(r"[^\w.-]+", "-", path.stem).strip("-.")):
            whole["name"] = name
    for override in overrides:
        _override(whole, override)
    # Interpolation comes after the overrides, so that `${…}` sees them.
    values = resolve(whole, str(recipe) if not isinstance(recipe, Mapping) else "recipe")
    remember_secrets(values)
    keys = {f.name for f in dataclasses.fields(Header)}
    entries = values.get("stages")
    try:
        blocks = parse_stages(values, keys)
        check_data_names(values.get("data"))
        header_values, open_counts = _open_counts({key: value for key, value in values.items() if key in keys})
        header_values, open_dtype = _open_dtype(header_values)
        header = build(Header, header_values, "")
    except UnknownKey as error:
        raise ConfigError(explain_key(error, entries)) from error
    stages = [stage for block in blocks for stage in expand(block)]
    for stage in stages:
        if chains := getattr(stage.config, "chains", None):  # of another teacher: they may lie beside the recipe
            stage.config.chains = resolve_in(folder, chains)  # type: ignore[attr-defined]
    if check:
        check_references(header, stages, folder)
    source = {key: value for key, value in values.items() if key in keys}
    source["stages"] = [as_yaml(block) for block in blocks]
    # A variable of the environment may have a value such as `math`: redacting it would hide names of stages and files.
    forget([header.name, *header.data, *(stage.name for stage in stages)])
    read = Recipe(header, tuple(stages), folder, source, _find_data(header, source, folder), open_counts, open_dtype)
    # For the machine that the recipe expects, where it does: a run fits the counts again to what it finds.
    return read.on(header.cluster.expect.devices if header.cluster.expect else Machine.detect().devices)


def _open_counts(values: Values) -> tuple[Values, dict[str, bool]]:
    """Return the recipe's keys without counts that are left to the machines, and which these are: False where the recipe does
    not name the count, so that it is 1 on a CPU."""
    open_counts: dict[str, bool] = {}
    for place, key in (("engines", "count"), ("trainer", "ranks")):
        section = values.get(place) or {}
        if isinstance(section, Mapping) and section.get(key, "auto") == "auto":
            open_counts[f"{place}.{key}"] = key in section
            if key in section:
                values = values | {place: {name: value for name, value in section.items() if name != key}}
    return values, open_counts


def _open_dtype(values: Values) -> tuple[Values, bool]:
    """Return the recipe's keys without a dtype that is left to the machines, and whether it is."""
    model = values.get("model")
    if not isinstance(model, Mapping) or model.get("dtype", "auto") != "auto":
        return values, False
    return values | {"model": {name: value for name, value in model.items() if name != "dtype"}}, True


def _find_data(header: Header, source: Values, folder: Path) -> dict[str, Paths]:
    """Make the paths of data that lie only beside the recipe absolute, in `header` and `source`; return
    {data set: its path as the recipe has it}."""
    paths_beside: dict[str, Paths] = {}
    for name, config in header.data.items():
        where, colon, function = config.source.rpartition(":")
        if config.path is not None and (path := resolve_beside(folder, config.path)) != config.path:
            paths_beside[name] = config.path
            header.data[name] = dataclasses.replace(config, path=path)
            source["data"][name]["path"] = path
        elif where.endswith(".py") and (path := resolve_in(folder, where)) != where:
            header.data[name] = dataclasses.replace(config, source=f"{path}{colon}{function}")
            source["data"][name]["source"] = header.data[name].source
    return paths_beside


def find(recipe: str | Path) -> Path:
    """Return the file of a recipe given by path or, if it is bundled, by name. Raises ConfigError."""
    bundled_file = bundled.FOLDER / f"{recipe}.yaml"
    for candidate in (Path(recipe), Path(f"{recipe}.yaml"), bundled_file, bundled.FOLDER.parent / recipe):
        if os.path.isfile(candidate):  # unlike Path.is_file it answers for names too long for any file
            return candidate
    raise ConfigError(f"recipe '{recipe}': no such file or bundled recipe{did_you_mean(str(recipe), bundled.names())}")


def _read(path: Path, descendants: tuple[Path, ...]) -> Any:
    """Return the file merged over what it extends; `descendants` are the files that extend this one."""
    if path.resolve() in descendants:
        raise ConfigError(f"{path}: extends itself, through {' -> '.join(p.name for p in descendants)}")
    values = read_yaml(path)
    if not OmegaConf.is_dict(values):
        raise ConfigError(f"{path}: expected keys such as name, model, data, reward, stages")
    base = values.pop("extends", None)
    if base is None:
        return values
    beside = path.parent / str(base)
    parent = next((p for p in (beside, beside.with_suffix(".yaml")) if os.path.isfile(p)), None) or find(str(base))
    inherited = _read(parent, (*descendants, path.resolve()))
    if parent.parent.resolve() != path.parent.resolve():
        inherited = keep_files(inherited, parent.parent.resolve(), path.parent.resolve())
    return merge(inherited, values, f"{path}:")


def _override(whole: Any, override: str) -> None:
    """Change the recipe by one `key=value`; `a.b`, and `a[0].b` or `a.0.b` in lists."""
    key, equals, value = override.partition("=")
    if not (key and equals):
        raise ConfigError(f"override '{override}': expected key=value, for example rlvr.steps=10")
    if key.lstrip("+~-") != key:
        raise ConfigError(f"override '{override}': {explain_override(override)}")
    place = f"override '{override}'"
    parsed_value = read_assignment(value, place)
    try:
        OmegaConf.update(whole, key, parsed_value, merge=True)
    except (OmegaConfBaseException, TypeError, LookupError, ValueError) as error:
        raise ConfigError(f"{place}: {str(error).splitlines()[0]}; check the key and the value") from error
