"""Recipes that come with the library, by name. Imports nothing heavy: a shell asks for the names at every tab."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "recipes"
"""Folder of the bundled recipes."""


def names() -> list[str]:
    """Return the names of the bundled recipes, such as `quickstart` and `findings/format_and_data`."""
    return sorted(str(file.relative_to(FOLDER).with_suffix("")) for file in FOLDER.rglob("*.yaml"))


def path_of(name: str) -> Path:
    """Return the file of a bundled recipe."""
    return FOLDER / f"{name}.yaml"


def summary(name: str) -> str:
    """Return what a bundled recipe does, in one line: the comment that opens its file."""
    with open(path_of(name)) as file:
        return file.readline().removeprefix("#").strip()
