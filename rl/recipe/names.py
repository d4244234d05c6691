"""Whether the names in a recipe mean something: verifiers, judges, data sets, earlier stages, parts of the reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rewards.resolve import check as check_verifier
from rl.config import ConfigError, did_you_mean
from rl.data.mixture import Data, check_weights, limits
from rl.recipe.stage_list import MAKES, READS_PAIRS, REFERENCES, Stage, judges, own_rewards, reward_models

if TYPE_CHECKING:
    from rewards.combine import RewardConfig
    from rl.recipe.header import Header

Made = dict[str, tuple[str, ...]]
"""Earlier stages by name, and the artifacts of each."""


def _is_model(path: Path) -> bool:
    return (path / "config.json").is_file()


def _is_parquet(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1"


FILES: dict[str, tuple[Callable[[Path], bool], str]] = {
    "model": (_is_model, "folder of a model"),
    "reward_model": (_is_model, "folder of a reward model"),
    "difficulty": (_is_parquet, "difficulty file"),
    "samples": (Path.is_file, "file of samples"),
}
"""Artifacts of other runs, given by path: whether there is one, and what it is called."""


def check_references(header: Header, stages: Sequence[Stage], folder: Path) -> None:
    """Raises ConfigError where the recipe, whose file lies in `folder`, names what is not there."""
    _check_rewards(header, stages, folder)
    made: Made = {}
    judged: dict[str, RewardConfig] = {}
    for stage in stages:
        if stage.base in header.data and {"distilled", "pairs"} & {*MAKES.get(stage.kind, ())}:
            raise ConfigError(f"{stage.place}: the name '{stage.base}' is that of a data set; give it another")
        _check_data(stage, header, made)
        _check_earlier(stage, header, made)
        _check_parts(stage, header, judged)
        made[stage.base] = made[stage.name] = MAKES.get(stage.kind, ())


def _check_rewards(header: Header, stages: Sequence[Stage], folder: Path) -> None:
    own = {
        f"{stage.place}.{key}": reward
        for stage in stages
        for key, reward in own_rewards(stage.config, header.reward).items()
    }
    for place, reward in (("reward", header.reward), *own.items()):
        if header.model.train_encoder and reward_models(reward):
            raise ConfigError(
                f"{place}: a reward model hears with the policy's encoder, which model.train_encoder changes; remove one"
            )
        for i, part in enumerate(reward.parts):
            at = place if place.endswith(".select_by") else f"{place}.parts[{i}]"
            check_verifier(part.verifier, f"{at}.verifier", folder, part.args)
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
    for key, makes in REFERENCES.items():
        _check_one(f"{stage.place}.{key}", makes, getattr(stage.config, key, None), made)
    own = getattr(stage.config, "reward", None)
    for i, part in enumerate((own or header.reward).parts):
        if part.verifier != "reward_model":
            continue
        place = f"{stage.place}.reward" if own else "reward"
        if not part.args.get("served"):
            raise ConfigError(
                f"{place}.parts[{i}].args: add `served: STAGE`, an earlier reward_model stage, or its folder"
            )
        later = f" when {stage.place} runs; give the stages after it a `reward` of their own" if own is None else ""
        _check_one(f"{place}.parts[{i}].args.served", "reward_model", str(part.args["served"]), made, later)


def _check_one(place: str, makes: str, wanted: str | None, made: Made, later: str = "") -> None:
    is_one, called = FILES[makes]
    earlier = [name for name, kinds in made.items() if makes in kinds]
    if wanted is None or wanted in earlier or is_one(Path(wanted)):
        return
    known = did_you_mean(wanted, earlier) if earlier else f"; no earlier stage makes a {makes}"
    raise ConfigError(f"{place}: '{wanted}' is no earlier stage and no {called}{later or known}")


def _check_parts(stage: Stage, header: Header, judged: dict[str, RewardConfig]) -> None:
    """What `keep`, `chosen` and `by` name are parts of the verdict; in `judged` are the rewards of earlier stages."""
    reward = judged[stage.base] = getattr(stage.config, "reward", None) or header.reward
    if taken := getattr(stage.config, "samples_of", None):
        reward = judged.get(taken)
    for key in ("keep", "chosen", "by") if stage.kind in ("distill", "pairs") and reward else ():
        names = [part.name for part in reward.parts]
        named = getattr(stage.config, key, None) or ()
        for part in (named,) if isinstance(named, str) else named:
            if part.partition("/")[0] not in names:
                raise ConfigError(f"{stage.place}.{key}: the reward has no part '{part}'{did_you_mean(part, names)}")


def _inner(stage: Stage) -> tuple[tuple[str, Data], ...]:
    inner = getattr(stage.config, "eval", None)
    return ((f"{stage.place}.eval", inner.data),) if inner is not None else ()
