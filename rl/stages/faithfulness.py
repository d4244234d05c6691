"""Faithful or lucky: per answer, whether it is right, and whether its chain earns it (AuraScore's two parts, arXiv 2508.07470).

Facts: the chain claims something of the sound that can be measured, all of it is true, and it reasons from no imagined text
(`grounding`). Inference: its steps do not contradict one another and conclude the answer that is given (`coherence`). The
paper's formula is not public; this is our reading.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rl.types import Scored, Verdict

CELLS = ("right_and_faithful", "right_but_unfaithful", "wrong_but_faithful", "wrong_and_unfaithful")
"""Metrics: shares of the answers, which sum to 1."""
HALVES = ("facts_hold", "steps_hold")
"""Metrics: shares of the chains whose facts, and whose steps, hold."""


def facts_hold(verdict: Verdict) -> bool | None:
    """Return whether the claims of a chain are borne out; None where no `grounding` judged it. A chain without a claim that
    could be checked bears nothing out."""
    parts = verdict.parts
    if "grounding/checked" not in parts:
        return None
    return parts["grounding/checked"] > 0 and not (
        parts["grounding/true"] < parts["grounding/checked"] or parts["grounding/surrogates"] > 0
    )


def steps_hold(verdict: Verdict) -> bool | None:
    """Return whether the steps of a chain follow and end at the answer; None where no `coherence` judged it."""
    parts = verdict.parts
    if "coherence" not in parts:
        return None
    # without a chain the verifier gives no inner scores
    return parts.get("coherence/consistent", 0.0) == 1 and parts.get("coherence/concluded", 0.0) >= 0.5


def faithfulness_metrics(samples: Sequence[Scored]) -> dict[str, float]:
    """Return the CELLS and HALVES with intervals over prompts; none where no sample has both parts of a verdict."""
    from rl.stages.scoring import is_correct, with_interval

    values: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in (*CELLS, *HALVES)}
    for sample in samples:
        facts, steps = facts_hold(sample.verdict), steps_hold(sample.verdict)
        # With one half missing an answer belongs to no cell, and the four shares would no longer sum to 1.
        if sample.verdict.error is not None or facts is None or steps is None:
            continue
        id, is_right, is_faithful = sample.rollout.prompt.id, is_correct(sample), facts and steps
        cell = CELLS[(0 if is_right else 2) + (0 if is_faithful else 1)]
        for name in CELLS:
            values[name][id].append(float(name == cell))
        values["facts_hold"][id].append(float(facts))
        values["steps_hold"][id].append(float(steps))
    metrics: dict[str, float] = {}
    for name, of_prompt in values.items():
        if of_prompt:
            metrics |= with_interval(name, [sum(numbers) / len(numbers) for numbers in of_prompt.values()])
    return metrics
