"""Provenance of artifacts: a small JSON file beside each, `NAME.provenance.json`, with the stage that wrote it, what that
stage read, and its counts.

A checkpoint has it inside its folder, as `provenance.json`, so that it is deleted with the checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path

from rl.json_files import read_object
from rl.redaction import redact
from rl.run.files import replacing

SUFFIX, INSIDE = ".provenance.json", "provenance.json"


@dataclass(frozen=True, slots=True)
class Parent:
    """An input of a stage: a data set (`name`, `split`), or an artifact of the stage `name` or at the path `name`."""

    kind: str
    """Kind of artifact: `data`, `model`, `difficulty`, `distilled`, `pairs`, …"""
    name: str
    stage: bool = False
    """True if `name` is an earlier stage, False if it is a data set or a path."""
    split: str | None = None


def write_provenance(artifact: Path, record: Mapping[str, object]) -> Path:
    """Write `record` beside the file or folder `artifact` and return its path. Raises DiskFull."""
    path = artifact.with_name(artifact.name + SUFFIX)
    with replacing(path) as temporary:
        temporary.write_text(_text(artifact.name, record))
    return path


def write_provenance_inside(folder: Path, name: str, record: Mapping[str, object]) -> None:
    """Write `record` into `folder`, a temporary one that will be renamed to `name`."""
    (folder / INSIDE).write_text(_text(name, record))


def read_provenance(artifact: Path) -> dict[str, object] | None:
    """Return the provenance inside or beside an artifact, or None if it has none. Raises ValueError for invalid JSON."""
    path = artifact / INSIDE
    if not path.exists():
        path = artifact.with_name(artifact.name + SUFFIX)
    if not os.path.lexists(path):
        return None
    return read_object(path, "delete it to read the artifact without its provenance")


def fingerprint(model: Path) -> str:
    """Return 16 hex digits that identify the weights in a model's folder (SHA-256 over its safetensors files)."""
    digest = hashlib.sha256()
    for file in sorted(model.glob("*.safetensors")):  # a large model has several shards
        with file.open("rb") as content:
            while block := content.read(1 << 24):  # 16 MiB at a time
                digest.update(block)
    return digest.hexdigest()[:16]


def _text(name: str, record: Mapping[str, object]) -> str:
    # Through JSON first, so that what is inside paths and dataclasses is redacted too.
    values = redact(json.loads(json.dumps({"artifact": name, **record}, default=_to_json)))
    return json.dumps(values, indent=1) + "\n"


def _to_json(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):  # such as Parent; the rest are paths
        return asdict(value)
    return str(value)
