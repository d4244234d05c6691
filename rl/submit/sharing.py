"""The cluster's side of `rl jobs fetch`: shows a run's files among Ray's logs, which the dashboard hands out."""

from __future__ import annotations

import json
import os
import secrets
import signal
import stat
import threading
from pathlib import Path

MARK = "groundtone files "
"""Beginning of the line that lists the files, as JSON."""
LONGEST_S = 6 * 3600.0
"""Seconds after which a folder is shared no more, though nobody has ended the job."""


def share(folder: Path) -> None:
    """Link `folder` into the folder of Ray's logs that this job writes to, list its files in a line, and wait until the job is
    stopped. Nothing is copied, and the link ends with the job."""
    folder = Path(os.path.expandvars(folder)).expanduser()
    if not (folder / "recipe.yaml").is_file():
        print(MARK + json.dumps({"problem": f"no run in {folder}"}), flush=True)
        return
    # Ray has the job write its output into the folder of its logs, so that stdout leads there.
    logs = Path(os.readlink("/proc/self/fd/1")).parent
    link = logs / f"groundtone-{secrets.token_hex(16)}"
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    link.symlink_to(folder.resolve())
    try:
        print(MARK + json.dumps({"link": link.name, "files": list_files(folder)}), flush=True)
        ended.wait(LONGEST_S)
    finally:
        link.unlink()


def list_files(folder: Path) -> list[tuple[str, int, float]]:
    """Return (relative path, bytes, time of change) of every file below a folder, as it is now."""
    files: list[tuple[str, int, float]] = []
    for path in sorted(folder.rglob("*")):
        try:
            status = path.stat()  # of what a link within the run leads to
        except FileNotFoundError:  # a run that goes on has just removed it
            continue
        if stat.S_ISREG(status.st_mode):
            files.append((str(path.relative_to(folder)), status.st_size, status.st_mtime))
    return files
