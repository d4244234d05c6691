"""`pairs`: the better and the worse of a model's own answers to the same prompt, by what verifiers say of them.

With `by: self_cognition` and `chosen: {grounding: 0.5}` these are Step-Audio-R1's pairs against "I cannot hear" (arXiv
2511.15848): chosen is an answer that uses the audio, rejected one that denies it. `samples_of` takes the samples of an
earlier `distill` stage.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rewards.combine import PartConfig, RewardConfig
from rl.config import ConfigError
from rl.data.mixture import Data, describe
from rl.stages.context import Context, Outcome

if TYPE_CHECKING:
    from rl.stages.sampling import Asking, Sample

FILE = "pairs.jsonl"


@dataclass
class Config:
    data: Data
    split: str | None = "train"
    limit: int | None = None
    model: str | None = None
    """An earlier stage or a path; default: the model so far."""
    samples_of: str | None = None
    """An earlier `distill` stage: its samples are taken, none are made."""
    select: dict[str, Any] | None = None
    """Which prompts: a `when` rule, as a reward part has it."""
    ask: str | None = None
    """Put after the question while sampling, and not kept."""
    system: str | None = None
    """The system turn while sampling; not kept."""
    samples: int = 8
    temperature: float = 1.0
    max_sequence_tokens: int = 10240
    reward: RewardConfig | None = None
    """Verifiers of the stage's own; default: the recipe's reward."""
    by: str | None = None
    """The part of the verdict that decides; default: the whole score."""
    margin: float = 0.5
    """How much better the chosen answer must be."""
    chosen: dict[str, float] = field(default_factory=dict[str, float])
    """The least that each named part of the chosen answer's verdict must be: `{accuracy: 1, grounding: 0.6}`. A part
    that does not judge the prompt does not count."""
    per_prompt: int = 1
    """Pairs of one prompt at most: best against worst, second best against second worst, …"""

    def validate(self, place: str) -> None:
        for name, least in (("samples", 2), ("per_prompt", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{place}.{name}: must be at least {least}; got {getattr(self, name)}")
        if self.margin <= 0 or self.temperature <= 0:
            raise ConfigError(f"{place}: margin and temperature must be above 0")
        for part, least in self.chosen.items():
            if "/" not in part and least > 1:
                raise ConfigError(f"{place}.chosen.{part}: scores are at most 1; got {least:g}")
        PartConfig("select", when=self.select).validate(f"{place}.select")

    @property
    def asking(self) -> Asking:
        from rl.stages.sampling import Asking

        return Asking(self.samples, self.temperature, self.max_sequence_tokens, self.reward, self.system, self.ask)


def run(config: Config, context: Context) -> Outcome:
    """Leaves the pairs. Raises ValueError with the funnel when there would be none."""
    from rl.run.files import write_lines
    from rl.run.provenance import fingerprint
    from rl.stages.sampling import collect_samples, read_samples, selected

    sources = selected(context.sources(config.data, config.split, config.limit), config.select)
    context.tracker.rewind(0)
    if config.samples_of:
        wanted = {prompt.id for prompts in sources.values() for prompt in prompts}
        file = context.artifact("samples", config.samples_of)
        samples = [s for s in {s.key: s for s in read_samples(file)}.values() if s.prompt in wanted]
    else:
        samples = collect_samples(config.asking, context, sources, config.split)
    pairs, funnel = matched(samples, config)
    counts = {"asked": sum(map(len, sources.values())), **funnel}
    told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    if not pairs:
        raise ValueError(
            f"pairs '{context.name}': no prompt of '{describe(config.data)}' has two answers that are {config.margin:g} "
            f"apart in {config.by or 'score'} ({told}); lower margin, raise samples or choose other prompts"
        )
    context.say(f"{context.name}: {told}")
    write_lines(context.folder / FILE, (_row(*pair, config.by) for pair in pairs))
    metrics = {name: float(count) for name, count in counts.items()}
    gaps = [value_of(chosen, config.by) - value_of(rejected, config.by) for chosen, rejected in pairs]
    metrics["margin"] = sum(gaps) / len(gaps)
    context.tracker.record(1, metrics)
    facts = {"model_fingerprint": fingerprint(context.model)} if not config.samples_of else {}
    facts |= {"reward": asdict(config.reward or context.rewards.config)}
    return Outcome(metrics, {"pairs": str(context.folder / FILE)}, counts, facts)


def matched(samples: Sequence[Sample], config: Config) -> tuple[list[tuple[Sample, Sample]], dict[str, int]]:
    """([(chosen, rejected)], the funnel): within each prompt the best that may be chosen against the worst, as long as
    they are `margin` apart."""
    judged = [s for s in samples if s.error is None and (config.by is None or config.by in s.parts)]
    whole = [sample for sample in judged if sample.whole]
    groups: dict[str, dict[str, Sample]] = defaultdict(dict)
    for sample in whole:
        groups[sample.prompt].setdefault(sample.text, sample)
    pairs: list[tuple[Sample, Sample]] = []
    for group in groups.values():
        ranked = sorted(group.values(), key=lambda s: (-value_of(s, config.by), -s.score, s.sample))
        better = [sample for sample in ranked if _good(sample, config.chosen)]
        apart = zip(better[: config.per_prompt], reversed(ranked), strict=False)
        pairs += [(a, b) for a, b in apart if value_of(a, config.by) - value_of(b, config.by) >= config.margin]
    prompts = Counter(chosen.prompt for chosen, _ in pairs)
    funnel = {"sampled": len(samples), "judged": len(judged), "whole": len(whole)}
    if config.chosen:
        funnel["fit to be chosen"] = sum(_good(sample, config.chosen) for sample in whole)
    return pairs, {**funnel, "prompts apart": len(prompts), "kept": len(pairs)}


def _good(sample: Sample, least: Mapping[str, float]) -> bool:
    return all(sample.parts.get(part, value) >= value for part, value in least.items())


def value_of(sample: Sample, by: str | None) -> float:
    """What decides: a part of the verdict, or the whole score."""
    return sample.score if by is None else sample.parts[by]


def _row(chosen: Sample, rejected: Sample, by: str | None) -> dict[str, Any]:
    place = {"data": chosen.data, "split": chosen.split, "prompt": chosen.prompt}
    sides = {
        name: {"reasoning": s.reasoning, "response": s.response, "sample": s.sample, "value": value_of(s, by)}
        for name, s in (("chosen", chosen), ("rejected", rejected))
    }
    return {"id": f"{chosen.prompt}#{chosen.sample}>{rejected.sample}", **place, **sides}
