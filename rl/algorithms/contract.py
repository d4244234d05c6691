"""The contract that an advantage or a loss must keep so that a run's gradient is what its paper says, whoever wrote it, and
trials that show by how much a function breaks it.

A loss:
  shapes   one term for each action, of the logprobs' dtype
  cuts     the same gradient however a step is cut into micro-batches, spread over ranks, or packed
  zero     no gradient where every advantage is 0 and the policy has not moved
  mask     prompts and what a tool wrote change nothing
  finite   terms and gradients stay finite at log ratios of ±100, and in a micro-batch of one action
  inputs   what it is given is not changed in place
  repeats  the same numbers when it is called again

An advantage, which sees the whole batch:
  shapes   an advantage for each action, of the rewards' dtype; returns where there is a critic
  order    the same whatever the order of the samples and the numbers of their groups
  mask, finite, inputs, repeats   as above; rewards of ±1e6
  groups   finite where a group has one sample or equal scores, and no noise taken for a difference among equal ones

A function that raises breaks the clause that it raises on. Needs no torch until something is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rl.algorithms.advantages import ADVANTAGES, find_estimator
from rl.algorithms.contract_probes import State, Trial
from rl.algorithms.objective import Clause, Objective
from rl.algorithms.policy_losses import POLICY_LOSSES, find_loss
from rl.config import ConfigError, first_line

if TYPE_CHECKING:
    from rl.algorithms.verl_source import Kind


@dataclass(frozen=True, slots=True)
class Finding:
    """Outcome of one clause's trial."""

    clause: Clause
    state: State
    detail: str = ""
    """Amount by which the clause is broken, in words; a remark where it is not."""


def examine(kind: Kind, function: Callable[..., Any], objective: Objective) -> list[Finding]:
    """Try a function of that kind, whose settings are in `objective`, on every clause."""
    from rl.algorithms import contract_advantages, contract_losses

    if kind == "advantage":
        trials = contract_advantages.trials(function, objective)
    else:
        trials = contract_losses.trials(function, objective)
    return [find(clause, trial) for clause, trial in trials.items()]


def find(clause: Clause, trial: Trial) -> Finding:
    """Return what the trial shows; an error of the function breaks the clause."""
    try:
        state, detail = trial()
    except (Exception, SystemExit) as error:  # the function is somebody else's, and may raise anything
        return Finding(clause, "FAILS", f"raises {type(error).__name__}: {first_line(error)}")
    return Finding(clause, state, detail)


def check(objective: Objective, place: str) -> None:
    """Raise ConfigError where the objective's advantage or loss is not ours and breaks a clause that the objective does not
    accept."""
    clauses = broken_clauses(objective, accepted=False)
    # The first one is told and ends the loop; `accept` names the clauses of all, or the next attempt would fail too.
    for kind, name, finding in clauses:
        accept = ", ".join([*objective.accept, *dict.fromkeys(f.clause for _, _, f in clauses)])
        raise ConfigError(
            f"{place}.{kind}: '{name}' breaks `{finding.clause}`: {finding.detail}; mend it (`rl algorithms test {name} "
            f"--as {kind}`), or take it as it is with objective.accept: [{accept}]"
        )


def broken_clauses(objective: Objective, accepted: bool) -> list[tuple[Kind, str, Finding]]:
    """Return the clauses that the objective's advantage and loss break, where these are not ours: those that the objective
    accepts, or the others."""
    if accepted and not objective.accept:
        return []
    objectives: list[tuple[Kind, str]] = []
    if objective.advantage not in ADVANTAGES:
        objectives.append(("advantage", objective.advantage))
    if objective.policy_loss not in POLICY_LOSSES:
        objectives.append(("policy_loss", objective.policy_loss))
    return [
        (kind, name, finding)
        for kind, name in objectives
        for finding in _examine_once(kind, name, objective)
        if finding.state == "FAILS" and (finding.clause in objective.accept) == accepted
    ]


_findings: dict[tuple[str, str, str], list[Finding]] = {}


def _examine_once(kind: Kind, name: str, objective: Objective) -> list[Finding]:
    """Return what `examine` finds; a plan is made more than once before a run."""
    # What is accepted changes no finding; every other setting may.
    key = kind, name, repr(replace(objective, accept=()))
    if key not in _findings:
        function = find_estimator(name) if kind == "advantage" else find_loss(name)
        _findings[key] = examine(kind, function, objective)
    return _findings[key]
