"""Whether the names in a recipe mean something: verifiers, judges, data sets, earlier stages, parts of the reward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rewards.resolve import check as check_verifier
from rl.config import ConfigError, did_you_mean
from rl.data.mixture import Data, check_weights, limits
from rl.layout import MAKES, READS_PAIRS, REFERENCES, Stage, judges, reward_models

if TYPE_CHECKING:
    from rl.recipe import Header

Made = dict[str, tuple[str, ...]]
"""Earlier stages by name, and the artifacts of each."""


def check_references(header: Header, stages: Sequence[Stage], folder: Path) -> None:
    """Raises ConfigError where the recipe, whose file lies in `folder`, names what is not there."""
    _check_rewards(header, stages, folder)
    made: dict[str, tuple[str, ...]] = {}
    for stage in stages:
        if stage.base in header.data and {"distilled", "pairs"} & {*MAKES.get(stage.kind, ())}:
            raise ConfigError(f"{stage.place}: the name '{stage.base}' is that of a data set; give it another")
        _check_data(stage, header, made)
        _check_earlier(stage, header, made)
        _check_parts(stage, header)
        made[stage.base] = made[stage.name] = MAKES.get(stage.kind, ())


def _check_rewards(header: Header, stages: Sequence[Stage], folder: Path) -> None:
    own = [(f"{stage.place}.reward", stage.config.reward) for stage in stages if getattr(stage.config, "reward", None)]
    for place, reward in (("reward", header.reward), *own):
        for i, part in enumerate(reward.parts):
            check_verifier(part.verifier, f"{place}.parts[{i}].verifier", folder, part.args)
        for name in judges(reward):
            if name not in header.judges:
                known = did_you_mean(name, header.judges) if header.judges else "; add `judges: {NAME: {model: …}}`"
                raise ConfigError(f"{place}: no judge '{name}' is served{known}")


def _check_data(stage: Stage, header: Header, made: Made) -> None:
    for place, data in ((stage.place, stage.config.data), *_inner(stage)):
        check_weights(data, f"{place}.data")
        wanted = "pairs" if stage.kind in READS_PAIRS else "distilled"
        known = [*header.data, *(name for name, kinds in made.items() if wanted in kinds)]
        for name in limits(data, None):
            if name not in known:
                raise ConfigError(f"{place}.data: no data set '{name}'{did_you_mean(name, known)}")


def _check_earlier(stage: Stage, header: Header, made: Made) -> None:
    asked = reward_models(getattr(stage.config, "reward", None) or header.reward)
    for key, makes, wanted in (
        *((key, makes, getattr(stage.config, key, None)) for key, makes in REFERENCES.items()),
        *(("reward", "reward_model", name) for name in asked),
    ):
        if wanted is None or Path(wanted).exists():
            continue
        earlier = [name for name, kinds in made.items() if makes in kinds]
        if wanted not in earlier:
            known = did_you_mean(wanted, earlier) if earlier else f"; no earlier stage makes a {makes}"
            raise ConfigError(f"{stage.place}.{key}: '{wanted}' is no earlier stage and no file{known}")


def _check_parts(stage: Stage, header: Header) -> None:
    for part in getattr(stage.config, "keep", None) or () if stage.kind == "distill" else ():
        names = [part.name for part in (stage.config.reward or header.reward).parts]
        if part.partition("/")[0] not in names:
            raise ConfigError(f"{stage.place}.keep: the reward has no part '{part}'{did_you_mean(part, names)}")


def _inner(stage: Stage) -> tuple[tuple[str, Data], ...]:
    inner = getattr(stage.config, "eval", None)
    return ((f"{stage.place}.eval", inner.data),) if inner is not None else ()
