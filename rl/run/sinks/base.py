"""Records that a run gives its sinks, and the class that every sink extends."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rl.json_files import read_object
from rl.run.files import replacing

FOLDER = "trackers"
"""Folder under the run's directory for what sinks remember, a JSON file for each, and for files of theirs."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One recorded sample, as text."""

    prompt: str
    text: str
    """The model's whole turn."""
    answer: str | None
    score: float | None
    """Score of the sample; None where its verdict is an error."""
    reason: str
    clips: tuple[Path, ...] = ()
    """Files of the sounds in the prompt."""


@dataclass(slots=True)
class RunFacts:
    """The run that a sink records."""

    name: str
    """Name of the recipe."""
    folder: Path
    """The run's directory."""
    config: Mapping[str, object]
    """The recipe, without secrets."""
    provenance: Mapping[str, object]
    """Versions of packages, code and machine."""
    say: Callable[[str], None] = print
    sink: str = ""
    """Name of the sink."""
    memory: dict[str, object] = field(default_factory=dict[str, object])
    """Notes that the sink keeps of this run from one process to the next, such as the run's id at a service."""

    @property
    def files(self) -> Path:
        """Folder for files of the sink's own."""
        return self.folder / FOLDER / self.sink

    def remember(self, **values: object) -> None:
        """Keep values for the process that resumes the run."""
        self.memory.update(values)
        path = self.folder / FOLDER / f"{self.sink}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(self.memory) + "\n")

    def recall(self) -> None:
        """Read what an earlier process remembered. Raises ValueError for a damaged file."""
        path = self.folder / FOLDER / f"{self.sink}.json"
        if path.exists():
            self.memory = read_object(path, "delete it to begin a new record there")


class Sink:
    """A receiver of a run's records. Extend it, override what is of use, and name the class in a recipe:
    `track: [tensorboard, mine.py:Tracker]`. Each method is called in a thread of the sink's own, one call at a time; an
    error is shown once and never stops the run.

    Example:
        class Tracker(Sink):
            def record(self, stage, step, metrics):
                with open(self.run.folder / "rewards.txt", "a") as file:
                    print(stage, step, metrics.get("reward"), file=file)
    """

    def __init__(self, run: RunFacts) -> None:
        self.run = run

    def record(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Take the numbers of one step."""

    def rewind(self, stage: str, step: int) -> None:
        """Forget what the stage recorded after `step`, if that can be done: a resumed run repeats those steps."""

    def record_samples(self, stage: str, step: int, samples: Sequence[Sample]) -> None:
        """Take some samples of a step, with their scores."""

    def record_table(self, name: str, rows: Sequence[Mapping[str, str | float]]) -> None:
        """Take a table, such as the run's evaluations; all rows have the same columns."""

    def record_artifact(self, path: Path) -> None:
        """Take a file that the run has written, such as its report."""

    def finish(self, status: str) -> None:
        """End the record: the run is `done`, `failed` or `interrupted`."""


class OnceOnlySink(Sink):
    """A sink of a service that cannot forget: a step that a resumed run repeats is not sent again."""

    def is_new(self, kind: str, stage: str, step: int) -> bool:
        """Return whether no record of that kind and step was sent before; if so it counts as sent."""
        sent = dict(self._sent)
        if step <= sent.get(f"{kind}/{stage}", -1):
            return False
        # Before it is sent: a kill in between costs this record, where the other order would show it twice.
        self.run.remember(sent=sent | {f"{kind}/{stage}": step})
        return True

    @property
    def _sent(self) -> dict[str, int]:
        sent = self.run.memory.get("sent")
        return {str(key): int(step) for key, step in sent.items()} if isinstance(sent, dict) else {}


def flatten(config: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return a nested mapping as {`a.b`: value}."""
    flat: dict[str, object] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
