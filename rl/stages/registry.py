"""The kinds of stages there are. A new one is a file with a `KIND`, and its line here."""

from __future__ import annotations

from rl.stages import arbitrate, curate, distill, dpo, encode, evaluate, pairs, reward_model, sft
from rl.stages.kind import Kind
from rl.stages.rlvr import loop

STAGES: dict[str, Kind] = {
    "encode": encode.KIND,
    "sft": sft.KIND,
    "curate": curate.KIND,
    "distill": distill.KIND,
    "arbitrate": arbitrate.KIND,
    "rlvr": loop.KIND,
    "pairs": pairs.KIND,
    "dpo": dpo.KIND,
    "reward_model": reward_model.KIND,
    "evaluate": evaluate.KIND,
}


def measures_model(kind: str) -> bool:
    """Return whether stages of that kind measure a model. False for a kind that only the run's files know."""
    return kind in STAGES and STAGES[kind].measures


def filters_rows(kind: str) -> bool:
    """Return whether the counts of stages of that kind are a funnel. False for a kind that only the run's files know."""
    return kind in STAGES and STAGES[kind].filters
