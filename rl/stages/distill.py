"""`distill`: the model's own chains, kept where they are right, grounded and coherent (MGRD of Step-Audio-R1, arXiv
2511.15848, steps 1 to 3: select questions, sample chains that are asked for acoustic evidence, filter).

Leaves `distilled.jsonl`, which a later `sft` reads by this stage's name (`data: {distill: 0.7, text: 0.3}`), joined with
the prompts it was made of; and `samples.jsonl`, every judged sample, which `pairs` may choose from.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rewards.combine import PartConfig, RewardConfig
from rl.config import ConfigError
from rl.data.mixture import Data, describe
from rl.stages.context import Context, Outcome
from rl.stages.selection import SELECTION, UNJUDGED, SelectBy

if TYPE_CHECKING:
    from rl.stages.sampling import Asking, Sample
    from rl.types import Prompt

FILE = "distilled.jsonl"
PASSED = {"accuracy": "correct", "grounding": "grounded", "coherence": "coherent", "self_cognition": "self-aware"}
"""What a sample is called that has passed the part of that name; others are called by the part."""


@dataclass
class Config:
    data: Data
    split: str | None = "train"
    limit: int | None = None
    model: str | None = None
    """An earlier stage or a path; default: the model so far."""
    select: dict[str, Any] | None = None
    """Which questions: a `when` rule, as a reward part has it, such as `{source: timbre}` or `{audio: true}`."""
    select_by: SelectBy | None = None
    """Which of them, by a verifier that judges the question alone: `{verifier: judge, args: {rubric: perception, …}}`."""
    ask: str | None = None
    """Put after the question while sampling, and not kept: "Refer to what you hear …"."""
    system: str | None = None
    """The system turn while sampling; not kept."""
    samples: int = 8
    temperature: float = 1.0
    max_sequence_tokens: int = 10240
    reward: RewardConfig | None = None
    """Verifiers of the stage's own; default: the recipe's reward."""
    keep: dict[str, float] = field(default_factory=lambda: {"accuracy": 1.0})
    """The least that each named part of the verdict must be, in this order: `{accuracy: 1, grounding: 0.6}`. A part does
    not count for a prompt that its `when` leaves out."""
    per_question: int = 1
    """Chains kept of one question at most: those of the highest scores."""
    balance: float | None = 1.5
    """No answer of a source has more than so many times an equal share of the questions; null: as they come."""

    def validate(self, place: str) -> None:
        for name in ("samples", "per_question"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{place}.{name}: must be at least 1; got {getattr(self, name)}")
        if self.temperature <= 0:
            raise ConfigError(f"{place}.temperature: must be above 0, or all samples are the same")
        if self.balance is not None and self.balance < 1:
            raise ConfigError(f"{place}.balance: must be at least 1 (an equal share), or null; got {self.balance}")
        if not self.keep:
            raise ConfigError(f"{place}.keep: empty; name the parts that decide, such as {{accuracy: 1.0}}")
        for part, least in self.keep.items():
            if "/" not in part and least > 1:
                raise ConfigError(f"{place}.keep.{part}: scores are at most 1; got {least:g}")
        PartConfig("select", when=self.select).validate(f"{place}.select")

    @property
    def asking(self) -> Asking:
        from rl.stages.sampling import Asking

        return Asking(self.samples, self.temperature, self.max_sequence_tokens, self.reward, self.system, self.ask)


def run(config: Config, context: Context) -> Outcome:
    """Leaves the distilled data set. Raises ValueError with the funnel when it would be empty."""
    from rl.run.files import write_lines
    from rl.run.provenance import fingerprint
    from rl.stages.sampling import SAMPLES, collect_samples

    reward = config.reward or context.rewards.config
    context.tracker.rewind(0)
    sources, counts, unasked = _questions(config, context, reward)
    prompts = {prompt.id: prompt for of_source in sources.values() for prompt in of_source}
    samples = collect_samples(config.asking, context, sources, config.split) if prompts else []
    kept, funnel, dropped = filter_samples(samples, prompts, config, reward)
    counts, dropped = counts | funnel, unasked | dropped
    told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    if not kept:
        why = "; ".join(f"{count:,} {reason}" for reason, count in dropped.items())
        fix = "lower keep, raise samples, or train the model first" if prompts else "select other questions"
        raise ValueError(
            f"distill '{context.name}': nothing is left of '{describe(config.data)}' ({told}; dropped: {why or 'none'}); {fix}"
        )
    context.say(f"{context.name}: {told}")
    file = context.folder / FILE
    write_lines(file, [_row(sample) for sample in kept])
    judged = [sample for sample in samples if sample.error is None]
    metrics = {name: float(count) for name, count in counts.items()}
    metrics |= {f"kept/{name}": value for name, value in _means(kept).items()}
    metrics |= {f"sampled/{name}": value for name, value in _means(judged).items()}
    metrics |= {"unjudged_questions": float(unasked.get(UNJUDGED, 0))} if config.select_by else {}
    context.tracker.record(1, metrics)
    facts = {"model_fingerprint": fingerprint(context.model), "reward": asdict(reward), "dropped": dropped}
    artifacts = {"distilled": str(file), "samples": str(context.folder / SAMPLES)}
    artifacts |= {"selection": str(context.folder / SELECTION)} if config.select_by else {}
    return Outcome(metrics, artifacts, counts, facts)


def _questions(
    config: Config, context: Context, reward: RewardConfig
) -> tuple[dict[str, list[Prompt]], dict[str, int], dict[str, int]]:
    """({source: prompts to ask}, the funnel up to them, how many each reason of `select_by` dropped)."""
    from rl.stages.sampling import selected
    from rl.stages.selection import selected_by

    available = context.sources(config.data, config.split, config.limit)
    sources = selected(available, config.select)
    counts = {"available": sum(map(len, available.values()))}
    if config.select_by is None:
        return sources, counts, {}
    counts |= {"eligible": sum(map(len, sources.values()))} if config.select else {}
    sources, dropped = selected_by(config.select_by, context, sources, reward)
    counts["selected"] = sum(map(len, sources.values()))
    return sources, counts, {reason: count for reason, count in dropped.items() if count}


def filter_samples(
    samples: Sequence[Sample], prompts: Mapping[str, Prompt], config: Config, reward: RewardConfig
) -> tuple[list[Sample], dict[str, int], dict[str, int]]:
    """(the samples to keep, in order; the funnel: how many were left after each step; how many each reason dropped)."""
    funnel = {"asked": len(prompts), "sampled": len(samples)}
    dropped = Counter[str]()

    def step(name: str, left: list[Sample], reason: str, before: Sequence[Sample]) -> list[Sample]:
        funnel[name] = len(left)
        dropped[reason] += len(before) - len(left)
        return left

    left = step("judged", [s for s in samples if s.error is None], "could not be judged", samples)
    left = step("whole", [s for s in left if s.whole], "without one closed chain and an answer", left)
    for part, least in config.keep.items():
        passed = [
            s for s in left if not _judges(reward, part, prompts[s.prompt]) or s.parts.get(part, -math.inf) >= least
        ]
        left = step(PASSED.get(part, part), passed, f"{part} below {least:g}", left)
    left = step("distinct", _distinct(left), "said before", left)
    left = step("best", _best(left, config.per_question), f"more than {config.per_question} of a question", left)
    left = step("kept", balanced(left, prompts, config.balance), "more than the answer's share", left)
    return left, funnel, {reason: count for reason, count in dropped.items() if count}


def balanced(samples: list[Sample], prompts: Mapping[str, Prompt], balance: float | None) -> list[Sample]:
    """Those, in order, of which no answer of a source has more than `balance` times an equal share."""
    if balance is None:
        return samples
    counts: dict[str, Counter[str | None]] = defaultdict(Counter)
    for sample in samples:
        counts[prompts[sample.prompt].source][prompts[sample.prompt].answer] += 1
    most = {source: _most(list(of_answer.values()), balance) for source, of_answer in counts.items()}
    taken = Counter[tuple[str, str | None]]()
    kept: list[Sample] = []
    for sample in samples:
        place = prompts[sample.prompt].source, prompts[sample.prompt].answer
        if taken[place] < most[place[0]]:
            taken[place] += 1
            kept.append(sample)
    return kept


def _most(counts: Sequence[int], balance: float) -> int:
    """The largest cap on an answer's count that is within `balance` times the mean of the counts it leaves."""
    fair = (c for c in range(max(counts), 1, -1) if c * len(counts) <= balance * sum(min(n, c) for n in counts))
    return next(fair, 1)


def _judges(reward: RewardConfig, part: str, prompt: Prompt) -> bool:
    """Does a part of that name (`name/inner` for what it names itself) judge this prompt?"""
    return any(p.name == part.partition("/")[0] and p.applies(prompt) for p in reward.parts)


def _distinct(samples: Sequence[Sample]) -> list[Sample]:
    seen: dict[tuple[str, str], Sample] = {}
    for sample in samples:
        seen.setdefault((sample.prompt, sample.text), sample)
    return list(seen.values())


def _best(samples: Sequence[Sample], most: int) -> list[Sample]:
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.prompt].append(sample)
    best = (sorted(group, key=lambda s: (-s.score, s.sample))[:most] for group in groups.values())
    return [sample for group in best for sample in group]


def _row(sample: Sample) -> dict[str, Any]:
    """Of the data set: the prompt by reference, and what was made of it."""
    place = {"data": sample.data, "split": sample.split, "prompt": sample.prompt, "sample": sample.sample}
    said = {"reasoning": sample.reasoning, "response": sample.response}
    return {"id": f"{sample.prompt}#{sample.sample}", **place, **said, "score": sample.score, "parts": sample.parts}


def _means(samples: Sequence[Sample]) -> dict[str, float]:
    """The mean score, tokens and parts."""
    values: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        for name, value in {"score": sample.score, "tokens": sample.tokens, **sample.parts}.items():
            values[name].append(value)
    return {name: sum(found) / len(found) for name, found in values.items()}
