"""The machine that the command runs on, found out within milliseconds, without importing torch."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

PACKAGES = ("rl", "models", "rewards", "rollouts")


@dataclass(frozen=True)
class Machine:
    """Number of CPUs and of NVIDIA GPUs, and bytes of memory (of the machine, or those its container may use)."""

    cpus: int
    gpus: int
    memory: int

    @classmethod
    def detect(cls) -> Machine:
        """Return the machine that this process runs on."""
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        cgroup_limit = Path("/sys/fs/cgroup/memory.max")
        if cgroup_limit.is_file():
            text = cgroup_limit.read_text().strip()
            if text.isdigit():  # else it is "max"
                memory = min(memory, int(text))
        driver = Path("/proc/driver/nvidia/gpus")
        gpus = len(list(driver.iterdir())) if driver.is_dir() else 0
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible is not None:  # empty or -1 hides all GPUs
            gpus = min(gpus, sum(bool(name.strip()) and not name.startswith("-") for name in visible.split(",")))
        return cls(os.cpu_count() or 1, gpus, memory)


def find_shadowing_modules() -> list[str]:
    """Return the files of packages or modules on the path that hide one of ours.

    Ray's workers search the working directory first, so they would import these in place of ours. A folder without
    `__init__.py` is no package and does no harm.
    """
    root = Path(__file__).resolve().parents[2]
    specs = [PathFinder.find_spec(name, [str(Path.cwd()), *sys.path]) for name in PACKAGES]
    origins = [Path(spec.origin).resolve() for spec in specs if spec and spec.origin]
    return [str(origin) for origin in origins if origin.parent.parent != root]
