"""Writing that survives a kill and a full disk: whole files appear at once, and a full disk is one line."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class DiskFull(OSError):
    """No space left where the run is written; what was complete before is untouched."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.ENOSPC, f"{path}: the disk is full; free some space, then go on with --resume")
        self.path = path

    def __str__(self) -> str:
        return str(self.strerror)

    def __reduce__(self) -> tuple[type[DiskFull], tuple[Path]]:  # an OSError would be made anew of number and text
        return DiskFull, (self.path,)


@contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Turns "no space left" (or a spent quota), from whatever writes inside the block and in whichever process, into
    `DiskFull`; one that was named inside keeps its name."""
    try:
        yield
    except (DiskFull, ValueError):
        raise
    except Exception as error:
        if _refused(error) not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(path) from error


def _refused(error: Exception) -> int | None:
    """The number of what the system refused. Ray wraps what a worker raised; safetensors, tokenizers and
    `shutil.copytree` tell the number in words alone."""
    error = getattr(error, "cause", None) or error
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = re.search(r"\(os error (\d+)\)|\[Errno (\d+)\]", str(error))
    return int(found[1] or found[2]) if found else None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it becomes `path` (fsync, rename) when the block ends well, and goes
    when it does not. Raises DiskFull."""
    temporary = path.with_name(f".{path.name}.{threading.get_native_id()}.tmp")
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
def replacing_folder(path: Path) -> Iterator[Path]:
    """Like `replacing`, for a folder: a temporary one beside `path` to fill. Raises DiskFull."""
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with full_disk_named(path):
            temporary.mkdir(parents=True)
            yield temporary
            shutil.rmtree(path, ignore_errors=True)
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
