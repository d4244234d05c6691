"""Where an artifact comes from: one small JSON beside each, `NAME.provenance.json`, with what made it, of what, and the
counts on the way. A checkpoint has it inside, as `provenance.json`: it comes and goes with the rest of the folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rl.run.files import replacing

SUFFIX, INSIDE = ".provenance.json", "provenance.json"


@dataclass(frozen=True, slots=True)
class Parent:
    """What a stage read: a data set (`name`, `split`), or an artifact of the stage `name` (or at the path `name`)."""

    kind: str
    """`data`, `model`, `difficulty`, `distilled`, `pairs`, …"""
    name: str
    stage: bool = False
    """Is `name` an earlier stage?"""
    split: str | None = None


def write_provenance(artifact: Path, record: Mapping[str, Any]) -> Path:
    """Writes what is known of the file or folder `artifact` beside it. Raises DiskFull."""
    path = artifact.with_name(artifact.name + SUFFIX)
    with replacing(path) as temporary:
        temporary.write_text(_text(artifact.name, record))
    return path


def write_inside(folder: Path, name: str, record: Mapping[str, Any]) -> None:
    """The same within a folder that is not yet at its place, where it will be called `name`."""
    (folder / INSIDE).write_text(_text(name, record))


def read_provenance(artifact: Path) -> dict[str, Any] | None:
    """What stands in a checkpoint or beside an artifact; None where nothing does. Raises ValueError for what is no
    provenance."""
    places = artifact / INSIDE, artifact.with_name(artifact.name + SUFFIX)
    path = next((place for place in places if place.exists()), None)
    if path is None:
        return None
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}; delete it to read the artifact without") from error


def fingerprint(model: Path) -> str:
    """A digest of the weights of a model's folder."""
    digest = hashlib.sha256()
    for file in sorted(model.glob("*.safetensors")):
        with file.open("rb") as content:
            while block := content.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()[:16]


def _text(name: str, record: Mapping[str, Any]) -> str:
    return json.dumps({"artifact": name, **record}, indent=1, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else str(value)
