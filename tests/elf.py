"""Shared libraries built for a test."""

from __future__ import annotations

import subprocess
from pathlib import Path


def build_library(file: Path, needs: str | None = None) -> Path:
    """Write an empty shared library and return its path; with `needs` it links to a library of that name, which does not
    exist."""
    file.parent.mkdir(parents=True, exist_ok=True)
    links = []
    if needs:
        # The linker wants the library to exist; it is deleted below.
        dependency = file.parent / "elsewhere"
        subprocess.run(["gcc", "-shared", "-x", "c", "/dev/null", f"-Wl,-soname,{needs}", "-o", dependency], check=True)
        links = ["-Wl,--no-as-needed", str(dependency)]
    subprocess.run(["gcc", "-shared", "-x", "c", "/dev/null", "-x", "none", *links, "-o", file], check=True)
    if needs:
        dependency.unlink()
    return file
