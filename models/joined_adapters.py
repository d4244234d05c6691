"""Joins the adapters of several stages into one, in peft's format.

Each stage starts a fresh adapter on the merged model of the stage before: W + s B1 A1, then W + s B1 A1 + s B2 A2. That sum
is one product, of twice the rank: [B1 B2] on [A1; A2], with the same factor s. So one adapter leads from the first model to
the last, but for the rounding of each merged model in bfloat16, which it skips.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.lora import ADAPTER_CONFIG, ADAPTER_FILE
from rl.json_files import read_object

if TYPE_CHECKING:
    from torch import Tensor

BASE_MODEL = "base_model_name_or_path"
"""Key of adapter_config.json for the model that the adapter belongs to."""
FIX = "publish the whole model, without --adapter"


def joined_rank(folders: Sequence[Path]) -> int:
    """Return the rank of the one adapter that does what those of `folders` do."""
    return sum(int(str(_read_config(folder)["r"])) for folder in folders)


def join_adapters(folders: Sequence[Path], base: str, out: Path) -> None:
    """Write to `out` the one adapter that does what those of `folders` do one on another, to the model `base`. Modules that train
    whole are the last one's. Raises ValueError for adapters of different targets, ranks or scales."""
    import safetensors.torch

    configs = [_read_config(folder) for folder in folders]
    states = [safetensors.torch.load_file(folder / ADAPTER_FILE) for folder in folders]
    for folder, config, state in zip(folders, configs, states, strict=True):
        if _settings(config) != _settings(configs[0]) or state.keys() != states[0].keys():
            raise ValueError(f"{folder}: an adapter of other settings than {folders[0]}; {FIX}")
    tensors = {name: _join(name, [state[name] for state in states]) for name in states[0]}
    # The factor of B A is alpha / rank: both grow, and it stays.
    alpha = float(str(configs[0]["lora_alpha"])) * len(folders)
    grown = {"r": joined_rank(folders), "lora_alpha": int(alpha) if alpha == int(alpha) else alpha}
    config = {**configs[0], BASE_MODEL: base, **grown}
    out.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(tensors, out / ADAPTER_FILE, metadata={"format": "pt"})
    (out / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def _read_config(folder: Path) -> dict[str, object]:
    file = folder / ADAPTER_CONFIG
    config = read_object(file, FIX)
    for key in ("r", "lora_alpha"):
        if not isinstance(config.get(key), int | float):
            raise ValueError(f"{file}: '{key}' is no number; {FIX}")
    return config


def _settings(config: dict[str, object]) -> list[object]:
    """Return what two adapters must agree in to be joined; a version of peft, or the name of a base, is none of it."""
    return [
        config.get(key) for key in ("r", "lora_alpha", "target_modules", "modules_to_save", "use_rslora", "use_dora")
    ]


def _join(name: str, tensors: Sequence[Tensor]) -> Tensor:
    """Return A [r, in] and B [out, r] of all adapters beside each other along r; what trains whole as it was last."""
    import torch

    if ".lora_A." in name:
        return torch.cat(list(tensors), dim=0)
    if ".lora_B." in name:
        return torch.cat(list(tensors), dim=1)
    return tensors[-1]
