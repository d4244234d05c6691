"""Lists the libraries that an environment takes from the system though nothing installs them there.

    .venv/bin/python scripts/system_libraries.py [SITE_PACKAGES]

Every ELF file below site-packages is read. A library that it links to must be in the environment, be one that every
system with Python has, or be installed by `scripts/setup`. Exit code 1 with a line for each that is not.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rl.native_libraries import SYSTEM_PACKAGES, linked_libraries

SYSTEM = re.compile(
    r"(ld-linux-x86-64|ld-linux-aarch64|libc|libm|libmvec|libdl|libpthread|librt|libutil)\.so\.\d"  # glibc
    r"|libgcc_s\.so\.1|libstdc\+\+\.so\.6"  # the compiler's, which Debian's apt and every manylinux wheel need
    r"|libz\.so\.1"  # dpkg and Python need it
    r"|libpython3\.\d+\.so\.1\.0"  # of the interpreter that loads the file
)
"""Libraries of every system with Python."""

DRIVER = re.compile(r"lib(cuda|nvidia-ml|nvcuvid|nvidia-encode)\.so\.1")
"""Libraries of the NVIDIA driver, which belongs to the machine."""

OPTIONAL = {
    "numba/np/ufunc/omppool": "one of numba's thread pools: it takes another where this one does not open",
    "numba/np/ufunc/tbbpool": "one of numba's thread pools: it takes another where this one does not open",
    "nvidia/cu13/lib/libcufile_rdma": "GPUDirect Storage over a network, where there is one",
    "nvidia/nvshmem/lib/nvshmem_": "NVSHMEM's transports between machines: it opens those whose network is there",
    "torchcodec/libtorchcodec_": "FFmpeg, for video; Groundtone reads clips with soundfile",
}
"""Files that may fail to open, by the beginning of their paths, with the reason: nothing in Groundtone opens them, or it
works without them."""

OPENED_BY_NAME = {"soundfile.py": ("_soundfile_data/libsndfile*.so*", "libsndfile.so")}
"""Modules that open a library by its name: where it should lie in the environment (glob), and what they open otherwise."""


def find_shared_libraries(folder: Path) -> Iterator[Path]:
    """Yield every file below `folder` whose name is that of a shared library, without symbolic links."""
    for parent, _, names in os.walk(folder):
        for name in names:
            file = Path(parent, name)
            if re.search(r"\.so($|\.\d)", name) and not file.is_symlink():
                yield file


def find_dependents(site: Path) -> dict[str, list[str]]:
    """Return the libraries that only the system can provide, each with the files of the environment that link to it."""
    files = list(find_shared_libraries(site))
    # By name alone: a library that one package has opened (libtorch.so) serves the others wherever it lies. Intel's
    # wheels put theirs into .venv/lib.
    available = {file.name for file in [*files, *site.parents[1].glob("lib*.so*")]}
    dependents = defaultdict[str, list[str]](list)
    for file in files:
        name = str(file.relative_to(site))
        if name.startswith(tuple(OPTIONAL)):
            continue
        for library in linked_libraries(file):
            if library not in available and not SYSTEM.fullmatch(library) and not DRIVER.fullmatch(library):
                dependents[library].append(name)
    for module, (pattern, library) in OPENED_BY_NAME.items():
        if (site / module).exists() and not any(site.glob(pattern)):
            dependents[library].append(module)
    return dict(dependents)


def main(site: Path) -> int:
    """Print a line for each library that setup does not install; return the exit code."""
    lines = list[str]()
    # Not those that are opened by name: their wheels must bring them.
    setup_libraries = SYSTEM_PACKAGES.keys() - {library for _, library in OPENED_BY_NAME.values()}
    for library, files in sorted(find_dependents(site).items()):
        if library in setup_libraries:
            continue
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        lines.append(
            f"{library}: {files[0]}{more} takes it from the system, where scripts/setup does not install it; pin a wheel "
            "that brings it, or add it to SYSTEM_PACKAGES in rl/native_libraries.py"
        )
    print("\n".join(lines), file=sys.stderr, end="\n" if lines else "")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_path("purelib"))))
