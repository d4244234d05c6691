"""Accuracy over thinking: the same samples with their chains cut after so many tokens, and votes over several of them.

A chain that is longer than the budget is closed there, by force, and the model answers from what it has (Step-Audio-R1's
test-time compute scaling; budget forcing as in Muennighoff et al. 2025, arXiv 2501.19393, section 3).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rl.stages.evaluate import Config
    from rl.stages.scoring import Scorer
    from rl.types import Prompt, Scored
    from rollouts.sampler import Sampler


def curve(
    config: Config, prompts: Sequence[Prompt], sampled: Sequence[Scored], sampler: Sampler, judge: Scorer, seed: int
) -> dict[str, float]:
    """`accuracy@BUDGET` with its interval, `tokens@BUDGET` (of the chain, in the mean) and `vote@BUDGET` for each of
    `config.budgets`, from the `sampled` answers with their whole chains."""
    lengths = [sampler.encoder.chain_length(_written(s)) for s in sampled]
    metrics: dict[str, float] = {}
    for budget in config.budgets:
        cut = sampled if budget == "full" else within(budget, config, prompts, sampled, sampler, judge, seed)
        for name, value in _measured(cut, config.votes).items():
            head, slash, bound = name.partition("/")
            metrics[f"{head}@{budget}{slash}{bound}"] = value
        metrics[f"tokens@{budget}"] = sum(n if budget == "full" else min(n, budget) for n in lengths) / len(lengths)
    return metrics


def within(
    budget: int,
    config: Config,
    prompts: Sequence[Prompt],
    sampled: Sequence[Scored],
    sampler: Sampler,
    judge: Scorer,
    seed: int,
) -> list[Scored]:
    """The samples with at most `budget` tokens of their chains: those that are within it stay as they are."""
    openings: dict[tuple[str, int], list[int]] = {}
    for s in sampled:
        written = _written(s)
        if sampler.encoder.chain_length(written) > budget:
            openings[s.rollout.prompt.id, s.rollout.sample] = [*written[:budget], *sampler.encoder.closing]
    stay = [s for s in sampled if (s.rollout.prompt.id, s.rollout.sample) not in openings]
    answered = judge.collect(
        sampler.generate(
            prompts,
            samples=config.samples,
            temperature=config.temperature,
            max_sequence_tokens=config.max_sequence_tokens,
            seed=seed,
            skip={(s.rollout.prompt.id, s.rollout.sample) for s in stay},
            openings=openings,
        )
    )
    return sorted([*stay, *answered], key=lambda s: (s.rollout.prompt.id, s.rollout.sample))


def majority(scored: Sequence[Scored]) -> bool:
    """Is the commonest answer of a prompt's samples right? Of several the one that was given first. What the verifier
    reads as the same answer is the same ("B", "(B) a violin", "a violin"); where it tells no reading, the same words
    are."""
    from rewards.verifiers.text import answer_text, normalise_text
    from rl.stages.scoring import is_correct

    votes: dict[str, list[bool]] = defaultdict(list)
    for s in scored:
        votes[s.verdict.read or normalise_text(answer_text(s.rollout.response))].append(is_correct(s))
    winner = max(votes.values(), key=len)
    return sum(winner) * 2 > len(winner)


def _measured(scored: Sequence[Scored], votes: int) -> dict[str, float]:
    import numpy as np

    from rl.stages.scoring import by_prompt, is_correct, with_interval

    groups = [group for group in by_prompt(scored).values() if group]
    metrics = with_interval("accuracy", [float(np.mean([is_correct(s) for s in group])) for group in groups])
    if votes:
        metrics |= with_interval("vote", [float(majority(group[:votes])) for group in groups])
    return metrics


def _written(scored: Scored) -> list[int]:
    return scored.rollout.tokens[scored.rollout.action_mask].tolist()
