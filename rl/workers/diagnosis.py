"""Diagnosis of a trainer's step whose gradient, loss or weights are NaN or infinite: what is broken first, and where.

Suffixes as in `rl.types`: N sequences of a batch, A the tokens of them that the policy wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, cast

from rl.finite import NonFiniteError, describe_non_finite, find_non_finite, is_finite
from rl.workers.batch_share import BatchShare

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

COLUMNS = ("rollout_logprobs", "old", "ref", "values", "rewards", "advantages", "returns")
"""Columns of a batch that hold a number for each action, in the order in which a step makes them."""
Finding = tuple[int, int, str]
"""(how far down the line from cause to effect it was seen, in which row, what); the smallest of all ranks names the cause."""
Losses = tuple["Tensor", "Tensor", dict[str, "Tensor"]]
"""(loss_A of a micro-batch, their weighted sum, diagnostics_A)."""
Compute = Callable[[Sequence[int]], Losses]
"""Function that computes the losses of a micro-batch's rows."""
NOTHING: Finding = (9, 0, "the gradient is not finite")  # after all places: those of COLUMNS, the loss's, a gradient's


def check_weights(module: nn.Module) -> None:
    """Raise NonFiniteError where the step that was just taken has spoilt the weights that this rank holds."""
    import torch

    # One answer for all parameters: on a GPU each question would be waited for.
    if not bool(torch.stack([torch.isfinite(weight).all() for _, weight in _local_weights(module)]).all()):
        problem = find_non_finite(_local_weights(module))
        raise NonFiniteError(f"the optimiser's step has spoilt the weights: {problem}", is_update=True)


def check_answers(answers: dict[int, np.ndarray], name: str, batch: BatchShare) -> None:
    """Raise NonFiniteError where an answer of `forward` ({row: [a]}, logprobs or values) is NaN or infinite."""
    for row, values in answers.items():
        if not is_finite(values):
            raise NonFiniteError(f"the {name} of {batch.describe(row)} are not finite numbers: {values[:4]}…")


def explain_step(
    engine: Any,  # a deepspeed.DeepSpeedEngine, which has no types
    batch: BatchShare,
    micro_batches: Sequence[Sequence[int]],
    compute: Compute,
) -> NoReturn:
    """Raise NonFiniteError naming what made the gradient of a step NaN or infinite; no step was taken, so the weights are
    those before it. Collective."""
    import torch

    with torch.no_grad():
        finding = _share(_find_in_batch(batch))
        found_losses = [_find_in_losses(batch, rows, compute(rows)[0]) for rows in micro_batches]
        # All ranks go the same way from here: each has heard what the others found.
        finding = min(finding, _share(min(found_losses, default=NOTHING)))
    if finding == NOTHING:
        finding = _share(_find_in_gradients(engine, micro_batches, compute))
    largest = max(float(weight.abs().max()) for _, weight in _local_weights(engine.module) if weight.numel())
    raise NonFiniteError(f"{finding[2]}; the largest weight is {largest:.3g}", is_update=True)


def checked(name: str, weight: Tensor) -> Tensor:
    """Return the weight. Raises NonFiniteError where it holds a NaN or an infinity."""
    if problem := describe_non_finite(weight):
        raise NonFiniteError(f"the weight {name} is {problem}")
    return weight


def _local_weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, what this rank holds of the parameter) of those that train: under ZeRO-3 a shard of it."""
    import torch.distributed as dist

    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:  # beside an adapter most are frozen: no step can spoil them
            continue
        shard: Tensor | None = getattr(parameter, "ds_tensor", None)
        if shard is None:
            yield name, parameter.detach()
            continue
        # Shards are equally long; DeepSpeed never writes what the last ones have beyond the parameter's end.
        start = dist.get_rank() * shard.numel()
        yield name, shard.detach().flatten()[: max(0, cast(Any, parameter).ds_numel - start)]


def _share(finding: Finding) -> Finding:
    """Return the earliest finding of all ranks. Collective."""
    import torch.distributed as dist

    findings: list[Any] = [NOTHING] * dist.get_world_size()
    dist.all_gather_object(findings, finding)
    return min(findings)


def _find_in_batch(batch: BatchShare) -> Finding:
    """Return the first column of this rank's rows that is not finite, and in which sequence."""
    import torch

    for place, name in enumerate(COLUMNS):
        if name != "rollout_logprobs" and not batch.has(name):
            continue
        column_A: Tensor = getattr(batch.batch, f"{name}_A")
        if describe_non_finite(column_A):
            first = int(torch.nonzero(~torch.isfinite(column_A))[0])
            row = batch.rows[int(torch.searchsorted(batch.batch.actions_N.cumsum(0), first, right=True))]
            title = name.replace("_", " ")
            return place, row, f"the {title} of {batch.describe(row)} are {describe_non_finite(column_A[first])}"
    return NOTHING


def _find_in_losses(batch: BatchShare, rows: Sequence[int], loss_A: Tensor) -> Finding:
    """Return the first of a micro-batch's rows whose loss is not finite."""
    import torch

    if not rows or not describe_non_finite(loss_A):
        return NOTHING
    first = int(torch.nonzero(~torch.isfinite(loss_A))[0])
    counts = [1] * len(rows)
    if len(loss_A) != len(rows):  # a term for each action, and not for each sequence
        counts = cast("list[int]", batch.actions_N[list(rows)].tolist())
    row = next(row for i, row in enumerate(rows) if first < sum(counts[: i + 1]))
    return len(COLUMNS), row, f"the loss of {batch.describe(row)} is {describe_non_finite(loss_A[first])}"


def _find_in_gradients(engine: Any, micro_batches: Sequence[Sequence[int]], compute: Compute) -> Finding:
    """Return the parameter nearest to the loss whose gradient is not finite. Collective."""
    finding = NOTHING

    def note(name: str, gradient: Tensor) -> None:
        nonlocal finding
        if finding == NOTHING and (problem := describe_non_finite(gradient)):
            finding = len(COLUMNS) + 1, 0, f"the gradient of {name} is {problem}"

    # Backward begins at the loss: of the gradients that are not finite the first one is nearest to it.
    hooks = [
        parameter.register_hook(partial(note, name))
        for name, parameter in engine.module.named_parameters()
        if parameter.requires_grad
    ]
    for rows in micro_batches:
        engine.backward(compute(rows)[1], scale_wrt_gas=False)
    for hook in hooks:
        hook.remove()
    return finding
