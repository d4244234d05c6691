"""Trials of a policy loss; `rl.algorithms.contract` says what each clause asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from rl.algorithms.contract_probes import State, Trial, changed_columns, copies, moved_logprobs, probe, rows_of_actions
from rl.algorithms.objective import Clause, Objective
from rl.algorithms.policy_losses import action_weights
from rl.algorithms.ratios import PER_SEQUENCE
from rl.types import Batch

if TYPE_CHECKING:
    from torch import Tensor

    from rl.algorithms.policy_losses import PolicyLoss

CUTS: dict[str, list[list[int]]] = {
    "cut in three": [[0], [1, 2], [3, 4, 5, 6, 7]],
    "every sequence alone": [[row] for row in range(8)],
    "on two ranks": [[0, 2, 4, 6], [1, 3, 5, 7]],
    "packed in another order": [[6, 1, 3, 0, 7, 4, 2, 5]],
}
"""Ways to take the probe's rows through the model."""
TOLERANCE = 1e-6
"""Relative difference of gradients in double precision; some functions compute a part in single precision."""
EXTREME = 100.0
"""Log ratio beyond what exp of a float32 can hold: it overflows at 88.7."""


def trials(loss: PolicyLoss, objective: Objective) -> dict[Clause, Trial]:
    """Return the trial of each clause."""
    return {
        "shapes": lambda: try_shapes(loss, objective),
        "cuts": lambda: try_cuts(loss, objective),
        "zero": lambda: try_zero(loss, objective),
        "mask": lambda: try_mask(loss, objective),
        "finite": lambda: try_finite(loss, objective),
        "inputs": lambda: try_inputs(loss, objective),
        "repeats": lambda: try_repeats(loss, objective),
    }


def try_shapes(loss: PolicyLoss, objective: Objective) -> tuple[State, str]:
    """Try whether the loss returns terms and diagnostics of the right type and shape."""
    import torch

    batch = probe(torch.float32)
    logprobs_A = moved_logprobs(batch).requires_grad_()
    answer = cast("Any", loss(logprobs_A, batch, objective))  # somebody else's function may return anything
    if not (isinstance(answer, tuple) and len(cast("tuple[object, ...]", answer)) == 2 and isinstance(answer[1], dict)):
        return "FAILS", f"returns {type(cast('object', answer)).__name__}, not (terms, diagnostics)"
    terms_A = cast("object", answer[0])
    diagnostics = cast("dict[str, object]", answer[1])
    if not isinstance(terms_A, torch.Tensor) or terms_A.shape != logprobs_A.shape:
        shape = tuple(terms_A.shape) if isinstance(terms_A, torch.Tensor) else type(terms_A).__name__
        return "FAILS", f"returns {shape} for {len(logprobs_A)} actions; return a term for each, not reduced"
    if terms_A.dtype != logprobs_A.dtype:
        return "FAILS", f"returns {terms_A.dtype} for logprobs of {logprobs_A.dtype}"
    if not terms_A.requires_grad:
        return "FAILS", "the terms carry no gradient of the logprobs"
    for name, value in diagnostics.items():
        count = len(batch) if name.endswith(PER_SEQUENCE) else len(logprobs_A)
        if not isinstance(value, torch.Tensor) or value.shape != (count,):
            return "FAILS", f"diagnostic '{name}' is not a tensor of {count} entries"
    return "ok", ""


def try_cuts(loss: PolicyLoss, objective: Objective) -> tuple[State, str]:
    """Try the gradient of a step that is cut in several ways."""
    import torch

    batch = probe(torch.float64)
    logprobs_A = moved_logprobs(batch)
    whole_A = step_gradient(loss, logprobs_A, batch, objective, [list(range(len(batch)))])
    broken: list[str] = []
    for how, cuts in CUTS.items():
        cut_A = step_gradient(loss, logprobs_A, batch, objective, cuts)
        if not relative_distance(cut_A, whole_A) <= TOLERANCE:  # NaN is broken, too
            broken.append(f"{how}, {compare_gradients(cut_A, whole_A)}")
    return ("FAILS", "; ".join(broken)) if broken else ("ok", "")


def try_zero(loss: PolicyLoss, objective: Objective) -> tuple[State, str]:
    """Try advantages of 0, of a policy that has not moved and of one that has."""
    import dataclasses

    import torch

    batch = probe(torch.float64)
    blind = dataclasses.replace(batch, _advantages_A=None)
    try:
        # A loss that reads advantages raises here, for the column is absent.
        loss(moved_logprobs(batch).requires_grad_(), blind, objective)
    except (Exception, SystemExit):
        pass
    else:
        return "-", "reads no advantages"
    idle = batch.add(advantages=torch.zeros_like(batch.advantages_A))
    rows = [list(range(len(batch)))]
    still_A = step_gradient(loss, batch.old_A, idle, objective, rows)
    usual = _length(step_gradient(loss, batch.old_A, batch, objective, rows))
    if not _length(still_A) <= TOLERANCE * usual:
        share = _length(still_A) / max(usual, 1e-300)
        return "FAILS", f"with advantages of 0 and an unmoved policy the gradient is {share:.2g} of the usual one"
    length = _length(step_gradient(loss, moved_logprobs(batch), idle, objective, rows))
    has_penalty = length > TOLERANCE * usual
    return "ok", "it has a penalty of its own on moving away from the old policy" if has_penalty else ""


def try_mask(loss: PolicyLoss, objective: Objective) -> tuple[State, str]:
    """Try other prompts, and tokens of a tool between the actions."""
    import torch

    rows = [list(range(8))]
    batch = probe(torch.float64)
    logprobs_A = moved_logprobs(batch)
    usual_A = step_gradient(loss, logprobs_A, batch, objective, rows)
    for change, variant in {
        "other tokens in the prompts": probe(torch.float64, first_token=5000),
        "longer prompts": probe(torch.float64, prompt=30),
        "a tool's tokens among the actions": probe(torch.float64, gaps=6),
    }.items():
        other_A = step_gradient(loss, logprobs_A, variant, objective, rows)
        if not relative_distance(other_A, usual_A) <= TOLERANCE:
            return "FAILS", f"with {change}, {compare_gradients(other_A, usual_A)}"
    return "ok", ""


def try_finite(loss: PolicyLoss, objective: Objective) -> tuple[State, str]:
    """Try extreme ratios of both signs, and a micro-batch of one action."""
    import torch

    batch = probe(torch.float32)
    for sign, where in ((1.0, "+100"), (-1.0, "-100")):
        # Every third action: the others are as usual, and none of its own sequence may suffer.
        is_extreme_A = torch.arange(len(batch.old_A)) % 3 == 0
        low_A = batch.old_A - EXTREME * is_extreme_A
        high_A = batch.old_A.clone()
        logprobs_A, old_A = (high_A, low_A) if sign > 0 else (low_A, high_A)
        if problem := _not_finite(loss, logprobs_A, batch.add(old=old_A), objective):
            return "FAILS", f"at a log ratio of {where} {problem}; clamp the log ratio before exp"
    single = probe(torch.float32, scores=(1.0,), groups=(0,), actions=(1,))
    if problem := _not_finite(loss, single.old_A - 0.1, single, objective):
        return "FAILS", f"in a micro-batch of one action {problem}"
    return "ok", ""


def try_inputs(loss: PolicyLoss, objective: Objective) -> tuple[State, str]:
    """Try whether the loss leaves its inputs as they are."""
    import torch

    batch = probe(torch.float64)
    before = copies(batch)
    # As the trainer's logprobs, an intermediate result, which can be written to.
    logprobs_A = moved_logprobs(batch).requires_grad_() * 1.0
    logprobs_before_A = logprobs_A.detach().clone()
    loss(logprobs_A, batch, objective)
    columns = changed_columns(batch, before)
    if not torch.equal(logprobs_A.detach(), logprobs_before_A):
        columns.append("logprobs")
    return ("FAILS", f"changes {', '.join(columns)} in place; work on a copy") if columns else ("ok", "")


def try_repeats(loss: PolicyLoss, objective: Objective) -> tuple[State, str]:
    """Try a second and a third call; the trainer seeds nothing for a loss, and a resumed run must repeat its steps."""
    import torch

    batch = probe(torch.float64)
    logprobs_A = moved_logprobs(batch)
    rows = [list(range(len(batch)))]
    gradients = [step_gradient(loss, logprobs_A, batch, objective, rows, seed) for seed in (0, 1, 2)]
    other_A = max(gradients[1:], key=lambda gradient_A: relative_distance(gradient_A, gradients[0]))
    if not torch.equal(other_A, gradients[0]):
        return "FAILS", f"called again, {compare_gradients(other_A, gradients[0])}; draw nothing at random"
    return "ok", ""


def step_gradient(
    loss: Callable[..., tuple[Tensor, object]],
    logprobs_A: Tensor,
    batch: Batch,
    objective: Objective,
    cuts: Sequence[Sequence[int]],
    seed: int = 0,
) -> Tensor:
    """Return [A] the gradient of an optimiser step with respect to the logprobs, computed in the micro-batches of `cuts` as
    the trainer does: weights come from the whole step. Torch's random generator starts at `seed`."""
    import torch

    # Any constant would do: it scales all gradients that are compared alike.
    weights_A = action_weights(batch.actions_N, objective.normalise, constant=64).to(logprobs_A.dtype)
    gradient_A = torch.zeros_like(logprobs_A)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Added up as over the trainer's micro-batches and ranks, each action with its weight in the whole step.
        for rows in cuts:
            actions = rows_of_actions(batch, rows)
            leaf_A = logprobs_A[actions].detach().requires_grad_()
            terms_A, _ = loss(leaf_A * 1.0, batch.select(rows), objective)
            gradients = _gradients((terms_A * weights_A[actions]).sum(), leaf_A)
            piece_A = gradients[0]
            if piece_A is not None:
                gradient_A[actions] += piece_A
    return gradient_A


def relative_distance(one_A: Tensor, other_A: Tensor) -> float:
    """Return the length of the difference of two gradients over the length of the second."""
    return _length(one_A - other_A) / max(_length(other_A), 1e-300)


def compare_gradients(other_A: Tensor, usual_A: Tensor) -> str:
    """Return in words how another gradient differs from the usual one."""
    factor = _length(other_A) / max(_length(usual_A), 1e-300)
    if not 0.9 < factor < 1.1:
        return f"the gradient is {factor:.2g} times as long"
    return f"the gradient differs by {100 * relative_distance(other_A, usual_A):.2g} %"


def _not_finite(loss: PolicyLoss, logprobs_A: Tensor, batch: Batch, objective: Objective) -> str:
    """Return what is not finite, in words; empty where all is."""

    leaf_A = logprobs_A.detach().clone().requires_grad_()
    terms_A, _ = loss(leaf_A * 1.0, batch, objective)
    if not bool(terms_A.isfinite().all()):
        return f"{int((~terms_A.isfinite()).sum())} of {terms_A.numel()} terms are not finite"
    gradients = _gradients(terms_A.sum(), leaf_A)
    gradient_A = gradients[0]
    if gradient_A is not None and not bool(gradient_A.isfinite().all()):
        return f"the gradient at {int((~gradient_A.isfinite()).sum())} of {gradient_A.numel()} actions is not finite"
    return ""


def _length(gradient_A: Tensor) -> float:
    import torch

    return float(cast("Tensor", torch.linalg.vector_norm(gradient_A)))


def _gradients(value: Tensor, leaf_A: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradient of the value at the leaf, None where it does not depend on it: torch's type leaves that out."""
    import torch

    return torch.autograd.grad(value, leaf_A, allow_unused=True)
