"""File writes that survive a kill and a full disk: a file appears whole or not at all, a full disk is a one-line error."""

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


class DiskFull(OSError):
    """Error for a full disk or a spent quota where the run is written; files that were complete before are untouched."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.ENOSPC, f"{path}: the disk is full; free some space, then go on with --resume")
        self.path = path

    def __str__(self) -> str:
        return str(self.strerror)

    def __reduce__(self) -> tuple[type[DiskFull], tuple[Path]]:
        # OSError's own would call DiskFull(errno, text); Ray pickles what a worker raises.
        return DiskFull, (self.path,)


@contextmanager
def detect_full_disk(path: Path) -> Iterator[None]:
    """Raise `DiskFull(path)` for "no space left" or a spent quota in the block, whichever library or process met it.

    A DiskFull from inside the block, which names the file more precisely, passes through.
    """
    try:
        yield
    except (DiskFull, ValueError):  # a ValueError may quote "[Errno 28]" from a file and is about its content
        raise
    except Exception as error:
        if _system_error(error) not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(path) from error


def _system_error(error: Exception) -> int | None:
    """Return the errno behind an exception, or None if there is none."""
    error = getattr(error, "cause", None) or error  # Ray wraps what a worker raised
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    # safetensors, tokenizers (Rust) and shutil.copytree give the number in their text alone.
    match = re.search(r"\(os error (\d+)\)|\[Errno (\d+)\]", str(error))
    return int(match[1] or match[2]) if match else None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what the block writes there becomes `path` when the block succeeds.

    When it fails, the temporary file is deleted and `path` stays as it was. Raises DiskFull.
    """
    temporary = path.with_name(f".{path.name}.{threading.get_native_id()}.tmp")
    try:
        with detect_full_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())  # before the rename, or a power cut may leave an empty file under `path`
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` to fill; it replaces `path` when the block succeeds. Raises DiskFull."""
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with detect_full_disk(path):
            temporary.mkdir(parents=True)
            yield temporary
            shutil.rmtree(path, ignore_errors=True)
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write the rows to `path`, one JSON object a line; the file appears whole. Raises DiskFull."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)


def link(source: str, target: str) -> None:
    """Hard-link `source` to `target` where the file system can, else copy it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
