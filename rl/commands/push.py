"""`rl push`: publish a run's model with a card."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rl.publishing.folder import Upload

FOLDER = "hub"
"""Folder within a run that a dry run writes."""

RunDir = Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory.")]
Repository = Annotated[str, typer.Argument(metavar="REPO", help="OWNER/NAME on the hub.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Write the folder and show it; no network, no token.")]
Out = Annotated[Path | None, typer.Option(help="The folder that a dry run writes; RUN/hub unless said otherwise.")]
Private = Annotated[bool, typer.Option("--private", help="Make the repository private where it is new.")]
Adapter = Annotated[
    bool,
    typer.Option("--adapter", help="Of a run that trained by LoRA: its adapter in peft's format, not all weights."),
]
Licence = Annotated[
    str | None, typer.Option(help="The model's licence (default: the base model's, where it is known).")
]


def push(
    run: RunDir,
    repository: Repository,
    dry_run: DryRun = False,
    out: Out = None,
    private: Private = False,
    adapter: Adapter = False,
    licence: Licence = None,
) -> None:
    """Publish a run's model: weights or adapter, recipe, and a card with results, sources and licences."""
    from rl.config import ConfigError
    from rl.publishing.folder import prepare, upload
    from rl.terminal import say

    if out is not None and not dry_run:
        raise ConfigError("--out: only --dry-run writes a folder that stays")
    if dry_run:
        folder = out or run / FOLDER
        if out is None and (folder / "README.md").is_file():
            shutil.rmtree(folder)  # of an earlier dry run
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"{folder}: exists already; remove it, or name another with --out")
        _show(prepare(run, repository, folder, licence, adapter), repository)
        return say(f"nothing was uploaded; read {folder / 'README.md'}, then leave out --dry-run")
    # Within the run, on the disk of its model: the large weights can be linked there and need not be copied.
    with tempfile.TemporaryDirectory(prefix=".hub-", dir=run if run.is_dir() else None) as scratch:
        prepared = prepare(run, repository, Path(scratch) / FOLDER, licence, adapter)
        _show(prepared, repository)
        say(f"uploaded to {upload(prepared, repository, private)}")


def _show(prepared: Upload, repository: str) -> None:
    """Show what is uploaded."""
    from rl.terminal import console, say, two_columns

    console().print(two_columns(repository, [(path, f"{count:,} bytes") for path, count in prepared.files]))
    if prepared.licence is None:
        say("licence    none: --licence names one, such as apache-2.0")
    else:
        say(
            f"licence    {prepared.licence}"
            + (", the base model's; --licence names another" if prepared.is_inherited else "")
        )
