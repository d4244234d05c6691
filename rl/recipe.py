"""A recipe: YAML with `extends`, overrides and interpolation to a checked list of stages. Imports nothing heavy.

    name: quickstart
    model: {build: {hidden_size: 128}}
    data: {words: {source: words}}
    reward: {parts: [{verifier: text}]}
    stages:
      - sft: {data: words}
      - rlvr: {data: words, steps: 100}

Overrides (`rlvr.steps=10`) and recipes that extend this one address a stage by its name.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from models.load import ModelConfig
from rewards.combine import RewardConfig
from rewards.resolve import check as check_verifier
from rl.config import ConfigError, build, did_you_mean, resolve
from rl.data.sources import DataConfig
from rl.stages import curate, dpo, encode, evaluate, rlvr, sft
from rl.workers.placement import ClusterConfig
from rl.workers.trainer import TrainerConfig
from rollouts.sampler import EngineConfig

BUNDLED = Path(__file__).parent.parent / "recipes"
STAGES: dict[str, ModuleType] = {
    "encode": encode,
    "sft": sft,
    "curate": curate,
    "rlvr": rlvr,
    "dpo": dpo,
    "evaluate": evaluate,
}
"""Each has a `Config` and `run(config, context) -> Outcome`."""
MAKES = {"encode": "model", "sft": "model", "rlvr": "model", "dpo": "model", "curate": "difficulty"}


@dataclass(frozen=True)
class Stage:
    name: str
    kind: str
    config: Any
    place: str
    """Where it stands in the recipe, for messages."""


@dataclass
class Header:
    """A recipe's keys beside its stages."""

    name: str
    model: ModelConfig
    reward: RewardConfig
    seed: int = 0
    data: dict[str, DataConfig] = field(default_factory=dict[str, DataConfig])
    engines: EngineConfig = field(default_factory=EngineConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    def validate(self, place: str) -> None:
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise ConfigError(f"name: '{self.name}' names folders; use letters, digits, '-', '_' and '.'")


@dataclass(frozen=True)
class Recipe:
    header: Header
    stages: tuple[Stage, ...]
    folder: Path
    """Of the recipe's file: verifiers and data are looked up there too."""
    source: dict[str, Any]
    """The resolved YAML; `load` makes the same recipe from it."""

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
        """Which actors the stages need: engine, policy, critic, reference."""
        roles: set[str] = set()
        for stage in self.stages:
            roles |= {"policy"} if stage.kind in ("encode", "sft", "dpo") else {"engine"}
            if stage.kind == "rlvr":
                goal = stage.config.resolved()
                roles |= (
                    {"policy"} | ({"critic"} if goal.critic else set()) | ({"reference"} if goal.kl_coef else set())
                )
        return roles

    def loads(self) -> Iterator[tuple[Stage, str, str | None, int | None, str]]:
        """(stage, data set, split, limit, place) of everything that is read."""
        for stage in self.stages:
            yield stage, stage.config.data, stage.config.split, stage.config.limit, stage.place
            inner = getattr(stage.config, "eval", None)
            if inner is not None:
                yield stage, inner.data, inner.split, inner.limit, f"{stage.place}.eval"


def load(recipe: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), folder: Path | None = None) -> Recipe:
    """The recipe of that name or path, or as a mapping that looks files up in `folder` (default: the working
    directory), with `key=value` overrides, checked whole. Raises ConfigError; whether files exist is for `rl.plan`."""
    if isinstance(recipe, Mapping):
        folder, merged = folder or Path.cwd(), OmegaConf.create(dict(recipe))
    else:
        path = find(recipe)
        folder, merged = path.parent, _read(path, ())
    for override in overrides:
        _override(merged, override)
    values = resolve(merged, str(recipe) if not isinstance(recipe, Mapping) else "recipe")
    stages = _stages(values)
    keys = {f.name for f in dataclasses.fields(Header)}
    header = build(Header, {key: value for key, value in values.items() if key in keys}, "")
    _check_references(header, stages, folder)
    source = {key: value for key, value in values.items() if key in keys}
    source["stages"] = [{s.kind: {"name": s.name, **dataclasses.asdict(s.config)}} for s in stages]
    return Recipe(header, tuple(stages), folder, source)


def find(recipe: str | Path) -> Path:
    """The file of a recipe given by path or, if it is bundled, by name. Raises ConfigError."""
    for candidate in (Path(recipe), Path(f"{recipe}.yaml"), BUNDLED / f"{recipe}.yaml", BUNDLED.parent / recipe):
        if candidate.is_file():
            return candidate
    names = [str(p.relative_to(BUNDLED).with_suffix("")) for p in sorted(BUNDLED.rglob("*.yaml"))]
    raise ConfigError(f"recipe '{recipe}': no such file or bundled recipe{did_you_mean(str(recipe), names)}")


def _read(path: Path, seen: tuple[Path, ...]) -> Any:
    """The file merged over what it extends."""
    if path.resolve() in seen:
        raise ConfigError(f"{path}: extends itself, through {' -> '.join(p.name for p in seen)}")
    try:
        own = OmegaConf.load(path)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f"{path}:{line + 1}" if line is not None else str(path)
        raise ConfigError(f"{where}: not valid YAML ({getattr(error, 'problem', None) or error})") from error
    if not OmegaConf.is_dict(own):
        raise ConfigError(f"{path}: expected keys such as name, model, data, reward, stages")
    base = own.pop("extends", None)
    if base is None:
        return own
    beside = path.parent / str(base)
    parent = next((p for p in (beside, beside.with_suffix(".yaml")) if p.is_file()), None) or find(str(base))
    return OmegaConf.merge(_read(parent, (*seen, path.resolve())), own)


def _override(merged: Any, override: str) -> None:
    """Changes the recipe by one `key=value`; `a.b`, and `a[0].b` or `a.0.b` in lists."""
    key, equals, value = override.partition("=")
    if not (key and equals):
        raise ConfigError(f"override '{override}': expected key=value, for example rlvr.steps=10")
    try:
        parsed = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"]))
        OmegaConf.update(merged, key, cast(dict[str, Any], parsed)["value"], merge=True)
    except (OmegaConfBaseException, YAMLError, TypeError, LookupError, ValueError) as error:
        raise ConfigError(
            f"override '{override}': {str(error).splitlines()[0]}; check the key and the value"
        ) from error


def _stages(values: dict[str, Any]) -> list[Stage]:
    """Stages by their entries in `stages:`, each with what the recipe says of it under its name at the top."""
    entries = values.pop("stages", None)
    if not isinstance(entries, list) or not entries:
        raise ConfigError("stages: expected a list such as `stages: [{sft: {…}}, {rlvr: {…}}]`")
    named: dict[str, tuple[str, dict[str, Any], str]] = {}
    for i, entry in enumerate(cast(list[Any], entries)):
        kind, config = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (entry, {})
        if not isinstance(kind, str) or kind not in STAGES:
            known = did_you_mean(str(kind), STAGES)
            raise ConfigError(f"stages[{i}]: expected one stage such as `- sft: {{…}}`; got {kind!r}{known}")
        if not isinstance(config or {}, dict):
            raise ConfigError(f"stages[{i}].{kind}: expected a mapping; got {config!r}")
        config = dict(config or {})
        name = str(config.pop("name", kind))
        if name in named or not name.replace("-", "_").isidentifier():
            why = "is taken by an earlier stage" if name in named else "is not a plain word"
            raise ConfigError(f"stages[{i}].{kind}: the name '{name}' {why}; give it one with `name: …`")
        named[name] = kind, config, f"stages[{i}].{kind}"
    header = {f.name for f in dataclasses.fields(Header)}
    for key in [key for key in values if key not in header]:
        if key not in named:
            raise ConfigError(f"unknown key '{key}'{did_you_mean(key, [*header, 'stages', 'extends', *named])}")
        kind, config, place = named[key]
        change = values.pop(key)
        if not isinstance(change, dict):
            raise ConfigError(f"{key}: this is a stage; change one of its keys, for example {key}.data=…")
        merged = OmegaConf.to_container(OmegaConf.merge(config, change))
        named[key] = kind, cast(dict[str, Any], merged), place
    return [Stage(n, k, build(STAGES[k].Config, config, place), place) for n, (k, config, place) in named.items()]


def _check_references(header: Header, stages: Sequence[Stage], folder: Path) -> None:
    for i, part in enumerate(header.reward.parts):
        check_verifier(part.verifier, f"reward.parts[{i}].verifier", folder, part.args)
    for i, stage in enumerate(stages):
        for place, data in ((stage.place, stage.config.data), *_inner(stage)):
            if data not in header.data:
                raise ConfigError(f"{place}.data: no data set '{data}'{did_you_mean(data, header.data)}")
        for key, makes in (("model", "model"), ("critic", "model"), ("difficulty", "difficulty")):
            wanted = getattr(stage.config, key, None)
            if wanted is None or Path(wanted).exists():
                continue
            earlier = [s.name for s in stages[:i] if MAKES.get(s.kind) == makes]
            if wanted not in earlier:
                known = did_you_mean(wanted, earlier) if earlier else f"; no earlier stage makes a {makes}"
                raise ConfigError(f"{stage.place}.{key}: '{wanted}' is no earlier stage and no file{known}")


def _inner(stage: Stage) -> tuple[tuple[str, str], ...]:
    inner = getattr(stage.config, "eval", None)
    return ((f"{stage.place}.eval", inner.data),) if inner is not None else ()
