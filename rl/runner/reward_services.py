"""The reward services of a run: which there are, and that each has proved itself before the first stage runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rl.recipe.stage_list import Stage, reward_models, served_judges, stage_rewards
from rl.runner.reward_models import RewardModels

if TYPE_CHECKING:
    from rewards.combine import RewardConfig
    from rewards.served import Model
    from rewards.service import RewardService
    from rl.workers.cluster import Cluster


class RewardServices:
    """Makes services for the `shared` reward of a recipe, whose file lies in `folder`, and for those of its stages."""

    def __init__(
        self,
        shared: RewardConfig,
        folder: Path,
        cluster: Callable[[], Cluster],
        reward_model: Callable[[str], Path],
        model: Callable[[], Path],
        say: Callable[[str], None],
    ) -> None:
        """`reward_model` finds one by its name, `model` is the model so far; both and the cluster are asked for when a
        reward model or a judge of the run's own is first asked."""
        self.shared, self.folder, self.say = shared, folder, say
        self.cluster, self.scorers = cluster, RewardModels(cluster, reward_model, model)
        self.warned: set[str] = set()

    def service(self, reward: RewardConfig) -> RewardService:
        """Judges by `reward`."""
        from rewards.service import RewardService

        def judge(name: str) -> Model:
            return lambda questions: self.cluster().judge(name)(questions)

        served: dict[str, Model] = {name: self.scorers.named(name) for name in reward_models(reward)}
        return RewardService(reward, self.folder, served | {name: judge(name) for name in served_judges(reward)})

    def proved(self, reward: RewardConfig, place: str) -> RewardService:
        """The same, once it has judged its own gold cases. Judges of the run's own load first: a verifier's deadline is
        for answers. Raises ValueError with the place."""
        if names := served_judges(reward):
            self.cluster().await_judges(names)
        with ExitStack() as unproved:
            try:
                service = unproved.enter_context(self.service(reward))
                self._prove(service)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from error
            unproved.pop_all()
        return service

    def prove(self, rewards: RewardService, stages: Sequence[Stage], served: bool) -> None:
        """The shared reward's service, and every reward that `stages` have of their own: those that ask a model of the run
        (`served`) once it is there, all others before anything heavy starts. A reward model may yet have to be made: in a
        stage's own reward it is left to that stage. Raises ValueError with the place."""
        if bool(reward_models(self.shared) or served_judges(self.shared)) == served:
            self._prove(rewards)
        known = [self.shared]
        for stage in stages:
            for key, reward in stage_rewards(stage.config, self.shared).items():
                there = replace(reward, parts=[part for part in reward.parts if part.verifier != "reward_model"])
                if there.parts and there not in known and bool(served_judges(there)) == served:
                    known.append(there)
                    self.proved(there, f"{stage.place}.{key}").close()

    def _prove(self, service: RewardService) -> None:
        for warning in service.check_verifiers():
            if warning not in self.warned:
                self.say(f"warning: {warning}")
            self.warned.add(warning)
