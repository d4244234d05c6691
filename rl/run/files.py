"""Writing that survives a kill and a full disk: whole files appear at once, and a full disk is one line."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class DiskFull(OSError):
    """No space left where the run is written; what was complete before is untouched."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.ENOSPC, f"{path}: the disk is full; free some space, then go on with --resume")

    def __str__(self) -> str:
        return str(self.strerror)


@contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Turns "no space left" (or a spent quota), from whatever writes inside the block, into `DiskFull`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(path) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it becomes `path` (fsync, rename) when the block ends well, and goes
    when it does not. Raises DiskFull."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with full_disk_named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def disk_errors() -> Iterator[None]:
    """safetensors reports what the system refused as an error of its own; this gives back the OSError it was."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        if (code := re.search(r"\(os error (\d+)\)", str(error))) is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from error


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A jsonl file, one object a line, whole at once. Raises DiskFull."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)


def link(source: str, target: str) -> None:
    """The same file under a second name where the file system can, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
