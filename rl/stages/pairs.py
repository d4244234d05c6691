"""`pairs`: the better and the worse of a model's own answers to the same prompt, by what verifiers say of them.

With `by: self_cognition` and `chosen: {grounding: 0.5}` these are Step-Audio-R1's pairs against "I cannot hear" (arXiv
2511.15848): chosen is an answer that uses the audio, rejected one that denies it. `samples_of` takes the samples of an
earlier `distill` stage.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from rl.config import ConfigError
from rl.data.mixture import describe
from rl.stages.context import Context, Outcome
from rl.stages.kind import MODEL_REFERENCE, Kind
from rl.stages.settings import CandidatesConfig, check_least
from rl.stages.workload import StagePlan, Work, rollouts_in_words, selection_in_words
from rl.units import many

if TYPE_CHECKING:
    from rl.stages.sampling import Sample

FILE = "pairs.jsonl"


@dataclass
class Config(CandidatesConfig):
    """Settings of `pairs`."""

    samples_of: str | None = None
    """An earlier `distill` stage: its samples are used, none are drawn."""
    by: str | None = None
    """The part of the verdict that decides; default: the whole score."""
    margin: float = 0.5
    """Least difference in score between the chosen and the rejected answer."""
    chosen: dict[str, float] = field(default_factory=dict[str, float])
    """The least that each named part of the chosen answer's verdict must be: `{accuracy: 1, grounding: 0.6}`. A part
    that does not judge the prompt does not count."""
    per_prompt: int = 1
    """Pairs of one prompt at most: best against worst, second best against second worst, …"""

    def validate(self, place: str) -> None:
        if self.samples < 2:
            raise ConfigError(f"{place}.samples: must be at least 2; got {self.samples}")
        if self.per_prompt < 1:
            raise ConfigError(f"{place}.per_prompt: must be at least 1; got {self.per_prompt}")
        if self.margin <= 0 or self.settled_temperature <= 0:
            raise ConfigError(f"{place}: margin and temperature must be above 0")
        if self.samples_of is not None and self.reward is not None:
            raise ConfigError(f"{place}.reward: the samples of '{self.samples_of}' are judged already; remove one")
        super().validate(place)
        check_least(self.chosen, f"{place}.chosen")

    @property
    def judges_samples(self) -> bool:
        return self.samples_of is None

    @property
    def named_parts(self) -> Mapping[str, Sequence[str]]:
        return {"chosen": list(self.chosen), "by": [self.by] if self.by else []}


def plan(config: Config, work: Work) -> StagePlan:
    """Return the plan of `pairs`."""
    rollouts = 0
    if config.samples_of:
        summary = f"samples of '{config.samples_of}'"
    else:
        rollouts = (work.rows or 0) * config.samples
        summary = f"{work.prompts}{selection_in_words(config.select)} × {config.samples} samples"
        summary += rollouts_in_words(rollouts, config.max_sequence_tokens)
    summary += (
        f"; at most {many(config.per_prompt, 'pair')} of a prompt, ≥ {config.margin:g} apart in {config.by or 'score'}"
    )
    return work.plan(
        summary,
        rollouts,
        config.max_sequence_tokens,
        records=True,
        rollouts=rollouts,
        rows_made=None if work.rows is None else work.rows * config.per_prompt,
    )


def run(config: Config, context: Context) -> Outcome:
    """Leave the pairs. Raises ValueError with the funnel when there would be none."""
    from rl.run.files import write_jsonl
    from rl.run.provenance import fingerprint
    from rl.stages.sampling import collect_samples, read_samples
    from rl.stages.selection import select_prompts

    sources = select_prompts(context.sources(config.data, config.split, config.limit), config.select)
    context.tracker.rewind(0)
    if config.samples_of:
        # The other stage may have sampled more: `data` and `select` choose among its prompts.
        ids = (prompt.id for prompts in sources.values() for prompt in prompts)
        place_of = {id: place for place, id in enumerate(ids)}
        file = context.artifact("samples", config.samples_of)
        # The last line of a sample counts: one that was judged again has an earlier line with its error.
        samples = [s for s in {s.key: s for s in read_samples(file)}.values() if s.prompt in place_of]
        # The file has them as they ended, which is another order in each run.
        samples.sort(key=lambda s: (place_of[s.prompt], s.sample))
    else:
        samples = collect_samples(config, context, sources)
    pairs, funnel = match_samples(samples, config)
    counts = {"asked": sum(map(len, sources.values())), **funnel}
    summary = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    if not pairs:
        raise ValueError(
            f"pairs '{context.name}': no prompt of '{describe(config.data)}' has two answers that are {config.margin:g} "
            f"apart in {config.by or 'score'} ({summary}); lower margin, raise samples or choose other prompts"
        )
    context.say(f"{context.name}: {summary}")
    write_jsonl(context.folder / FILE, (_row(*pair, config.by) for pair in pairs))
    metrics = {name: float(count) for name, count in counts.items()}
    gaps = [value_of(chosen, config.by) - value_of(rejected, config.by) for chosen, rejected in pairs]
    metrics["margin"] = sum(gaps) / len(gaps)
    context.tracker.record(1, metrics)
    facts: dict[str, object] = {}
    if (
        not config.samples_of
    ):  # else they are of the model and the reward that the other stage had, which its own record names
        facts |= {"model_fingerprint": fingerprint(context.model)}
        facts |= {"reward": asdict(config.reward or context.rewards.config)}
    return Outcome(metrics, {"pairs": str(context.folder / FILE)}, counts, facts)


def match_samples(samples: Sequence[Sample], config: Config) -> tuple[list[tuple[Sample, Sample]], dict[str, int]]:
    """Return ([(chosen, rejected)], the funnel): within each prompt the best that may be chosen against the worst, as
    long as they are `margin` apart."""
    judged_samples = [s for s in samples if s.error is None and (config.by is None or config.by in s.parts)]
    whole = [sample for sample in judged_samples if sample.whole]
    groups: dict[str, dict[str, Sample]] = defaultdict(dict)
    for sample in whole:
        groups[sample.prompt].setdefault(sample.text, sample)  # two samples of one text are no choice
    pairs: list[tuple[Sample, Sample]] = []
    for group in groups.values():
        by_rank = sorted(group.values(), key=lambda s: (-value_of(s, config.by), -s.score, s.sample))
        better = [sample for sample in by_rank if _may_be_chosen(sample, config.chosen)]
        # From both ends inwards; where they meet or cross, the margin, which is above 0, drops the pair.
        apart = zip(better[: config.per_prompt], reversed(by_rank), strict=False)
        pairs += [(a, b) for a, b in apart if value_of(a, config.by) - value_of(b, config.by) >= config.margin]
    prompts = Counter(chosen.prompt for chosen, _ in pairs)
    funnel = {"sampled": len(samples), "judged": len(judged_samples), "whole": len(whole)}
    if config.chosen:
        funnel["fit to be chosen"] = sum(_may_be_chosen(sample, config.chosen) for sample in whole)
    return pairs, {**funnel, "prompts apart": len(prompts), "kept": len(pairs)}


def _may_be_chosen(sample: Sample, least: Mapping[str, float]) -> bool:
    """Return whether every part of the verdict that judged the sample is at least what `chosen` asks."""
    return all(sample.parts.get(part, value) >= value for part, value in least.items())


def value_of(sample: Sample, by: str | None) -> float:
    """Return what decides: a part of the verdict, or the whole score."""
    return sample.score if by is None else sample.parts[by]


def _row(chosen: Sample, rejected: Sample, by: str | None) -> dict[str, object]:
    """Return a row of the preference data set: the prompt by reference, and both answers."""
    place = {"data": chosen.data, "split": chosen.split, "prompt": chosen.prompt}
    sides = {
        name: {"reasoning": s.reasoning, "response": s.response, "sample": s.sample, "value": value_of(s, by)}
        for name, s in (("chosen", chosen), ("rejected", rejected))
    }
    return {"id": f"{chosen.prompt}#{chosen.sample}>{rejected.sample}", **place, **sides}


KIND = Kind(
    Config,
    run,
    plan,
    makes=("pairs",),
    references={**MODEL_REFERENCE, "samples_of": "samples"},
    filters=True,
)
