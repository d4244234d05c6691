"""What a stage is handed where there are no engines: its folder, its data, and verifiers in real processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewards.combine import PartConfig, RewardConfig
from rewards.service import RewardService
from rl.run.tracker import Tracker
from rl.stages.context import Context
from rl.types import Message, Prompt


def prompt(id: str, question: str = "", source: str = "") -> Prompt:
    return Prompt(id, (Message("user", question or id),), "a", source)


def context(
    folder: Path, sources: Mapping[str, Sequence[Prompt]], parts: Sequence[PartConfig] = (), **given: Any
) -> Context:
    """The stage `distill` in `folder`, whose parent holds verifiers. There is no cluster: who asks an engine fails."""
    folder.mkdir(parents=True, exist_ok=True)
    shared = RewardConfig(list(parts) or [PartConfig("text")])
    values: dict[str, Any] = {
        "name": "distill",
        "seed": 0,
        "folder": folder,
        "model": folder / "model",
        "cluster": None,
        "rewards": type("Shared", (), {"config": shared}),
        "tracker": Tracker(folder.parent, "distill"),
        "data": lambda name, split, limit: list(sources[name])[:limit],
        "lookup": None,
        "artifact": None,
        "say": lambda text: None,
        "service": lambda reward: RewardService(reward, folder.parent),
    }
    return Context(**{**values, **given})
