"""The environment that answers the model in a conversation: the one of its run, or another that is named."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from rl.config import ConfigError
from rl.recipe import load
from rl.recipe.stage_list import stage_environment
from rl.runner.run_dir import RECIPE, read_recipe
from rollouts.environments.checks import check_environment
from rollouts.environments.config import EnvironmentConfig, as_config


def choose_environment(model: str, name: str | None, say: Callable[[str], None]) -> EnvironmentConfig | None:
    """Return the environment of that name, or else that of the run whose directory `model` is; None for none. Files of yours
    are looked for in the working directory. One of a run that is not here is a line to `say`. Raises ConfigError for a name
    that means none."""
    if name is not None:
        config = as_config(name, "--environment")
        if config is not None:
            check_environment(config, "--environment", Path.cwd())
        return config
    file = Path(model) / RECIPE
    if not os.path.isfile(file):
        return None
    try:
        config = environment_of_run(file)
        if config is not None:
            check_environment(config, "environment", Path.cwd())
    except ConfigError as error:
        say(f"warning: nobody answers the model's calls: {error}; --environment names another, or none")
        return None
    return config


def environment_of_run(file: Path) -> EnvironmentConfig | None:
    """Return the environment of the last stage with one in a run's recipe. Raises ConfigError for a recipe that cannot be read."""
    recipe = load(read_recipe(file), folder=Path.cwd(), check=False)
    configs = [stage_environment(stage, recipe.header.environment)[0] for stage in recipe.stages]
    return next((config for config in reversed(configs) if config is not None), None)


def describe_environment(config: EnvironmentConfig) -> str:
    """Return the names of what answers the model."""
    return config.step or ", ".join(tool.tool for tool in config.tool_configs)
