"""Creates the reward services of a run and checks their verifiers before the first stage runs."""

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
    """Creates services for the `shared` reward of a recipe, whose file lies in `folder`, and for its stages' own rewards."""

    def __init__(
        self,
        shared: RewardConfig,
        folder: Path,
        cluster: Callable[[], Cluster],
        reward_model: Callable[[str], Path],
        model: Callable[[], Path],
        say: Callable[[str], None],
    ) -> None:
        """`reward_model` returns the folder of a reward model by name, `model` that of the model so far. They and `cluster`
        are called when a reward first uses a model that the run serves."""
        self.shared, self.folder, self.say = shared, folder, say
        self.cluster, self.reward_models = cluster, RewardModels(cluster, reward_model, model)
        self.warnings: set[str] = set()
        """Warnings printed so far; services that share a verifier would repeat them."""

    def forget_cluster(self) -> None:
        """Load the reward models again when they are next used: the cluster that held them is lost."""
        self.reward_models.forget()

    def create(self, reward: RewardConfig) -> RewardService:
        """Return a service that judges by `reward`; it starts when entered as a context."""
        from rewards.service import RewardService

        def judge(name: str) -> Model:
            return lambda questions: self.cluster().judge(name)(questions)  # no cluster yet when the service is created

        models: dict[str, Model] = {name: self.reward_models.scorer(name) for name in reward_models(reward)}
        models |= {name: judge(name) for name in served_judges(reward)}
        return RewardService(reward, self.folder, models)

    def create_checked(self, reward: RewardConfig, place: str) -> RewardService:
        """Return a started service that has judged its verifiers' gold cases right. Raises ValueError with the place."""
        if names := served_judges(reward):
            # A verifier's deadline is meant for an answer, not for loading the judge.
            self.cluster().await_judges(names)
        with ExitStack() as stack:
            try:
                service = stack.enter_context(self.create(reward))
                self._check_verifiers(service)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from error
            stack.pop_all()  # the checks passed: the service stays open
        return service

    def check_all(self, shared_service: RewardService, stages: Sequence[Stage], served: bool) -> None:
        """Check the shared reward's service and every reward of the `stages`' own: with `served` those that use a model of
        the run, once it is loaded; without, all others, before anything heavy starts. Raises ValueError with the place."""
        if bool(reward_models(self.shared) or served_judges(self.shared)) == served:
            self._check_verifiers(shared_service)
        # Rewards are compared by value: stages that have the same one start no service of their own for the check.
        rewards_checked = [self.shared]
        for stage in stages:
            for key, reward in stage_rewards(stage.config, self.shared).items():
                # A reward model may be trained by a stage before this one: its part is checked when this stage starts.
                parts = [part for part in reward.parts if part.verifier != "reward_model"]
                watch = [opinion for opinion in reward.watch if opinion.verifier != "reward_model"]
                rest = replace(reward, parts=parts, watch=watch)
                if parts and rest not in rewards_checked and bool(served_judges(rest)) == served:
                    rewards_checked.append(rest)
                    self.create_checked(rest, f"{stage.place}.{key}").close()

    def _check_verifiers(self, service: RewardService) -> None:
        """Let the service judge its gold cases, and print each warning once."""
        for warning in service.check_verifiers():
            if warning not in self.warnings:
                self.say(f"warning: {warning}")
            self.warnings.add(warning)
