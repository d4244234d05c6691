"""Downloads pretrained models and writes them as Hugging Face folders: what `rl pretrained` does."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from models.folder import check_whole
from models.pretrained.catalogue import CATALOGUE, PretrainedModel, pretrained_root
from models.pretrained.download import download, extract


def write_models(names: Sequence[str], say: Callable[[str], None]) -> None:
    """Write the models of these names, or all of them, and say what is done. Raises ValueError."""
    for name in names:
        if name not in CATALOGUE:
            raise ValueError(f"'{name}' is no model that is written here; choose of {', '.join(CATALOGUE)}")
    for name in names or CATALOGUE:
        model, folder = CATALOGUE[name], pretrained_root() / name
        say(f"{name}: {model.summary}")
        say(f"  {model.disk_mb} MB on disk; {model.licence}; from {_source(model)}")
        if _is_whole(folder):
            say(f"  is there: {folder}")
            continue
        say(f"  downloading {model.download_mb} MB")
        try:
            write(name, folder)
        except OSError as error:
            raise ValueError(
                f"{folder}: {error.strerror or error}; GROUNDTONE_PRETRAINED names another folder"
            ) from error
        say(f"  written to {folder}")


def write(name: str, folder: Path) -> None:
    """Download a model and write it to `folder`, which appears whole or not at all. Raises ValueError."""
    model, partial = CATALOGUE[name], folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    partial.mkdir(parents=True)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            file = extract(model, download(model.package, Path(scratch)), Path(scratch))
            _convert(name, file, partial, Path(scratch))
        (partial / "README.md").write_text(_card(name, model))
        shutil.rmtree(folder, ignore_errors=True)  # one that is damaged
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _convert(name: str, file: Path, folder: Path, scratch: Path) -> None:
    # torch and transformers are imported here: a model that is there already needs neither. They would draw progress bars,
    # and DeepSpeed, which transformers imports, would warn that it found no GPU.
    os.environ |= {"TQDM_DISABLE": "1", "DS_ACCELERATOR": "cpu"}
    from models.pretrained import smollm2, whisper

    if name == "whisper-tiny.en":
        whisper.write(file, folder)
    else:
        # Before transformers is imported, which lists the packages that there are.
        smollm2.provide_reader(scratch)
        smollm2.write(file, folder)


def _source(model: PretrainedModel) -> str:
    return f"{model.official}, as the package {model.package.name} {model.package.version} carries it"


def _card(name: str, model: PretrainedModel) -> str:
    """Return the model card."""
    return f"""\
---
license: {model.licence.lower()}
base_model: {model.official}
---
# {name}

{model.summary[0].upper()}{model.summary[1:]}.

- Licence: {model.licence}
- Source: {_source(model)}
- Weights: `{model.file}`, SHA-256 `{model.file_sha256}`

{model.card}"""


def _is_whole(folder: Path) -> bool:
    try:
        check_whole(folder)
    except ValueError:
        return False
    return True
