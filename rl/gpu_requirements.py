"""Requirements of a machine with NVIDIA GPUs beside packages: a driver that is new enough, a compiler, Python's headers, a CUDA build
of torch. `scripts/setup` asks before there are packages, `rl check` and `rl run` on every machine with GPUs."""

from __future__ import annotations

import os
import re
import shutil
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

OLDEST_DRIVER = 580
"""Oldest driver that runs programs of CUDA 13, for which the pinned torch and vLLM are built."""
NEWEST_SETUPTOOLS = 80
"""On Python 3.12 vLLM asks for setuptools below 81."""
DRIVER_FILE = Path("/proc/driver/nvidia/version")


def find_missing(driver: str, headers: Path | None = None, python: tuple[int, int] = sys.version_info[:2]) -> list[str]:
    """Return a line for each thing that is missing on this machine with GPUs. `driver` is the version of its driver (empty where
    it is not known), `headers` the folder of Python.h."""
    lines: list[str] = []
    if (major := re.match(r"\d+", driver)) and int(major[0]) < OLDEST_DRIVER:
        lines.append(
            f"driver: NVIDIA driver {driver} is too old for CUDA 13, so that torch would see no GPU; install {OLDEST_DRIVER} or "
            "newer"
        )
    # Triton compiles its kernels' launchers on this machine: triton/runtime/build.py.
    if not any(shutil.which(name) for name in (os.environ.get("CC", ""), "gcc", "clang") if name):
        lines.append(
            "packages: no C compiler (gcc or clang), which Triton needs on GPUs; apt-get install gcc libc6-dev"
        )
    headers = headers or Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").is_file():
        name = f"python{python[0]}.{python[1]}-dev"
        lines.append(f"packages: no Python.h in {headers}, which Triton needs on GPUs; apt-get install {name}")
    return lines + _packages(python)


def torch_build() -> str | None:
    """Return the CUDA version that the installed torch is built for; empty for a CPU build, None without torch. torch is not
    imported."""
    spec = find_spec("torch")
    file = Path(spec.origin).parent / "version.py" if spec and spec.origin else None
    if file is None or not file.is_file():
        return None
    match = re.search(r"^cuda\b[^=]*=\s*['\"]([\d.]+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else ""


def _packages(python: tuple[int, int]) -> list[str]:
    """Return a line for each installed package that does not suit GPUs."""
    lines: list[str] = []
    if torch_build() == "":
        lines.append(
            "packages: torch is a build for CPUs, and there are GPUs here; scripts/setup --profile gpu, or hide them: "
            "CUDA_VISIBLE_DEVICES=''"
        )
    try:
        setuptools = version("setuptools")
    except PackageNotFoundError:
        return lines
    if python >= (3, 12) and int(setuptools.split(".")[0]) > NEWEST_SETUPTOOLS:
        lines.append(f"packages: setuptools {setuptools}, and vLLM wants one below 81; pip install 'setuptools<81'")
    return lines


def read_driver_file(file: Path = DRIVER_FILE) -> str:
    """Return the version in the file of the kernel module (`NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05 …`); empty
    where there is none."""
    try:
        match = re.search(r"\b(\d{3,}(?:\.\d+)+)\b", file.read_text(errors="replace"))
    except OSError:
        return ""
    return match[1] if match else ""


if __name__ == "__main__":
    for line in find_missing(read_driver_file()):
        print(line, file=sys.stderr)
