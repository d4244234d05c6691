"""`rl show` and `rl compare`: runs that go on or have ended, from their directories."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from rl.commands.arguments import Json

EVERY_S = 2.0
"""Seconds between two looks at a run that is followed."""

RunDir = Annotated[
    Path | None, typer.Argument(metavar="RUN", help="A run's directory; the newest one in runs/ unless named.")
]
RunDirs = Annotated[list[Path], typer.Argument(metavar="RUN", help="Two or more runs.")]
Follow = Annotated[bool, typer.Option("--follow", help="Show it again and again until the run ends.")]


def show(run_dir: RunDir = None, follow: Follow = False, as_json: Json = False) -> None:
    """Show one run: its stages, how far each came, and what it wrote; or the samples in verl's rollout_data_dir."""
    from rl.config import ConfigError
    from rl.exchange.verl_dump import is_dump
    from rl.report import tables
    from rl.report.run_data import find_newest_run
    from rl.terminal import console, print_json

    if follow and as_json:
        raise ConfigError("--json: prints a run once; leave out --follow")
    run_dir = run_dir or find_newest_run(Path("runs"))
    if is_dump(run_dir):
        return _show_dump(run_dir, as_json)
    if as_json:
        print_json(tables.show_data(run_dir))
    elif follow:
        _follow(run_dir)
    else:
        console().print(tables.show(run_dir))


def _show_dump(folder: Path, as_json: bool) -> None:
    """Print a line for each step of verl's samples."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from rl.exchange.verl_dump import summarise
    from rl.terminal import console, print_json, say, shell_command

    rows = summarise(folder)
    if as_json:
        return print_json({"steps": rows})
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    names = list(dict.fromkeys(name for row in rows for name in row))
    for name in names:
        table.add_column(Text(name.replace("_", " ")), justify="right")
    for row in rows:
        values = (row.get(name) for name in names)
        table.add_row(*("" if v is None else f"{v:.3g}" if isinstance(v, float) else str(v) for v in values))
    console().print(table)
    say(f"another reward on the same samples: {shell_command('rl', 'verifiers', 'replay', folder)} --with REWARD")


def _follow(run_dir: Path) -> None:
    """Show a run until it ends or its process is gone, in place on a terminal; elsewhere only its end."""
    from rich.live import Live

    from rl import signals
    from rl.report import tables
    from rl.run.lock import is_at_work
    from rl.run.summary import read_summary
    from rl.terminal import console, say, shell_command

    again = shell_command("rl", "show", run_dir, "--follow")
    with (
        signals.interruptible(f"the run goes on; look again with: {again}"),
        Live(tables.show(run_dir), console=console(), auto_refresh=False, vertical_overflow="visible") as live,
    ):
        while True:
            goes_on = is_at_work(run_dir)  # asked first: a run says how it ended before it leaves its directory
            live.update(tables.show(run_dir), refresh=True)
            summary = read_summary(run_dir)
            has_ended = summary is not None and summary.status != "running"
            if has_ended or not goes_on:
                break
            time.sleep(EVERY_S)
    if not console().is_terminal:  # there Live leaves the last line open
        console().line()
    if not has_ended:
        say(
            f"{run_dir}: no process is at work there any more, the run was killed; rl run with --resume goes on with it"
        )


def compare(run_dirs: RunDirs, as_json: Json = False) -> None:
    """Show runs side by side: what their recipes differ in, rewards over steps, evaluations with intervals; differences are
    paired where the prompts are the same."""
    from rl.config import ConfigError
    from rl.report import comparison
    from rl.terminal import console, print_json, shell_command

    if len(run_dirs) < 2:
        alone = shell_command("rl", "show", run_dirs[0])
        raise ConfigError(f"rl compare: one run, nothing to compare it with; name another, or use {alone}")
    if as_json:
        print_json(comparison.compare_json(run_dirs))
    else:
        console().print(comparison.compare(run_dirs))
