"""Runs a recipe's stages in order, each in its own folder, and resumes a stopped run at its first unfinished stage."""

from __future__ import annotations

import gc
import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from rl import signals, terminal
from rl.config import ConfigError
from rl.finite import NonFiniteError, drop_undefined
from rl.planning import golds
from rl.planning.requirements import check_functions
from rl.recipe import Recipe
from rl.recipe.stage_list import Stage, served_judges
from rl.run.files import detect_full_disk, link, replacing_folder
from rl.run.provenance import write_provenance
from rl.run.summary import (
    SUMMARY,
    Failure,
    StageSummary,
    Summary,
    describe_environment,
    read_summary,
    write_summary,
)
from rl.run.tracker import Tracker, read_metrics, read_warnings
from rl.runner.actors import build_cluster
from rl.runner.artifacts import Artifacts
from rl.runner.blocks import EarlyEnds
from rl.runner.devices import plan_again, plan_run
from rl.runner.environments import Environments
from rl.runner.failures import describe_divergence, describe_failure, describe_place
from rl.runner.live_report import LiveReport
from rl.runner.outcomes import OUTCOME, read_outcome, write_outcome
from rl.runner.prolong import stage_folder
from rl.runner.recoveries import Recoveries
from rl.runner.reward_services import RewardServices
from rl.runner.run_dir import hold_run_dir
from rl.runner.sinks import end_records, open_sinks
from rl.stages.context import Context, Outcome
from rl.terminal import shell_command
from rl.workers.loss import FIX, Loss

if TYPE_CHECKING:
    from rewards.service import RewardService
    from rl.workers.cluster import Cluster


def run(recipe: Recipe, out: str | Path, resume: bool = False, say: Callable[[str], None] = terminal.say) -> Summary:
    """Run every unfinished stage and return the summary, which is also written into `out`. From a notebook:

        from rl.recipe import load
        from rl.runner import run
        run(load("quickstart", ["rlvr.steps=20"]), "runs/notebook")

    Raises ValueError before anything heavy starts when the recipe cannot run here, and DiskFull."""
    out = Path(out).absolute()
    recipe, run_plan = plan_run(recipe, out)
    if run_plan.problems:
        raise ConfigError(run_plan.problems[0])
    check_functions(recipe)
    with detect_full_disk(out), hold_run_dir(recipe, out, resume, say):
        return Run(recipe, out, say).execute()


class Run:
    """One run of a recipe: starts the actors, runs the stages, and keeps the run's summary up to date."""

    def __init__(self, recipe: Recipe, out: Path, say: Callable[[str], None]) -> None:
        self.recipe, self.out, self.say = recipe, out, say
        earlier = read_summary(out) if (out / SUMMARY).exists() else None
        # A resumed run counts on from the seconds that it had when it stopped.
        self.start_time = time.monotonic() - (earlier.seconds if earlier else 0.0)
        self.summaries: list[StageSummary] = []  # of the finished stages
        self.cluster: Cluster | None = None
        self.current_stage: Stage | None = None
        self.tracker: Tracker | None = None  # of the current stage
        self.environment = describe_environment()
        self.sinks = open_sinks(recipe, out, self.environment, say)
        self.artifacts = Artifacts(recipe, out, say)
        self.environments = Environments(recipe.header, recipe.folder)
        self.early_ends = EarlyEnds(self.artifacts.outcomes, say)
        self.recoveries = Recoveries(recipe.header.run.retries, out, earlier.recoveries if earlier else (), say)
        self.watched_loss: Loss | None = None  # found by another thread
        self.summary_lock = Lock()  # held by a thread that ends the run until it has recorded that
        self.reward_services = RewardServices(
            recipe.header.reward,
            recipe.folder,
            self._started_cluster,
            lambda name: self.artifacts.path("reward_model", name),
            self.artifacts.model,
            say,
        )

    def execute(self) -> Summary:
        """Run the unfinished stages and return the summary. The report is written also when a stage fails."""
        try:
            with LiveReport(self.out):
                self._run_stages()
        except BaseException as error:
            # Whatever arrives here once a process is lost to another thread's watch has that reason.
            stuck = ValueError(reason) if (reason := signals.take_failure()) else None
            # A signal may reach an actor first, and what arrives here is the actor's failure.
            if not stuck and (isinstance(error, KeyboardInterrupt) or signals.is_interrupted()):
                self._summarise("interrupted")
            else:
                self._fail(stuck or error)
            with suppress(Exception):  # the error that stopped the run must not be hidden by one of the report
                end_records(self.sinks, self.out, self.say)
            if stuck:
                raise stuck from None
            raise
        summary = self._summarise("done")
        end_records(self.sinks, self.out, self.say)
        return summary

    def _fail(self, error: BaseException) -> None:
        """Record in the summary that the error has stopped the run."""
        self._summarise("failed", describe_failure(error, self.current_stage, self._step))

    def _end_lost(self, problem: str) -> None:
        """Interrupt the run, from another thread, for a process that stands still or one of Ray's own that has died."""
        reason = f"{describe_place(self.current_stage, self._step)}{problem}; {FIX}"
        with self.summary_lock:
            self.watched_loss = Loss(problem, breaks_ray=True)
            signals.fail(reason)  # first: a dead raylet takes this process along as soon as that is used
            with suppress(Exception):  # the disk may be full
                self._fail(ValueError(reason))

    @property
    def _step(self) -> int | None:
        return self.tracker.current_step if self.tracker else None

    def _started_cluster(self) -> Cluster:
        assert self.cluster is not None, "a reward asks for the cluster only once it is there"
        return self.cluster

    def folder(self, stage: Stage) -> Path:
        """Return the folder of a stage: `stages/03-rlvr`."""
        return stage_folder(self.out, self._number(stage), stage.name)

    def _number(self, stage: Stage) -> int:
        """Return the position of a stage in the recipe, from 1."""
        return [member.name for member in self.recipe.stages].index(stage.name) + 1

    def _run_stages(self) -> None:
        # All finished stages are restored before any question about the others: a block's end depends on their metrics.
        pending = [stage for stage in self.recipe.stages if not self._restore(stage)]
        pending = [stage for stage in pending if not self.early_ends.skips(stage)]
        if pending:
            read_metrics(self.out)  # a damaged line is found before anything heavy starts
            read_warnings(self.out)
            self._summarise("running")
            self.say(f"watch it: {self.out / 'report.html'}, or {shell_command('rl', 'show', self.out, '--follow')}")
            for read in self.recipe.loads():  # a bad row is found before anything heavy starts
                self.artifacts.read_prompts(read.data, read.split, read.limit, place=read.place)
            golds.check_prompts(self.recipe, self.artifacts.read_prompts, self.say)
            while not self._run_on_cluster([stage for stage in pending if stage.name not in self.artifacts.outcomes]):
                self.cluster = None
                gc.collect()  # handles of lost actors must not reach the next Ray
                self.recipe = plan_again(self.recipe, self.out)
        if any("model" in outcome.artifacts for outcome in self.artifacts.outcomes.values()):
            with replacing_folder(self.out / "model") as temporary:
                # Hard links where the file system has them: the last stage's model stands in its own folder too.
                shutil.copytree(self.artifacts.model(), temporary, copy_function=link, dirs_exist_ok=True)

    def _run_on_cluster(self, stages: list[Stage]) -> bool:
        """Run the stages on a cluster of their own; return False where it is lost and another one is to be tried."""
        with ExitStack() as stack:
            try:
                cluster, rewards = self._start_actors(stack, stages)
                for stage in stages:
                    if not self.early_ends.skips(stage):  # an earlier stage may have ended its block since
                        self._run_stage(stage, cluster, rewards)
            except (Exception, KeyboardInterrupt) as error:
                if (loss := self._find_loss(error)) is None:
                    raise
                stage, step = self.current_stage, self._step
                is_retried = self.recoveries.begin(loss, stage, step, stage and self.folder(stage))
                if is_retried:
                    with self.summary_lock:
                        signals.recover()
                        self._summarise("running")
                if loss.breaks_ray and self.cluster:
                    self.cluster.abandon()  # while the error still holds what the stage has got from Ray
                if is_retried:
                    return False
                if isinstance(error, ValueError):
                    raise
                raise ValueError(self.recoveries.explain(loss, stage, step)) from error
        return True

    def _find_loss(self, error: BaseException) -> Loss | None:
        """Return the loss of a process, a node or Ray behind an error; None for a mistake, a bug or an interruption."""
        if signals.is_interrupted():
            return None
        if signals.take_failure():
            return self.watched_loss
        if isinstance(error, KeyboardInterrupt) or self.cluster is None:
            return None
        return self.cluster.find_loss(error)

    def _start_actors(self, stack: ExitStack, stages: list[Stage]) -> tuple[Cluster, RewardService]:
        """Start the reward service and the cluster that `stages` need, closed with `stack`; cheap checks come first."""
        from rl.runner.prompt_lengths import check_prompt_lengths

        self.say(f"starting {', '.join(['Ray', *sorted(self.recipe.roles)]) if self.recipe.roles else 'the verifiers'}")
        self.reward_services.forget_cluster()  # an earlier one may have been lost
        rewards = stack.enter_context(self.reward_services.create(self.recipe.header.reward))
        self.reward_services.check_all(rewards, stages, served=False)
        self.environments.check(stages)
        self.cluster = build_cluster(self.recipe, self.artifacts, self.out, stages, self._end_lost, self.say)
        check_prompt_lengths(self.recipe, stages, self.artifacts.read_prompts, self.cluster.chat)
        stack.enter_context(self.cluster)
        self.cluster.await_judges(served_judges(self.recipe.header.reward))
        self.reward_services.check_all(rewards, stages, served=True)
        return self.cluster, rewards

    def _run_stage(self, stage: Stage, cluster: Cluster, rewards: RewardService) -> None:
        if recovery_s := self.recoveries.end():
            self._summarise("running")
        start_time, folder = time.monotonic(), self.folder(stage)
        self.say(f"stage {self._number(stage)} of {len(self.recipe.stages)}: {stage.name}")
        self.current_stage, self.tracker = stage, Tracker(self.out, stage.name, self.sinks)
        self.tracker.recovery_s = recovery_s
        folder.mkdir(parents=True, exist_ok=True)
        self.artifacts.start_stage()
        context = Context(
            name=stage.name,
            seed=self.recipe.header.seed,
            folder=folder,
            model=self.artifacts.model(stage.config.model),
            cluster=cluster,
            rewards=rewards,
            tracker=self.tracker,
            data=self.artifacts.read_prompts,
            lookup=self.artifacts.lookup,
            artifact=self.artifacts.path,
            say=self.say,
            service=lambda reward: self.reward_services.create_checked(reward, stage.place),
            earlier=lambda kind: self.artifacts.previous(stage, kind),
            record=lambda: self._provenance(stage),
        )
        try:
            with self.environments.of_stage(stage, cluster) as environment:
                outcome: Outcome = stage.facts.run(stage.config, replace(context, environment=environment))
        except NonFiniteError as error:
            raise ValueError(describe_divergence(stage, self._step, error)) from error
        outcome = replace(outcome, metrics=drop_undefined(outcome.metrics))
        seconds = time.monotonic() - start_time
        for kind, path in outcome.artifacts.items():
            counts = {"counts": outcome.counts, **outcome.facts}
            write_provenance(Path(path), {"kind": kind, **self._provenance(stage), **counts})
        parents = [asdict(parent) for parent in self.artifacts.parents]
        write_outcome(folder / OUTCOME, stage.kind, outcome, parents, self.out, seconds)
        self._remember(stage, outcome, seconds)
        self._summarise("running")

    def _provenance(self, stage: Stage) -> dict[str, object]:
        """Return the provenance of anything that the current stage writes, without its counts."""
        return {
            "stage": stage.name,
            "made_by": stage.kind,
            "recipe": self.recipe.name,
            "seed": self.recipe.header.seed,
            "code": {"version": self.environment["packages"].get("groundtone"), "commit": self.environment["commit"]},
            "settings": asdict(stage.config),
            "parents": list(self.artifacts.parents),
        }

    def _restore(self, stage: Stage) -> bool:
        """Return whether the stage is finished already, and if so remember its outcome."""
        file = self.folder(stage) / OUTCOME
        if not os.path.lexists(file):
            return False
        self._remember(stage, *read_outcome(file, self.out))
        return True

    def _remember(self, stage: Stage, outcome: Outcome, seconds: float) -> None:
        self.artifacts.outcomes[stage.name] = outcome
        self.summaries.append(StageSummary(stage.name, stage.kind, seconds, outcome.metrics))

    def _summarise(self, status: str, failure: Failure | None = None) -> Summary:
        """Write the run's summary and return it."""
        seconds, stages = time.monotonic() - self.start_time, tuple(self.summaries)
        summary = Summary(self.recipe.name, status, seconds, stages, self.environment, failure, self.recoveries.all)
        write_summary(self.out, summary)
        return summary
