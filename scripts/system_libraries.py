"""List the libraries that an environment takes from the system though nothing brings them there.

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

BASE = re.compile(
    r"(ld-linux-x86-64|ld-linux-aarch64|libc|libm|libmvec|libdl|libpthread|librt|libutil)\.so\.\d"  # glibc
    r"|libgcc_s\.so\.1|libstdc\+\+\.so\.6"  # the compiler's, which Debian's apt and every manylinux wheel lean on
    r"|libz\.so\.1"  # dpkg's and Python's own
    r"|libpython3\.\d+\.so\.1\.0"  # of the interpreter that loads it
)
"""Libraries of every system with Python."""

DRIVER = re.compile(r"lib(cuda|nvidia-ml|nvcuvid|nvidia-encode)\.so\.1")
"""Libraries of the NVIDIA driver, which belongs to the machine."""

OPTIONAL = {
    "numba/np/ufunc/omppool": "numba's choice of threads: it looks for another where this does not open",
    "numba/np/ufunc/tbbpool": "the same",
    "nvidia/cu13/lib/libcufile_rdma": "GPUDirect Storage over a network, where there is one",
    "nvidia/nvshmem/lib/nvshmem_": "NVSHMEM's ways to other machines: it opens those whose network is there",
    "torchcodec/libtorchcodec_": "FFmpeg, for video; soundfile reads our clips",
}
"""Files that only lie there, by the beginning of their paths: nothing of ours opens them, or does without."""

OPENED_BY_NAME = {"soundfile.py": ("_soundfile_data/libsndfile*.so*", "libsndfile.so")}
"""Modules that open a library by its name, where it should lie in the environment, and what they open otherwise."""


def elf_files(folder: Path) -> Iterator[Path]:
    """Yield every file whose name is that of a shared library, links apart."""
    for parent, _, names in os.walk(folder):
        for name in names:
            file = Path(parent, name)
            if re.search(r"\.so($|\.\d)", name) and not file.is_symlink():
                yield file


def leanings(site: Path) -> dict[str, list[str]]:
    """Return the libraries that only the system can bring, and which files of the environment want each."""
    files = list(elf_files(site))
    # what a package opens first serves the others by its name (libtorch.so), wherever it lies; .venv/lib has Intel's
    here = {file.name for file in [*files, *site.parents[1].glob("lib*.so*")]}
    wanted = defaultdict[str, list[str]](list)
    for file in files:
        name = str(file.relative_to(site))
        if name.startswith(tuple(OPTIONAL)):
            continue
        for library in linked_libraries(file):
            if library not in here and not BASE.fullmatch(library) and not DRIVER.fullmatch(library):
                wanted[library].append(name)
    for module, (brought, library) in OPENED_BY_NAME.items():
        if (site / module).exists() and not any(site.glob(brought)):
            wanted[library].append(module)
    return dict(wanted)


def main(site: Path) -> int:
    """Print what is wanted of the system and not installed by setup."""
    lines = list[str]()
    installed = SYSTEM_PACKAGES.keys() - {library for _, library in OPENED_BY_NAME.values()}
    for library, files in sorted(leanings(site).items()):
        if library in installed:
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
