"""Decides whether a run that has lost its cluster tries another one, and records what that cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rl.run.checkpoint import Checkpoints
from rl.run.summary import Recovery
from rl.run.tracker import append_warning
from rl.runner.failures import describe_place
from rl.units import many
from rl.workers.loss import FIX

if TYPE_CHECKING:
    from rl.recipe.stage_list import Stage
    from rl.workers.loss import Loss

WARNINGS_OF = "run"
"""Stage under which warnings of recoveries stand in warnings.jsonl: beside a stage's own a rewind to its checkpoint would drop them."""


class Recoveries:
    """The losses of a run that it has recovered from.

    Example: where `begin(loss, …)` returns True the caller builds another cluster, and `end()` records that it stands.
    """

    def __init__(self, retries: int, out: Path, earlier: Sequence[Recovery], say: Callable[[str], None]) -> None:
        """Go on from the `earlier` recoveries of the run, those before it was resumed."""
        self.retries, self.out, self.say = retries, out, say
        self.all = list(earlier)
        self.tries = 0
        """Losses in a row without a new checkpoint in between."""
        self._last_place: tuple[str | None, int] | None = None
        self._open: tuple[Recovery, str, float] | None = None
        """The loss that another cluster is to make up for, its place in words, and when it happened."""

    def begin(self, loss: Loss, stage: Stage | None, step: int | None, folder: Path | None) -> bool:
        """Return whether another cluster is to be tried after a loss, and say so. `folder` is that of the stage (None: before
        the first)."""
        checkpoint = Checkpoints(folder / "checkpoints").newest_step() if folder else 0
        name = stage.name if stage else None
        self.tries = self.tries + 1 if self._last_place == (name, checkpoint) else 1
        self._last_place = name, checkpoint
        if not loss.is_curable or self.tries > self.retries:
            return False
        place = describe_place(stage, step)
        self.say(f"warning: {place}{loss.text}; building the cluster anew, retry {self.tries} of {self.retries}")
        self._open = Recovery(loss.text, name, step, checkpoint, 0.0), place, time.monotonic()
        return True

    def explain(self, loss: Loss, stage: Stage | None, step: int | None) -> str:
        """Return why a loss ends the run and what the user does, in one line."""
        tried = f"; {many(self.tries - 1, 'new cluster')} in a row came no further" if self.tries > 1 else ""
        return f"{describe_place(stage, step)}{loss.text}{tried}; {FIX}"

    def end(self) -> float:
        """Record that the new cluster stands, and say so; return the seconds that it took. 0 where none was lost."""
        if self._open is None:
            return 0.0
        (recovery, place, start_time), self._open = self._open, None
        seconds = time.monotonic() - start_time
        self.all.append(replace(recovery, seconds=seconds))
        start = "the run begins"
        if recovery.stage:
            start = f"on from step {recovery.checkpoint}" if recovery.checkpoint else f"{recovery.stage} begins again"
        text = f"the cluster was built anew in {seconds:.0f} s, retry {self.tries} of {self.retries}; {start}"
        append_warning(self.out, WARNINGS_OF, 0, f"{place}{recovery.error}; {text}")
        self.say(text)
        return seconds
