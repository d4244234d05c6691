"""Commands that a run suggests when it ends or is interrupted, built from the command that started it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rl.config import ConfigError
from rl.recipe import load
from rl.runner.run_dir import free_folder
from rl.terminal import shell_command
from rl.workers.placement import SUBMITTED

if TYPE_CHECKING:
    from rl.recipe import Recipe


@dataclass(frozen=True)
class RunCommand:
    """The command that starts a run: `rl run`, or `rl submit` for one that was sent to a cluster.

    Example:
        >>> command = RunCommand("quickstart", ("rlvr.steps=20",), Path("runs/short"))
        >>> command.line()
        'rl run quickstart rlvr.steps=20 --out runs/short'
        >>> command.with_change("seed=1", Path("runs/other")).line()
        'rl run quickstart rlvr.steps=20 seed=1 --out runs/other'
    """

    recipe: str
    """Recipe as the user gave it: a file or a name."""
    overrides: tuple[str, ...]
    out: Path
    seeds: int = 1
    address: str | None = None
    """Address of the cluster that the recipe was sent to."""

    def line(self, resume: bool = False) -> str:
        """Return the command line; with `resume` that which goes on with the run in `out`."""
        options: list[object] = ["--resume"] if resume else []
        options += ["--out", self.out]
        if self.seeds > 1:
            options += ["--seeds", self.seeds]
        if self.address is not None:
            return shell_command("rl", "submit", self.recipe, *self.overrides, "--address", self.address, *options)
        return shell_command("rl", "run", self.recipe, *self.overrides, *options)

    def with_change(self, override: str, out: Path) -> RunCommand:
        """Return the command of a run that differs by one override."""
        key = override.partition("=")[0]
        others = [other for other in self.overrides if other.partition("=")[0] != key]
        return replace(self, overrides=(*others, override), out=out)

    def folder_of(self, seed: int) -> Path:
        """Return the directory of the run with that seed."""
        return self.out / f"seed-{seed}" if self.seeds > 1 else self.out


def read_command(
    recipe: str, overrides: Sequence[str], out: Path, seeds: int = 1, environment: Mapping[str, str] = os.environ
) -> RunCommand:
    """Return the command that started this run: `rl run` with these arguments, or the `rl submit` whose job it is."""
    if SUBMITTED not in environment:
        return RunCommand(recipe, tuple(overrides), out, seeds)
    sent = json.loads(environment[SUBMITTED])
    return RunCommand(sent["recipe"], tuple(sent["overrides"]), out, seeds, sent["address"])


def suggest_next_steps(command: RunCommand, recipe: Recipe) -> list[str]:
    """Return lines with the finished run's files, and commands worth trying next: the same run with one change, and the
    comparison of both."""
    run_dir, next_out = command.folder_of(recipe.header.seed), free_folder(command.out, is_numbered=True)
    lines: list[tuple[str, object]] = []
    if command.address is not None:
        lines.append(("where", "on the cluster's storage; use the paths below on a machine that sees it"))
    lines.append(("report", run_dir / "report.html"))
    if (run_dir / "model").is_dir():
        lines.append(("model", run_dir / "model"))
    lines.append(("look", shell_command("rl", "show", run_dir)))
    change = _suggest_change(command, recipe)
    if change is not None:
        # With the same recipe, overrides and seeds otherwise, or the comparison would not be one of this change.
        after = command.with_change(change, next_out)
        seed = recipe.header.seed + change.startswith("seed=")
        lines.append(("try", after.line()))
        lines.append(("then", shell_command("rl", "compare", run_dir, after.folder_of(seed))))
    return [f"{name:8}{value}" for name, value in lines]


def _suggest_change(command: RunCommand, recipe: Recipe) -> str | None:
    """Return an override that runs the last RL stage with another algorithm, or else the recipe with another seed; None
    where neither can be loaded."""
    changes = [f"seed={recipe.header.seed + 1}"]
    # A change of algorithm is the comparison that says most.
    rl_stages = [stage for stage in recipe.stages if hasattr(stage.config, "algorithm")]
    if rl_stages:
        algorithm = "rloo" if rl_stages[-1].config.algorithm == "grpo" else "grpo"
        changes.insert(0, f"{rl_stages[-1].base}.algorithm={algorithm}")
    for change in changes:
        try:
            load(recipe.source, [change], recipe.folder)  # other settings of the stage may forbid the algorithm
        except ConfigError:
            continue
        return change
    return None
