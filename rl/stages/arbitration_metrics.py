"""Measures of whose word a model takes and of what it gains by it, on samples whose prompts have an external transcript.

Everything is of the same samples: `own` is the transcript in the chain, `external` the candidate, so that the model's own ear,
the other's, the better of the two and the model's choice are compared pair by pair.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from rewards.answers.texts import answer_text, normalise_text
from rewards.answers.transcripts import error_rate, transcript_words
from rl.data.arbitration import (
    ACTIONS,
    ASK,
    FIELD,
    Action,
    candidate_of,
    choose_by_error,
    hypotheses_of,
    majority,
    sign_of,
    split_action,
    transcript_in,
)
from rl.think import THINK_CLOSE

if TYPE_CHECKING:
    from rl.types import Prompt, Rollout, Scored
    from rollouts.chat_format import ChatFormat

PREFIX = "arbitration"
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Decision:
    """A sample in which the model had two candidates and took one, or wrote anew."""

    prompt: str
    own: str
    own_is_right: bool
    external_is_right: bool
    is_right: bool
    action: Action | None
    """Action that the answer takes; None for one without."""
    label: Action | None
    """The action with the lowest error rate, `rewrite` only where it was taken; None where the gold has no words."""
    asked: bool
    copied: bool
    """True where the answer is the candidate that the action names."""
    probability: float
    """Probability of the action's text after what was written before it; NaN without an action."""


def check_candidates(prompts: Sequence[Prompt]) -> None:
    """Raise ValueError for a prompt of `arbitration_metrics` whose external transcript is none."""
    for prompt in filter(_is_measured, prompts):
        candidate_of(prompt)


def arbitration_metrics(samples: Sequence[Scored], chat: ChatFormat) -> dict[str, float]:
    """Return the measures; none where no prompt has an external transcript. With intervals over prompts: accuracy of one's own
    transcripts (`own`), of the candidates (`external`), of the better of both (`oracle`), of the majority, of the actions dealt
    anew among the samples (`dealt`); `gap_closed`, the share of the way from `own` to `oracle`; and the shares of the actions.
    Without: F1 of `internal` and `external`, `rewrite_right` of the `rewrites`, and how far an action's probability is from how
    often it is right (`calibration_error`)."""
    from rl.stages.scoring import with_interval

    decisions = [_decide(s, chat) for s in samples if s.verdict.error is None and _is_measured(s.rollout.prompt)]
    if not decisions:
        return {}
    actions = [d.action for d in decisions]
    measures: dict[str, Callable[[Decision], float]] = {
        "own": lambda d: d.own_is_right,
        "external": lambda d: d.external_is_right,
        "oracle": lambda d: d.own_is_right or d.external_is_right,
        "asked": lambda d: d.asked,
    }
    if any(actions):
        measures |= {f"takes_{action}": lambda d, action=action: d.action == action for action in ACTIONS}
        measures["dealt"] = _dealt_anew(decisions)
    metrics: dict[str, float] = {}
    for name, measure in measures.items():
        metrics |= with_interval(f"{PREFIX}/{name}", list(by_prompt(decisions, measure).values()))
    metrics |= with_interval(f"{PREFIX}/majority", _majorities(samples))
    metrics |= gap_closed(decisions)
    return metrics | (_action_metrics(decisions) if any(actions) else {})


def by_prompt(decisions: Sequence[Decision], measure: Callable[[Decision], float]) -> dict[str, float]:
    """Return {prompt: mean of the measure over its samples}."""
    values: dict[str, list[float]] = defaultdict(list)
    for decision in decisions:
        values[decision.prompt].append(float(measure(decision)))
    return {prompt: sum(numbers) / len(numbers) for prompt, numbers in values.items()}


def gap_closed(decisions: Sequence[Decision]) -> dict[str, float]:
    """Return the share of the gap between one's own ear and the better of both that the choices close, with its interval;
    nothing where there is no gap. It is a ratio of means, so whole prompts are drawn anew for it."""
    right = np.array([*by_prompt(decisions, lambda d: d.is_right).values()])
    own = np.array([*by_prompt(decisions, lambda d: d.own_is_right).values()])
    # Sample by sample, then averaged: an oracle chooses between the two candidates of each sample.
    best = np.array([*by_prompt(decisions, lambda d: d.own_is_right or d.external_is_right).values()])
    gap = best.mean() - own.mean()
    if gap <= 0:
        return {}
    # A fixed seed: the same samples always give the same interval.
    drawn = np.random.default_rng(0).integers(len(own), size=(RESAMPLES, len(own)))
    gains, gaps = (right - own)[drawn].mean(1), (best - own)[drawn].mean(1)
    shares = gains[gaps > 0] / gaps[gaps > 0]  # a draw without a gap has nothing to close
    low, high = (float(np.quantile(shares, level)) for level in (0.025, 0.975))
    name = f"{PREFIX}/gap_closed"
    return {name: float((right.mean() - own.mean()) / gap), f"{name}/low": low, f"{name}/high": high}


def f1(decisions: Sequence[Decision], action: Literal["internal", "external"]) -> float:
    """Return the F1 of an action against the labels; 0 where it is neither taken nor right."""
    hits = sum(d.action == action == d.label for d in decisions)
    total = sum(d.action == action for d in decisions) + sum(d.label == action for d in decisions)
    return 2 * hits / total if total else 0.0


def action_probability(rollout: Rollout, action: Action, chat: ChatFormat) -> float:
    """Return the probability of the tokens that spell the action; NaN where its text cannot be found among them."""
    ids = rollout.tokens[rollout.action_mask].tolist()
    sign = sign_of(action)

    def answer_so_far(count: int) -> str:
        return chat.written(ids[:count]).partition(THINK_CLOSE)[2]

    if sign not in answer_so_far(len(ids)):
        return float("nan")
    # The first count of tokens whose text has the sign; by halves, for a chain may be long.
    end = bisect_left(range(len(ids) + 1), True, key=lambda count: sign in answer_so_far(count))
    start = end - 1
    beginnings = tuple(sign[:length] for length in range(1, len(sign)))
    # Back to the first token of the sign, which may be spelt by several.
    while start > 0 and answer_so_far(start).endswith(beginnings):
        start -= 1
    # `logprobs` has entries for actions alone, as `ids` has.
    return float(np.exp(rollout.logprobs[start:end].sum()))


def _is_measured(prompt: Prompt) -> bool:
    """Return whether a prompt has an external transcript, and a gold to compare it with."""
    return FIELD in prompt.fields and bool(prompt.answer)


def _decide(scored: Scored, chat: ChatFormat) -> Decision:
    from rl.stages.scoring import is_correct

    rollout, gold = scored.rollout, str(scored.rollout.prompt.answer)
    own, external = transcript_in(rollout.reasoning), candidate_of(rollout.prompt)
    action, text = split_action(answer_text(rollout.response))
    label: Action | None = None
    if transcript_words(gold):
        fused = error_rate(gold, text) if action == "rewrite" else None
        label = choose_by_error(error_rate(gold, own), error_rate(gold, external), fused)
    candidate = {"internal": own, "external": external}.get(action or "")
    return Decision(
        prompt=rollout.prompt.id,
        own=own,
        own_is_right=_is_right(own, gold),
        external_is_right=_is_right(external, gold),
        is_right=is_correct(scored),
        action=action,
        label=label,
        asked=ASK in rollout.reasoning or action == "external",
        copied=candidate is not None and normalise_text(text) == normalise_text(candidate),
        probability=float("nan") if action is None else action_probability(rollout, action, chat),
    )


def _is_right(text: str, gold: str) -> bool:
    words = transcript_words(gold)
    # Nothing is right where the gold has no words, an empty transcript neither.
    return transcript_words(text) == words != []


def _dealt_anew(decisions: Sequence[Decision]) -> Callable[[Decision], float]:
    """Return the chance that a sample is right where its action is drawn from those of all samples: what is left of the gain
    knew nothing of the sound. A rewrite is then right as often as rewrites are."""
    rewrites = [d.is_right for d in decisions if d.action == "rewrite"]
    rewrite_right = sum(rewrites) / len(rewrites) if rewrites else 0.0
    share = {action: sum(d.action == action for d in decisions) / len(decisions) for action in ACTIONS}

    def chance(decision: Decision) -> float:
        own, external = decision.own_is_right, decision.external_is_right
        return share["internal"] * own + share["external"] * external + share["rewrite"] * rewrite_right

    return chance


def _majorities(samples: Sequence[Scored]) -> list[float]:
    """Return for each prompt whether the commonest of all its own transcripts and of the external hypotheses is right."""
    from rl.stages.scoring import by_prompt as group_by_prompt

    values: list[float] = []
    for group in group_by_prompt(samples).values():
        if group and _is_measured(group[0].rollout.prompt):
            prompt = group[0].rollout.prompt
            votes = [transcript_in(s.rollout.reasoning) for s in group] + hypotheses_of(prompt)
            values.append(float(_is_right(majority(votes), str(prompt.answer))))
    return values


def _action_metrics(decisions: Sequence[Decision]) -> dict[str, float]:
    from rl.run.metrics import calibration_error

    labelled = [d for d in decisions if d.label is not None]
    metrics = {f"{PREFIX}/f1_{action}": f1(labelled, action) for action in ("internal", "external")}
    # No F1: what the model would have written is unknown where it did not, so no rewrite can be missing.
    rewrites = [d.label == "rewrite" for d in labelled if d.action == "rewrite"]
    metrics[f"{PREFIX}/rewrites"] = len(rewrites)
    if rewrites:
        metrics[f"{PREFIX}/rewrite_right"] = sum(rewrites) / len(rewrites)
    sure = [d for d in labelled if np.isfinite(d.probability)]
    if sure:
        metrics[f"{PREFIX}/probability"] = float(np.mean([d.probability for d in sure]))
        metrics[f"{PREFIX}/chosen_right"] = float(np.mean([d.action == d.label for d in sure]))
        metrics[f"{PREFIX}/calibration_error"] = calibration_error(
            [d.probability for d in sure], [d.action == d.label for d in sure]
        )
    named = [d for d in decisions if d.action in ("internal", "external")]
    if named:
        metrics[f"{PREFIX}/copied"] = sum(d.copied for d in named) / len(named)
    return metrics
