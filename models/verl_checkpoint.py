"""Reads a checkpoint of verl's as a model: `global_step_N/actor` with `huggingface/` (configuration and tokenizer, and
the whole model where verl was told to write it) and the shards of FSDP, `model_world_size_N_rank_i.pt`.

Shards are read with `weights_only`, so that no code in them runs, and merged once into `merged/` beside them. Torch is
imported where they are.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from torch import Tensor

ACTOR, WHOLE, MERGED = "actor", "huggingface", "merged"
"""Folders of a checkpoint: of the policy; in it that of the configuration, and that of the merged model."""
_SHARD = re.compile(r"model_world_size_(\d+)_rank_(\d+)\.pt")
_LORA = "lora_"
_SKIPPED = (".safetensors", ".bin", ".pt")


def find_shards(folder: Path) -> Path | None:
    """Return the folder of a checkpoint's shards, `folder` itself or its `actor`; None where there is no checkpoint."""
    if os.path.isfile(folder / "config.json"):
        return None
    for candidate in (folder, folder / ACTOR):
        if os.path.isdir(candidate / WHOLE):
            return candidate
    return None


def model_folder(folder: Path) -> Path:
    """Return the folder of a model that is in `folder`: itself, or of a checkpoint the whole model, the merged one, or as long
    as there is neither, the one of its configuration and its tokenizer."""
    shards = find_shards(folder)
    if shards is None:
        return folder
    return next((path for path in (shards / WHOLE, shards / MERGED) if _has_weights(path)), shards / WHOLE)


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def check_shards(shards: Path) -> list[Path]:
    """Return the files of a checkpoint's shards, in order of their ranks; none where it holds the whole model. Raises
    ValueError, with verl's command, for shards that only verl can merge, for one that is missing, and for a merged
    model without weights."""
    if _has_weights(model_folder(shards)):
        return []
    files = {int(match[2]): (int(match[1]), name) for name in os.listdir(shards) if (match := _SHARD.fullmatch(name))}
    if not files:
        backend = "megatron" if (shards / "dist_ckpt").exists() else "fsdp"
        raise ValueError(f"{shards} holds no shards of FSDP; {_command(shards, backend)}")
    if (shards / "lora_adapter").exists() or (shards / "lora_train_meta.json").exists():
        raise ValueError(f"{shards}: an adapter of LoRA beside its model; {_command(shards)}")
    # Every file's name says how many ranks there were; the first that is here is asked, since rank 0's may be missing.
    world = files[min(files)][0]
    missing = [rank for rank in range(world) if rank not in files]
    if missing:
        raise ValueError(f"{shards} lacks the shard of rank {missing[0]} of {world}; copy the whole checkpoint")
    merged = shards / MERGED
    # Not ours, which appears whole; an empty folder is in nobody's way.
    if os.path.isdir(merged) and any(merged.iterdir()) and not _has_weights(merged):
        raise ValueError(f"{merged} holds no weights (*.safetensors); remove it, and the shards are merged there")
    return [shards / files[rank][1] for rank in range(world)]


def _command(shards: Path, backend: str = "fsdp") -> str:
    return (
        f"merge it: python -m verl.model_merger merge --backend {backend} --local_dir {shards} "
        f"--target_dir {shards / MERGED}"
    )


def merged_model(folder: Path) -> Path:
    """Return the folder of the whole model in `folder`, merged there first where it is a checkpoint's shards. Raises
    ValueError."""
    shards = find_shards(folder)
    files = check_shards(shards) if shards is not None else []
    if shards is None or not files:
        return model_folder(folder)
    from huggingface_hub import save_torch_state_dict

    # Written beside it and renamed: a merge that was cut short is never taken for a model.
    target, temporary = shards / MERGED, shards / f".{MERGED}.{os.getpid()}"
    tensors = _merge(files, shards)
    try:
        temporary.mkdir()
        save_torch_state_dict(tensors, temporary)
        for file in (shards / WHOLE).iterdir():
            if file.is_file() and file.suffix not in _SKIPPED:
                shutil.copy(file, temporary)
        if not _has_weights(target):
            temporary.rename(target)
    except OSError as error:
        raise ValueError(
            f"{target} cannot be written: {error.strerror}; copy the checkpoint, or {_command(shards)}"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _merge(files: list[Path], shards: Path) -> dict[str, Tensor]:
    """Return the whole tensors of the shards in `files`."""
    import torch
    from torch.distributed.tensor import DTensor, Shard  # it registers the types that `weights_only` may construct

    # It says of every mesh that there is no process group, which nothing here needs.
    logging.getLogger("torch.distributed.device_mesh").setLevel(logging.ERROR)
    first = _load(files[0], shards)
    if any(_LORA in name for name in first):
        raise ValueError(f"{files[0]}: holds an adapter of LoRA; {_command(shards)}")
    meshes = [tensor.device_mesh for tensor in first.values() if isinstance(tensor, DTensor)]
    if not meshes and len(files) > 1:
        raise ValueError(f"{files[0]}: its tensors do not say how they are cut; {_command(shards)}")
    # In a mesh of two dimensions the first holds copies: the ranks of its first row have everything.
    count = meshes[0].mesh.shape[-1] if meshes else 1
    parts = [first, *(_load(file, shards) for file in files[1:count])]
    if any(part.keys() != first.keys() for part in parts):
        raise ValueError(f"{files[0]}: the shards do not hold the same tensors; {_command(shards)}")
    tensors: dict[str, Tensor] = {}
    for name, tensor in first.items():
        locals_ = [part[name] for part in parts]
        if not isinstance(tensor, DTensor):
            tensors[name] = tensor
            continue
        placement = tensor.placements[-1]
        pieces: list[Tensor] = [cast(DTensor, piece).to_local() for piece in locals_]
        tensors[name] = torch.cat(pieces, cast(int, placement.dim)) if isinstance(placement, Shard) else pieces[0]
        if tensors[name].shape != tensor.shape:
            raise ValueError(f"{files[0]}: the pieces of '{name}' do not make its shape; {_command(shards)}")
    return _without_tied_head(tensors)


def _load(file: Path, shards: Path) -> dict[str, Tensor]:
    import pickle

    import torch

    try:
        # Mapped: the pieces of all ranks stay on disk until they are joined.
        content: object = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        values = list(cast("dict[object, object]", content).values()) if isinstance(content, dict) else [None]
        if not all(isinstance(value, torch.Tensor) for value in values):
            raise ValueError("it holds something else than named tensors")
        return cast("dict[str, Tensor]", content)
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{file} cannot be read without running code in it ({reason:.80}); {_command(shards)}"
        ) from error


def _without_tied_head(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without a head that is the embedding once more, as models with tied embeddings are stored."""
    import torch

    head, embedding = tensors.get("lm_head.weight"), tensors.get("model.embed_tokens.weight")
    if head is not None and embedding is not None and head.shape == embedding.shape and torch.equal(head, embedding):
        return {name: tensor for name, tensor in tensors.items() if name != "lm_head.weight"}
    return tensors
