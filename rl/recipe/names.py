"""Checks that the names in a recipe mean something: verifiers, judges, data sets, earlier stages, parts of the reward."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.folder import folder_of
from models.pretrained.catalogue import CATALOGUE, explain_missing
from rewards.resolve import check as check_verifier
from rewards.resolve import settle_timeout
from rl.config import ConfigError, did_you_mean
from rl.data.mixture import check_weights, limits
from rl.recipe.stage_list import Stage, reward_models, served_judges, stage_environment, stage_rewards
from rollouts.environments.checks import check_environment

if TYPE_CHECKING:
    from rewards.combine import RewardConfig
    from rl.recipe.header import Header

Artifacts = dict[str, tuple[str, ...]]
"""Kinds of the artifacts that each earlier stage makes, by its name."""


def _is_model(path: Path) -> bool:
    """Return whether a path is the folder of a model, or the name of a pretrained one that is here."""
    return os.path.isfile((folder_of(str(path)) or path) / "config.json")


def _is_reward_model(path: Path) -> bool:
    """Return whether a path is the folder of a reward model."""
    return os.path.isfile(path / "config.json")


def _is_parquet(path: Path) -> bool:
    """Return whether a file begins with parquet's magic bytes."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1"


WITH_HARNESS = ("rlvr", "evaluate")
"""Stages that a harness may play; others that sample want one rollout a sample, as an environment gives it."""
WITHOUT_HARNESS = {
    "replay": "a harness may ask otherwise the next time",
    "teacher_template": "it stands for the run's prompt, and a harness asks what it likes",
    "controls": "they change the run's prompts, and a harness asks what it likes",
}
"""Settings of stages that a harness cannot be played with, and why."""
FILES: dict[str, tuple[Callable[[Path], bool], str]] = {
    "model": (_is_model, "folder of a model"),
    "reward_model": (_is_reward_model, "folder of a reward model"),
    "difficulty": (_is_parquet, "difficulty file"),
    "samples": (os.path.isfile, "file of samples"),
}
"""Test for an artifact of another run at a path, and a title for messages, by kind."""


def check_references(header: Header, stages: Sequence[Stage], folder: Path) -> None:
    """Raise ConfigError where the recipe, whose file lies in `folder`, refers to something that does not exist."""
    _check_rewards(header, stages, folder)
    _check_environments(header, stages, folder)
    artifacts: Artifacts = {}
    rewards: dict[str, RewardConfig] = {}
    for stage in stages:
        if stage.base in header.data and {"distilled", "pairs"} & {*stage.facts.makes}:
            raise ConfigError(f"{stage.place}: the name '{stage.base}' is that of a data set; give it another")
        _check_data(stage, header, artifacts)
        _check_earlier(stage, header, artifacts)
        _check_parts(stage, header, rewards)
        # Only now, so that no stage finds itself. By both names: without an iteration a name means the latest one.
        artifacts[stage.base] = artifacts[stage.name] = stage.facts.makes


def _check_rewards(header: Header, stages: Sequence[Stage], folder: Path) -> None:
    """Raise ConfigError where a reward names a verifier or a judge that does not exist."""
    rewards = {"reward": header.reward}
    for stage in stages:
        for key, reward in stage_rewards(stage.config, header.reward).items():
            rewards[f"{stage.place}.{key}"] = reward
    for place, reward in rewards.items():
        if header.model.train_encoder and reward_models(reward):
            raise ConfigError(
                f"{place}: a reward model hears with the policy's encoder, which model.train_encoder changes; remove one"
            )
        for i, part in enumerate(reward.judging):
            at = place if place.endswith(".select_by") else f"{place}.{reward.place(i)}"
            check_verifier(part.verifier, f"{at}.verifier", folder, part.args)
            settle_timeout(part.verifier, part.on_timeout, f"{at}.on_timeout", folder, part.is_penalty)
        for name in served_judges(reward):
            if name not in header.judges:
                fix = did_you_mean(name, header.judges) if header.judges else "; add `judges: {NAME: {model: …}}`"
                raise ConfigError(f"{place}: no judge '{name}' is served{fix}")


def _check_environments(header: Header, stages: Sequence[Stage], folder: Path) -> None:
    """Raise ConfigError where an environment names a function that does not exist or cannot be called, and where nobody
    uses it."""
    environments = [stage_environment(stage, header.environment) for stage in stages]
    for stage, (config, place) in zip(stages, environments, strict=True):
        if config is None:
            continue
        check_environment(config, place, folder)
        if config.harness and stage.kind not in WITH_HARNESS:
            raise ConfigError(
                f"{stage.place}: rollouts of a harness are for rlvr and evaluate; add `environment: none`"
            )
        for key, reason in WITHOUT_HARNESS.items() if config.harness else ():
            if getattr(stage.config, key, None):
                raise ConfigError(f"{stage.place}.{key}: {reason}; remove it, or add `environment: none`")
        if stage.kind == "pairs":
            raise ConfigError(f"{stage.place}: pairs are answers of one turn; add `environment: none`")
        for key in ("budgets", "pace", "prune"):
            if getattr(stage.config, key, None):
                raise ConfigError(f"{stage.place}.{key}: chains cannot be cut where an environment answers; remove one")
    if header.environment and not any(place == "environment" for _, place in environments):
        raise ConfigError("environment: no stage samples from the model, so nothing asks it; remove it")


def _check_data(stage: Stage, header: Header, artifacts: Artifacts) -> None:
    """Raise ConfigError where a stage reads data that are neither in the recipe nor made by an earlier stage."""
    kind = "pairs" if stage.facts.reads == "pairs" else "distilled"
    names = [*header.data, *(name for name, kinds in artifacts.items() if kind in kinds)]
    for read in stage.config.reads:
        place = f"{stage.place}.chains" if read.key == "chains" else f"{stage.place}.data"
        if read.key == "eval":
            place = f"{stage.place}.eval.data"
        check_weights(read.data, place)
        for name in limits(read.data, None):
            if name not in names:
                raise ConfigError(f"{place}: no data set '{name}'{did_you_mean(name, names)}")


def _check_earlier(stage: Stage, header: Header, artifacts: Artifacts) -> None:
    """Raise ConfigError where a stage names an earlier one that does not exist, or that makes no such artifact."""
    for key, kind in stage.facts.references.items():
        _check_artifact(f"{stage.place}.{key}", kind, getattr(stage.config, key), artifacts)
    stage_reward = stage.config.stage_reward
    place = f"{stage.place}.reward" if stage_reward else "reward"
    reward = stage_reward or header.reward
    for i, part in enumerate(reward.judging):
        if part.verifier != "reward_model":
            continue
        if not part.args.get("served"):
            raise ConfigError(
                f"{place}.{reward.place(i)}.args: add `served: STAGE`, an earlier reward_model stage, or its folder"
            )
        fix = None
        if stage_reward is None:
            fix = f" when {stage.place} runs; give the stages after it a `reward` of their own"
        _check_artifact(
            f"{place}.{reward.place(i)}.args.served", "reward_model", str(part.args["served"]), artifacts, fix
        )


def _check_artifact(place: str, kind: str, name: str | None, artifacts: Artifacts, fix: str | None = None) -> None:
    """Raise ConfigError unless `name` is an earlier stage that makes the artifact, or the path of one."""
    exists, title = FILES[kind]
    makers = [maker for maker, kinds in artifacts.items() if kind in kinds]
    if name is None or name in makers or exists(Path(name)):
        return
    if kind == "model" and name in CATALOGUE:
        raise ConfigError(f"{place}: {explain_missing(name)}")
    if fix is None:
        fix = did_you_mean(name, makers) if makers else f"; no earlier stage makes a {kind}"
    raise ConfigError(f"{place}: '{name}' is no earlier stage and no {title}{fix}")


def _check_parts(stage: Stage, header: Header, rewards: dict[str, RewardConfig]) -> None:
    """Raise ConfigError where a stage names a part that its reward does not have. The stage's reward is added to `rewards`,
    those of earlier stages by name."""
    reward = rewards[stage.base] = stage.config.stage_reward or header.reward
    # The verdicts of samples that an earlier stage drew have the parts of that stage's reward.
    if source := getattr(stage.config, "samples_of", None):
        reward = rewards.get(source)
    if reward is None:  # a file of another run, whose reward is not known
        return
    names = [part.name for part in reward.parts]
    for key, parts in stage.config.named_parts.items():
        for part in parts:
            if part.partition("/")[0] not in names:
                raise ConfigError(f"{stage.place}.{key}: the reward has no part '{part}'{did_you_mean(part, names)}")
