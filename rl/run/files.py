"""File writes that survive a kill and a full disk: a file appears whole or not at all, a full disk is a one-line error."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SHORTAGES = {
    "space": "the disk is full; free some space",
    "inodes": "the disk has no inode left for another file, though it may have space; delete files you do not need, many small ones first",
    "quota": "your disk quota is used up; delete files of yours or have it raised",
}
"""Messages for each thing that a disk may be short of, with the fix."""


class DiskFull(OSError):
    """Error for a disk without space, or inodes, or quota, where the run is written; files that were complete before are
    untouched."""

    def __init__(self, path: Path, shortage: str = "space") -> None:
        """`shortage` is a key of `SHORTAGES`."""
        number = errno.EDQUOT if shortage == "quota" else errno.ENOSPC
        super().__init__(number, f"{path}: {SHORTAGES[shortage]}, then go on with --resume")
        self.path, self.shortage = path, shortage

    def __str__(self) -> str:
        return str(self.strerror)

    def __reduce__(self) -> tuple[type[DiskFull], tuple[Path, str]]:
        # OSError's own would call DiskFull(errno, text); Ray pickles what a worker raises.
        return DiskFull, (self.path, self.shortage)


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
        number = _system_error(error)
        if number not in (errno.ENOSPC, errno.EDQUOT):
            raise
        shortage = "quota" if number == errno.EDQUOT else "space"
        raise DiskFull(path, "inodes" if shortage == "space" and _lacks_inodes(path) else shortage) from error


def _lacks_inodes(path: Path) -> bool:
    """Return whether the file system of `path` can take no further file."""
    while not path.exists() and path != path.parent:  # what could not be created is not there
        path = path.parent
    try:
        disk = os.statvfs(path)
    except OSError:
        return False
    return disk.f_files > 0 and disk.f_favail == 0  # some file systems count no inodes: 0 of 0


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
    # By the kernel's id of the thread, which is no other's on this machine: two writers of one file do not share it.
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
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):  # of a process that was killed while it wrote
        if leftover.is_dir():  # not a file of another name that is being written
            shutil.rmtree(leftover, ignore_errors=True)
    temporary = temporary_folder(path)
    try:
        with detect_full_disk(path):
            temporary.mkdir(parents=True)
            yield temporary
            # A folder cannot be renamed onto one that holds something. A kill between the two leaves none, never half
            # of one.
            shutil.rmtree(path, ignore_errors=True)
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def temporary_folder(path: Path) -> Path:
    """Return a path beside `path` that no earlier attempt had: a rank on a node that was cut off may still be writing the files of
    its own attempt, and must not find another one's folder under that name."""
    return path.with_name(f".{path.name}.{secrets.token_hex(3)}.tmp")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write the rows to `path`, one JSON object a line; the file appears whole. Raises DiskFull."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)


def drop_torn_line(path: Path) -> None:
    """Cut off a last line that a kill has torn, so that the next one begins on a line of its own."""
    if not path.is_file():
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:  # from the end: such a file may be larger than the memory
            start = max(0, end - (1 << 20))
            file.seek(start)
            if (newline := file.read(end - start).rfind(b"\n")) >= 0:
                end = start + newline + 1
                break
            end = start
        file.truncate(end)


def link(source: str, target: str) -> None:
    """Hard-link `source` to `target` where the file system can, else copy it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
