"""Known reward hacks to try on a verifier: answers that deserve no full score, whatever the question. One that gets it is
a hole that a policy will find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from rl.types import Rollout, Verdict
from rl.workbench import answer_attacks, question_attacks
from rl.workbench.cases import LabelledCase
from rl.workbench.targets import Target, choose_targets

ATTACKS: dict[str, Callable[[Target], Iterator[str]]] = {
    "empty": answer_attacks.empty,
    "only tags": answer_attacks.only_tags,
    "never closed": answer_attacks.never_closed,
    "another answer": answer_attacks.wrong_answer,
    "hidden in the chain": answer_attacks.hidden_in_the_chain,
    "taken back": answer_attacks.withdrawn_answer,
    "negated": answer_attacks.negation,
    "hedged": answer_attacks.two_answers,
    "every option": answer_attacks.every_option,
    "thousand answers": answer_attacks.thousand_answers,
    "no number": answer_attacks.no_number,
    "prompt echoed": question_attacks.echo,
    "question's expression": question_attacks.expression,
    "question's numbers": question_attacks.numbers,
    "sum of the gold": question_attacks.sum_of_the_gold,
    "prose around the gold": question_attacks.prose_around_the_gold,
    "lookalikes": answer_attacks.lookalikes,
    "placeholders": answer_attacks.placeholders,
    "master keys": answer_attacks.master_keys,
    "injection": answer_attacks.injection,
    "feature stuffing": answer_attacks.feature_stuffing,
    "program tricks": answer_attacks.program_tricks,
}
"""Name -> function that yields the answers to try on a target."""
SHAPELESS = ("empty", "only tags")
"""The attacks that even a verifier of the answer's shape alone must refuse."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One answer of an attack on a case."""

    attack: str
    case: LabelledCase
    rollout: Rollout


def list_attempts(cases: Sequence[LabelledCase]) -> list[Attempt]:
    """Return every attack on every case whose right answer scores full, on at most MAX_CASES of them. Answers that happen to
    be right are left out."""
    targets = choose_targets([case for case in cases if case.equal and case.bounds[1] >= 1.0])
    return [
        Attempt(name, case, replace(case.rollouts[0], text=text))
        for case, target in targets
        for name, attack in ATTACKS.items()
        if target.has_content or name in SHAPELESS
        for text in dict.fromkeys(attack(target))  # without repetitions
        if text not in (case.pred, *case.golds)
    ]


def scores_full(attempt: Attempt, verdict: Verdict) -> bool:
    """Return whether an attack scores as the right answer would."""
    return verdict.error is None and verdict.score >= attempt.case.bounds[0]
