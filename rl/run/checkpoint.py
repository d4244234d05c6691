"""Checkpoints that are whole or absent: written aside, checked by a manifest, renamed into place."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rl.run.files import full_disk_named
from rl.run.provenance import write_inside

STATE, MANIFEST = "state.json", "manifest.json"
BEST = "best_step"
"""Key of a state: the step of the checkpoint that is the best by evaluation, of it and those before it."""


class Checkpoints:
    """Of one stage, in `folder/step-NNNNNN/`. The newest `keep` stay, and beside them the best one by evaluation that each
    of them names in its state: saved and named at once, it outlives a kill at any moment, and the loss of a newer one."""

    def __init__(
        self,
        folder: Path,
        keep: int = 2,
        warn: Callable[[str], None] = print,
        record: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        """`record` tells what the provenance of each says, its counts apart."""
        self.folder, self.keep, self.warn, self.record = folder, keep, warn, record

    def save(
        self,
        step: int,
        state: Mapping[str, Any],
        write: Callable[[Path], None],
        counts: Mapping[str, int] | None = None,
    ) -> Path:
        """`write(folder)` puts the large files there; `state` (plain JSON) is saved beside them, and where it comes from,
        with the `counts` so far. Raises DiskFull, and leaves every earlier checkpoint as it was. Later ones, of a future
        that was gone back on, are dropped."""
        final, temporary = self._at(step), self.folder / f".step-{step:06d}.tmp"
        for unfinished in self.folder.glob(".step-*.tmp"):
            shutil.rmtree(unfinished)
        try:
            with full_disk_named(final):
                temporary.mkdir(parents=True)
                write(temporary)
                (temporary / STATE).write_text(json.dumps({"step": step, **state}, indent=1))
                if self.record is not None:
                    record = {"kind": "checkpoint", **self.record(), "counts": counts or {}}
                    write_inside(temporary, final.name, record)
                files = sorted(p for p in temporary.rglob("*") if p.is_file())
                manifest = {str(p.relative_to(temporary)): _checksum(p) for p in files}
                (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1))
                _flush(temporary)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        _flush(self.folder)
        self._prune(step)
        return final

    def latest(self) -> tuple[Path, dict[str, Any]] | None:
        """(folder, state) of the newest checkpoint that is whole; one that is not is named in a warning and passed
        over. None when there is none."""
        for step in sorted(self._steps(), reverse=True):
            folder = self._at(step)
            if (damage := _damage(folder)) is None:
                return folder, json.loads((folder / STATE).read_text())
            self.warn(f"{folder}: {damage}; going back to the checkpoint before it")
        return None

    def _at(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}"

    def _steps(self) -> list[int]:
        return [int(p.name.removeprefix("step-")) for p in self.folder.glob("step-*") if p.is_dir()]

    def _prune(self, newest: int) -> None:
        steps = sorted(self._steps())
        kept = [step for step in steps if step <= newest][-self.keep :]
        best = [_best(self._at(step)) for step in kept]
        for step in steps:
            if step > newest or step not in (*kept, *best):
                shutil.rmtree(self._at(step))


def _best(folder: Path) -> int | None:
    """That a checkpoint, perhaps a damaged one, names."""
    try:
        return json.loads((folder / STATE).read_text()).get(BEST)
    except (OSError, ValueError):
        return None


def _damage(folder: Path) -> str | None:
    try:
        manifest: dict[str, int] = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return f"{MANIFEST} is missing or unreadable"
    for name, checksum in manifest.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if _checksum(folder / name) != checksum:
            return f"{name} is damaged"
    return None


def _checksum(file: Path) -> int:
    value = 0
    with file.open("rb") as content:
        while block := content.read(1 << 24):
            value = zlib.crc32(block, value)
    return value


def _flush(folder: Path) -> None:
    """To the disk: all that is below it, then the directory that names it."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
