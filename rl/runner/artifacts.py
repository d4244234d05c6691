"""Finds the data sets and artifacts that the stages of a run read, and records which of them the current stage has read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.folder import folder_of, on_disk
from rl.recipe import Recipe
from rl.recipe.repeat import latest
from rl.recipe.stage_list import Stage
from rl.run.files import detect_full_disk
from rl.run.provenance import Parent
from rl.stages.context import Outcome

if TYPE_CHECKING:
    from rl.data.stage_outputs import Lookup
    from rl.types import Prompt


class Artifacts:
    """Inputs of the stages of a run: data sets of the recipe, and what earlier stages have left.

    Example: `artifacts.start_stage()`, then `artifacts.model("sft")` returns the folder of that stage's model, and
    `artifacts.parents` holds `Parent("model", "sft", True)`.
    """

    def __init__(self, recipe: Recipe, out: Path, say: Callable[[str], None]) -> None:
        self.recipe, self.out, self.say = recipe, out, say
        self.outcomes: dict[str, Outcome] = {}
        """Outcomes of the finished stages by name, in the order they finished."""
        self.parents: dict[Parent, None] = {}
        """Everything that the current stage has read so far, as an ordered set."""
        self._being_read = set[str]()
        """Files of samples that are being read: each names the data that its own rows were made of."""
        self._prompts: dict[tuple[str, str | None, int | None], list[Prompt]] = {}

    def start_stage(self) -> None:
        """Forget what the stage before has read."""
        self.parents = {}

    def read_prompts(self, name: str, split: str | None, limit: int | None, place: str = "data") -> list[Prompt]:
        """Return the prompts of a data set of the recipe, or of what a distill stage wrote. Raises ValueError, which begins
        with `place` where the split has no rows."""
        from rl.data.rows import locate
        from rl.data.sources import load
        from rl.data.stage_outputs import load_distilled
        from rl.data.transcripts import add_transcripts

        if name not in self.recipe.header.data:
            if name in self._being_read:
                raise ValueError(
                    f"{place}: the rows of '{name}' name itself as the data they were made of; correct them"
                )
            self._being_read.add(name)
            try:
                return load_distilled(self.path("distilled", name), self.lookup(name))[:limit]
            finally:
                self._being_read.remove(name)
        key = name, split, limit
        if key not in self._prompts:  # several stages read the same rows, and decoding their clips takes a while
            config = self.recipe.header.data[name]
            self._prompts[key] = load(config, split, limit, f"data.{name}", self.say)
            if config.external is not None:
                file = locate(config.external, f"data.{name}.external")
                self._prompts[key] = add_transcripts(self._prompts[key], file)
            if not self._prompts[key]:
                raise ValueError(f"{place}: data set '{name}', split '{split}' has no rows")
        self.parents[Parent("data", name, split=split)] = None
        return self._prompts[key]

    def lookup(self, writer: str) -> Lookup:
        """Return a function from (data set, split) to the prompts that `writer`, a stage or the path of its file, could choose
        from: a file of samples names its prompts by their ids alone."""
        is_stage = writer in {stage.base for stage in self.recipe.stages}

        def prompts(data: str, split: str | None) -> list[Prompt]:
            # Of a file from another run nobody knows how many prompts its stage read: all are looked through.
            limit = self.recipe.largest_limit(data, split) if is_stage else None
            return self.read_prompts(data, split, limit)

        return prompts

    def path(self, kind: str, name: str) -> Path:
        """Return the artifact of the stage `name` (in a repeated block of its latest iteration), or `name` as a path."""
        makers = [stage for stage, outcome in self.outcomes.items() if kind in outcome.artifacts]
        maker = latest(name, makers)
        if maker is None and kind == "pairs" and name in self.recipe.header.data:
            return Path(name)  # pairs that are rows of a data set; reading them records the parent
        self.parents[Parent(kind, maker or name, maker is not None)] = None
        if maker is not None:
            return Path(self.outcomes[maker].artifacts[kind])
        # A pretrained model goes by its name; a checkpoint of verl's is merged.
        return on_disk(name) if kind == "model" and folder_of(name) is not None else Path(name)

    def previous(self, stage: Stage, kind: str) -> Path | None:
        """Return the artifact that the iteration before left, for a stage in a repeated block; None if it left none."""
        name = f"{stage.base}@{stage.iteration - 1}"
        outcome = self.outcomes.get(name)
        if outcome is None or kind not in outcome.artifacts:
            return None
        self.parents[Parent(kind, name, True)] = None
        return Path(outcome.artifacts[kind])

    def model(self, name: str | None = None) -> Path:
        """Return the model of the stage `name`, or at that path; without a name the model so far: that of the last stage
        that made one, or else the recipe's."""
        makers = [stage for stage, outcome in self.outcomes.items() if "model" in outcome.artifacts]
        if name is None and not makers:
            model = self.recipe.header.model
            self.parents[Parent("model", "built from scratch" if model.build else model.title)] = None
            return self.initial_model()
        return self.path("model", name or makers[-1])

    def read_by_actors(self, stages: Sequence[Stage]) -> dict[str, str]:
        """Return the paths that actors of `stages` read, wherever they are, each by its place in the recipe: models, and a clip
        of each data set."""
        paths = {"model": str(self.initial_model())}
        paths |= {f"judges.{name}.model": str(on_disk(judge.model)) for name, judge in self.recipe.judges.items()}
        for key in ("model", "teacher"):
            named = {f"{stage.place}.{key}": getattr(stage.config, key, None) or "" for stage in stages}
            paths |= {place: path for place, path in named.items() if os.path.isdir(path)}
        for read in self.recipe.loads():
            clips = [
                clip for prompt in self.read_prompts(read.data, read.split, read.limit)[:1] for clip in prompt.clips
            ]
            paths |= {f"data.{read.data}": clip.path for clip in clips if clip.path}
        return {place: os.path.abspath(path) for place, path in paths.items()}

    def initial_model(self) -> Path:
        """Return the folder of the recipe's model; one that the recipe builds or composes is made on the first call."""
        from models.load import build

        model, folder, seed = self.recipe.header.model, self.out / "initial", self.recipe.header.seed
        if model.build is not None:
            with detect_full_disk(folder):
                return build(model.build, folder, seed)
        if model.compose is not None:
            from models.compose import compose

            with detect_full_disk(folder):
                return compose(model.compose, folder, model.dtype, seed)
        return on_disk(str(model.path))
