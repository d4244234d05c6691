"""What is present where the command runs, told within milliseconds."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

PACKAGES = ("rl", "models", "rewards", "rollouts")


@dataclass(frozen=True)
class Machine:
    """CPUs, NVIDIA GPUs, and bytes of memory (of the machine, or what its container may use)."""

    cpus: int
    gpus: int
    memory: int

    @classmethod
    def here(cls) -> Machine:
        most, limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), Path("/sys/fs/cgroup/memory.max")
        if limit.is_file() and (text := limit.read_text().strip()).isdigit():
            most = min(most, int(text))
        visible, driver = os.environ.get("CUDA_VISIBLE_DEVICES"), Path("/proc/driver/nvidia/gpus")
        gpus = len(list(driver.iterdir())) if driver.is_dir() else 0
        if visible is not None:
            gpus = min(gpus, sum(bool(name.strip()) and not name.startswith("-") for name in visible.split(",")))
        return cls(os.cpu_count() or 1, gpus, most)


def shadowed() -> list[str]:
    """Packages and modules of the working directory that bear the name of one of ours. Ray's workers look there first,
    so they would import them in its place. A folder without `__init__.py` is no package and does no harm."""
    ours = Path(__file__).resolve().parents[2]
    found = (PathFinder.find_spec(name, [str(Path.cwd()), *sys.path]) for name in PACKAGES)
    origins = [Path(spec.origin).resolve() for spec in found if spec and spec.origin]
    return [str(origin) for origin in origins if origin.parent.parent != ours]
