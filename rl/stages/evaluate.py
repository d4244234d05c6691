"""`evaluate`: how good the model is, with intervals: mean over samples at the training temperature, greedy, pass@k."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rl.config import ConfigError
from rl.stages.context import Context, Outcome
from rl.stages.faithfulness import CELLS, HALVES
from rl.stages.kind import Kind
from rl.stages.pacing import PaceConfig
from rl.stages.settings import SamplingConfig
from rl.stages.workload import StagePlan, Work, rollouts_in_words, temperature_in_words
from rl.units import many

if TYPE_CHECKING:
    from rl.stages.scoring import Scorer
    from rl.types import Prompt, Scored
    from rollouts.sampler import Sampler

ACTION_SHARES = [f"arbitration/{name}" for name in ("asked", "takes_internal", "takes_external", "takes_rewrite")]
"""Metrics of `arbitration_metrics` that are told for controls too."""


@dataclass
class Config(SamplingConfig):
    """Settings of `evaluate`."""

    split: str | None = "test"
    greedy: bool = True
    """Sample once more at temperature 0."""
    controls: list[Literal["silenced", "swapped", "shuffled"]] = field(default_factory=list[Any])
    """Measure again on the prompts with audio, with their sound taken away: what is left of the accuracy was not heard."""
    budgets: list[int | Literal["full"]] = field(default_factory=list[int | Literal["full"]])
    """Tokens of thinking after which chains are cut, once more for each: `[0, 16, full]`."""
    orders: int = 0
    """Ask prompts with options once more, greedily, with their letters dealt in so many orders: accuracy over them, right in
    all, and how often the chosen text changes. A multiple of the number of options puts each at every letter as often."""
    pace: PaceConfig | None = None
    """Measure answers that begin before the chain has ended, once more for each mode: `{mode: [tbs, think_first], think: 80}`."""
    votes: int = 0
    """With budgets: how often the commonest of so many samples is right, too."""

    def validate(self, place: str) -> None:
        super().validate(place)
        if self.temperature is not None and not self.temperature >= 0:
            raise ConfigError(f"{place}.temperature: must not be negative; got {self.temperature}")
        if any(budget != "full" and budget < 0 for budget in self.budgets):
            raise ConfigError(f"{place}.budgets: tokens of thinking, or 'full'; got {self.budgets}")
        if self.orders < 0 or self.orders == 1:
            raise ConfigError(f"{place}.orders: one order is the one that is there; use 2 or more, or 0 for none")
        if not 0 <= self.votes <= self.samples:
            raise ConfigError(f"{place}.votes: {self.votes} of {self.samples} samples cannot vote; raise samples")
        if self.votes and not self.budgets:
            raise ConfigError(f"{place}.votes: votes are counted for each of `budgets`; add `budgets: [full]`")


def samples_in_words(config: Config) -> str:
    """Return `(8 samples + 1 greedy), chains cut at 0, 16 tokens, again silenced`."""
    words = many(config.samples, "sample") + temperature_in_words(config.temperature)
    if config.greedy:
        words = f"({words} + 1 greedy)"
    if config.budgets:
        words += f", chains cut at {', '.join(map(str, config.budgets))} tokens"
    if config.controls:
        words += f", again {', '.join(config.controls)}"
    if config.pace:
        words += f", paced ({', '.join(config.pace.modes)})"
    if config.orders:
        words += f", in {config.orders} orders of the options"
    return words


def plan(config: Config, work: Work) -> StagePlan:
    """Return the plan of `evaluate`."""
    cuts = sum(budget != "full" for budget in config.budgets)
    cuts += sum(mode != "tbs" for mode in config.pace.modes) if config.pace else 0
    rollouts = (work.rows or 0) * (config.samples * (1 + cuts + len(config.controls)) + config.greedy + config.orders)
    summary = f"{work.prompts} × {samples_in_words(config)}{rollouts_in_words(rollouts, config.max_sequence_tokens)}"
    return work.plan(summary, rollouts, config.max_sequence_tokens, records=True, rollouts=rollouts)


def run(config: Config, context: Context) -> Outcome:
    """Measure `context.model`; leave `per_prompt.parquet`, and samples for the report. Raises ValueError."""
    from rl.stages.benchmark_tables import FILE, headline_metrics, measure_sets, write_results
    from rl.stages.budgets import Questions, budget_curve
    from rl.stages.orders import deal_orders, measure_orders
    from rl.stages.pacing import Pacer, measure_pace
    from rl.stages.scoring import Scorer

    prompts = context.prompts(config.data, config.split, config.limit)
    sampler, scorer = context.cluster.sampler, Scorer(context.rewards)
    if config.pace and not sampler.chat.think:
        raise ValueError(
            f"evaluate '{context.name}': pace: the model does not think; set model.think: true, or remove it"
        )
    if config.controls and not any(prompt.clips for prompt in prompts):
        raise ValueError(f"evaluate '{context.name}': controls need prompts with audio, and none has any; remove them")
    dealt = deal_orders(prompts, config.orders, context.name) if config.orders else []
    sampler.load(context.model)
    metrics, samples, greedy = measure(config, prompts, sampler, scorer, context.seed)
    if config.controls:
        metrics |= audio_reliance(config, samples, sampler, scorer, context)
    if config.orders:
        metrics |= measure_orders(dealt, config, sampler, scorer, context.seed)
    if config.budgets:
        questions = Questions(config, prompts, sampler, scorer, context.seed)
        metrics |= budget_curve(questions, config.budgets, config.votes, samples)
    if config.pace:
        pacer = Pacer(config, config.pace, prompts, sampler, context.seed)
        metrics |= measure_pace(pacer, samples, scorer, lambda: sampler.load(context.model))
    if results := measure_sets(samples):
        metrics |= headline_metrics(results)
        write_results(context.folder / FILE, results)
    context.tracker.rewind(0)
    context.tracker.record(1, metrics)
    context.tracker.record_rollouts(1, samples)
    write_per_prompt(context.folder / "per_prompt.parquet", prompts, samples, greedy)
    return Outcome(metrics)


def measure(
    config: Config, prompts: Sequence[Prompt], sampler: Sampler, scorer: Scorer, seed: int
) -> tuple[dict[str, float], list[Scored], list[Scored]]:
    """Return (metrics, the samples, the greedy samples) of the model that the engines hold. Raises ValueError for a
    prompt with a malformed `external`, before anything is sampled."""
    import numpy as np

    from rl.stages.arbitration_metrics import arbitration_metrics, check_candidates
    from rl.stages.faithfulness import faithfulness_metrics
    from rl.stages.scoring import chain_metrics, is_correct, part_metrics, sample_metrics, with_interval

    check_candidates(prompts)
    limit, began = config.max_sequence_tokens, time.monotonic()
    samples = scorer.collect(
        sampler.generate(
            prompts,
            samples=config.samples,
            temperature=config.settled_temperature,
            max_sequence_tokens=limit,
            seed=seed,
        )
    )
    seconds = time.monotonic() - began  # of the samples at the training temperature, judging included
    metrics = accuracies(samples, config.samples)
    greedy: list[Scored] = []
    if config.greedy:
        greedy = scorer.collect(
            sampler.generate(prompts, samples=1, temperature=0.0, max_sequence_tokens=limit, seed=seed)
        )
        metrics |= with_interval("greedy_accuracy", [is_correct(s) for s in greedy if s.verdict.error is None])
    rates = sample_metrics(samples)
    chains = [sampler.chat.chain_length(s.rollout.tokens[s.rollout.action_mask].tolist()) for s in samples]
    metrics |= {
        "reasoning_tokens": float(np.mean(chains)),
        # What the engine reads without writing it: prompts, and what an environment puts in.
        "read_tokens": float(np.mean([np.count_nonzero(~s.rollout.action_mask) for s in samples])),
        "time/sample": seconds / len(samples),
        "think_rate": float(np.mean([bool(s.rollout.reasoning) for s in samples])),  # also of chains that never close
        **chain_metrics(samples),
        **part_metrics(samples),
        **{name: value for name, value in rates.items() if name.startswith("environment/")},
        **faithfulness_metrics(samples),
        **arbitration_metrics(samples, sampler.chat),
        "truncation_rate": rates["truncation_rate"],
        "verifier_errors": rates["verifier_errors"],
        "verifier_timeouts": rates["verifier_timeouts"],
        "prompts": float(len(accuracy_by_prompt(samples))),
    }
    return metrics, samples, greedy


def accuracies(samples: Sequence[Scored], samples_per_prompt: int) -> dict[str, float]:
    """Return the mean accuracy over prompts, that in each source where there are several, and pass@k, with intervals."""
    import numpy as np

    from rl.run.metrics import pass_at_k
    from rl.stages.scoring import by_prompt, is_correct, with_interval

    groups = [group for group in by_prompt(samples).values() if group]
    shares = [float(np.mean([is_correct(s) for s in group])) for group in groups]
    metrics = with_interval("accuracy", shares)
    sources: dict[str, list[float]] = {}
    for group, share in zip(groups, shares, strict=True):
        sources.setdefault(group[0].rollout.prompt.source, []).append(share)
    if len(sources) > 1:
        metrics |= {f"accuracy_in/{source}": float(np.mean(sources[source])) for source in sorted(sources)}
    # pass@k is only defined for a prompt none of whose k samples erred.
    right = [sum(map(is_correct, group)) for group in groups if len(group) == samples_per_prompt]
    return metrics | with_interval(
        f"pass@{samples_per_prompt}", pass_at_k(right, samples_per_prompt, samples_per_prompt)
    )


def accuracy_by_prompt(samples: Sequence[Scored]) -> dict[str, float]:
    """Return {prompt id: share of its samples that are right}; prompts without a verdict are left out."""
    import numpy as np

    from rl.stages.scoring import by_prompt, is_correct

    groups = by_prompt(samples)
    return {id: float(np.mean([is_correct(s) for s in group])) for id, group in groups.items() if group}


def audio_reliance(
    config: Config, samples: Sequence[Scored], sampler: Sampler, scorer: Scorer, context: Context
) -> dict[str, float]:
    """Return `accuracy_CONTROL` for each control, over the prompts with audio, and `audio_reliance`: the accuracy with
    the right sound (`accuracy_heard`) less that with the first control's, prompt by prompt over those that have both. A
    control that leaves no prompt is skipped with a line."""
    from rl.data.controls import CONTROLS
    from rl.stages.scoring import with_interval

    prompts = {s.rollout.prompt.id: s.rollout.prompt for s in samples if s.rollout.prompt.clips}
    with_sound = {id: share for id, share in accuracy_by_prompt(samples).items() if id in prompts}
    metrics = with_interval("accuracy_heard", list(with_sound.values()))
    for name in config.controls:
        prompts_without = CONTROLS[name](list(prompts.values()))
        if not prompts_without:  # what was sampled so far is worth more than the control
            context.say(f"{context.name}: control {name} is skipped: no prompt has another one with as many clips")
            continue
        controlled, controlled_samples, _ = measure(
            replace(config, greedy=False), prompts_without, sampler, scorer, context.seed
        )
        without_sound = accuracy_by_prompt(controlled_samples)
        differences = [with_sound[id] - without_sound[id] for id in with_sound if id in without_sound]
        if not differences:
            context.say(f"{context.name}: control {name} is skipped: no prompt has a verdict both with it and without")
            continue
        metrics |= with_interval(f"accuracy_{name}", list(without_sound.values()))
        # whose word is taken where nothing can be heard
        metrics |= {f"{key}_{name}": controlled[key] for key in ACTION_SHARES if key in controlled}
        if "audio_reliance" not in metrics:
            metrics |= with_interval("audio_reliance", differences)
    return metrics


def write_per_prompt(
    path: Path, prompts: Sequence[Prompt], sampled: Sequence[Scored], greedy: Sequence[Scored]
) -> None:
    """Write one row a prompt, so that runs can be compared prompt by prompt; `asked` tells prompts of one id apart."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    from rl.run.files import replacing
    from rl.stages.scoring import by_prompt, digest, is_correct

    first = {s.rollout.prompt.id: float(is_correct(s)) for s in greedy if s.verdict.error is None}
    groups = {id: group for id, group in by_prompt(sampled).items() if group}
    # The run's own prompts: a rollout of a harness has what that has asked.
    digests = {prompt.id: digest(prompt) for prompt in prompts}
    table = pa.table(
        {
            "id": list(groups),
            "asked": [digests[id] for id in groups],
            "accuracy": [float(np.mean([is_correct(s) for s in group])) for group in groups.values()],
            "greedy": pa.array([first.get(id) for id in groups], pa.float64()),
        }
    )
    with replacing(path) as temporary:
        parquet.write_table(table, temporary)


def metric_names(config: Config) -> list[str]:
    """Return the beginnings of the names of its metrics."""
    plain = ["accuracy", "accuracy_in", f"pass@{config.samples}", "reasoning_tokens", "think_rate", "truncation_rate"]
    plain += ["read_tokens", "time", "verifier_errors", "verifier_timeouts", "prompts", "grounding", "claims_true"]
    plain += ["surrogate_rate", "denial_rate", "environment", "part", "arbitration", *CELLS, *HALVES]
    plain += [f"{figure}{end}" for figure in ("official", "strict", "judged") for end in ("", "_left_out")]
    controls = ["accuracy_heard", "audio_reliance", *(f"accuracy_{name}" for name in config.controls)]
    if config.greedy:
        plain.append("greedy_accuracy")
    if config.controls:
        plain += controls
    if config.orders:
        plain += ["accuracy_over_orders", "right_in_all_orders", "text_changes"]
    if config.pace:
        figures = ("accuracy", "second_chain", "tokens_before", "prefill_tokens", "turns", "seconds_before")
        plain += [f"{name}@{mode}" for mode in config.pace.modes for name in figures]
    figures = ("accuracy", "tokens", "second_chain", "vote")
    return plain + [f"{name}@{budget}" for budget in config.budgets for name in figures]


KIND = Kind(Config, run, plan, measures=True, metric_names=metric_names)
