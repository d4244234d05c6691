"""Reads a Hugging Face model's folder (config.json, weights, tokenizer) without torch or transformers, and writes the
chat format of a trained model.

Every function raises ValueError in one line that names the file and the fix.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from models.pretrained.catalogue import CATALOGUE, explain_missing, find_pretrained
from models.verl_checkpoint import check_shards, find_shards, merged_model, model_folder
from rl.config import HIGHEST_TEMPERATURE
from rl.json_files import Fields, parse_object, read_bytes

LFS_POINTER = b"version https://git-lfs"
"""Beginning of the text that a clone without git-lfs has in the place of a large file."""
LONGEST_HEADER = 100_000_000
"""Longest header of a safetensors file, in bytes: the format's own limit."""
INDEX = "model.safetensors.index.json"
"""File that maps parameters to the several files of a large model."""
GENERATION_CONFIG = "generation_config.json"
"""File that tells engines how to sample, and where to stop."""
MODEL_FIX = "expected the files of a Hugging Face model"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "*.tiktoken")


CONFIG_FIX = "correct it or fetch the file again"
"""Fix that errors name for a value of the wrong kind in a model's file."""

ANSWER_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "temperature": (lambda value: 0 <= value <= HIGHEST_TEMPERATURE, f"a number from 0 to {HIGHEST_TEMPERATURE:g}"),
    "top_p": (lambda value: 0 < value <= 1, "a number above 0, at most 1"),
    "min_p": (lambda value: 0 <= value <= 1, "a number from 0 to 1"),
    "repetition_penalty": (lambda value: value > 0, "a number above 0"),
}
"""Values that vLLM takes, and the words for them, of the numbers by which a model's files say how to sample its answers."""


def read_config(folder: str | Path) -> dict[str, object]:
    """Return the folder's config.json."""
    return _mapping(Path(folder) / "config.json")


def declared_ends(folder: str | Path) -> list[int]:
    """Return the ids of the tokens at which the folder's files tell engines to stop."""
    files = [Path(folder) / GENERATION_CONFIG, Path(folder) / "config.json"]
    return list(dict.fromkeys(i for file in files if file.is_file() for i in _ends(_mapping(file), file)))


def declared_sampling(folder: str | Path) -> dict[str, float]:
    """Return how the folder's files tell engines to sample answers: those that they name of `temperature`, `top_p`, `top_k`,
    `min_p` and `repetition_penalty`. Raises ValueError for a number outside its range."""
    file = Path(folder) / GENERATION_CONFIG
    fields = Fields(_mapping(file) if file.is_file() else {}, file, CONFIG_FIX)
    values = {name: fields.number(name) for name in ANSWER_RANGES} | {"top_k": fields.whole("top_k", least=-1)}
    declared = {name: value for name, value in values.items() if value is not None}
    for name, (is_in_range, words) in ANSWER_RANGES.items():
        if name in declared and not is_in_range(declared[name]):
            fields.refuse(name, declared[name], words)
    return declared


def write_ends(folder: Path, ends: Sequence[int]) -> None:
    """Let engines that load the folder stop at these tokens too."""
    file = folder / GENERATION_CONFIG
    # Without the file, engines take what config.json says.
    values = _mapping(file) if file.is_file() else {}
    stops = _ends(values or read_config(folder), file)
    if not set(ends) <= set(stops):
        values["eos_token_id"] = list(dict.fromkeys([*ends, *stops]))
        file.write_text(json.dumps(values, indent=2) + "\n")


def _ends(values: Mapping[str, object], file: Path) -> list[int]:
    """Return the ids under `eos_token_id`, also of the decoder in a model of several parts."""
    whole = Fields(values, file, CONFIG_FIX)
    return [*whole.wholes("eos_token_id"), *whole.inner("text_config").wholes("eos_token_id")]


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
        content: object = template
        if isinstance(values["chat_template"], list):  # several templates by name, for tools and the like
            entries = cast("list[dict[str, str]]", values["chat_template"])
            if all(e.get("name") != "default" for e in entries):
                entries = [*entries, {"name": "default"}]
            content = [{**e, "template": template} if e.get("name") == "default" else e for e in entries]
        if content != values["chat_template"]:
            file.write_text(json.dumps({**values, "chat_template": content}, indent=2, ensure_ascii=False) + "\n")
    file = folder / "chat_template.jinja"
    if file.is_file() and file.read_text() == template:
        return
    if file.is_file() or not holders:
        file.write_text(template)


def count_parameters(folder: str | Path) -> int:
    """Return the number of parameters in the folder's safetensors files, by their headers."""
    return sum(_parameters(file) for file in sorted(Path(folder).glob("*.safetensors")))


def parameter_names(folder: str | Path) -> list[str]:
    """Return the names of the matrices in the folder's safetensors files, by their headers."""
    names: list[str] = []
    for file in sorted(Path(folder).glob("*.safetensors")):
        header = _header(file)
        names += [
            name for name in header.values if name != "__metadata__" and len(header.inner(name).wholes("shape")) == 2
        ]
    return names


def read_chat_template(folder: Path) -> str | None:
    """Return the folder's chat template, several of them joined; None where it has none."""
    files = [folder / "chat_template.jinja", *sorted(folder.glob("additional_chat_templates/*.jinja"))]
    templates = [
        read_bytes(file, MODEL_FIX).decode("utf-8", errors="replace") for file in files if os.path.lexists(file)
    ]
    for name in ("chat_template.json", "tokenizer_config.json"):
        file = folder / name
        templates += _templates(_mapping(file), file) if os.path.lexists(file) else []
    return "\n".join(templates) or None


def _templates(values: Mapping[str, object], file: Path) -> list[str]:
    """Return the templates in a file: a text, or a list of several, [{"name": "default", "template": …}, …]."""
    fields = Fields(values, file, CONFIG_FIX)
    value = values.get("chat_template")
    if not isinstance(value, list):
        template = fields.text("chat_template")
        return [template] if template else []
    templates: list[str] = []
    for entry in cast("list[object]", value):
        if not isinstance(entry, dict):
            fields.refuse(
                "chat_template", cast("object", value), "a text, or a list of mappings with name and template"
            )
        named = Fields(cast("dict[str, object]", entry), f"{file}: chat_template", CONFIG_FIX)
        templates.append(named.text("template") or "")
    return templates


def check_whole(folder: Path, tokenizer: bool = True) -> None:
    """Raise ValueError when something that loading the model needs is missing or broken, of the tokenizer if `tokenizer`."""
    shards = find_shards(folder)
    if shards is not None and check_shards(shards):  # they are merged when the run starts
        return
    folder = model_folder(folder)
    # `lexists`, here and below: files of a hub's snapshot are links; one whose target is gone is broken, not absent.
    if not os.path.lexists(folder / "config.json"):
        raise ValueError(f"{folder} holds no config.json; expected the files of a Hugging Face model")
    config = read_config(folder)
    Fields(config, folder / "config.json", CONFIG_FIX).text("model_type")
    declared_ends(folder)
    shards = _shards(folder / INDEX) if os.path.lexists(folder / INDEX) else None
    for name in sorted(shards or {"model.safetensors"}):
        if not os.path.isfile(folder / name):
            fix = "fetch it again" if shards else "expected its weights as safetensors"
            raise ValueError(f"{folder} holds no {name}; {fix}")
    count_parameters(folder)  # reads every header, and so finds files that are cut short
    if tokenizer and not any(any(folder.glob(name)) for name in TOKENIZERS):
        raise ValueError(f"{folder} holds no tokenizer; expected tokenizer.json beside the weights")
    if tokenizer:
        read_chat_template(folder)
        for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            if os.path.lexists(folder / name):
                _mapping(folder / name)


def _shards(index: Path) -> set[str]:
    """Return the names of the files that an index lists."""
    weight_map = Fields(_mapping(index), index, "fetch it again").inner("weight_map")
    if not weight_map.values:
        raise ValueError(f"{index}: has no weight_map; fetch it again")
    return {weight_map.text(name) or "" for name in weight_map.values}


def folder_of(path: str) -> Path | None:
    """Return the model's folder: `path` itself, that of the model in a checkpoint of verl's, that of one which
    `scripts/pretrained` writes, or a hub name's newest snapshot in the local cache; None where there is none."""
    if os.path.isdir(path):  # unlike Path.is_dir it does not raise for a name that is too long for a file
        return model_folder(Path(path))
    if path in CATALOGUE:
        return find_pretrained(path)
    home = os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE", Path(home) / "hub"))
    snapshots = cache / f"models--{path.replace('/', '--')}" / "snapshots"
    return max(snapshots.iterdir(), key=os.path.getmtime, default=None) if os.path.isdir(snapshots) else None


def on_disk(path: str, place: str = "model.path") -> Path:
    """Return the folder of a model: `path` itself, that of a model which `scripts/pretrained` writes, or for a hub name its
    folder in the local cache, downloaded when needed; a checkpoint of verl's is merged. Raises ValueError."""
    if os.path.isdir(path):
        return merged_model(Path(path)).absolute()
    folder = find_pretrained(path) if path in CATALOGUE else None
    if folder is not None:
        return folder.absolute()
    if path in CATALOGUE:
        raise ValueError(f"{place}: {explain_missing(path)}")
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        # Neither weights in other formats, which would be fetched in vain, nor Python files.
        return Path(
            huggingface_hub.snapshot_download(
                path, allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise ValueError(
            f"{place}: '{path}' is no folder here and could not be fetched ({type(error).__name__}); correct the name"
        ) from error


def _mapping(file: Path) -> dict[str, object]:
    """Return the mapping in a JSON file."""
    content = read_bytes(file, MODEL_FIX)
    _refuse_pointer(content, file)
    return parse_object(content, str(file), MODEL_FIX)


def _header(file: Path) -> Fields:
    """Return the header of a safetensors file: 8 bytes of header length, the header in JSON, the data."""
    if not os.path.isfile(file):
        raise ValueError(f"{file}: is no file; fetch it again")
    size = file.stat().st_size
    with file.open("rb") as content:
        start = content.read(len(LFS_POINTER))
        _refuse_pointer(start, file)
        length = int.from_bytes(start[:8], "little")
        # Checked before the header is read: a broken file may claim any length.
        if size < 8 or 8 + length > size or length > LONGEST_HEADER:
            raise ValueError(f"{file}: {size:,} bytes are no whole safetensors file; fetch it again")
        content.seek(8)
        header = parse_object(content.read(length), f"{file}: header", "fetch it again")
    return Fields(header, file, "fetch it again")


def _parameters(file: Path) -> int:
    """Return the number of parameters in a safetensors file, which must be whole."""
    count, end = 0, 0
    whole = _header(file)
    for name in whole.values:
        if name == "__metadata__":
            continue
        entry = whole.inner(name)
        shape, offsets = entry.wholes("shape"), entry.wholes("data_offsets")
        if entry.text("dtype") is None or entry.values.get("shape") is None or len(offsets) != 2:
            raise ValueError(f"{file}: '{name}' lacks dtype, shape or two data_offsets; fetch it again")
        count, end = count + math.prod(shape), max(end, offsets[1])
    size = file.stat().st_size
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
    if size < 8 + length + end:
        raise ValueError(f"{file}: cut short, {size:,} of {8 + length + end:,} bytes; fetch it again")
    return count


def _refuse_pointer(content: bytes, file: Path) -> None:
    """Raise ValueError when `content`, the beginning of `file`, is a Git LFS pointer."""
    if content.startswith(LFS_POINTER):
        raise ValueError(f"{file} is a Git LFS pointer, not the file itself; run `git lfs pull` where it was cloned")
