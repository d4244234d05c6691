"""Shared libraries made for a test."""

from __future__ import annotations

import subprocess
from pathlib import Path


def built(file: Path, needs: str | None = None) -> Path:
    """Return an empty shared library; with `needs`, one that links to a library of that name, which is nowhere."""
    file.parent.mkdir(parents=True, exist_ok=True)
    links = []
    if needs:
        other = file.parent / "elsewhere"
        subprocess.run(["gcc", "-shared", "-x", "c", "/dev/null", f"-Wl,-soname,{needs}", "-o", other], check=True)
        links = ["-Wl,--no-as-needed", str(other)]
    subprocess.run(["gcc", "-shared", "-x", "c", "/dev/null", "-x", "none", *links, "-o", file], check=True)
    if needs:
        other.unlink()
    return file
