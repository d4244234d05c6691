"""Runs a recipe's stages in order, each in its own folder, and takes a stopped run up at the first unfinished one."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from os.path import relpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.folder import on_disk
from rl import signals
from rl.config import ConfigError, did_you_mean
from rl.planning.plan import plan
from rl.planning.requirements import check_functions
from rl.recipe import Recipe
from rl.recipe.repeat import latest
from rl.recipe.stage_list import Stage, served_judges
from rl.report.page import write_report
from rl.run.files import detect_full_disk, link, replacing, replacing_folder
from rl.run.provenance import Parent, write_provenance
from rl.run.summary import SUMMARY, StageSummary, Summary, describe_environment, read_summary, redact, write_summary
from rl.run.tracker import Tracker
from rl.runner.reward_services import RewardServices
from rl.runner.run_dir import prepare_run_dir
from rl.stages.context import Context, Outcome

if TYPE_CHECKING:
    from rewards.service import RewardService
    from rl.data.stage_outputs import Lookup
    from rl.types import Prompt
    from rl.workers.cluster import Cluster

DONE = "done.json"


def run(recipe: Recipe, out: str | Path, resume: bool = False, say: Callable[[str], None] = print) -> Summary:
    """Runs every unfinished stage and returns the summary that also stands in `out`. From a notebook:

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
    def __init__(self, recipe: Recipe, out: Path, say: Callable[[str], None]) -> None:
        self.recipe, self.out, self.say = recipe, out, say
        earlier = read_summary(out) if (out / SUMMARY).exists() else None
        self.started = time.monotonic() - (earlier.seconds if earlier else 0.0)
        self.finished: list[StageSummary] = []
        self.outcomes: dict[str, Outcome] = {}
        self.environment = describe_environment()
        self.prompts: dict[tuple[str, str | None, int | None], list[Prompt]] = {}
        self.read: dict[Parent, None] = {}
        """What the stage at work has read so far."""
        self.told: dict[str, int] = {}
        """The iteration after which a repeated block was said to end."""
        self.judging = RewardServices(
            recipe.header.reward,
            recipe.folder,
            lambda: self.cluster,
            lambda name: self._artifact("reward_model", name),
            self._model,
            say,
        )

    def execute(self) -> Summary:
        status = "failed"
        try:
            self._stages()
            status = "done"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or signals.is_interrupted():  # which may break what is at work, too
                status = "interrupted"
            raise
        finally:
            summary = self._summarise(status)
            if status != "done":
                with suppress(Exception):  # what stopped the run is what has to be told
                    write_report(self.out)
        write_report(self.out)
        return summary

    def folder(self, stage: Stage) -> Path:
        return self.out / "stages" / f"{self._place(stage):02d}-{stage.name}"

    def _place(self, stage: Stage) -> int:
        return [other.name for other in self.recipe.stages].index(stage.name) + 1

    def _stages(self) -> None:
        unfinished = [stage for stage in self.recipe.stages if not self._restore(stage)]
        unfinished = [stage for stage in unfinished if not self._over(stage)]
        if unfinished:
            self._summarise("running")
            for read in self.recipe.loads():  # a bad row is found before anything heavy starts
                self._data(read.data, read.split, read.limit, place=read.place)
            with ExitStack() as stack:
                cluster, rewards = self._actors(stack, unfinished)
                for stage in unfinished:
                    if not self._over(stage):
                        self._stage(stage, cluster, rewards)
        if any("model" in outcome.artifacts for outcome in self.outcomes.values()):
            with replacing_folder(self.out / "model") as temporary:
                shutil.copytree(self._model(), temporary, copy_function=link, dirs_exist_ok=True)

    def _actors(self, stack: ExitStack, stages: list[Stage]) -> tuple[Cluster, RewardService]:
        from rl.runner.prompt_lengths import check_prompt_lengths
        from rl.workers.cluster import Cluster

        header = self.recipe.header
        self.say(f"starting Ray and {', '.join(sorted(self.recipe.roles))}")
        rewards = stack.enter_context(self.judging.service(header.reward))
        self.judging.prove(rewards, stages, served=False)
        self.cluster = Cluster(
            self.recipe.roles,
            header.cluster,
            header.engines,
            header.trainer,
            header.model,
            self._first_model(),
            self.recipe.max_sequence_tokens,
            {name: replace(judge, model=str(on_disk(judge.model))) for name, judge in self.recipe.judges.items()},
        )
        check_prompt_lengths(self.recipe, stages, self._data, self.cluster.chat)
        stack.enter_context(self.cluster)
        self.cluster.await_judges(served_judges(header.reward))
        self.judging.prove(rewards, stages, served=True)
        return self.cluster, rewards

    def _stage(self, stage: Stage, cluster: Cluster, rewards: RewardService) -> None:
        began, folder = time.monotonic(), self.folder(stage)
        self.say(f"stage {self._place(stage)} of {len(self.recipe.stages)}: {stage.name}")
        folder.mkdir(parents=True, exist_ok=True)
        self.read = {}
        context = Context(
            name=stage.name,
            seed=self.recipe.header.seed,
            folder=folder,
            model=self._model(stage.config.model),
            cluster=cluster,
            rewards=rewards,
            tracker=Tracker(self.out, stage.name),
            data=self._data,
            lookup=self._lookup,
            artifact=self._artifact,
            say=self.say,
            service=lambda reward: self.judging.proved(reward, stage.place),
            earlier=lambda kind: self._earlier(stage, kind),
            record=lambda: self._record(stage),
        )
        outcome: Outcome = stage.facts.run(stage.config, context)
        seconds, parents = time.monotonic() - began, [asdict(parent) for parent in self.read]
        for kind, path in outcome.artifacts.items():
            counted = {"counts": outcome.counts, **outcome.facts}
            write_provenance(Path(path), {"kind": kind, **self._record(stage), **counted})
        with replacing(folder / DONE) as temporary:
            done = {"kind": stage.kind, **asdict(outcome), "parents": parents}
            done["artifacts"] = {kind: relpath(path, self.out) for kind, path in outcome.artifacts.items()}
            temporary.write_text(json.dumps({**done, "seconds": seconds}))
        self._remember(stage, outcome, seconds)
        self._summarise("running")

    def _record(self, stage: Stage) -> dict[str, Any]:
        """What is to be known of anything that the stage at work leaves, but its counts."""
        return {
            "stage": stage.name,
            "made_by": stage.kind,
            "recipe": self.recipe.name,
            "seed": self.recipe.header.seed,
            "code": {"version": self.environment["packages"].get("groundtone"), "commit": self.environment["commit"]},
            "settings": redact(asdict(stage.config)),
            "parents": list(self.read),
        }

    def _over(self, stage: Stage) -> bool:
        """Is the stage in a later iteration than its block needs?"""
        block = stage.repeat
        if block is None or block.until is None:
            return False
        values: list[float] = []
        for i in range(1, stage.iteration):
            outcome = self.outcomes.get(f"{block.until.stage}@{i}")
            if outcome is None:
                break
            if block.until.of_stage not in outcome.metrics:
                known = did_you_mean(block.until.of_stage, outcome.metrics)
                raise ValueError(
                    f"{stage.place}: until.metric: stage '{block.until.stage}' tells no such metric{known}"
                )
            values.append(outcome.metrics[block.until.of_stage])
        settled = block.until.settled(values)
        if settled is not None and self.told.get(block.name) != settled:
            self.told[block.name] = settled
            listed = ", ".join(f"{value:.4g}" for value in values)
            self.say(
                f"{block.name}: {block.until.metric} improves no more ({listed}); it ends after {settled} iterations"
            )
        return settled is not None

    def _restore(self, stage: Stage) -> bool:
        """Is the stage finished already? Then what it left is taken up."""
        done = self.folder(stage) / DONE
        if not done.exists():
            return False
        values = json.loads(done.read_text())
        artifacts = {kind: str(self.out / path) for kind, path in values["artifacts"].items()}
        outcome = Outcome(values["metrics"], artifacts, values.get("counts", {}))
        self._remember(stage, outcome, values["seconds"])
        return True

    def _remember(self, stage: Stage, outcome: Outcome, seconds: float) -> None:
        self.outcomes[stage.name] = outcome
        self.finished.append(StageSummary(stage.name, stage.kind, seconds, outcome.metrics))

    def _summarise(self, status: str) -> Summary:
        seconds = time.monotonic() - self.started
        summary = Summary(self.recipe.name, status, seconds, tuple(self.finished), self.environment)
        write_summary(self.out, summary)
        return summary

    def _data(self, name: str, split: str | None, limit: int | None, place: str = "data") -> list[Prompt]:
        from rl.data.sources import load
        from rl.data.stage_outputs import load_distilled

        if name not in self.recipe.header.data:
            return load_distilled(self._artifact("distilled", name), self._lookup(name))[:limit]
        key = name, split, limit
        if key not in self.prompts:
            self.prompts[key] = load(self.recipe.header.data[name], split, limit, f"data.{name}", self.say)
            if not self.prompts[key]:
                raise ValueError(f"{place}: data set '{name}', split '{split}' has no rows")
        self.read[Parent("data", name, split=split)] = None
        return self.prompts[key]

    def _lookup(self, maker: str) -> Lookup:
        """Prompts as the stage `maker` of this run could choose from; all of them for a file from elsewhere."""
        own = maker in {stage.base for stage in self.recipe.stages}
        return lambda data, split: self._data(data, split, self.recipe.most(data, split) if own else None)

    def _artifact(self, kind: str, name: str) -> Path:
        """Of the latest iteration of the stage called so, else the path."""
        makers = [made for made, outcome in self.outcomes.items() if kind in outcome.artifacts]
        stage = latest(name, makers)
        if stage is None and kind == "pairs" and name in self.recipe.header.data:
            return Path(name)
        self.read[Parent(kind, stage or name, stage is not None)] = None
        return Path(self.outcomes[stage].artifacts[kind]) if stage else Path(name)

    def _earlier(self, stage: Stage, kind: str) -> Path | None:
        """What the last iteration of a stage in a repeated block has left of that kind."""
        name = f"{stage.base}@{stage.iteration - 1}"
        made = self.outcomes.get(name)
        if made is None or kind not in made.artifacts:
            return None
        self.read[Parent(kind, name, True)] = None
        return Path(made.artifacts[kind])

    def _model(self, wanted: str | None = None) -> Path:
        """That of the stage or at the path `wanted`; without it the model so far: of the last stage that made one, else
        the recipe's."""
        made = [name for name, outcome in self.outcomes.items() if "model" in outcome.artifacts]
        if wanted is None and not made:
            model = self.recipe.header.model
            self.read[Parent("model", "built from scratch" if model.build else str(model.path))] = None
            return self._first_model()
        return self._artifact("model", wanted or made[-1])

    def _first_model(self) -> Path:
        from models.load import build

        model = self.recipe.header.model
        if model.build is not None:
            with detect_full_disk(self.out / "initial"):
                return build(model.build, self.out / "initial", self.recipe.header.seed)
        return on_disk(str(model.path))
