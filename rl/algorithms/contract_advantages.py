"""Trials of an advantage estimator; `rl.algorithms.contract` says what each clause asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from rl.algorithms.contract_probes import GROUPS, SCORES, State, Trial, changed_columns, copies, probe, rows_of_actions
from rl.algorithms.objective import Clause, Objective
from rl.types import Batch

if TYPE_CHECKING:
    from torch import Tensor

    from rl.algorithms.advantages import Estimator

TOLERANCE = 1e-5
"""Largest difference of advantages, whose usual size is 1, in double precision with parts in single precision."""
NOISE = 0.1
"""Largest advantage that may come from rounding where a group's scores are equal."""
SHIFT = 3.0
"""Constant that is added to the scores of a group."""
ORDER = (6, 1, 3, 0, 7, 4, 2, 5)


def trials(estimator: Estimator, objective: Objective) -> dict[Clause, Trial]:
    """Return the trial of each clause."""
    return {
        "shapes": lambda: try_shapes(estimator, objective),
        "order": lambda: try_order(estimator, objective),
        "mask": lambda: try_mask(estimator, objective),
        "groups": lambda: try_groups(estimator, objective),
        "finite": lambda: try_finite(estimator, objective),
        "inputs": lambda: try_inputs(estimator, objective),
        "repeats": lambda: try_repeats(estimator, objective),
    }


def advantages(estimator: Estimator, batch: Batch, objective: Objective) -> Tensor:
    """Return [A] what the estimator finds for the batch."""
    return estimator(_without_answers(batch), objective).advantages_A


def try_shapes(estimator: Estimator, objective: Objective) -> tuple[State, str]:
    """Try whether the estimator returns its batch with advantages, and returns for a critic, of the right type."""
    import torch

    batch = _without_answers(probe(torch.float32))
    answer = cast("object", estimator(batch, objective))  # somebody else's function may return anything
    if not isinstance(answer, Batch):
        return "FAILS", f"returns {type(answer).__name__}, not a Batch; return batch.add(advantages=…)"
    if not answer.has("advantages"):
        return "FAILS", "adds no advantages; return batch.add(advantages=…)"
    if answer.advantages_A.dtype != batch.rewards_A.dtype:
        return "FAILS", f"advantages are {answer.advantages_A.dtype} for rewards of {batch.rewards_A.dtype}"
    if objective.critic and not answer.has("returns"):
        return "FAILS", "adds no returns, which the critic learns from; return batch.add(advantages=…, returns=…)"
    if not torch.equal(answer.tokens_T, batch.tokens_T) or not torch.equal(answer.rewards_A, batch.rewards_A):
        return "FAILS", "returns another batch than it was given; return batch.add(advantages=…)"
    return "ok", ""


def try_order(estimator: Estimator, objective: Objective) -> tuple[State, str]:
    """Try the samples in another order, and other numbers for their groups."""
    import torch

    batch = probe(torch.float64)
    usual_A = advantages(estimator, batch, objective)
    shuffled_A = advantages(estimator, batch.select(ORDER), objective)
    # NaN is within no tolerance, and broken too.
    if not (difference := _difference(shuffled_A, usual_A[rows_of_actions(batch, ORDER)])) <= TOLERANCE:
        return "FAILS", f"with the samples in another order advantages differ by up to {difference:.2g}"
    other_ids = probe(torch.float64, groups=[1000 - 7 * group for group in GROUPS])
    if not (difference := _difference(advantages(estimator, other_ids, objective), usual_A)) <= TOLERANCE:
        return "FAILS", f"with other numbers for the groups advantages differ by up to {difference:.2g}"
    return "ok", ""


def try_mask(estimator: Estimator, objective: Objective) -> tuple[State, str]:
    """Try other prompts, and tokens of a tool between the actions."""
    import torch

    usual_A = advantages(estimator, probe(torch.float64), objective)
    for change, variant in {
        "other tokens in the prompts": probe(torch.float64, first_token=5000),
        "longer prompts": probe(torch.float64, prompt=30),
        "a tool's tokens among the actions": probe(torch.float64, gaps=6),
    }.items():
        if not (difference := _difference(advantages(estimator, variant, objective), usual_A)) <= TOLERANCE:
            return "FAILS", f"with {change} advantages differ by up to {difference:.2g}"
    return "ok", ""


def try_groups(estimator: Estimator, objective: Objective) -> tuple[State, str]:
    """Try groups of one, as an errored verdict leaves them, and groups of equal scores."""
    import torch

    alone = probe(torch.float32, groups=range(8))
    # 0.7 has no exact float: a mean in float32 may differ from it by rounding, which a deviation near 0 blows up.
    equal = probe(torch.float32, scores=[0.7] * 8, groups=[3] * 8)
    single = probe(torch.float32, scores=(1.0,), groups=(0,), actions=(4,))
    for case, batch in {"groups of one": alone, "equal scores": equal, "a batch of one sample": single}.items():
        try:
            found_A = advantages(estimator, batch, objective)
        except (Exception, SystemExit) as error:  # the function is somebody else's
            return "FAILS", f"with {case} it raises {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        if not bool(found_A.isfinite().all()):
            return (
                "FAILS",
                f"with {case} {int((~found_A.isfinite()).sum())} of {found_A.numel()} advantages are not finite",
            )
    if not _reads_scores(estimator, objective):
        return "ok", "reads no score"
    if not _compares_groups(estimator, objective):
        return "ok", "compares no samples of a group"
    noise = float(advantages(estimator, equal, objective).abs().max())
    if noise > NOISE:
        return "FAILS", f"a group of equal scores gets advantages of up to {noise:.2g}"
    largest = float(advantages(estimator, alone, objective).abs().max())
    remark = f"a sample alone in its group gets an advantage of up to {largest:.2g}" if largest > NOISE else ""
    return "ok", remark


def try_finite(estimator: Estimator, objective: Objective) -> tuple[State, str]:
    """Try rewards of ±1e6."""
    import torch

    for scale in (1e6, -1e6):
        found_A = advantages(estimator, probe(torch.float32, scores=[scale * score for score in SCORES]), objective)
        if not bool(found_A.isfinite().all()):
            return "FAILS", f"with scores of {scale:.0e} {int((~found_A.isfinite()).sum())} advantages are not finite"
    return "ok", ""


def try_inputs(estimator: Estimator, objective: Objective) -> tuple[State, str]:
    """Try whether the estimator leaves its inputs as they are."""
    import torch

    batch = _without_answers(probe(torch.float64))
    before = copies(batch)
    estimator(batch, objective)
    columns = changed_columns(batch, before)
    return ("FAILS", f"changes {', '.join(columns)} in place; work on a copy") if columns else ("ok", "")


def try_repeats(estimator: Estimator, objective: Objective) -> tuple[State, str]:
    """Try a second call, with another state of the random generator."""
    import torch

    with torch.random.fork_rng(devices=[]):
        results: list[Tensor] = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            results.append(advantages(estimator, probe(torch.float64), objective))
    if not torch.equal(*results):
        return "FAILS", f"called again, advantages differ by up to {_difference(*results):.2g}; draw nothing at random"
    return "ok", ""


def _reads_scores(estimator: Estimator, objective: Objective) -> bool:
    """Return whether other scores change any advantage."""
    import torch

    other = advantages(estimator, probe(torch.float64, scores=[*reversed(SCORES)]), objective)
    return not torch.equal(advantages(estimator, probe(torch.float64), objective), other)


def _compares_groups(estimator: Estimator, objective: Objective) -> bool:
    """Return whether a constant that is added to all scores of one group leaves every advantage as it is."""
    import torch

    scores: Sequence[float] = [
        score + SHIFT * (group == GROUPS[0]) for score, group in zip(SCORES, GROUPS, strict=True)
    ]
    usual_A = advantages(estimator, probe(torch.float64), objective)
    # Far above rounding, and far below SHIFT itself, which an estimator without a comparison passes on.
    return _difference(advantages(estimator, probe(torch.float64, scores=scores), objective), usual_A) < 0.1 * SHIFT


def _without_answers(batch: Batch) -> Batch:
    """Return the batch as an estimator gets it, without advantages and returns."""
    from dataclasses import replace

    return replace(batch, _advantages_A=None, _returns_A=None)


def _difference(one_A: Tensor, other_A: Tensor) -> float:
    return float((one_A.double() - other_A.double()).abs().max())
