"""Checks that the native libraries of installed packages open on this machine, and names the fix if one does not.

`scripts/setup` imports every package once, in processes of their own; `rl check` and `rl run` check those that a recipe
needs in their own process, where nothing heavy may be imported: hence three ways to check, by what an import costs.
"""

from __future__ import annotations

import ctypes
import importlib
import struct
from importlib.util import find_spec
from pathlib import Path

SYSTEM_PACKAGES = {"libnuma.so.1": "libnuma1", "libsndfile.so": "libsndfile1"}
"""Libraries that a wheel may leave to the system, and the Debian packages that contain them. The environment may depend
on no other: `scripts/system_libraries.py` checks that."""

CHECKED_BY_IMPORT = ("soundfile", "soxr")
"""Packages that are imported, which takes a few hundredths of a second each."""

CHECKED_BY_DLOPEN = {"pyarrow": "lib.*.so"}
"""Packages whose extension (glob in the package's folder) is opened without the package, in a hundredth of a second: the
loader opens the libraries that it links to as well."""

CHECKED_BY_HEADER = {"vllm": "_C*.so"}
"""Packages whose extensions (glob) open only once torch is loaded: what they link to is read from the files."""


def open_error(package: str) -> str | None:
    """Return why the native library of `package` cannot be opened here, in one line, or None if it can. Nothing heavy
    is imported."""
    try:
        if package in CHECKED_BY_IMPORT:
            importlib.import_module(package)
            return None
        for file in _find_extensions(package, CHECKED_BY_DLOPEN.get(package) or CHECKED_BY_HEADER[package]):
            if package in CHECKED_BY_DLOPEN:
                ctypes.CDLL(str(file))
                continue
            # Of system libraries alone: torch's, which are linked to as well, are not found before torch is loaded.
            for library in linked_libraries(file):
                if library in SYSTEM_PACKAGES and not _opens(library):
                    return f"{library}: cannot open shared object file: no such file"
    except (ImportError, OSError) as error:  # whatever a foreign library says when it does not open
        return (str(error).strip() or type(error).__name__).splitlines()[-1]
    return None


def describe_problem(package: str, reason: str) -> str:
    """Return the line that names a package which does not open, and the commands that repair it."""
    fixes = [f"pip install --force-reinstall --no-deps {package}"]
    system = [f"apt-get install {name}" for library, name in SYSTEM_PACKAGES.items() if library in reason]
    if package in CHECKED_BY_HEADER and system:
        fixes = []  # no wheel of it brings the library
    return f"packages: {package} cannot be opened ({reason}); install what is missing: {', or '.join(fixes + system)}"


def require(package: str) -> None:
    """Raise ValueError, in one line with the fix, if `package` cannot be opened here."""
    if reason := open_error(package):
        raise ValueError(describe_problem(package, reason))


def linked_libraries(file: Path) -> list[str]:
    """Return the names of the libraries that an ELF file asks the loader for (DT_NEEDED), in order; of any other file
    none. 64-bit little-endian, as on x86-64 and aarch64. Raise OSError for half a file."""
    try:
        return _linked_libraries(file)
    except (struct.error, StopIteration) as error:
        raise OSError(f"{file}: file too short") from error


def _linked_libraries(file: Path) -> list[str]:
    with open(file, "rb") as elf:
        header = elf.read(64)
        if header[:6] != b"\x7fELF\x02\x01":
            return []
        (start,) = struct.unpack_from("<Q", header, 32)  # e_phoff: where the program headers begin
        size, count = struct.unpack_from("<HH", header, 54)  # e_phentsize, e_phnum
        elf.seek(start)
        table = elf.read(size * count)
        # program headers: type, flags, offset in the file, address, physical address, size in the file
        segments = [struct.unpack_from("<IIQQQQ", table, size * i) for i in range(count)]
        dynamic = next((segment for segment in segments if segment[0] == 2), None)  # PT_DYNAMIC
        if dynamic is None:
            return []
        elf.seek(dynamic[2])
        entries = [struct.unpack("<qQ", elf.read(16)) for _ in range(dynamic[5] // 16)]
        strings = next((value for tag, value in entries if tag == 5), 0)  # DT_STRTAB: an address, not an offset
        offset = next(s[2] + strings - s[3] for s in segments if s[0] == 1 and s[3] <= strings < s[3] + s[5])
        names: list[str] = []
        for tag, value in entries:
            if tag == 1:  # DT_NEEDED: where in the strings the name begins
                elf.seek(offset + value)
                names.append(elf.read(256).partition(b"\0")[0].decode())
        return names


def _find_extensions(package: str, pattern: str) -> list[Path]:
    spec = find_spec(package)
    if spec is None:
        raise ImportError(f"{package} is not installed")
    return [file for folder in spec.submodule_search_locations or () for file in Path(folder).glob(pattern)]


def _opens(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
