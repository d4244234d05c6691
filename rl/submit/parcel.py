"""The working directory of a job while it is filled, and a line about everything that is not sent along."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from rl.config import ConfigError

MAX_BYTES = 16 << 20
"""Largest data file, or folder of them, that is packed."""
MAX_TOTAL_BYTES = 400 << 20
"""Most data that are packed; Ray's own limit for the whole working directory is 500 MiB."""
FIX = "name a path that the cluster's machines share"
"""Fix for a file that is not sent."""


class Parcel:
    """Files on their way to the cluster.

    Example: `parcel.add_path("words.txt", Path.cwd(), "reward.parts[0].args")` copies a small file to the same relative
    path, and adds a line to `parcel.warnings` about one that is too large.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.warnings: list[str] = []
        self.elsewhere: list[str] = []
        """Absolute paths that exist here, each with its place: nobody knows whether the cluster has them."""
        self._sources: dict[Path, Path] = {}
        """Path in the parcel -> the file that it is a copy of."""
        self._bytes = 0

    @property
    def notes(self) -> list[str]:
        """All warnings; the last line names the absolute paths that must be on the cluster too."""
        if not self.elsewhere:
            return self.warnings
        paths = ", ".join(dict.fromkeys(self.elsewhere))
        return [*self.warnings, f"absolute paths are not sent along, the cluster's machines must have them: {paths}"]

    def add_module(self, file: Path) -> bool:
        """Copy a Python file under its own name; return whether it is new. Raises ConfigError for another one of that name."""
        target = self.folder / file.name
        if target.exists():
            if target.read_bytes() != file.read_bytes():
                raise ConfigError(f"{file}: another {file.name} is sent along already; rename one of them")
            return False
        shutil.copy(file, target)
        return True

    def add_path(self, path: str, base: Path, place: str) -> None:
        """Copy a small file or folder of `base` to the same relative path, or warn that it stays behind. An absolute path is
        only noted. Nothing happens where there is no such file."""
        file = base / os.path.expanduser(os.path.expandvars(path))
        if not os.path.exists(file):  # unlike Path.exists it answers for a text that is too long for a name
            return
        if not is_relative(path):
            self.elsewhere.append(f"{place} '{path}'")
        elif why := self.find_obstacle(path, base):
            self.warn(place, path, why)
        else:
            self._copy(file, self.folder / path)

    def warn(self, place: str, path: str, why: str = "is relative and is not sent along") -> None:
        """Warn that a file stays behind."""
        self.warnings.append(f"{place}: '{path}' {why}; {FIX}")

    def find_obstacle(self, path: str, base: Path) -> str | None:
        """Return why a file or folder of `base` cannot be sent along, or None if it can."""
        file = base / path
        if not file.resolve().is_relative_to(base.resolve()):  # `../words.jsonl` has no place in the job's folder
            return "is relative, lies outside of the folder that is sent, and is not sent along"
        if (file / "config.json").is_file():
            return "is relative and a model, and is not sent along"
        other = self._sources.get(self.folder / path)
        if other is not None and file.is_file() and other.read_bytes() != file.read_bytes():
            return f"is relative, another file of that name is sent ({other}), and this one is not"
        size = _size(file)
        if size > MAX_BYTES:
            return f"is relative, larger than {MAX_BYTES >> 20} MiB, and is not sent along"
        if self._bytes + size > MAX_TOTAL_BYTES:
            return f"is relative, would make the job larger than {MAX_TOTAL_BYTES >> 20} MiB, and is not sent along"
        return None

    def _copy(self, file: Path, target: Path) -> None:
        for source in [file] if file.is_file() else sorted(file.rglob("*")):
            copy = target / source.relative_to(file) if source != file else target
            if source.is_file() and copy not in self._sources and "__pycache__" not in copy.parts:
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, copy)
                self._sources[copy] = source
                self._bytes += source.stat().st_size


def is_relative(path: str) -> bool:
    """Return whether a path of a recipe begins at the working directory."""
    return not path.startswith(("/", "~", "$"))


def _size(path: Path) -> int:
    """Return the bytes of a file, or of the files in a folder as far as `MAX_BYTES` and one more."""
    if path.is_file():
        return path.stat().st_size
    total = 0
    for file in path.rglob("*"):  # a large folder is not walked to its end
        total += file.stat().st_size if file.is_file() else 0
        if total > MAX_BYTES:
            break
    return total
