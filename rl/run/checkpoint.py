"""Checkpoints that are complete or absent: written to a temporary folder, checked by a manifest, renamed into place."""

from __future__ import annotations

import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rl import terminal
from rl.json_files import Fields, read_object
from rl.run.files import detect_full_disk, temporary_folder
from rl.run.provenance import write_provenance_inside

STATE, MANIFEST = "state.json", "manifest.json"
BEST = "best_step"
"""Key of a state: the step of the best checkpoint by evaluation so far."""

State = dict[str, Any]  # JSON values; each stage knows the types of its own keys


class Checkpoints:
    """The checkpoints of one stage, in `folder/step-NNNNNN/`.

    The newest `keep` stay, and with them the best one by evaluation that each of them names in its state: that one is
    never deleted while a checkpoint that a resume may fall back to refers to it.
    """

    def __init__(
        self,
        folder: Path,
        keep: int = 2,
        warn: Callable[[str], None] = terminal.say,
        record: Callable[[], Mapping[str, object]] | None = None,
    ) -> None:
        """Save into `folder`; `record` returns the provenance of a checkpoint, without its counts."""
        self.folder, self.keep, self.warn, self.record = folder, keep, warn, record

    def save(
        self,
        step: int,
        state: Mapping[str, object],
        write: Callable[[Path], None],
        counts: Mapping[str, int] | None = None,
    ) -> Path:
        """Save a checkpoint of `step` and return its folder.

        `write(folder)` puts the large files there; `state` (JSON values) is saved beside them, and the provenance with
        the `counts` so far. Checkpoints of later steps are deleted: they belong to a run that was rewound. Raises
        DiskFull, and then leaves every earlier checkpoint as it was.
        """
        final = self._folder_of(step)
        for leftover in self.folder.glob(".step-*.tmp"):  # of a process that was killed while it saved
            shutil.rmtree(leftover, ignore_errors=True)  # in which a rank that was cut off may still write
        temporary = temporary_folder(final)
        try:
            with detect_full_disk(final):
                temporary.mkdir(parents=True)
                write(temporary)
                (temporary / STATE).write_text(json.dumps({"step": step, **state}, indent=1))
                if self.record is not None:
                    record = {"kind": "checkpoint", **self.record(), "counts": counts or {}}
                    write_provenance_inside(temporary, final.name, record)
                files = sorted(p for p in temporary.rglob("*") if p.is_file())
                manifest = {str(p.relative_to(temporary)): _checksum(p) for p in files}
                (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1))
                # Before the rename: a crash must not leave a final name with unwritten content.
                for path in [*temporary.rglob("*"), temporary]:
                    _flush(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        # There is one where a run was rewound; a folder cannot be renamed onto one that holds something.
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        # The new name stands in this directory, which has to reach the disk as well. It alone: of what else lies in it,
        # such as the leftovers of a rank that was cut off, files may vanish meanwhile.
        _flush(self.folder)
        # Last: until the new one is in its place, the old ones are all that a resume has.
        self._prune(step)
        return final

    def newest_step(self) -> int:
        """Return the step of the newest checkpoint, whole or damaged; 0 without any."""
        return max(self._steps(), default=0)

    def latest(self) -> tuple[Path, State] | None:
        """Return (folder, state) of the newest intact checkpoint, or None if there is none.

        Damaged ones are skipped with a warning.
        """
        for step in sorted(self._steps(), reverse=True):
            folder = self._folder_of(step)
            damage = _find_damage(folder)
            if damage is None:
                return folder, json.loads((folder / STATE).read_text())
            self.warn(f"{folder}: {damage}; going back to the checkpoint before it")
        return None

    def _folder_of(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}"

    def _steps(self) -> list[int]:
        names = [p.name.removeprefix("step-") for p in self.folder.glob("step-*") if p.is_dir()]
        return [int(name) for name in names if re.fullmatch("[0-9]{6,18}", name)]

    def _prune(self, newest: int) -> None:
        steps = sorted(self._steps())
        recent = [step for step in steps if step <= newest][-self.keep :]
        best = [_read_best(self._folder_of(step)) for step in recent]
        for step in steps:
            if step > newest or step not in (*recent, *best):
                shutil.rmtree(self._folder_of(step))


def _read_best(folder: Path) -> int | None:
    """Return the best step that the state in `folder` names, or None, also where the checkpoint is damaged."""
    try:
        return Fields(read_object(folder / STATE, ""), STATE, "").whole(BEST)
    except ValueError:
        return None


def _find_damage(folder: Path) -> str | None:
    """Return what is wrong with the checkpoint in `folder`, or None if every file has its checksum."""
    try:
        manifest = read_object(folder / MANIFEST, "")
    except ValueError:
        return f"{MANIFEST} is missing or unreadable"
    if STATE not in manifest:
        return f"{MANIFEST} does not list {STATE}"
    for name, checksum in manifest.items():
        if not os.path.isfile(folder / name):
            return f"{name} is missing"
        if _checksum(folder / name) != checksum:
            return f"{name} is damaged"
    return None


def _checksum(file: Path) -> int:
    # CRC-32 finds torn writes and bit rot; nobody forges a checkpoint, and hashing gigabytes would delay each save.
    value = 0
    with file.open("rb") as content:
        while block := content.read(1 << 24):  # 16 MiB at a time: a model's file may be larger than memory
            value = zlib.crc32(block, value)
    return value


def _flush(path: Path) -> None:
    """Flush a file, or the names in a directory, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
