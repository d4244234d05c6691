"""Chooses what is exported: an rlvr stage of a recipe, the prompts that it draws from, and those that it is measured
on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from models.folder import folder_of
from models.pretrained.catalogue import CATALOGUE
from rewards.combine import RewardConfig
from rl.config import ConfigError, did_you_mean
from rl.data.mixture import limits, require_distinct_ids, weights_of
from rl.recipe import Recipe
from rl.recipe.stage_list import Stage, stage_environment
from rl.runner.artifacts import Artifacts
from rl.runner.outcomes import OUTCOME, read_outcome
from rl.stages.curate import kept_ids
from rl.stages.rlvr.config import Config
from rl.types import Prompt


@dataclass(frozen=True, slots=True)
class Selection:
    """Prompts, reward and settings that another trainer gets."""

    recipe: Recipe
    stage: Stage
    config: Config
    """Config of the stage."""
    reward: RewardConfig
    model: str
    """Path or hub name of the model that it starts from."""
    train: Sequence[Prompt]
    test: Sequence[Prompt]
    """Prompts of the stage's evaluation, or of an evaluate stage; empty without any."""


def select(recipe: Recipe, stage: str | None, run_dir: Path | None, say: Callable[[str], None]) -> Selection:
    """Return what `stage` (None: the recipe's only or first rlvr stage) trains on. `run_dir` is a run of the recipe, whose
    curation, data and models are taken. Raises ValueError."""
    source = _find_stage(recipe, stage)
    config = source.config
    assert isinstance(config, Config)
    artifacts = Artifacts(recipe, run_dir or Path(), say)
    if run_dir is not None:
        _read_outcomes(run_dir, recipe, source, artifacts)
    reward = config.reward or recipe.header.reward
    _check_reward(reward, source.place)
    if stage_environment(source, recipe.header.environment)[0] is not None:
        say(f"warning: {source.place}: its environment is not exported: the other trainer's model writes one turn")
    train = _train_prompts(source, config, artifacts, run_dir, say)
    test = _test_prompts(recipe, source, config, artifacts)
    return Selection(recipe, source, config, reward, _model(recipe, config, artifacts, run_dir), train, test)


def _find_stage(recipe: Recipe, name: str | None) -> Stage:
    stages = [stage for stage in recipe.stages if isinstance(stage.config, Config)]
    names = [stage.name for stage in stages]
    if not stages:
        raise ConfigError(f"recipe '{recipe.name}': no rlvr stage, and other trainers get its data and reward; add one")
    if name is None:
        return stages[0]
    if name not in names:
        raise ConfigError(f"--stage: no rlvr stage '{name}'{did_you_mean(name, names)}")
    return stages[names.index(name)]


def _read_outcomes(run_dir: Path, recipe: Recipe, until: Stage, artifacts: Artifacts) -> None:
    """Read what the stages before `until` left in the run."""
    folders = {path.name.partition("-")[2]: path for path in (run_dir / "stages").glob("[0-9]*-*")}
    if not folders:
        raise ConfigError(f"--run: {run_dir} holds no stages of a run; name a run's directory")
    for stage in recipe.stages:
        # What later stages made is not what this one started from.
        if stage is until:
            return
        if stage.name in folders and (folders[stage.name] / OUTCOME).is_file():
            artifacts.outcomes[stage.name], _ = read_outcome(folders[stage.name] / OUTCOME, run_dir)


def _train_prompts(
    stage: Stage, config: Config, artifacts: Artifacts, run_dir: Path | None, say: Callable[[str], None]
) -> list[Prompt]:
    read, ids = config.reads[0], None
    if config.difficulty is not None:
        file = artifacts.path("difficulty", config.difficulty)
        if file.is_file():
            ids = kept_ids(file)
        elif run_dir is not None:
            raise ConfigError(
                f"{stage.place}.difficulty: {run_dir} has no '{config.difficulty}' that ended; run it first"
            )
        else:
            say(f"not curated: {stage.place} takes what '{config.difficulty}' keeps; run it and give --run RUN")
    shares = weights_of(read.data)
    if len({*shares.values()}) > 1:
        say(f"{stage.place}.data: the weights of the mixture are not carried over; all its prompts are written once")
    sources: dict[str, Sequence[Prompt]] = {}
    # With a difficulty all rows are read, and cut after the choice, as in the stage itself: the prompts that are kept
    # may be the last ones of the data.
    caps = limits(config.data, config.limit)
    for name, limit in limits(read.data, read.limit).items():
        rows = _read(artifacts, name, read.split, limit, stage)
        sources[name] = [prompt for prompt in rows if ids is None or prompt.id in ids][: caps[name]]
    prompts = _join(sources)
    if not prompts:
        raise ValueError(f"{stage.place}: no prompt is left to export; keep more in '{config.difficulty}'")
    return prompts


def _test_prompts(recipe: Recipe, stage: Stage, config: Config, artifacts: Artifacts) -> list[Prompt]:
    """Return the prompts of the stage's evaluation, or else of the recipe's last evaluate stage; none without either."""
    evaluations = [other.config for other in recipe.stages if other.kind == "evaluate"]
    evaluation = config.eval or (evaluations[-1] if evaluations else None)
    if evaluation is None:
        return []
    read = evaluation.reads[0]
    counts = limits(read.data, read.limit)
    return _join({name: _read(artifacts, name, read.split, limit, stage) for name, limit in counts.items()})


def _read(artifacts: Artifacts, name: str, split: str | None, limit: int | None, stage: Stage) -> list[Prompt]:
    makers = [outcome for outcome, record in artifacts.outcomes.items() if "distilled" in record.artifacts]
    if name not in artifacts.recipe.header.data and not makers and not Path(name).is_file():
        raise ConfigError(f"{stage.place}.data: '{name}' is what a stage makes; run the recipe and give --run RUN")
    return artifacts.read_prompts(name, split, limit, stage.place)


def _join(sources: Mapping[str, Sequence[Prompt]]) -> list[Prompt]:
    """Return the prompts of all sources, each with a source. Raises ValueError where two have a prompt of the same id."""
    # It becomes verl's `data_source`, by which its metrics tell data sets apart.
    return [
        prompt if prompt.source else replace(prompt, source=name)
        for name, prompts in require_distinct_ids(sources).items()
        for prompt in prompts
    ]


def _model(recipe: Recipe, config: Config, artifacts: Artifacts, run_dir: Path | None) -> str:
    """Return the model that the stage starts from. Raises ConfigError for one that only a run makes."""
    makers = [name for name, outcome in artifacts.outcomes.items() if "model" in outcome.artifacts]
    if config.model or makers:
        return str(artifacts.model(config.model).absolute())
    header = recipe.header.model
    if header.path is None:
        if run_dir is None or not (run_dir / "initial").is_dir():
            raise ConfigError(
                "model: the recipe builds its model; run it and give --run RUN, or name one by model.path"
            )
        return str((run_dir / "initial").absolute())
    folder = folder_of(header.path)
    # A name of the hub stays one, even if it is in this machine's cache: the other trainer may run elsewhere.
    is_here = folder is not None and (header.path in CATALOGUE or Path(header.path).is_dir())
    return str(folder.absolute()) if folder is not None and is_here else header.path


def _check_reward(reward: RewardConfig, place: str) -> None:
    """Raise ConfigError where the reward asks a model that the run itself serves."""
    for part in reward.judging:
        address = part.args.get("served") if part.args else None
        if part.verifier == "reward_model" or address:
            raise ConfigError(
                f"{place}.reward: '{part.verifier}' asks a model that only a run of ours serves; give it an `endpoint`, or "
                "leave the part out"
            )
