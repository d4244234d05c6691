"""`evaluate`: how good the model is, with intervals: mean over samples at the training temperature, greedy, pass@k."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rl.config import ConfigError
from rl.data.mixture import Data
from rl.stages.context import Context, Outcome

if TYPE_CHECKING:
    from rl.stages.scoring import Scorer
    from rl.types import Prompt, Scored
    from rollouts.sampler import Sampler


@dataclass
class Config:
    data: Data
    split: str | None = "test"
    limit: int | None = None
    model: str | None = None
    """An earlier stage or a path; default: the model so far."""
    samples: int = 8
    temperature: float | None = None
    """Default: that of training, settled when the recipe is loaded (see `rl.recipe.stage_list.settle_temperatures`)."""
    greedy: bool = True
    """Sample once more at temperature 0."""
    controls: list[Literal["silenced", "swapped", "shuffled"]] = field(default_factory=list[Any])
    """Measure again on the prompts with audio, with their sound taken away: what is left of the accuracy was not heard."""
    max_sequence_tokens: int = 10240
    budgets: list[int | Literal["full"]] = field(default_factory=list[int | Literal["full"]])
    """Tokens of thinking after which chains are cut, once more for each: `[0, 16, full]`."""
    votes: int = 0
    """With budgets: how often the commonest of so many samples is right, too."""

    def validate(self, place: str) -> None:
        if self.samples < 1:
            raise ConfigError(f"{place}.samples: must be at least 1; got {self.samples}")
        if self.temperature is not None and not self.temperature >= 0:
            raise ConfigError(f"{place}.temperature: must not be negative; got {self.temperature}")
        if any(budget != "full" and budget < 0 for budget in self.budgets):
            raise ConfigError(f"{place}.budgets: tokens of thinking, or 'full'; got {self.budgets}")
        if not 0 <= self.votes <= self.samples:
            raise ConfigError(f"{place}.votes: {self.votes} of {self.samples} samples cannot vote; raise samples")
        if self.votes and not self.budgets:
            raise ConfigError(f"{place}.votes: votes are counted for each of `budgets`; add `budgets: [full]`")


def metric_names(config: Config) -> list[str]:
    """What its metrics' names begin with, up to a `/`."""
    plain = ["accuracy", "accuracy_in", f"pass@{config.samples}", "reasoning_tokens", "think_rate", "truncation_rate"]
    plain += ["verifier_errors", "prompts", "grounding", "claims_true", "surrogate_rate", "denial_rate"]
    heard = ["accuracy_heard", "audio_reliance", *(f"accuracy_{name}" for name in config.controls)]
    cut = [f"{name}@{budget}" for budget in config.budgets for name in ("accuracy", "tokens", "vote")]
    return [*plain, *(["greedy_accuracy"] if config.greedy else []), *(heard if config.controls else []), *cut]


def run(config: Config, context: Context) -> Outcome:
    from rl.stages.budgets import curve
    from rl.stages.scoring import Scorer

    prompts = context.prompts(config.data, config.split, config.limit)
    sampler, judge = context.cluster.sampler, Scorer(context.rewards)
    sampler.load(context.model)
    metrics, sampled, greedy = measure(config, prompts, sampler, judge, context.seed)
    metrics |= reliance(config, sampled, sampler, judge, context)
    if config.budgets:
        metrics |= curve(config, prompts, sampled, sampler, judge, context.seed)
    context.tracker.rewind(0)
    context.tracker.record(1, metrics)
    context.tracker.record_rollouts(1, sampled)
    _write_per_prompt(context.folder / "per_prompt.parquet", sampled, greedy)
    return Outcome(metrics)


def measure(
    config: Config, prompts: Sequence[Prompt], sampler: Sampler, judge: Scorer, seed: int
) -> tuple[dict[str, float], list[Scored], list[Scored]]:
    """(metrics, the samples, the greedy samples) of the model that the engines hold."""
    import numpy as np

    from rl.run.metrics import pass_at_k
    from rl.stages.scoring import by_prompt, chain_metrics, is_correct, sample_metrics, with_interval

    limit = config.max_sequence_tokens
    assert config.temperature is not None, "settled when the recipe is loaded"
    sampled = judge.collect(
        sampler.generate(
            prompts, samples=config.samples, temperature=config.temperature, max_sequence_tokens=limit, seed=seed
        )
    )
    groups = [group for group in by_prompt(sampled).values() if group]
    shares = [float(np.mean([is_correct(s) for s in group])) for group in groups]
    metrics = with_interval("accuracy", shares)
    sources: dict[str, list[float]] = {}
    for group, share in zip(groups, shares, strict=True):
        sources.setdefault(group[0].rollout.prompt.source, []).append(share)
    if len(sources) > 1:
        metrics |= {f"accuracy_in/{source}": float(np.mean(sources[source])) for source in sorted(sources)}
    whole = [sum(map(is_correct, group)) for group in groups if len(group) == config.samples]
    metrics |= with_interval(f"pass@{config.samples}", pass_at_k(whole, config.samples, config.samples))
    greedy: list[Scored] = []
    if config.greedy:
        greedy = judge.collect(
            sampler.generate(prompts, samples=1, temperature=0.0, max_sequence_tokens=limit, seed=seed)
        )
        metrics |= with_interval("greedy_accuracy", [is_correct(s) for s in greedy if s.verdict.error is None])
    measured = sample_metrics(sampled)
    chains = [sampler.chat.chain_length(s.rollout.tokens[s.rollout.action_mask].tolist()) for s in sampled]
    metrics |= {
        "reasoning_tokens": float(np.mean(chains)),
        "think_rate": float(np.mean([bool(s.rollout.reasoning) for s in sampled])),
        **chain_metrics(sampled),
        "truncation_rate": measured["truncation_rate"],
        "verifier_errors": measured["verifier_errors"],
        "prompts": float(len(groups)),
    }
    return metrics, sampled, greedy


def reliance(
    config: Config, heard: Sequence[Scored], sampler: Sampler, judge: Scorer, context: Context
) -> dict[str, float]:
    """`accuracy_CONTROL` for each control, over the prompts with audio, and `audio_reliance`: what the accuracy with the
    right sound (`accuracy_heard`) has over that with the first control's, prompt by prompt. Raises ValueError where no
    prompt has audio."""
    import numpy as np

    from rl.data.controls import CONTROLS
    from rl.stages.scoring import by_prompt, is_correct, with_interval

    def shares(scored: Sequence[Scored]) -> dict[str, float]:
        return {id: float(np.mean([is_correct(s) for s in group])) for id, group in by_prompt(scored).items() if group}

    if not config.controls:
        return {}
    asked = [p for p in {s.rollout.prompt.id: s.rollout.prompt for s in heard}.values() if p.clips]
    if not asked:
        raise ValueError(f"evaluate '{context.name}': controls need prompts with audio, and none has any; remove them")
    right = {id: share for id, share in shares(heard).items() if id in {p.id for p in asked}}
    metrics = with_interval("accuracy_heard", list(right.values()))
    for place, name in enumerate(config.controls):
        _, sampled, _ = measure(replace(config, greedy=False), CONTROLS[name](asked), sampler, judge, context.seed)
        left = shares(sampled)
        metrics |= with_interval(f"accuracy_{name}", list(left.values()))
        if place == 0:
            both = [right[id] - left[id] for id in right if id in left]
            metrics |= with_interval("audio_reliance", both)
    return metrics


def _write_per_prompt(path: Path, sampled: Sequence[Scored], greedy: Sequence[Scored]) -> None:
    """One row a prompt, so that runs can be compared prompt by prompt; `asked` tells prompts of one id apart."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    from rl.run.files import replacing
    from rl.stages.scoring import by_prompt, digest, is_correct

    first = {s.rollout.prompt.id: float(is_correct(s)) for s in greedy if s.verdict.error is None}
    groups = {id: group for id, group in by_prompt(sampled).items() if group}
    table = pa.table(
        {
            "id": list(groups),
            "asked": [digest(group[0].rollout.prompt) for group in groups.values()],
            "accuracy": [float(np.mean([is_correct(s) for s in group])) for group in groups.values()],
            "greedy": pa.array([first.get(id) for id in groups], pa.float64()),
        }
    )
    with replacing(path) as temporary:
        parquet.write_table(table, temporary)
