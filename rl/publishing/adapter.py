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
from rl.run.provenance import read_provenance

MODEL = "model"
"""Kind of artifact of a language model, and its folder within a stage's."""
ADAPTER = "adapter"
"""Folder of a stage's adapter, beside its merged model."""


@dataclass(frozen=True)
class AdapterChain:
    """The adapters that lead from a model that others can load to the one that a run made."""

    folders: tuple[Path, ...]
    """One of each stage, in order: each belongs to the merged model of the stage before."""
    base: Source
    base_name: str
    """Name of the base on the hub."""

    @property
    def engine_rank(self) -> int | None:
        """Rank that a vLLM engine has to be started for; None for one that it does not take."""
        return next((rank for rank in ENGINE_RANKS if rank >= joined_rank(self.folders)), None)


def find_adapters(run: Run) -> AdapterChain:
    """Return the adapters of a finished run. Raises ConfigError where none lead from a model that others can load to the one that
    was made."""
    if run.status != "done":  # its model may be an earlier one than its newest adapter
        raise ConfigError(f"--adapter: the status of {run.path} is '{run.status}'; resume it first")
    folders_of = {s.name: s.folder for s in run.stages if s.folder and _provenance(s.folder).get("kind") == MODEL}
    if not folders_of:
        raise ConfigError(f"--adapter: no stage of {run.path} made a model; leave --adapter out")
    name, is_stage, folders = next(reversed(folders_of)), True, list[Path]()
    while is_stage:
        folder = folders_of.pop(name, None)  # popped, so that a record which names itself ends too
        if folder is None:
            raise ConfigError(
                f"--adapter: {run.path} has no record of how stage '{name}' made its model; leave --adapter out"
            )
        if not has_adapter(folder / ADAPTER):
            raise ConfigError(f"--adapter: stage '{name}' trained other weights than an adapter's; leave --adapter out")
        folders.insert(0, folder / ADAPTER)
        parents = cast("list[dict[str, object]]", _provenance(folder).get("parents", []))
        # The first model is the one that the stage trained; a teacher comes after it.
        parent = next((parent for parent in parents if parent.get("kind") == MODEL), None)
        if parent is None:
            raise ConfigError(
                f"--adapter: the record of stage '{name}' names no model that it trained; leave --adapter out"
            )
        name, is_stage = str(parent["name"]), bool(parent["stage"])
    (base,) = model_sources(ModelConfig(path=name))
    if base.hub is None:
        raise ConfigError(f"--adapter: nobody else has the model that it belongs to ({base.name}); leave --adapter out")
    return AdapterChain(tuple(folders), base, base.hub)


def _provenance(folder: Path) -> Mapping[str, object]:
    return read_provenance(folder / MODEL) or {}
