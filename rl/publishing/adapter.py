"""Finds the adapters of a run that trained by LoRA: what `rl push --adapter` publishes in place of all weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from models.joined_adapters import joined_rank
from models.lora import ENGINE_RANKS, has_adapter
from models.settings import ModelConfig
from rl.config import ConfigError
from rl.publishing.licences import Source, model_sources
from rl.report.run_data import Run
from rl.run.provenance import BUILT, read_provenance

MODEL = "model"
"""Kind of artifact of a language model, its folder within a stage's, and the key of a recipe's model."""
ADAPTER = "adapter"
"""Folder of a stage's adapter, beside its merged model."""


@dataclass(frozen=True)
class AdapterChain:
    """The adapters that lead from the model that a run started from to the one that it made."""

    folders: tuple[Path, ...]
    """One of each stage, in order: each belongs to the merged model of the stage before."""
    base: Source

    @property
    def engine_rank(self) -> int | None:
        """Rank that a vLLM engine has to be started for; None for one that it does not take."""
        return next((rank for rank in ENGINE_RANKS if rank >= joined_rank(self.folders)), None)

    @property
    def base_name(self) -> str:
        """Name of the base on the hub; where it has none, the end of its path."""
        return self.base.hub or self.base.name


def find_adapters(run: Run, model: ModelConfig) -> AdapterChain:
    """Return the adapters of a run that trained the recipe's `model`. Raises ConfigError where no adapters lead from a model that
    others have to the one that was made."""
    makers = [stage for stage in run.stages if stage.folder and _provenance(stage.folder).get("kind") == MODEL]
    folders_of = {stage.name: cast("Path", stage.folder) for stage in makers}
    name, folders = makers[-1].name if makers else "", list[Path]()
    while name in folders_of:
        folder = folders_of[name]
        if not has_adapter(folder / ADAPTER):
            raise ConfigError(f"--adapter: stage '{name}' trained without model.lora; leave --adapter out")
        folders.insert(0, folder / ADAPTER)
        parents = cast("list[dict[str, object]]", _provenance(folder).get("parents", []))
        # The first one is what the stage trained; a teacher comes after it.
        name = next(str(parent["name"]) for parent in parents if parent["kind"] == MODEL)
    if not folders:
        raise ConfigError(f"{run.path}: no stage of it made a model; leave --adapter out")
    if model.path is None and name in (BUILT, model.title):
        raise ConfigError(
            "--adapter: the run made the model that it started from, and nobody else has it; leave --adapter out"
        )
    (base,) = model_sources(ModelConfig(path=name))
    return AdapterChain(tuple(folders), base)


def _provenance(folder: Path) -> Mapping[str, object]:
    return read_provenance(folder / MODEL) or {}
