"""What setup does where several indexes hold different wheels of a version: in a small environment of its own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BROKEN = "raise OSError(\"cannot load library 'libsndfile.so': libsndfile.so: cannot open shared object file\")\n"
WHOLE = "opened = True\n"
PLATFORM = "py3-none-manylinux_2_17_x86_64.manylinux_2_17_aarch64"


def wheel(index: Path, name: str, tag: str, text: str) -> None:
    """Put NAME 1.0 with that tag into an index, its module holding `text`."""
    folder = index / name
    folder.mkdir(parents=True, exist_ok=True)
    tags = "".join(f"Tag: py3-none-{platform}\n" for platform in tag.split("-")[2].split("."))
    info = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        "WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n{tags}",
    }
    file = folder / f"{name}-1.0-{tag}.whl"
    files = {f"{name}.py": text} | {f"{name}-1.0.dist-info/{key}": value for key, value in info.items()}
    record = f"{name}-1.0.dist-info/RECORD"
    files[record] = "".join(f"{path},,\n" for path in [*files, record])
    with zipfile.ZipFile(file, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    page = folder / "index.html"
    before = page.read_text() if page.exists() else "<!DOCTYPE html>"
    page.write_text(f'{before}<a href="{file.name}#sha256={digest}">{file.name}</a>')


class Environment:
    """A virtual environment that knows two indexes, and no command that would install a system's package."""

    def __init__(self, folder: Path) -> None:
        self.first, self.last, self.bin = folder / "first", folder / "last", folder / "venv" / "bin"
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))} | {
            "PATH": str(self.bin),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": self.last.as_uri(),
            "PIP_EXTRA_INDEX_URL": self.first.as_uri(),
            "VIRTUAL_ENV": str(folder / "venv"),
            "UV": str(Path(sys.executable).parent / "uv"),
            "UV_CACHE_DIR": str(folder / "cache"),
        }

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.env, capture_output=True, text=True)

    def python(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self.run(self.bin / "python", *arguments)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path)


def test_the_wheel_for_this_platform_replaces_the_one_for_any(environment: Environment, tmp_path: Path) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text("soundfile==1.0\nplain==1.0\n")
    for name in ("soundfile", "plain"):
        wheel(environment.first, name, "py3-none-any", BROKEN)
    wheel(environment.last, "soundfile", PLATFORM, WHOLE)
    last = environment.last.as_uri()
    options = ["--index-strategy", "unsafe-best-match", "--extra-index-url", environment.first.as_uri()]
    options += ["--index-url", last]
    installed = environment.run(environment.env["UV"], "pip", "install", "--no-deps", *options, "-r", pins)
    assert installed.returncode == 0, installed.stderr
    assert environment.python("-c", "import soundfile").returncode == 1, "uv takes the files of the first index"
    done = environment.python(ROOT / "scripts" / "platform_wheels.py", pins, last, *options)
    assert done.returncode == 0, done.stderr
    assert environment.python("-c", "import soundfile; soundfile.opened").returncode == 0
    assert environment.python("-c", "import plain").returncode == 1, "there is no other wheel of it"


def test_what_does_not_open_is_mended_or_named_in_one_line(environment: Environment) -> None:
    wheel(environment.first, "soundfile", "py3-none-any", BROKEN)
    assert environment.python("-m", "pip", "install", "soundfile").returncode == 0
    check = ROOT / "scripts" / "open_libraries.py"
    failed = environment.python(check, "soundfile")
    assert (failed.returncode, failed.stderr.count("\n")) == (2, 1), failed.stderr
    assert failed.stderr.startswith("error: packages: soundfile cannot be opened (OSError: cannot load library 'libsnd")
    assert failed.stderr.endswith("pip install --force-reinstall --no-deps soundfile, or apt-get install libsndfile1\n")

    wheel(environment.last, "soundfile", PLATFORM, WHOLE)
    mended = environment.python(check, "soundfile")
    assert (mended.returncode, mended.stderr) == (0, "")
    assert mended.stdout.endswith("; repaired\n")
    again = environment.python(check, "soundfile")
    assert (again.returncode, again.stdout) == (0, "")


def test_the_driver_is_the_machines(environment: Environment) -> None:
    wheel(environment.last, "soxr", "py3-none-any", "raise ImportError('libcuda.so.1: cannot open shared object file')")
    assert environment.python("-m", "pip", "install", "soxr").returncode == 0
    done = environment.python(ROOT / "scripts" / "open_libraries.py", "soxr")
    assert done.returncode == 0
    assert done.stderr.startswith("note: soxr opens only beside an NVIDIA driver (ImportError: libcuda.so.1: ")
