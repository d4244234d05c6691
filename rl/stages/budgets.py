"""Measures accuracy over thinking: the same samples with their chains cut after so many tokens, and votes over several.

A chain that is longer than the budget is closed there, by force, and the model answers from what it has (Step-Audio-R1's
test-time compute scaling; budget forcing as in Muennighoff et al. 2025, arXiv 2501.19393, section 3).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from rl.think import THINK_CLOSE

if TYPE_CHECKING:
    from rl.stages.scoring import Scorer
    from rl.stages.settings import SamplingConfig
    from rl.types import Prompt, Scored
    from rollouts.sampler import Sampler

SECOND_CHAIN = "thought on behind the end of its chain"
"""Reason of the verdict on such an answer."""


@dataclass(frozen=True, slots=True)
class Questions:
    """Prompts that a model is asked again and again, each time with another budget of thinking."""

    config: SamplingConfig
    prompts: Sequence[Prompt]
    sampler: Sampler
    scorer: Scorer
    seed: int

    def answer_within(self, budget: int, samples: Sequence[Scored]) -> list[Scored]:
        """Return the samples with at most `budget` tokens of their chains: those within it stay as they are, the chain of
        the others is cut, closed, and answered anew. Where the limit leaves no room for an answer behind the cut, a
        sample stays as it is too: the limit has cut it there, or a few tokens on."""
        openings: dict[tuple[str, int], list[int]] = {}
        for s in samples:
            actions = _actions(s)
            # From the ids themselves: a text that is encoded again may come out as other tokens.
            opening = [*actions[:budget], *self.sampler.chat.closing]
            # What the policy did not write is the prompt: no environment answers where chains are cut.
            room = self.config.max_sequence_tokens - (len(s.rollout.tokens) - len(actions))
            if self.sampler.chat.chain_length(actions) > budget and len(opening) < room:
                openings[s.rollout.prompt.id, s.rollout.sample] = opening
        short_enough = [s for s in samples if (s.rollout.prompt.id, s.rollout.sample) not in openings]
        answers = self.scorer.collect(
            self.sampler.generate(
                self.prompts,
                samples=self.config.samples,
                temperature=self.config.settled_temperature,
                max_sequence_tokens=self.config.max_sequence_tokens,
                seed=self.seed,
                skip={(s.rollout.prompt.id, s.rollout.sample) for s in short_enough},
                openings=openings,
            )
        )
        chat = self.sampler.chat
        answers = [refuse_second_chain(s, chat.written(_actions(s))) for s in answers]  # what opens them is no action
        # In the order that they had: a vote takes the first samples of each prompt.
        return sorted([*short_enough, *answers], key=lambda s: (s.rollout.prompt.id, s.rollout.sample))


def refuse_second_chain(scored: Scored, said: str) -> Scored:
    """Return the sample, and as not right if what it `said` behind a chain that was closed by force closes one again: it thought on,
    with more tokens than it was allowed. A model that never saw an unfinished chain does so."""
    if THINK_CLOSE not in said or scored.verdict.error is not None:
        return scored
    verdict, sample = scored.verdict, scored.rollout.sample
    # A reading of its own: in a vote it stands alone.
    refused = replace(
        verdict,
        parts={**verdict.parts, "accuracy": 0.0},
        reason=SECOND_CHAIN,
        read=f"{SECOND_CHAIN}: sample {sample}",
    )
    return replace(scored, verdict=refused)


def second_chain_rate(scored: Sequence[Scored]) -> float:
    """Return the share of the samples with a verdict that `refuse_second_chain` took to be wrong."""
    judged = [s.verdict.reason for s in scored if s.verdict.error is None]
    return judged.count(SECOND_CHAIN) / len(judged) if judged else 0.0


def budget_curve(
    questions: Questions, budgets: Sequence[int | Literal["full"]], votes: int, samples: Sequence[Scored]
) -> dict[str, float]:
    """Return `accuracy@BUDGET` with its interval, `tokens@BUDGET` (mean length of the chains), `second_chain@BUDGET` (share of the
    samples that closed another chain behind the cut, none of them right) and `vote@BUDGET` (the commonest of `votes` samples; 0: none)
    for each budget, from the `samples` with their whole chains."""
    lengths = [questions.sampler.chat.chain_length(_actions(s)) for s in samples]
    metrics: dict[str, float] = {}
    for budget in budgets:
        if budget == "full":
            answers, used = samples, lengths
        else:
            # Of the chains alone: a second one behind the cut has its own metric.
            answers, used = questions.answer_within(budget, samples), [min(length, budget) for length in lengths]
        for name, value in _accuracies(answers, votes).items():
            head, slash, bound = name.partition("/")
            metrics[f"{head}@{budget}{slash}{bound}"] = value
        metrics[f"tokens@{budget}"] = sum(used) / len(used)
        if budget != "full":
            metrics[f"second_chain@{budget}"] = second_chain_rate(answers)
    return metrics


def majority(scored: Sequence[Scored]) -> bool:
    """Return whether the commonest answer of a prompt's samples is right; of several, the one that was given first. What
    the verifier reads as the same answer is the same ("B", "(B) a violin", "a violin"); where it tells no reading, the
    same words are."""
    from rewards.answers.texts import answer_text, normalise_text
    from rl.stages.scoring import is_correct

    votes: dict[str, list[bool]] = defaultdict(list)
    for s in scored:
        votes[s.verdict.read or normalise_text(answer_text(s.rollout.response))].append(is_correct(s))
    winner = max(votes.values(), key=len)
    # Answers that are read alike may have different verdicts, by a judge for instance: most of them decide.
    return sum(winner) * 2 > len(winner)


def _accuracies(scored: Sequence[Scored], votes: int) -> dict[str, float]:
    import numpy as np

    from rl.stages.scoring import by_prompt, is_correct, with_interval

    groups = [group for group in by_prompt(scored).values() if group]
    metrics = with_interval("accuracy", [float(np.mean([is_correct(s) for s in group])) for group in groups])
    if votes:
        metrics |= with_interval("vote", [float(majority(group[:votes])) for group in groups])
    return metrics


def _actions(scored: Scored) -> list[int]:
    """Return the ids that the policy wrote."""
    return scored.rollout.tokens[scored.rollout.action_mask].tolist()
