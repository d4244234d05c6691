"""Licences of the model that a run started from and of its data, where a file says so: nothing is guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from models.folder import folder_of
from models.pretrained.catalogue import CATALOGUE
from models.settings import ModelConfig
from rl.config import ConfigError
from rl.data.files import FILES
from rl.data.paths import as_list, data_files
from rl.data.sources import DataConfig

FILE_NAMES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "LICENCE.md", "COPYING")
UNKNOWN = "not known to this card"


@dataclass(frozen=True)
class Source:
    """Something that a run was made from.

    Example: `Source("HuggingFaceTB/SmolLM2-135M-Instruct", "Apache-2.0")`.
    """

    name: str
    licence: str
    """Licence that the card or licence file names; `UNKNOWN` where neither is here."""
    hub: str | None = None
    """Name on the hub; None where it has none."""


def model_sources(model: ModelConfig) -> list[Source]:
    """Return the models that a run started from; none for one that was built from random weights."""
    return [_model(path) for path in model.sources.values()]


def data_source(name: str, data: DataConfig) -> Source:
    """Return where a data set of a recipe comes from."""
    if data.source == "huggingface":
        path = str(data.path)
        is_hub = not path.startswith((".", "/", "~", "$"))
        return Source(path if is_hub else _short(path), UNKNOWN, path if is_hub else None)
    if data.source not in FILES:
        return Source(
            f"made by the task `{data.source}`" if ":" not in data.source else f"made by `{data.source}`", UNKNOWN
        )
    paths = as_list(data.path) if data.path else []
    return Source(", ".join(map(_short, paths)) or name, _beside(data))


def _model(path: str) -> Source:
    if path in CATALOGUE:
        model = CATALOGUE[path]
        return Source(f"{model.official} (as `{path}`: {model.summary})", model.licence, model.official)
    folder = folder_of(path)
    card = folder / "README.md" if folder else None
    licence = _card_licence(card) if card and card.is_file() else None
    # A folder of this machine may be called OWNER/NAME too.
    is_hub = not Path(path).expanduser().exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", path) is not None
    return Source(path if is_hub else _short(path), licence or UNKNOWN, path if is_hub else None)


def _card_licence(card: Path) -> str | None:
    """Return the licence that a model card's front matter names."""
    head = card.read_text(encoding="utf-8", errors="replace").partition("\n---")[0]
    match = re.search(r"^license:\s*['\"]?([\w.+-]+)", head, re.MULTILINE)
    return match[1] if match else None


def _beside(data: DataConfig) -> str:
    """Return the first line of a licence file beside the data, or in the folder above."""
    try:
        files = [Path(str(data.path))] if data.source == "folder" else data_files(data.path, "data")
    except ConfigError:  # the data lay on another machine
        return UNKNOWN
    folder = files[0].absolute() if data.source == "folder" else files[0].absolute().parent
    for name in FILE_NAMES:
        file = folder / name
        if file.is_file():
            lines = [line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
            return next((line[:100] for line in lines if line), UNKNOWN) + f" ({name} beside the data)"
    return UNKNOWN


def _short(path: str) -> str:
    """Return the end of a path: folders of this machine's users are nobody's business."""
    return "/".join(Path(path).parts[-2:]) if Path(path).is_absolute() or path.startswith(("~", "$")) else path
