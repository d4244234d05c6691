"""Reading of a Hugging Face model's folder (config.json, weights, tokenizer) without torch or transformers, and writing
of the chat that a trained model answers to.

Every function raises ValueError in one line that names the file and the fix.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

LFS_POINTER = b"version https://git-lfs"
"""Beginning of the text that a clone without git-lfs has in the place of a large file."""
LONGEST_HEADER = 100_000_000
"""Longest header of a safetensors file, in bytes: the format's own limit."""
INDEX = "model.safetensors.index.json"
"""File that maps parameters to the several files of a large model."""
GENERATION_CONFIG = "generation_config.json"
"""File that tells engines how to sample, and where to stop."""
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "*.tiktoken")


def read_config(folder: str | Path) -> dict[str, Any]:
    """Return the folder's config.json."""
    return _mapping(Path(folder) / "config.json")


def declared_ends(folder: str | Path) -> list[int]:
    """Return the ids of the tokens at which the folder's files tell engines to stop."""
    files = [Path(folder) / GENERATION_CONFIG, Path(folder) / "config.json"]
    return list(dict.fromkeys(i for file in files if file.is_file() for i in _ends(_mapping(file))))


def write_ends(folder: Path, ends: Sequence[int]) -> None:
    """Let engines that load the folder stop at these tokens too."""
    file = folder / GENERATION_CONFIG
    # Without the file, engines take what config.json says.
    values = _mapping(file) if file.is_file() else {}
    stops = _ends(values or read_config(folder))
    if not set(ends) <= set(stops):
        values["eos_token_id"] = list(dict.fromkeys([*ends, *stops]))
        file.write_text(json.dumps(values, indent=2) + "\n")


def _ends(values: Mapping[str, Any]) -> list[int]:
    """Return the ids under `eos_token_id`, also of the decoder in a model of several parts."""
    ids: list[int] = []
    decoder: Mapping[str, Any] = values.get("text_config") or {}
    for part in (values, decoder):
        declared: int | list[int] | None = part.get("eos_token_id")
        if isinstance(declared, list):
            ids += declared
        elif declared is not None:
            ids.append(declared)
    return ids


def write_chat_template(folder: Path, template: str) -> None:
    """Write the template to every file of the folder that holds one, or to a file of its own. A file that holds this very
    template stays as it is."""
    holders = 0
    for name in ("tokenizer_config.json", "processor_config.json", "chat_template.json"):
        file = folder / name
        values = _mapping(file) if file.is_file() else {}
        if not values.get("chat_template"):
            continue
        holders += 1
        changed: object = template
        if isinstance(values["chat_template"], list):  # several templates by name, for tools and the like
            entries = cast("list[dict[str, str]]", values["chat_template"])
            changed = [{**e, "template": template} if e.get("name") == "default" else e for e in entries]
        if changed != values["chat_template"]:
            file.write_text(json.dumps({**values, "chat_template": changed}, indent=2, ensure_ascii=False) + "\n")
    file = folder / "chat_template.jinja"
    if file.is_file() and file.read_text() == template:
        return
    if file.is_file() or not holders:
        file.write_text(template)


def count_parameters(folder: str | Path) -> int:
    """Return the number of parameters in the folder's safetensors files, by their headers."""
    return sum(_parameters(file) for file in sorted(Path(folder).glob("*.safetensors")))


def read_chat_template(folder: Path) -> str | None:
    """Return the folder's chat template, several of them joined; None where it has none."""
    files = [folder / "chat_template.jinja", *sorted(folder.glob("additional_chat_templates/*.jinja"))]
    templates = [file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file()]
    for name in ("chat_template.json", "tokenizer_config.json"):
        stored: object = _mapping(folder / name).get("chat_template") if (folder / name).is_file() else None
        # A text, or a list of several: [{"name": "default", "template": …}, …].
        named = cast("list[dict[str, object]]", stored) if isinstance(stored, list) else [{"template": stored}]
        templates += [text for entry in named if isinstance(text := entry.get("template"), str)]
    return "\n".join(templates) or None


def check_whole(folder: Path, tokenizer: bool = True) -> None:
    """Raise ValueError when something that loading the model needs is missing or broken, of the tokenizer if `tokenizer`."""
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds no config.json; expected the files of a Hugging Face model")
    read_config(folder)
    try:
        shards = set(_mapping(folder / INDEX)["weight_map"].values()) if (folder / INDEX).is_file() else None
    except (KeyError, AttributeError) as error:
        raise ValueError(f"{folder / INDEX}: has no weight_map; fetch it again") from error
    for name in sorted(shards or {"model.safetensors"}):
        if not (folder / name).is_file():
            fix = "fetch it again" if shards else "expected its weights as safetensors"
            raise ValueError(f"{folder} holds no {name}; {fix}")
    count_parameters(folder)  # reads every header, and so finds files that are cut short
    if tokenizer and not any(any(folder.glob(name)) for name in TOKENIZERS):
        raise ValueError(f"{folder} holds no tokenizer; expected tokenizer.json beside the weights")
    if tokenizer and (file := folder / "tokenizer.json").is_file():
        _refuse_pointer(file.read_bytes(), file)


def on_disk(path: str) -> Path:
    """Return the folder of a model: `path` itself, or for a hub name its folder in the local cache, downloaded when
    needed. Raises ValueError."""
    if Path(path).is_dir():
        return Path(path).absolute()
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            huggingface_hub.snapshot_download(
                path, allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise ValueError(
            f"model.path: '{path}' is no folder and could not be fetched ({type(error).__name__})"
        ) from error


def _mapping(file: Path) -> dict[str, Any]:
    """Return the mapping in a JSON file."""
    try:
        content = file.read_bytes()
        _refuse_pointer(content, file)
        values: object = json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, OSError) as error:
        raise ValueError(f"{file}: {error}; expected the files of a Hugging Face model") from error
    if not isinstance(values, dict):
        kind = type(values).__name__
        raise ValueError(f"{file}: a {kind}, not a mapping; expected the files of a Hugging Face model")
    return cast("dict[str, Any]", values)


def _parameters(file: Path) -> int:
    """Return the number of parameters in a safetensors file: 8 bytes of header length, the header in JSON, the data."""
    size = file.stat().st_size
    with file.open("rb") as content:
        start = content.read(len(LFS_POINTER))
        _refuse_pointer(start, file)
        length = int.from_bytes(start[:8], "little")
        # Checked before the header is read: a broken file may claim any length.
        if size < 8 or 8 + length > size or length > LONGEST_HEADER:
            raise ValueError(f"{file}: {size:,} bytes are no whole safetensors file; fetch it again")
        content.seek(8)
        header = content.read(length)
    try:
        entries = [entry for name, entry in json.loads(header).items() if name != "__metadata__"]
        count = sum(math.prod(entry["shape"]) for entry in entries)
        expected_size = 8 + length + max((entry["data_offsets"][1] for entry in entries), default=0)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{file}: its header is not that of a safetensors file; fetch it again") from error
    if size < expected_size:
        raise ValueError(f"{file}: cut short, {size:,} of {expected_size:,} bytes; fetch it again")
    return count


def _refuse_pointer(content: bytes, file: Path) -> None:
    """Raise ValueError when `content`, the beginning of `file`, is a Git LFS pointer."""
    if content.startswith(LFS_POINTER):
        raise ValueError(f"{file} is a Git LFS pointer, not the file itself; run `git lfs pull` where it was cloned")
