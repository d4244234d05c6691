"""Put a wheel for this platform where uv chose one for any platform, though an index has both.

    .venv/bin/python scripts/platform_wheels.py PINS DEFAULT_INDEX UV_OPTION …

Of several indexes uv takes a version's files from the first that has the version; pip compares the files of all.
soundfile's wheel for any platform, for example, leaves libsndfile to the system. What uv took from the default index
needs no second look: it comes last, so no other has that version.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

from pip._internal.models.index import PyPI

PIP = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps"]


def normal(name: str) -> str:
    """Return a distribution's name as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def origins(pins: str, options: list[str]) -> dict[str, str]:
    """Return the index from which uv takes each pinned distribution."""
    uv = os.environ.get("UV", str(Path(sys.prefix) / "bin" / "uv"))
    command = [uv, "pip", "compile", "--quiet", "--no-deps", "--no-header", "--no-annotate", "--emit-index-annotation"]
    done = subprocess.run([*command, *options, pins], capture_output=True, text=True, check=True)
    return {normal(name): index for name, index in re.findall(r"^([\w.-]+)==.*\n\s+# from (\S+)", done.stdout, re.M)}


def doubtful(origin: dict[str, str], default: str) -> list[str]:
    """Return NAME==VERSION of what is installed from a wheel for any platform and from an index before the last."""
    names = list[str]()
    for installed in distributions(path=[str(Path(p)) for p in sys.path if p.endswith("site-packages")]):
        tags = re.findall(r"^Tag: (\S+)", installed.read_text("WHEEL") or "", re.M)
        index = origin.get(normal(installed.name), default)
        if tags and all(tag.endswith("-none-any") for tag in tags) and index.rstrip("/") != default.rstrip("/"):
            names.append(f"{installed.name}=={installed.version}")
    return sorted(names)


def with_platform_wheel(names: list[str]) -> list[str]:
    """Return those for which pip chooses a wheel of this platform."""
    command = [*PIP, "--dry-run", "--ignore-installed", "--report", "-", *names]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    chosen = list[str]()
    for item in report["install"]:
        file = item["download_info"]["url"].partition("#")[0]
        if file.endswith(".whl") and not file.endswith("-none-any.whl"):
            chosen.append(f"{item['metadata']['name']}=={item['metadata']['version']}")
    return chosen


def main(pins: str, default: str, *options: str) -> None:
    """Install again, by pip, what has a better wheel. An empty `default` is the index that pip asks of its own accord."""
    names = doubtful(origins(pins, list(options)), default or PyPI.simple_url)
    if names and (better := with_platform_wheel(names)):
        subprocess.run([*PIP, "--force-reinstall", *better], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
