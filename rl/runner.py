"""Runs a recipe's stages in order, each in its own folder, and takes a stopped run up at the first unfinished one."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from rl.config import ConfigError
from rl.plan import plan
from rl.recipe import STAGES, Recipe, Stage
from rl.run.files import replacing
from rl.run.report import write_report
from rl.run.summary import StageSummary, Summary, environment, redact, write_summary
from rl.run.tracker import Tracker
from rl.stages.context import Context, Outcome

if TYPE_CHECKING:
    from rewards.service import RewardService
    from rl.types import Prompt
    from rl.workers.cluster import Cluster

DONE = "done.json"


def run(recipe: Recipe, out: str | Path, resume: bool = False, say: Callable[[str], None] = print) -> Summary:
    """Runs every unfinished stage and returns the summary that also stands in `out`. From a notebook:

        from rl.recipe import load
        from rl.runner import run
        run(load("quickstart", ["rlvr.steps=20"]), "runs/notebook")

    Raises ValueError before anything heavy starts when the recipe cannot run here."""
    out = Path(out).absolute()
    if problems := plan(recipe, out).problems:
        raise ConfigError(problems[0])
    _claim(recipe, out, resume)
    return Run(recipe, out, say).execute()


class Run:
    def __init__(self, recipe: Recipe, out: Path, say: Callable[[str], None]) -> None:
        self.recipe, self.out, self.say = recipe, out, say
        self.started = time.monotonic()
        self.finished: list[StageSummary] = []
        self.outcomes: dict[str, Outcome] = {}
        self.environment = environment()
        self.prompts: dict[tuple[str, str | None, int | None], list[Prompt]] = {}

    def execute(self) -> Summary:
        status = "failed"
        try:
            self._stages()
            status = "done"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            summary = self._summarise(status)
        write_report(self.out)
        return summary

    def folder(self, stage: Stage) -> Path:
        return self.out / "stages" / f"{self.recipe.stages.index(stage) + 1:02d}-{stage.name}"

    def _stages(self) -> None:
        unfinished = [stage for stage in self.recipe.stages if not self._restore(stage)]
        if unfinished:
            self._summarise("running")
            for _, *wanted, place in self.recipe.loads():  # a bad row is found before anything heavy starts
                self._data(*wanted, place=place)
            with ExitStack() as stack:
                cluster, rewards = self._actors(stack)
                for stage in unfinished:
                    self._stage(stage, cluster, rewards)
        if any("model" in outcome.artifacts for outcome in self.outcomes.values()):
            shutil.rmtree(self.out / "model", ignore_errors=True)
            shutil.copytree(self._model(), self.out / "model", copy_function=_link)

    def _actors(self, stack: ExitStack) -> tuple[Cluster, RewardService]:
        from rewards.service import RewardService
        from rl.workers.cluster import Cluster

        header = self.recipe.header
        self.say(f"starting Ray and {', '.join(sorted(self.recipe.roles))}")
        rewards = stack.enter_context(RewardService(header.reward, self.recipe.folder))
        for warning in rewards.prove():
            self.say(f"warning: {warning}")
        cluster = Cluster(
            self.recipe.roles,
            header.cluster,
            header.engines,
            header.trainer,
            header.model,
            self._first_model(),
            self.recipe.max_sequence_tokens,
        )
        return stack.enter_context(cluster), rewards

    def _stage(self, stage: Stage, cluster: Cluster, rewards: RewardService) -> None:
        began, folder = time.monotonic(), self.folder(stage)
        self.say(f"stage {self.recipe.stages.index(stage) + 1} of {len(self.recipe.stages)}: {stage.name}")
        folder.mkdir(parents=True, exist_ok=True)
        wanted = stage.config.model
        context = Context(
            name=stage.name,
            seed=self.recipe.header.seed,
            folder=folder,
            model=self._artifact("model", wanted) if wanted else self._model(),
            cluster=cluster,
            rewards=rewards,
            tracker=Tracker(self.out, stage.name),
            data=self._data,
            artifact=self._artifact,
            say=self.say,
        )
        outcome: Outcome = STAGES[stage.kind].run(stage.config, context)
        seconds = time.monotonic() - began
        with replacing(folder / DONE) as temporary:
            temporary.write_text(json.dumps({**asdict(outcome), "seconds": seconds}))
        self._remember(stage, outcome, seconds)
        self._summarise("running")

    def _restore(self, stage: Stage) -> bool:
        """Is the stage finished already? Then what it left is taken up."""
        done = self.folder(stage) / DONE
        if not done.exists():
            return False
        values = json.loads(done.read_text())
        self._remember(stage, Outcome(values["metrics"], values["artifacts"]), values["seconds"])
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

        key = name, split, limit
        if key not in self.prompts:
            self.prompts[key] = load(self.recipe.header.data[name], split, limit, f"data.{name}", self.say)
            if not self.prompts[key]:
                raise ValueError(f"{place}: data set '{name}', split '{split}' has no rows")
        return self.prompts[key]

    def _artifact(self, kind: str, name: str) -> Path:
        outcome = self.outcomes.get(name)
        return Path(outcome.artifacts[kind]) if outcome else Path(name)

    def _model(self) -> Path:
        """The model so far: of the last stage that made one, else the recipe's."""
        made = [o.artifacts["model"] for o in self.outcomes.values() if "model" in o.artifacts]
        return Path(made[-1]) if made else self._first_model()

    def _first_model(self) -> Path:
        from models.load import build

        model = self.recipe.header.model
        if model.build is not None:
            return build(model.build, self.out / "initial", self.recipe.header.seed)
        return _on_disk(str(model.path))


def _claim(recipe: Recipe, out: Path, resume: bool) -> None:
    """Makes the run directory, or checks that the one that is there is this recipe's and may be gone on with."""
    saved = out / "recipe.yaml"
    values: dict[str, Any] = redact(recipe.source)
    if saved.exists():
        if not resume:
            raise ConfigError(f"{out}: holds a run already; go on with --resume or choose another --out")
        before: Any = OmegaConf.to_container(OmegaConf.load(saved))
        if json.loads(json.dumps(values)) != before:
            changed = _difference(before, json.loads(json.dumps(values)))
            raise ConfigError(f"{out}: was run with another recipe ({changed}); resume with the same one")
        return
    if resume and out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out}: holds no run to resume")
    out.mkdir(parents=True, exist_ok=True)
    with replacing(saved) as temporary:
        OmegaConf.save(OmegaConf.create(json.loads(json.dumps(values))), temporary)


def _difference(before: Any, after: Any, place: str = "") -> str:
    """The first place where two recipes differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *after]:
            if before.get(key) != after.get(key):
                return _difference(before.get(key), after.get(key), f"{place}.{key}".lstrip("."))
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, (b, a) in enumerate(zip(before, after, strict=True)):
            if b != a:
                return _difference(b, a, f"{place}[{i}]")
    return f"{place}: {before!r} then, {after!r} now"


def _on_disk(path: str) -> Path:
    """A hub name becomes its folder in the local cache (downloaded when needed)."""
    if Path(path).is_dir():
        return Path(path).absolute()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(path, allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise ValueError(
            f"model.path: '{path}' is no folder and could not be fetched ({type(error).__name__})"
        ) from error


def _link(source: str, target: str) -> None:
    """The same file under a second name where the file system can, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
