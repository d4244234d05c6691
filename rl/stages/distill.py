"""`distill`: chains, the model's own or those of another teacher, kept where they are right, grounded and coherent (MGRD of
Step-Audio-R1, arXiv 2511.15848, steps 1 to 3: select questions, sample chains that are asked for acoustic evidence, filter).

Leaves `distilled.jsonl`, which a later `sft` reads by this stage's name (`data: {distill: 0.7, text: 0.3}`), joined with
the prompts it was made of; and `samples.jsonl`, every judged sample, which `pairs` may choose from.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from rewards.combine import RewardConfig
from rl.config import ConfigError
from rl.data.mixture import describe
from rl.stages.context import Context, Outcome
from rl.stages.kind import Kind
from rl.stages.selection import NOT_JUDGED, SELECTION, SelectBy
from rl.stages.settings import CandidatesConfig, Read, check_least
from rl.stages.teacher_chains import check_file, is_file
from rl.stages.workload import StagePlan, Work, rollouts_in_words, selection_in_words
from rl.units import many

if TYPE_CHECKING:
    from rl.stages.sampling import Sample
    from rl.types import Prompt

FILE = "distilled.jsonl"
FUNNEL_NAMES = {"accuracy": "correct", "grounding": "grounded", "coherence": "coherent", "self_cognition": "self-aware"}
"""Part of the verdict -> name, in the funnel, of the samples that pass it; other parts keep their own name."""


@dataclass
class Config(CandidatesConfig):
    """Settings of `distill`."""

    select_by: SelectBy | None = None
    """Choice among the selected questions, by a verifier that judges the question alone: `{verifier: judge, args:
    {rubric: perception, …}}`."""
    chains: str | None = None
    """Another teacher's chains to filter, in place of samples of the model's own: a jsonl or parquet file, whose rows have
    `prompt` (an id of the data) or `messages`, `response`, perhaps `chain` and `source` (who wrote it); or a data set of the
    recipe whose rows are demonstrations of the same prompts. `samples` and `temperature` have no say."""
    keep: dict[str, float] = field(default_factory=lambda: {"accuracy": 1.0})
    """The least that each named part of the verdict must be, in this order: `{accuracy: 1, grounding: 0.6}`. A part does
    not count for a prompt that its `when` leaves out."""
    per_question: int = 1
    """Chains to keep of one question at most: those of the highest scores."""
    balance: float | None = 1.5
    """No answer of a source has more than so many times an equal share of the questions; null: as they come."""

    def validate(self, place: str) -> None:
        super().validate(place)
        if self.per_question < 1:
            raise ConfigError(f"{place}.per_question: must be at least 1; got {self.per_question}")
        if self.balance is not None and self.balance < 1:
            raise ConfigError(f"{place}.balance: must be at least 1 (an equal share), or null; got {self.balance}")
        if not self.keep:
            raise ConfigError(f"{place}.keep: empty; name the parts that decide, such as {{accuracy: 1.0}}")
        check_least(self.keep, f"{place}.keep")
        for key in ("ask", "system", "environment"):
            if self.chains is not None and getattr(self, key) not in (None, "none"):
                raise ConfigError(f"{place}.{key}: nothing is sampled where `chains` are there already; remove one")

    @property
    def roles(self) -> set[str]:
        return super().roles if self.chains is None else set()

    @property
    def reads(self) -> Sequence[Read]:
        reads = [*super().reads]
        if self.chains is not None and not is_file(self.chains):
            reads.append(Read(self.chains, self.split, None, "chains"))
        return reads

    def problems(self, place: str, rows: int | None) -> list[str]:
        return check_file(self.chains, f"{place}.chains") if self.chains and is_file(self.chains) else []

    @property
    def named_parts(self) -> Mapping[str, Sequence[str]]:
        return {"keep": list(self.keep)}


def plan(config: Config, work: Work) -> StagePlan:
    """Return the plan of `distill`."""
    rollouts = (work.rows or 0) * config.samples
    summary = work.prompts + selection_in_words(config.select)
    if config.select_by:
        summary = summary.removesuffix(",")
        summary += f", as far as '{config.select_by.verifier}' gives the question {config.select_by.least:g} or more,"
    if config.chains is None:
        summary += f" × {config.samples} samples{rollouts_in_words(rollouts, config.max_sequence_tokens)}"
    else:
        rollouts, summary = 0, f"the chains of {config.chains} on {summary.removesuffix(',')}"
    least = ", ".join(f"{name} ≥ {value:g}" for name, value in config.keep.items())
    summary += f"; keeps at most {many(config.per_question, 'chain')} of a prompt with {least}"
    return work.plan(
        summary,
        rollouts,
        config.max_sequence_tokens,
        records=True,
        rollouts=rollouts,
        rows_made=None if work.rows is None else work.rows * config.per_question,
    )


def run(config: Config, context: Context) -> Outcome:
    """Leave the distilled data set. Raises ValueError with the funnel when it would be empty."""
    from rl.run.files import write_jsonl
    from rl.run.provenance import fingerprint
    from rl.stages.sampling import SAMPLES, Sample, collect_samples, means_by_part
    from rl.stages.teacher_chains import collect_chains

    reward = config.reward or context.rewards.config
    context.tracker.rewind(0)  # what a run that was killed within this stage has recorded is recorded anew
    sources, counts, selection_drops = _questions(config, context, reward)
    prompts = {prompt.id: prompt for of_source in sources.values() for prompt in of_source}
    samples, before, drops_before = list[Sample](), dict[str, int](), dict[str, int]()
    # Without a prompt nothing is asked: the error below then shows the funnel.
    if prompts and config.chains is not None:
        samples, before, drops_before = collect_chains(config.chains, config, context, sources)
    elif prompts:
        samples = collect_samples(config, context, sources)
    best, funnel, drop_counts = filter_samples(samples, prompts, config, reward)
    if before:  # it has counted what came in
        funnel = before | {step: count for step, count in funnel.items() if step not in ("asked", "sampled")}
    counts, drop_counts = counts | funnel, selection_drops | drops_before | drop_counts
    summary = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    if not best:
        why = "; ".join(f"{count:,} {reason}" for reason, count in drop_counts.items())
        fix = "lower keep, raise samples, or train the model first" if prompts else "select other questions"
        if before:
            fix = "lower keep, or raise max_sequence_tokens"
        raise ValueError(
            f"distill '{context.name}': nothing is left of '{describe(config.data)}' ({summary}; dropped: {why or 'none'}); {fix}"
        )
    context.say(f"{context.name}: {summary}{_teachers_in_words(samples, best)}")
    file = context.folder / FILE
    write_jsonl(file, [_row(sample) for sample in best])
    judged_samples = [sample for sample in samples if sample.error is None]
    metrics = {name: float(count) for name, count in counts.items()}
    metrics |= {f"kept/{name}": value for name, value in means_by_part(best).items()}
    metrics |= {f"sampled/{name}": value for name, value in means_by_part(judged_samples).items()}
    metrics |= {"unjudged_questions": float(selection_drops.get(NOT_JUDGED, 0))} if config.select_by else {}
    context.tracker.record(1, metrics)
    facts = {"model_fingerprint": fingerprint(context.model), "reward": asdict(reward), "dropped": drop_counts}
    artifacts = {"distilled": str(file), "samples": str(context.folder / SAMPLES)}
    artifacts |= {"selection": str(context.folder / SELECTION)} if config.select_by else {}
    return Outcome(metrics, artifacts, counts, facts)


def _questions(
    config: Config, context: Context, reward: RewardConfig
) -> tuple[dict[str, list[Prompt]], dict[str, int], dict[str, int]]:
    """Return ({source: prompts to ask}, the funnel up to them, how many each reason of `select_by` dropped)."""
    from rl.stages.selection import select_prompts, select_questions

    available = context.sources(config.data, config.split, config.limit)
    sources = select_prompts(available, config.select)
    counts = {"available": sum(map(len, available.values()))}
    if config.select_by is None:
        return sources, counts, {}
    counts |= {"eligible": sum(map(len, sources.values()))} if config.select else {}
    # Behind `select`, which costs nothing: only what passes is put to the verifier.
    sources, drop_counts = select_questions(config.select_by, context, sources, reward)
    counts["selected"] = sum(map(len, sources.values()))
    return sources, counts, {reason: count for reason, count in drop_counts.items() if count}


def filter_samples(
    samples: Sequence[Sample], prompts: Mapping[str, Prompt], config: Config, reward: RewardConfig
) -> tuple[list[Sample], dict[str, int], dict[str, int]]:
    """Return (the samples to keep, in order; the funnel: how many remain after each step; how many each reason dropped)."""
    funnel = {"asked": len(prompts), "sampled": len(samples)}
    drop_counts = Counter[str]()

    def step(name: str, remaining: list[Sample], reason: str, before: Sequence[Sample]) -> list[Sample]:
        funnel[name] = len(remaining)
        drop_counts[reason] += len(before) - len(remaining)
        return remaining

    rest = step("judged", [s for s in samples if s.error is None], "could not be judged", samples)
    rest = step("whole", [s for s in rest if s.whole], "without one closed chain and an answer", rest)
    if any(s.turns > 1 for s in rest):
        # A demonstration is one turn: what tools said in turns of their own would be missing before it.
        rest = step("one turn", [s for s in rest if s.turns == 1], "took several turns", rest)
    for part, least in config.keep.items():
        # A part that should have judged the prompt and left no value counts as failed.
        passing = [
            s for s in rest if not _judges(reward, part, prompts[s.prompt]) or s.parts.get(part, -math.inf) >= least
        ]
        rest = step(FUNNEL_NAMES.get(part, part), passing, f"{part} below {least:g}", rest)
    # Last what depends on the other samples: it compares only those that are good enough to be kept.
    rest = step("distinct", _distinct(rest), "said before", rest)
    rest = step("best", _best(rest, config.per_question), f"more than {config.per_question} of a question", rest)
    rest = step("kept", balance_answers(rest, prompts, config.balance), "more than the answer's share", rest)
    return rest, funnel, {reason: count for reason, count in drop_counts.items() if count}


def balance_answers(samples: list[Sample], prompts: Mapping[str, Prompt], balance: float | None) -> list[Sample]:
    """Return the samples, in order, without those that give an answer more than `balance` times an equal share of its
    source."""
    if balance is None:
        return samples
    counts = defaultdict[str, Counter[str | None]](Counter)
    for sample in samples:
        counts[prompts[sample.prompt].source][prompts[sample.prompt].answer] += 1
    caps = {source: _fair_cap(list(of_answer.values()), balance) for source, of_answer in counts.items()}
    taken_counts = Counter[tuple[str, str | None]]()
    rest: list[Sample] = []
    for sample in samples:
        source, answer = prompts[sample.prompt].source, prompts[sample.prompt].answer
        if taken_counts[source, answer] < caps[source]:
            taken_counts[source, answer] += 1
            rest.append(sample)
    return rest


def _fair_cap(counts: Sequence[int], balance: float) -> int:
    """Return the largest cap on an answer's count that is within `balance` times the mean of the counts it leaves."""
    # Tried one by one: a cap lowers the mean as well, to which it is compared.
    for cap in range(max(counts), 1, -1):
        if cap * len(counts) <= balance * sum(min(count, cap) for count in counts):
            return cap
    return 1


def _judges(reward: RewardConfig, part: str, prompt: Prompt) -> bool:
    """Return whether a part of that name (`name/inner` for what it names itself) judges this prompt."""
    return any(p.name == part.partition("/")[0] and p.applies(prompt) for p in reward.parts)


def _distinct(samples: Sequence[Sample]) -> list[Sample]:
    """Return the first sample of each text to the same prompt."""
    first: dict[tuple[str, str], Sample] = {}
    for sample in samples:
        first.setdefault((sample.prompt, sample.text), sample)
    return list(first.values())


def _best(samples: Sequence[Sample], limit: int) -> list[Sample]:
    """Return at most `limit` samples of each prompt, those of the highest scores."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.prompt].append(sample)
    best = (sorted(group, key=lambda s: (-s.score, s.sample))[:limit] for group in groups.values())
    return [sample for group in best for sample in group]


def _row(sample: Sample) -> dict[str, object]:
    """Return a row of the distilled data set: the prompt by reference, and the chain and answer it was given."""
    place = {"data": sample.data, "split": sample.split, "prompt": sample.prompt, "sample": sample.sample}
    reasoning, response = sample.demonstration
    answer = {"reasoning": reasoning, "response": response}
    row = {"id": f"{sample.prompt}#{sample.sample}", **place, **answer, "score": sample.score, "parts": sample.parts}
    return row if sample.teacher is None else {**row, "teacher": sample.teacher}


def _teachers_in_words(samples: Sequence[Sample], best: Sequence[Sample]) -> str:
    """Return how many chains of each teacher are left: `; qwen-vl 812 of 900, gemini 40 of 300`; empty of one or none."""
    sampled, left = (Counter(sample.teacher or "unnamed" for sample in group) for group in (samples, best))
    words = [f"{teacher} {left[teacher]:,} of {count:,}" for teacher, count in sampled.most_common(8)]
    return f"; {', '.join(words)}" if len(sampled) > 1 else ""


KIND = Kind(Config, run, plan, makes=("distilled", "samples"), filters=True)
