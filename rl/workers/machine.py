"""The machine that the command runs on, found out within milliseconds, without importing torch."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from rl.gpu_requirements import read_driver_file
from rl.nvml import LIBRARY, read_driver
from rl.workers.placement import Devices

PACKAGES = ("rl", "models", "rewards", "rollouts")


@dataclass(frozen=True)
class Machine:
    """The CPUs, memory and NVIDIA GPUs of one machine."""

    cpus: int
    gpus: int
    """GPUs that CUDA_VISIBLE_DEVICES leaves."""
    memory: int
    """Bytes of main memory (of the machine, or those its container may use)."""
    gpu_memory: int = 0
    """Bytes of the smallest GPU; 0 where the driver does not say."""
    gpu_free: int = 0
    """Bytes that are free on the GPU with the least; 0 where the driver does not say."""
    driver: str = ""
    """Version of the NVIDIA driver; empty without one."""

    @classmethod
    def detect(cls, root: Path = Path("/"), nvml: str = LIBRARY) -> Machine:
        """Return the machine that this process runs on. `root` has its /proc and /sys, `nvml` is the driver's library."""
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        cgroup_limit = root / "sys/fs/cgroup/memory.max"
        if cgroup_limit.is_file():
            text = cgroup_limit.read_text().strip()
            if text.isdigit():  # else it is "max"
                memory = min(memory, int(text))
        driver = read_driver(nvml)
        version = driver.version or read_driver_file(root / "proc/driver/nvidia/version")
        # As Ray, which asks NVML too: under WSL and in some containers /proc lists none.
        gpus = len(driver.gpus) if driver.version else _listed_gpus(root / "proc/driver/nvidia/gpus")
        smallest = min((gpu.total for gpu in driver.gpus), default=0)
        free = min((gpu.free for gpu in driver.gpus), default=0)
        return cls(os.cpu_count() or 1, gpus, memory, smallest, free, version)

    @property
    def devices(self) -> Devices:
        """The devices of this machine."""
        return Devices(1, self.gpus, self.cpus, float(self.gpu_memory))


def _listed_gpus(folder: Path) -> int:
    """Return the number of GPUs that the kernel module lists and CUDA_VISIBLE_DEVICES leaves."""
    gpus = len(list(folder.iterdir())) if folder.is_dir() else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:  # empty or -1 hides all GPUs
        gpus = min(gpus, sum(bool(name.strip()) and not name.startswith("-") for name in visible.split(",")))
    return gpus


def find_shadowing_modules() -> list[str]:
    """Return the files of packages or modules on the path that hide one of ours.

    Ray's workers search the working directory first, so they would import these in place of ours. A folder without
    `__init__.py` is no package and does no harm.
    """
    root = Path(__file__).resolve().parents[2]
    specs = [PathFinder.find_spec(name, [str(Path.cwd()), *sys.path]) for name in PACKAGES]
    origins = [Path(spec.origin).resolve() for spec in specs if spec and spec.origin]
    return [str(origin) for origin in origins if origin.parent.parent != root]
