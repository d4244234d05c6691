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
    return sum(int(str(read_object(folder / ADAPTER_CONFIG, FIX)["r"])) for folder in folders)


def join_adapters(folders: Sequence[Path], base: str, out: Path) -> None:
    """Write to `out` the one adapter that does what those of `folders` do one on another, to the model `base`. Modules that train
    whole are the last one's. Raises ValueError for adapters of different targets, ranks or scales."""
    import safetensors.torch

    configs = [read_object(folder / ADAPTER_CONFIG, FIX) for folder in folders]
    for folder, config in zip(folders, configs, strict=True):
        if {**config, BASE_MODEL: None} != {**configs[0], BASE_MODEL: None}:
            raise ValueError(f"{folder / ADAPTER_CONFIG}: not the settings of {folders[0]}; {FIX}")
    states = [safetensors.torch.load_file(folder / ADAPTER_FILE) for folder in folders]
    tensors = {name: _join(name, [state[name] for state in states]) for name in states[0]}
    # The factor of B A is alpha / rank: both grow, and it stays.
    alpha = float(str(configs[0]["lora_alpha"])) * len(folders)
    grown = {"r": joined_rank(folders), "lora_alpha": int(alpha) if alpha == int(alpha) else alpha}
    config = {**configs[0], BASE_MODEL: base, **grown}
    out.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(tensors, out / ADAPTER_FILE, metadata={"format": "pt"})
    (out / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def _join(name: str, tensors: Sequence[Tensor]) -> Tensor:
    """Return A [r, in] and B [out, r] of all adapters beside each other along r; what trains whole as it was last."""
    import torch

    if ".lora_A." in name:
        return torch.cat(list(tensors), dim=0)
    if ".lora_B." in name:
        return torch.cat(list(tensors), dim=1)
    return tensors[-1]
