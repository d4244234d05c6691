"""Routes of the policy's weights to a recipe's engines, and their time by published rates."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from models.shape import BYTES, Shape
from rl.config import ConfigError
from rl.planning.memory import object_store_notes
from rl.planning.result import Plan
from rl.planning.transfer import estimate
from rl.recipe import Recipe
from rl.workers.placement import Bundle
from rollouts.transport import Gpu, choose_transport


def add_transfer(recipe: Recipe, shape: Shape, plan: Plan) -> None:
    """Add to the plan how the engines get the policy's weights, with a problem where the recipe's own choice cannot work
    and a note where shared memory is too small for it."""
    if not {"engine", "policy"} <= recipe.roles:
        return
    header = recipe.header
    trainers, engines = (seats(plan.placed, role) if plan.gpu else [] for role in ("policy", "engine"))
    try:
        transport = choose_transport(header.engines.transport, trainers, engines, header.model.lora is not None)
    except ConfigError as error:
        plan.problems.append(str(error))
        return
    content = BYTES[header.model.dtype] * shape.parameters
    # An adapter goes there alone, and is small; streams pass the store by.
    is_stored = transport == "object_store" and not header.model.adapter_rank
    if plan.present and is_stored and os.path.isdir("/dev/shm"):
        plan.notes += object_store_notes(content, shutil.disk_usage("/dev/shm").free)
    if plan.gpu:
        nodes = plan.machines.nodes if plan.machines else 1
        gathers, ranks = header.trainer.zero_stage == 3, header.trainer.ranks
        plan.transfer = estimate(content, transport, ranks, header.engines.gpus, gathers, nodes == 1)


def seats(placed: Sequence[Bundle], role: str) -> list[list[Gpu]]:
    """Return the GPUs of each of a role's actors."""
    # Which GPUs Ray will give is not known yet: numbers within the bundle tell them apart as well.
    return [
        [(i, name) for name in names]
        for i, bundle in enumerate(placed)
        for (actor, _), names in bundle.gpus_by_actor([str(gpu) for gpu in range(bundle.gpus)]).items()
        if actor == role
    ]
