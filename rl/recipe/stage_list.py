"""The list of stages in a recipe: what kinds there are, and from YAML entries to stages in the order they run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

from rewards.combine import RewardConfig
from rl.config import ConfigError, build, did_you_mean, merge, to_plain
from rl.recipe.repeat import Repeat, Until, base
from rl.stages import curate, distill, dpo, encode, evaluate, pairs, reward_model, sft
from rl.stages.rlvr import loop

STAGES: dict[str, ModuleType] = {
    "encode": encode,
    "sft": sft,
    "curate": curate,
    "distill": distill,
    "rlvr": loop,
    "pairs": pairs,
    "dpo": dpo,
    "reward_model": reward_model,
    "evaluate": evaluate,
}
"""Each has a `Config` and `run(config, context) -> Outcome`."""
MAKES: dict[str, tuple[str, ...]] = {
    "encode": ("model",),
    "sft": ("model",),
    "rlvr": ("model",),
    "dpo": ("model",),
    "curate": ("difficulty",),
    "distill": ("distilled", "samples"),
    "pairs": ("pairs",),
    "reward_model": ("reward_model",),
}
"""The artifacts that a stage leaves to later ones."""
REFERENCES = {"model": "model", "critic": "model", "difficulty": "difficulty", "samples_of": "samples"}
"""Keys of a stage that name an earlier one, and which artifact of it."""
TRAINS = {"encode": "policy", "sft": "policy", "dpo": "policy", "reward_model": "critic"}
"""Stages that sample nothing, and the role that they train (the policy lends a reward model its ears)."""
READS_PAIRS = ("dpo", "reward_model")
"""Stages whose `data` are preference pairs."""


@dataclass(frozen=True)
class Stage:
    name: str
    """In a repeated block with its iteration: `rlvr@2`."""
    kind: str
    config: Any
    place: str
    """Where it stands in the recipe, for messages."""
    repeat: Repeat | None = None
    """The block that it is in."""
    iteration: int = 0
    """From 1 in a block."""

    @property
    def base(self) -> str:
        """The name as the recipe gives it."""
        return base(self.name)


Block = Stage | tuple[Repeat, list[Stage]]
Entry = tuple[str, dict[str, Any], str]
"""(kind, config, place) of a stage or of a repeated block."""


def blocks_of(values: dict[str, Any], header: set[str]) -> list[Block]:
    """Stages and repeated blocks of `stages:`, each with what the recipe says of it under its name at the top, beside the
    keys of the `header`; both are taken out of `values`. Raises ConfigError."""
    named: dict[str, Entry] = {}
    layout = _entries(values.pop("stages", None), "stages", named)
    for name, (*_, place) in named.items():
        if name in {*header, "stages", "extends"}:
            raise ConfigError(f"{place}: the name '{name}' is a key of recipes; give it another with `name: …`")
    for key in [key for key in values if key not in header]:
        if key not in named:
            raise ConfigError(f"unknown key '{key}'{did_you_mean(key, [*header, 'stages', 'extends', *named])}")
        kind, config, place = named[key]
        change = values.pop(key)
        if not isinstance(change, dict):
            raise ConfigError(f"{key}: this is a stage; change one of its keys, for example {key}.data=…")
        named[key] = kind, to_plain(merge(config, change, key)), place

    def stage(name: str) -> Stage:
        kind, config, place = named[name]
        return Stage(name, kind, build(STAGES[kind].Config, config, place), place)

    blocks: list[Block] = []
    for name, inner in layout:
        if inner is None:
            blocks.append(stage(name))
            continue
        _, config, place = named[name]
        block = build(Repeat, {**config, "name": name, "stages": inner}, place)
        if block.until and block.until.stage not in inner:
            known = did_you_mean(block.until.stage, inner)
            raise ConfigError(f"{place}.until.metric: no stage '{block.until.stage}' in the block{known}")
        stages = [stage(name) for name in inner]
        if block.until:
            _check_metric(block.until, stages, f"{place}.until.metric")
        blocks.append((block, stages))
    settle_temperatures([stage for block in blocks for stage in ([block] if isinstance(block, Stage) else block[1])])
    return blocks


def settle_temperatures(stages: Sequence[Stage]) -> None:
    """Says at which temperature evaluations and curation sample where the recipe does not: that of the rlvr stage they
    are within; else of the last one before them, as the recipe is written, else of the next one; 1 without any."""
    trained = [(place, stage.config.temperature) for place, stage in enumerate(stages) if stage.kind == "rlvr"]
    for place, stage in enumerate(stages):
        config = stage.config
        if stage.kind == "rlvr" and config.eval is not None and config.eval.temperature is None:
            config.eval = dataclasses.replace(config.eval, temperature=config.temperature)
        elif stage.kind in ("curate", "evaluate") and config.temperature is None:
            before = [temperature for at, temperature in trained if at < place]
            after = [temperature for at, temperature in trained if at > place]
            config.temperature = before[-1] if before else after[0] if after else 1.0


def _check_metric(until: Until, stages: Sequence[Stage], place: str) -> None:
    """Raises ConfigError where the stage surely tells no such metric: of some it is known only once they have run."""
    measured = next(stage for stage in stages if stage.name == until.stage)
    metric_names = getattr(STAGES[measured.kind], "metric_names", None)
    if metric_names and until.of_stage.partition("/")[0] not in (names := metric_names(measured.config)):
        raise ConfigError(f"{place}: '{until.stage}' tells no such metric{did_you_mean(until.of_stage, names)}")


def _entries(listed: Any, place: str, named: dict[str, Entry]) -> list[tuple[str, list[str] | None]]:
    """[(name, names of the stages in it, for a repeated block)]; what each is, is added to `named`."""
    if not isinstance(listed, list) or not listed:
        raise ConfigError(f"{place}: expected a list such as `stages: [{{sft: {{…}}}}, {{rlvr: {{…}}}}]`")
    layout: list[tuple[str, list[str] | None]] = []
    nested = place != "stages"
    for i, entry in enumerate(cast(list[Any], listed)):
        kind, config = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (entry, {})
        kinds = STAGES if nested else [*STAGES, "repeat"]
        if not isinstance(kind, str) or kind not in kinds:
            known = did_you_mean(str(kind), kinds)
            raise ConfigError(f"{place}[{i}]: expected one stage such as `- sft: {{…}}`; got {kind!r}{known}")
        here = f"{place}[{i}].{kind}"
        if not isinstance(config or {}, dict):
            raise ConfigError(f"{here}: expected a mapping; got {config!r}")
        config = dict(config or {})
        name = str(config.pop("name", kind))
        if name in named or not name.replace("-", "_").isidentifier():
            why = "is taken by an earlier stage" if name in named else "is not a plain word"
            raise ConfigError(f"{here}: the name '{name}' {why}; give it one with `name: …`")
        inner = config.pop("stages", None) if kind == "repeat" else None
        named[name] = kind, config, here
        layout.append((name, [n for n, _ in _entries(inner, f"{here}.stages", named)] if kind == "repeat" else None))
    return layout


def expanded(block: Block) -> list[Stage]:
    """The stages as they run."""
    if isinstance(block, Stage):
        return [block]
    repeat, stages = block
    return [
        dataclasses.replace(stage, name=f"{stage.name}@{i}", repeat=repeat, iteration=i)
        for i in range(1, repeat.times + 1)
        for stage in stages
    ]


def saved(block: Block) -> dict[str, Any]:
    if isinstance(block, Stage):
        return {block.kind: {"name": block.name, **dataclasses.asdict(block.config)}}
    repeat, stages = block
    return {"repeat": {**dataclasses.asdict(repeat), "stages": [saved(stage) for stage in stages]}}


def own_rewards(config: Any, shared: RewardConfig) -> dict[str, RewardConfig]:
    """{key: reward} of what a stage judges with beside the recipe's `shared` reward."""
    own = {"reward": config.reward} if getattr(config, "reward", None) else {}
    if by := getattr(config, "select_by", None):
        own["select_by"] = by.reward(own.get("reward", shared))
    return own


def judges(reward: RewardConfig | None) -> list[str]:
    """The names of the run's own judges that a reward asks."""
    parts = reward.parts if reward else ()
    return [str(part.args["served"]) for part in parts if part.verifier == "judge" and part.args.get("served")]


def reward_models(reward: RewardConfig | None) -> list[str]:
    """The stages or folders of the reward models that a reward asks."""
    parts = reward.parts if reward else ()
    return [str(part.args.get("served")) for part in parts if part.verifier == "reward_model"]
