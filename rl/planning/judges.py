"""What a recipe will ask of judges behind an address, before it asks: whether they are there is seen before its first stage."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rl.config import build
from rl.planning.workload import StagePlan
from rl.recipe.stage_list import Stage, own_rewards

if TYPE_CHECKING:
    from rewards.combine import PartConfig, RewardConfig
    from rl.data.sources import DataFacts
    from rl.recipe import Recipe

ASKS = ("curate", "distill", "pairs", "rlvr", "evaluate")
"""Stages that have their samples judged."""
Facts = Mapping[tuple[str, str | None], "DataFacts"]
Asked = tuple[str, "RewardConfig", int | None]
"""(who asks, by which reward, how many samples or questions at most; None where that is not known yet)."""


def notes(recipe: Recipe, plans: Sequence[StagePlan], facts: Facts) -> list[str]:
    """One line for each endpoint: how many questions it will be asked at most, and by which stages."""
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    unknown: set[tuple[tuple[str, str], str]] = set()
    for stage, told in zip(recipe.stages, plans, strict=True):
        for name, reward, most in _asked(stage, told, recipe, facts):
            for where, times in _endpoints(reward.parts):
                counts[where][name] += (most or 0) * times
                unknown |= {(where, name)} if most is None else set()
    return [
        f"judge {address} ({model}): asked at most "
        + " and ".join(f"{_count(count, (where, name) in unknown)} by {name}" for name, count in counts[where].items())
        + "; whether it answers is seen before the first stage"
        for where in counts
        for address, model in [where]
    ]


def _asked(stage: Stage, told: StagePlan, recipe: Recipe, facts: Facts) -> Iterator[Asked]:
    shared, config = recipe.header.reward, stage.config
    own = own_rewards(config, shared)
    if "select_by" in own and stage.iteration <= 1:  # a later iteration asks no question again
        yield f"{stage.base}.select_by", own["select_by"], told.rows
    if stage.kind not in ASKS or getattr(config, "samples_of", None):
        return
    most = told.rollouts if told.rollouts or told.rows is not None else None
    yield stage.base, own.get("reward", shared), most
    if stage.kind == "rlvr" and config.eval_every and config.eval:
        rows = [
            (facts[name, split].rows, limit)
            for s, name, split, limit, place in recipe.loads()
            if s is stage and place.endswith(".eval")
        ]
        known = [have if limit is None else min(have, limit) for have, limit in rows if have is not None]
        each = sum(known) * (config.eval.samples + config.eval.greedy)
        times = config.steps // config.eval_every
        yield f"{stage.base}.eval", own.get("reward", shared), times * each if len(known) == len(rows) else None


def _endpoints(parts: Sequence[PartConfig]) -> Iterator[tuple[tuple[str, str], int]]:
    """((address, model), questions for each sample) of the judges among them."""
    for part in parts:
        if part.verifier == "judge" and part.args.get("endpoint"):
            from rewards.verifiers.judge import Config

            judge = build(Config, part.args, "judge.args")
            yield (str(judge.endpoint), judge.model), judge.questions


def _count(count: int, more: bool) -> str:
    if more:
        return f"{count:,} and more questions" if count else "an unknown number of questions"
    return f"{count:,} questions"
