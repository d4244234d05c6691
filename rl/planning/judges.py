"""Counts what a recipe will ask of judges behind an address; whether they are there is seen before its first stage."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rl.benchmarks.sets import BENCHMARKS
from rl.config import build
from rl.recipe.stage_list import Stage, stage_rewards
from rl.stages.workload import StagePlan

if TYPE_CHECKING:
    from rewards.combine import PartConfig, RewardConfig
    from rl.data.inspection import DataFacts
    from rl.recipe import Recipe

Facts = Mapping[tuple[str, str | None], "DataFacts"]


@dataclass(frozen=True)
class Use:
    """One use of a reward by a stage."""

    asker: str
    reward: RewardConfig
    limit: int | None
    """Samples or questions at most; None where that is not known yet."""


def notes(recipe: Recipe, plans: Sequence[StagePlan], facts: Facts) -> list[str]:
    """Return one line for each endpoint: how many questions it will be asked at most, and by which stages."""
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    unknown: set[tuple[tuple[str, str], str]] = set()
    for stage, stage_plan in zip(recipe.stages, plans, strict=True):
        for use in _uses(stage, stage_plan, recipe, facts):
            for endpoint, times in _endpoints(use.reward.judging):
                counts[endpoint][use.asker] += (use.limit or 0) * times
                if use.limit is None:
                    unknown.add((endpoint, use.asker))
    lines: list[str] = []
    for endpoint, askers in counts.items():
        address, model = endpoint
        questions = [f"{_count(count, (endpoint, asker) in unknown)} by {asker}" for asker, count in askers.items()]
        lines.append(
            f"judge {address} ({model}): asked at most {' and '.join(questions)}; whether it answers is seen before the "
            "first stage"
        )
    return lines


def _uses(stage: Stage, stage_plan: StagePlan, recipe: Recipe, facts: Facts) -> Iterator[Use]:
    """Yield the rewards that a stage asks."""
    shared, config = recipe.header.reward, stage.config
    rewards = stage_rewards(config, shared)
    if "select_by" in rewards and stage.iteration <= 1:  # a later iteration asks no question again
        yield Use(f"{stage.base}.select_by", rewards["select_by"], stage_plan.rows)
    if not config.judges_samples:
        return
    reward = rewards.get("reward", shared)
    limit = stage_plan.rollouts if stage_plan.rollouts or stage_plan.rows is not None else None
    if getattr(config, "chains", None):  # how many of them are on its prompts is known once they are read
        limit = None
    yield Use(stage.base, reward, limit)
    if config.evaluation:
        evaluation, times = config.evaluation
        rows = _evaluation_rows(stage, recipe, facts)
        samples = evaluation.samples + getattr(evaluation, "greedy", False)
        yield Use(f"{stage.base}.eval", reward, None if rows is None else times * rows * samples)


def _evaluation_rows(stage: Stage, recipe: Recipe, facts: Facts) -> int | None:
    """Return the prompts of the evaluation within a stage; None where they are not known yet."""
    total = 0
    for read in recipe.loads():
        if read.stage is not stage or read.key != "eval":
            continue
        rows = facts[read.data, read.split].rows
        if rows is None:
            return None
        total += rows if read.limit is None else min(rows, read.limit)
    return total


def _endpoints(parts: Sequence[PartConfig]) -> Iterator[tuple[tuple[str, str], int]]:
    """Yield ((address, model), questions for each sample) of the judges among the parts."""
    for part in parts:
        if part.verifier == "benchmark_judge" and part.args.get("endpoint"):
            ratings = max(b.judging.ratings for b in BENCHMARKS.values() if b.judging)
            yield (str(part.args["endpoint"]), str(part.args.get("model", ""))), ratings
        if part.verifier == "judge" and part.args.get("endpoint"):
            from rewards.verifiers.judge import Config

            judge = build(Config, part.args, "judge.args")
            yield (str(judge.endpoint), judge.model), judge.questions


def _count(count: int, has_unknown: bool) -> str:
    """Return the number of questions in words; `has_unknown`: there are others beside, of unknown number."""
    if has_unknown:
        return f"{count:,} and more questions" if count else "an unknown number of questions"
    return f"{count:,} questions"
