"""Turns the `stages:` of a recipe into stages in the order they run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from rewards.combine import RewardConfig
from rl.config import ConfigError, UnknownKey, Values, build, did_you_mean, merge, to_plain
from rl.recipe.key_hints import stage_hint
from rl.recipe.repeat import Repeat, Until, base
from rl.stages.kind import Kind
from rl.stages.registry import STAGES
from rl.stages.settings import StageConfig
from rollouts.environments.config import EnvironmentConfig, as_config

JUDGES = ("judge", "benchmark_judge")
"""Verifiers that ask a language model, behind an address or served by the run."""


@dataclass(frozen=True)
class Stage:
    """A stage of a run; a stage of a repeated block is one `Stage` for each iteration."""

    name: str
    """Name; in a repeated block with its iteration: `rlvr@2`."""
    kind: str
    """Key of `STAGES`."""
    config: Any
    """An instance of `STAGES[kind].Config`."""
    place: str
    """Place in the recipe, for messages: `stages[0].sft`."""
    repeat: Repeat | None = None
    """The block that it is in."""
    iteration: int = 0
    """Iteration of the block, from 1; 0 outside of one."""

    @property
    def base(self) -> str:
        """Name as the recipe gives it."""
        return base(self.name)

    @property
    def facts(self) -> Kind:
        """Declarations of its kind."""
        return STAGES[self.kind]


Block = Stage | tuple[Repeat, list[Stage]]
Entry = tuple[str, Values, str]
"""(kind, config, place) of a stage or of a repeated block."""


def parse_stages(values: Values, header: set[str]) -> list[Block]:
    """Return the stages and repeated blocks of `stages:`, each with the changes that the recipe makes under its name at the
    top, beside the keys of the `header`; both are removed from `values`. Raises ConfigError."""
    entry_of: dict[str, Entry] = {}
    entries = _entries(values.pop("stages", None), "stages", entry_of)
    for name, (*_, place) in entry_of.items():
        if name in {*header, "stages", "extends"}:
            raise ConfigError(f"{place}: the name '{name}' is a key of recipes; give it another with `name: …`")
    for key in [key for key in values if key not in header]:
        if key not in entry_of:
            if key == "extends":  # of a file it is gone by now
                raise ConfigError("extends: stands in a recipe's file alone; write one that begins with it")
            raise UnknownKey("", str(key), values[key], did_you_mean(key, [*header, "stages", "extends", *entry_of]))
        kind, config, place = entry_of[key]
        change = values.pop(key)
        if not isinstance(change, dict):
            raise ConfigError(f"{key}: this is a stage; change one of its keys, for example {key}.data=…")
        entry_of[key] = kind, to_plain(merge(config, change, key)), place

    def stage(name: str) -> Stage:
        kind, config, place = entry_of[name]
        return Stage(name, kind, build(STAGES[kind].Config, config, place), place)

    blocks: list[Block] = []
    for name, inner in entries:
        if inner is None:
            blocks.append(stage(name))
            continue
        _, config, place = entry_of[name]
        block = build(Repeat, {**config, "name": name, "stages": inner}, place)
        if block.until and block.until.stage not in inner:
            suggestion = did_you_mean(block.until.stage, inner)
            raise ConfigError(f"{place}.until.metric: no stage '{block.until.stage}' in the block{suggestion}")
        stages = [stage(name) for name in inner]
        if block.until:
            _check_metric(block.until, stages, f"{place}.until.metric")
        blocks.append((block, stages))
    # In the order of the recipe and before blocks are expanded, so that iterations of a stage share one temperature.
    settle_temperatures([stage for block in blocks for stage in ([block] if isinstance(block, Stage) else block[1])])
    return blocks


def settle_temperatures(stages: Sequence[Stage]) -> None:
    """Set the temperature of stages that sample where the recipe does not: that of the rlvr stage they are within; else of
    the last one before them, as the recipe is written, else of the next one; 1 without any."""
    temperatures = [stage.config.training_temperature for stage in stages]
    for place, stage in enumerate(stages):
        before = [temperature for temperature in temperatures[:place] if temperature is not None]
        after = [temperature for temperature in temperatures[place:] if temperature is not None]
        stage.config.settle_temperature([*before[-1:], *after[:1], 1.0][0])


def _check_metric(until: Until, stages: Sequence[Stage], place: str) -> None:
    """Raise ConfigError where the stage has no such metric. Some kinds know their metrics only once they have run."""
    stage = next(stage for stage in stages if stage.name == until.stage)
    if stage.facts.metric_names is None:
        return
    names = stage.facts.metric_names(stage.config)
    if until.of_stage.partition("/")[0] not in names:
        raise ConfigError(f"{place}: '{until.stage}' has no such metric{did_you_mean(until.of_stage, names)}")


def _entries(entries: Any, place: str, entry_of: dict[str, Entry]) -> list[tuple[str, list[str] | None]]:
    """Return [(name, names of the stages in it, for a repeated block)]; their entries are added to `entry_of`."""
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{place}: expected a list such as `stages: [{{sft: {{…}}}}, {{rlvr: {{…}}}}]`")
    layout: list[tuple[str, list[str] | None]] = []
    for i, entry in enumerate(cast(list[Any], entries)):
        # `- evaluate` alone is a stage with its defaults; what else is no mapping of one key is refused below.
        kind, config = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (entry, {})
        kinds = [*STAGES, "repeat"] if place == "stages" else list(STAGES)  # a block may not hold another
        kind = kind.casefold() if isinstance(kind, str) and kind.casefold() in kinds else kind
        if not isinstance(kind, str) or kind not in kinds:
            suggestion = stage_hint(str(kind), kinds)
            raise ConfigError(f"{place}[{i}]: expected one stage such as `- sft: {{…}}`; got {kind!r}{suggestion}")
        here = f"{place}[{i}].{kind}"
        if not isinstance(config or {}, dict):
            raise ConfigError(f"{here}: expected a mapping; got {config!r}")
        config = dict(config or {})
        name = str(config.pop("name", kind))
        # A name is part of overrides (`NAME.key=value`), folders and metrics, in which '.', '@' and '/' have a meaning.
        if name in entry_of or not name.replace("-", "_").isidentifier():
            why = "is taken by an earlier stage" if name in entry_of else "is not a plain word"
            raise ConfigError(f"{here}: the name '{name}' {why}; give it one with `name: …`")
        inner = config.pop("stages", None) if kind == "repeat" else None
        # A block is entered too, so that an override reaches its keys by its name: `NAME.times=5`.
        entry_of[name] = kind, config, here
        layout.append((name, [n for n, _ in _entries(inner, f"{here}.stages", entry_of)] if kind == "repeat" else None))
    return layout


def expand(block: Block) -> list[Stage]:
    """Return the stages of a block as they run."""
    if isinstance(block, Stage):
        return [block]
    repeat, stages = block
    return [
        dataclasses.replace(stage, name=f"{stage.name}@{i}", repeat=repeat, iteration=i)
        for i in range(1, repeat.times + 1)
        for stage in stages
    ]


def as_yaml(block: Block) -> Values:
    """Return the entry of `stages:` that `parse_stages` reads as this block."""
    if isinstance(block, Stage):
        return {block.kind: {"name": block.name, **dataclasses.asdict(block.config)}}
    repeat, stages = block
    return {"repeat": {**dataclasses.asdict(repeat), "stages": [as_yaml(stage) for stage in stages]}}


def stage_rewards(config: StageConfig, shared: RewardConfig) -> dict[str, RewardConfig]:
    """Return {key: reward} of the rewards that a stage uses beside the recipe's `shared` one."""
    rewards: dict[str, RewardConfig] = {}
    if config.stage_reward:
        rewards["reward"] = config.stage_reward
    if select_by := getattr(config, "select_by", None):
        rewards["select_by"] = select_by.reward(config.stage_reward or shared)
    return rewards


def stage_environment(stage: Stage, shared: str | EnvironmentConfig | None) -> tuple[EnvironmentConfig | None, str]:
    """Return the environment that answers the model in a stage, None for none, and the place in the recipe that names it;
    `shared` is the recipe's."""
    if not hasattr(stage.config, "environment"):
        return None, ""
    own = cast("str | EnvironmentConfig | None", getattr(stage.config, "environment", None))
    place = "environment" if own is None else f"{stage.place}.environment"
    config = as_config(shared if own is None else own, place)
    if config is not None and config.harness and "engine" not in stage.config.roles:
        return None, ""  # a stage that imitates samples nothing that a harness could ask for
    return config, place


def served_judges(reward: RewardConfig | None) -> list[str]:
    """Return the names of the judges that the run serves and that a reward uses."""
    parts = reward.judging if reward else ()
    return [str(part.args["served"]) for part in parts if part.verifier in JUDGES and part.args.get("served")]


def reward_models(reward: RewardConfig | None) -> list[str]:
    """Return the stages or folders of the reward models that a reward uses."""
    parts = reward.judging if reward else ()
    return [str(part.args.get("served")) for part in parts if part.verifier == "reward_model"]
