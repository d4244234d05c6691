"""Runs a recipe's stages in order, each in its own folder, and resumes a stopped run at its first unfinished stage."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from os.path import relpath
from pathlib import Path
from typing import TYPE_CHECKING

from models.folder import on_disk
from rl import signals, terminal
from rl.config import ConfigError, did_you_mean
from rl.planning import golds
from rl.planning.plan import plan
from rl.planning.requirements import check_functions
from rl.recipe import Recipe
from rl.recipe.stage_list import Stage, served_judges
from rl.recipe.thinking import choose_thinking
from rl.redaction import redact
from rl.report.page import write_report
from rl.run.files import detect_full_disk, link, replacing, replacing_folder
from rl.run.provenance import write_provenance
from rl.run.summary import SUMMARY, StageSummary, Summary, describe_environment, read_summary, write_summary
from rl.run.tracker import Tracker
from rl.runner.artifacts import Artifacts
from rl.runner.reward_services import RewardServices
from rl.runner.run_dir import prepare_run_dir
from rl.stages.context import Context, Outcome

if TYPE_CHECKING:
    from rewards.service import RewardService
    from rl.workers.cluster import Cluster

OUTCOME = "done.json"
"""File in a stage's folder that holds its outcome; a stage without one is not finished."""


def run(recipe: Recipe, out: str | Path, resume: bool = False, say: Callable[[str], None] = terminal.say) -> Summary:
    """Run every unfinished stage and return the summary, which is also written into `out`. From a notebook:

        from rl.recipe import load
        from rl.runner import run
        run(load("quickstart", ["rlvr.steps=20"]), "runs/notebook")

    Raises ValueError before anything heavy starts when the recipe cannot run here, and DiskFull."""
    out = Path(out).absolute()
    if problems := plan(recipe, out).problems:
        raise ConfigError(problems[0])
    check_functions(recipe)
    with detect_full_disk(out):
        prepare_run_dir(recipe, out, resume)
        return Run(recipe, out, say).execute()


class Run:
    """One run of a recipe: starts the actors, runs the stages, and keeps the run's summary up to date."""

    def __init__(self, recipe: Recipe, out: Path, say: Callable[[str], None]) -> None:
        self.recipe, self.out, self.say = recipe, out, say
        earlier = read_summary(out) if (out / SUMMARY).exists() else None
        # A resumed run counts on from the seconds that it had when it stopped.
        self.start_time = time.monotonic() - (earlier.seconds if earlier else 0.0)
        self.summaries: list[StageSummary] = []
        """Summaries of the finished stages."""
        self.environment = describe_environment()
        self.artifacts = Artifacts(recipe, out, say)
        self.announced: dict[str, int] = {}
        """Last iteration of each repeated block whose early end was printed."""
        self.reward_services = RewardServices(
            recipe.header.reward,
            recipe.folder,
            lambda: self.cluster,  # which is started later, and asked for only when a reward needs it
            lambda name: self.artifacts.path("reward_model", name),
            self.artifacts.model,
            say,
        )

    def execute(self) -> Summary:
        """Run the unfinished stages and return the summary. The report is written also when a stage fails."""
        status = "failed"
        try:
            self._run_stages()
            status = "done"
        except BaseException as error:
            # A signal may reach an actor first, and what arrives here is the actor's failure.
            if isinstance(error, KeyboardInterrupt) or signals.is_interrupted():
                status = "interrupted"
            raise
        finally:
            summary = self._summarise(status)
            if status != "done":
                with suppress(Exception):  # the error that stopped the run must not be hidden by one of the report
                    write_report(self.out)
        write_report(self.out)
        return summary

    def folder(self, stage: Stage) -> Path:
        """Return the folder of a stage: `stages/03-rlvr`."""
        return self.out / "stages" / f"{self._number(stage):02d}-{stage.name}"

    def _number(self, stage: Stage) -> int:
        """Return the position of a stage in the recipe, from 1."""
        return [member.name for member in self.recipe.stages].index(stage.name) + 1

    def _run_stages(self) -> None:
        # All finished stages are restored before any question about the others: a block's end depends on their metrics.
        pending = [stage for stage in self.recipe.stages if not self._restore(stage)]
        pending = [stage for stage in pending if not self._is_skipped(stage)]
        if pending:
            self._summarise("running")
            for read in self.recipe.loads():  # a bad row is found before anything heavy starts
                self.artifacts.read_prompts(read.data, read.split, read.limit, place=read.place)
            golds.check_prompts(self.recipe, self.artifacts.read_prompts, self.say)
            with ExitStack() as stack:
                cluster, rewards = self._start_actors(stack, pending)
                for stage in pending:
                    if not self._is_skipped(stage):  # an earlier stage may have ended its block since
                        self._run_stage(stage, cluster, rewards)
        if any("model" in outcome.artifacts for outcome in self.artifacts.outcomes.values()):
            with replacing_folder(self.out / "model") as temporary:
                # Hard links where the file system has them: the last stage's model stands in its own folder too.
                shutil.copytree(self.artifacts.model(), temporary, copy_function=link, dirs_exist_ok=True)

    def _start_actors(self, stack: ExitStack, stages: list[Stage]) -> tuple[Cluster, RewardService]:
        """Start the reward service and the cluster that `stages` need, closed with `stack`. Cheap checks come before what
        is slow to start."""
        from rl.runner.prompt_lengths import check_prompt_lengths
        from rl.workers.cluster import Cluster

        header = self.recipe.header
        self.say(f"starting Ray and {', '.join(sorted(self.recipe.roles))}")
        rewards = stack.enter_context(self.reward_services.create(header.reward))
        self.reward_services.check_all(rewards, stages, served=False)
        initial_model = self.artifacts.initial_model()
        self.cluster = Cluster(
            self.recipe.roles,
            header.cluster,
            header.engines,
            header.trainer,
            replace(header.model, think=self._thinks(initial_model)),
            initial_model,
            self.recipe.max_sequence_tokens,
            {name: replace(judge, model=str(on_disk(judge.model))) for name, judge in self.recipe.judges.items()},
        )
        check_prompt_lengths(self.recipe, stages, self.artifacts.read_prompts, self.cluster.chat)
        stack.enter_context(self.cluster)
        self.cluster.await_judges(served_judges(header.reward))
        self.reward_services.check_all(rewards, stages, served=True)
        return self.cluster, rewards

    def _thinks(self, initial_model: Path) -> bool:
        """Return whether the model thinks, and say why where the recipe leaves it open."""
        choice = choose_thinking(
            self.recipe,
            lambda read: self.artifacts.read_prompts(read.data, read.split, read.limit, place=read.place),
            initial_model,
        )
        assert choice.think is not None, "all rows and the chat template have been read"
        if self.recipe.header.model.think == "auto":
            self.say(f"thinking is {choice}")
        return choice.think

    def _run_stage(self, stage: Stage, cluster: Cluster, rewards: RewardService) -> None:
        start_time, folder = time.monotonic(), self.folder(stage)
        self.say(f"stage {self._number(stage)} of {len(self.recipe.stages)}: {stage.name}")
        folder.mkdir(parents=True, exist_ok=True)
        self.artifacts.start_stage()
        context = Context(
            name=stage.name,
            seed=self.recipe.header.seed,
            folder=folder,
            model=self.artifacts.model(stage.config.model),
            cluster=cluster,
            rewards=rewards,
            tracker=Tracker(self.out, stage.name),
            data=self.artifacts.read_prompts,
            lookup=self.artifacts.lookup,
            artifact=self.artifacts.path,
            say=self.say,
            service=lambda reward: self.reward_services.create_checked(reward, stage.place),
            earlier=lambda kind: self.artifacts.previous(stage, kind),
            record=lambda: self._provenance(stage),
        )
        outcome: Outcome = stage.facts.run(stage.config, context)
        seconds = time.monotonic() - start_time
        for kind, path in outcome.artifacts.items():
            counts = {"counts": outcome.counts, **outcome.facts}
            write_provenance(Path(path), {"kind": kind, **self._provenance(stage), **counts})
        self._store(stage, outcome, seconds)
        self._remember(stage, outcome, seconds)
        self._summarise("running")

    def _store(self, stage: Stage, outcome: Outcome, seconds: float) -> None:
        """Write the outcome into the stage's folder, from which `_restore` takes it when the run is resumed."""
        values = {"kind": stage.kind, **asdict(outcome)}
        values["parents"] = [asdict(parent) for parent in self.artifacts.parents]
        # Relative paths, so that a run's directory can be moved.
        values["artifacts"] = {kind: relpath(path, self.out) for kind, path in outcome.artifacts.items()}
        with replacing(self.folder(stage) / OUTCOME) as temporary:
            temporary.write_text(json.dumps(redact({**values, "seconds": seconds})))

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

    def _is_skipped(self, stage: Stage) -> bool:
        """Return whether the stage belongs to an iteration after the early end of its block."""
        block = stage.repeat
        if block is None or block.until is None:
            return False
        until = block.until
        values: list[float] = []
        for i in range(1, stage.iteration):
            outcome = self.artifacts.outcomes.get(f"{until.stage}@{i}")
            if outcome is None:
                break
            if until.of_stage not in outcome.metrics:
                suggestion = did_you_mean(until.of_stage, outcome.metrics)
                raise ValueError(f"{stage.place}: until.metric: stage '{until.stage}' has no such metric{suggestion}")
            values.append(outcome.metrics[until.of_stage])
        last = until.last_iteration(values)
        if last is None:
            return False
        if self.announced.get(block.name) != last:  # every stage of the later iterations comes by here
            self.announced[block.name] = last
            trend = ", ".join(f"{value:.4g}" for value in values)
            self.say(
                f"{block.name}: {until.metric} no longer improves ({trend}); the block ends after {last} iterations"
            )
        return True

    def _restore(self, stage: Stage) -> bool:
        """Return whether the stage is finished already, and if so remember its outcome."""
        file = self.folder(stage) / OUTCOME
        if not file.exists():
            return False
        values = json.loads(file.read_text())
        artifacts = {kind: str(self.out / path) for kind, path in values["artifacts"].items()}
        outcome = Outcome(values["metrics"], artifacts, values.get("counts", {}))
        self._remember(stage, outcome, values["seconds"])
        return True

    def _remember(self, stage: Stage, outcome: Outcome, seconds: float) -> None:
        self.artifacts.outcomes[stage.name] = outcome
        self.summaries.append(StageSummary(stage.name, stage.kind, seconds, outcome.metrics))

    def _summarise(self, status: str) -> Summary:
        """Write the run's summary and return it."""
        seconds = time.monotonic() - self.start_time
        summary = Summary(self.recipe.name, status, seconds, tuple(self.summaries), self.environment)
        write_summary(self.out, summary)
        return summary
