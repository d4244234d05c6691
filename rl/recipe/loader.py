"""A recipe: YAML with `extends`, overrides and interpolation to a checked list of stages. Imports nothing heavy.

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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from rl import bundled
from rl.config import ConfigError, build, did_you_mean, merged, read_yaml, resolve
from rl.data.mixture import limits
from rl.data.rows import beside
from rl.recipe.header import Header
from rl.recipe.names import check_references
from rl.recipe.stage_list import TRAINS, Stage, blocks_of, expanded, judges, own_rewards, reward_models, saved
from rollouts.judge_engine import JudgeConfig

KEEPS = ("distill", "pairs")
"""Kinds of stages whose samples are data to later ones."""


@dataclass(frozen=True)
class Recipe:
    header: Header
    stages: tuple[Stage, ...]
    folder: Path
    """Of the recipe's file: verifiers and data are looked up there too."""
    source: dict[str, Any]
    """The resolved YAML; `load` makes the same recipe from it."""
    found: Mapping[str, str] = field(default_factory=dict[str, str])
    """Data sets that lie beside the recipe and not in the working directory, and their paths as the recipe has them; in
    `header` and `source` they are absolute."""

    @property
    def name(self) -> str:
        return self.header.name

    @property
    def max_sequence_tokens(self) -> int:
        """What the engines must hold: the longest sequence of any stage that samples."""
        configs = [s.config for s in self.stages] + [s.config.eval for s in self.stages if s.kind == "rlvr"]
        return max((getattr(c, "max_sequence_tokens", 1) for c in configs if c is not None), default=1)

    @property
    def roles(self) -> set[str]:
        """Which actors the stages need: engine, policy, critic, reference, reward_model, `judge NAME`."""
        roles = {f"judge {name}" for name in judges(self.header.reward)}
        for stage in self.stages:
            roles |= {TRAINS.get(stage.kind, "engine")} | ({"policy"} if stage.kind == "reward_model" else set())
            if stage.kind == "rlvr":
                goal = stage.config.resolved()
                roles |= (
                    {"policy"} | ({"critic"} if goal.critic else set()) | ({"reference"} if goal.kl_coef else set())
                )
            for reward in own_rewards(stage.config, self.header.reward).values():
                roles |= {f"judge {name}" for name in judges(reward)}
                roles |= {"reward_model"} if reward_models(reward) else set()
        return roles | ({"reward_model"} if reward_models(self.header.reward) else set())

    @property
    def judges(self) -> dict[str, JudgeConfig]:
        """Those that a reward asks."""
        return {name: judge for name, judge in self.header.judges.items() if f"judge {name}" in self.roles}

    def loads(self) -> Iterator[tuple[Stage, str, str | None, int | None, str]]:
        """(stage, data set, split, limit, place) of everything that is read."""
        for stage in self.stages:
            for place, config in (
                (stage.place, stage.config),
                (f"{stage.place}.eval", getattr(stage.config, "eval", None)),
            ):
                for name, limit in limits(config.data, config.limit).items() if config is not None else ():
                    if name in self.header.data:  # else an earlier stage writes it
                        yield stage, name, config.split, limit, place
                        if stage.kind == "encode" and config.held_out is not None:
                            yield stage, name, config.held_out, None, f"{place}.held_out"

    def most(self, data: str, split: str | None) -> int | None:
        """Of how many of its prompts the stages that keep what they sample choose; None: of all."""
        read = [limit for s, name, of, limit, _ in self.loads() if (name, of) == (data, split) and s.kind in KEEPS]
        return max((limit for limit in read if limit is not None), default=None) if None not in read else None


def load(recipe: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), folder: Path | None = None) -> Recipe:
    """The recipe of that name or path, or as a mapping that looks files up in `folder` (default: the working
    directory), with `key=value` overrides, checked whole. Raises ConfigError; whether files exist is for `rl.planning.plan`."""
    if isinstance(recipe, Mapping):
        folder, whole = folder or Path.cwd(), OmegaConf.create(dict(recipe))
    else:
        path = find(recipe)
        folder, whole = path.parent, _read(path, ())
    for override in overrides:
        _override(whole, override)
    values = resolve(whole, str(recipe) if not isinstance(recipe, Mapping) else "recipe")
    blocks = blocks_of(values, {f.name for f in dataclasses.fields(Header)})
    stages = [stage for block in blocks for stage in expanded(block)]
    keys = {f.name for f in dataclasses.fields(Header)}
    header = build(Header, {key: value for key, value in values.items() if key in keys}, "")
    check_references(header, stages, folder)
    source = {key: value for key, value in values.items() if key in keys}
    source["stages"] = [saved(block) for block in blocks]
    return Recipe(header, tuple(stages), folder, source, _find_data(header, source, folder))


def _find_data(header: Header, source: dict[str, Any], folder: Path) -> dict[str, str]:
    """Makes paths of data that only lie beside the recipe absolute, in both; what they were."""
    found: dict[str, str] = {}
    for name, config in header.data.items():
        where, colon, function = config.source.rpartition(":")
        if config.path is not None and (path := beside(config.path, folder)) != config.path:
            found[name] = config.path
            header.data[name] = dataclasses.replace(config, path=path)
            source["data"][name]["path"] = path
        elif where.endswith(".py") and (path := beside(where, folder)) != where:
            header.data[name] = dataclasses.replace(config, source=f"{path}{colon}{function}")
            source["data"][name]["source"] = header.data[name].source
    return found


def find(recipe: str | Path) -> Path:
    """The file of a recipe given by path or, if it is bundled, by name. Raises ConfigError."""
    for candidate in (
        Path(recipe),
        Path(f"{recipe}.yaml"),
        bundled.FOLDER / f"{recipe}.yaml",
        bundled.FOLDER.parent / recipe,
    ):
        if candidate.is_file():
            return candidate
    raise ConfigError(f"recipe '{recipe}': no such file or bundled recipe{did_you_mean(str(recipe), bundled.names())}")


def _read(path: Path, seen: tuple[Path, ...]) -> Any:
    """The file merged over what it extends."""
    if path.resolve() in seen:
        raise ConfigError(f"{path}: extends itself, through {' -> '.join(p.name for p in seen)}")
    own = read_yaml(path)
    if not OmegaConf.is_dict(own):
        raise ConfigError(f"{path}: expected keys such as name, model, data, reward, stages")
    base = own.pop("extends", None)
    if base is None:
        return own
    beside = path.parent / str(base)
    parent = next((p for p in (beside, beside.with_suffix(".yaml")) if p.is_file()), None) or find(str(base))
    return merged(_read(parent, (*seen, path.resolve())), own, f"{path}:")


def _override(whole: Any, override: str) -> None:
    """Changes the recipe by one `key=value`; `a.b`, and `a[0].b` or `a.0.b` in lists."""
    key, equals, value = override.partition("=")
    if not (key and equals):
        raise ConfigError(f"override '{override}': expected key=value, for example rlvr.steps=10")
    try:
        parsed = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"]))
        OmegaConf.update(whole, key, cast(dict[str, Any], parsed)["value"], merge=True)
    except (OmegaConfBaseException, YAMLError, TypeError, LookupError, ValueError) as error:
        raise ConfigError(
            f"override '{override}': {str(error).splitlines()[0]}; check the key and the value"
        ) from error
