"""Starts the environments of a run's stages, and has each loaded once before anything heavy starts."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rl.recipe.stage_list import Stage, stage_environment

if TYPE_CHECKING:
    from rl.recipe.header import Header
    from rl.workers.cluster import Cluster
    from rollouts.environments.config import EnvironmentConfig
    from rollouts.environments.service import EnvironmentService
    from rollouts.harness.service import HarnessService


class Environments:
    """The environments of a recipe, whose file lies in `folder`."""

    def __init__(self, header: Header, folder: Path) -> None:
        self.header, self.folder = header, folder

    def check(self, stages: Sequence[Stage]) -> None:
        """Load every environment that a stage uses. Raises ValueError, with the place, for one that cannot be."""
        checked: list[EnvironmentConfig] = []
        for stage in stages:
            config, place = stage_environment(stage, self.header.environment)
            if config is not None and config not in checked:
                checked.append(config)
                with self._started_harness(config, place) if config.harness else self._started(config, place):
                    pass

    @contextmanager
    def of_stage(self, stage: Stage, cluster: Cluster) -> Generator[EnvironmentService | None]:
        """Yield the stage's environment, which answers what the cluster's engines write for as long as the stage runs. A harness
        begins its samples instead, and is not yielded."""
        config, place = stage_environment(stage, self.header.environment)
        has_engines = "engine" in stage.config.roles
        if config is None:
            yield None
        elif config.harness:
            with self._started_harness(config, place) as harness:
                sampler = cluster.sampler
                sampler.use(harness.open(sampler.chat))
                try:
                    yield None
                finally:
                    sampler.close()  # nobody deals any more when the sessions are closed
                    sampler.use(None)
        else:
            with self._started(config, place) as service:
                if has_engines:
                    cluster.sampler.episodes.environment = service
                try:
                    yield service
                finally:
                    if has_engines:
                        cluster.sampler.episodes.environment = None

    @contextmanager
    def _started(self, config: EnvironmentConfig, place: str) -> Generator[EnvironmentService]:
        from rollouts.environments.service import EnvironmentService

        with EnvironmentService(config, self.folder) as service:
            _start(service, place)
            yield service

    @contextmanager
    def _started_harness(self, config: EnvironmentConfig, place: str) -> Generator[HarnessService]:
        from rollouts.harness.service import HarnessService

        with HarnessService(config, self.folder) as service:
            _start(service, place)
            yield service


def _start(service: EnvironmentService | HarnessService, place: str) -> None:
    """Wait until an environment is loaded. Raises ValueError, with the place, where it cannot be."""
    try:
        service.start()
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
