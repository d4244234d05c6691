"""Replaces wheels for any platform that uv chose although an index has a wheel for this one.

    .venv/bin/python scripts/platform_wheels.py PINS DEFAULT_INDEX UV_OPTION …

Of several indexes uv takes a version's files from the first that has the version; pip compares the files of all.
soundfile's wheel for any platform, for example, leaves libsndfile to the system. What uv took from the default index needs
no check: uv asks that index last, so that no other has the version.
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
"""Command to which options and requirements are added."""


def normalise(name: str) -> str:
    """Return a distribution's name as indexes write it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def find_indexes(pins: str, options: list[str]) -> dict[str, str]:
    """Return the index from which uv takes each pinned distribution."""
    uv = os.environ.get("UV", str(Path(sys.prefix) / "bin" / "uv"))
    command = [uv, "pip", "compile", "--quiet", "--no-deps", "--no-header", "--no-annotate", "--emit-index-annotation"]
    output = subprocess.run([*command, *options, pins], capture_output=True, text=True, check=True).stdout
    # uv writes the index on a line of its own below each pin.
    return {normalise(name): index for name, index in re.findall(r"^([\w.-]+)==.*\n\s+# from (\S+)", output, re.M)}


def list_candidates(indexes: dict[str, str], default: str) -> list[str]:
    """Return NAME==VERSION of what is installed from a wheel for any platform and from an index before the default one."""
    pins = list[str]()
    for distribution in distributions(path=[str(Path(p)) for p in sys.path if p.endswith("site-packages")]):
        tags = re.findall(r"^Tag: (\S+)", distribution.read_text("WHEEL") or "", re.M)  # none: not from a wheel
        index = indexes.get(normalise(distribution.name), default)
        if tags and all(tag.endswith("-none-any") for tag in tags) and index.rstrip("/") != default.rstrip("/"):
            pins.append(f"{distribution.name}=={distribution.version}")
    return sorted(pins)


def select_replaceable(pins: list[str]) -> list[str]:
    """Return the pins (NAME==VERSION) for which pip chooses a wheel of this platform."""
    command = [*PIP, "--dry-run", "--ignore-installed", "--report", "-", *pins]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    replaceable = list[str]()
    for item in report["install"]:
        file = item["download_info"]["url"].partition("#")[0]
        if file.endswith(".whl") and not file.endswith("-none-any.whl"):
            replaceable.append(f"{item['metadata']['name']}=={item['metadata']['version']}")
    return replaceable


def main(pins: str, default: str, *options: str) -> None:
    """Let pip install again what has a wheel for this platform. An empty `default` is the index that pip asks on its own."""
    candidates = list_candidates(find_indexes(pins, list(options)), default or PyPI.simple_url)
    if not candidates:  # pip would refuse to run without requirements
        return
    replaceable = select_replaceable(candidates)
    if replaceable:
        subprocess.run([*PIP, "--force-reinstall", *replaceable], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
