"""`arbitrate`: demonstrations of when to trust one's own ear (Speech-Hands, arXiv 2601.09413).

The model transcribes each prompt, or answers it, by itself; what an external recogniser made of it is the prompt's field
`external`. Whoever is nearer to the gold names the action, and a later `sft` reads the demonstrations by this stage's name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from rl.config import ConfigError
from rl.data.arbitration import (
    ACTIONS,
    SIGNS,
    Action,
    candidate_of,
    choose_by_answer,
    choose_by_error,
    demonstrate,
)
from rl.stages.context import Context, Outcome
from rl.stages.kind import MODEL_REFERENCE, Kind
from rl.stages.settings import CandidatesConfig
from rl.stages.workload import StagePlan, Work, rollouts_in_words, selection_in_words

if TYPE_CHECKING:
    from rl.stages.sampling import Sample
    from rl.types import Demonstration, Prompt

FILE = "arbitrated.jsonl"


@dataclass
class Config(CandidatesConfig):
    """Settings of `arbitrate`. Its prompts have a gold answer and a field `external`: a text or a list of hypotheses, of which
    the commonest is the candidate."""

    samples: int = 1
    compare: Literal["wer", "cer", "answer"] = "wer"
    """The measure that decides: the word or character error rate, or whether the answer is right, as text."""
    asks: Literal["always", "if_wrong", "never"] = "always"
    """Rule by which demonstrations ask for the external candidate: `if_wrong` where the model's own transcript has errors."""
    actions: bool = True
    """Demonstrate an action before the gold; false demonstrates the gold alone: generative error correction, for
    comparison."""
    fused_of: str | None = None
    """An earlier `arbitrate` or `distill` stage that sampled the answers of a model which has seen both candidates: with them
    `rewrite` is right where the fused one is best. Without it `wer` and `cer` never rewrite."""

    def validate(self, place: str) -> None:
        super().validate(place)
        if self.fused_of and (self.compare == "answer" or not self.actions):
            key = "compare: answer" if self.compare == "answer" else "actions: false"
            raise ConfigError(f"{place}.fused_of: nothing is compared with it under `{key}`; remove it")
        if self.asks == "never" and not self.actions:
            raise ConfigError(f"{place}.asks: without actions and without asking nothing is arbitrated; write always")


@dataclass(frozen=True, slots=True)
class Choice:
    """A sample of the model's own, what the external recogniser said of the same prompt, and whose word is to be taken."""

    sample: Sample
    own: str
    external: str
    action: Action
    own_is_right: bool

    def demonstration(self, gold: str, config: Config) -> Demonstration:
        """Return what the policy is to write."""
        asks = config.asks == "always" or (config.asks == "if_wrong" and not self.own_is_right)
        return demonstrate(self.own, gold, self.action if config.actions else None, asks)


def plan(config: Config, work: Work) -> StagePlan:
    """Return the plan of `arbitrate`."""
    rollouts = (work.rows or 0) * config.samples
    summary = f"{work.prompts}{selection_in_words(config.select)} × {config.samples} of the model's own"
    summary += f"{rollouts_in_words(rollouts, config.max_sequence_tokens)}; the action by {config.compare}"
    return work.plan(
        summary, rollouts, config.max_sequence_tokens, records=True, rollouts=rollouts, rows_made=rollouts or None
    )


def run(config: Config, context: Context) -> Outcome:
    """Leave the demonstrations. Raises ValueError for a prompt without a gold or an external transcript, and where none is
    left."""
    from rl.run.files import write_jsonl
    from rl.run.provenance import fingerprint
    from rl.stages.sampling import SAMPLES, collect_samples, read_samples
    from rl.stages.selection import select_prompts

    sources = select_prompts(context.sources(config.data, config.split, config.limit), config.select)
    prompts = {prompt.id: prompt for of_source in sources.values() for prompt in of_source}
    context.tracker.rewind(0)
    for prompt in prompts.values():  # before anything is sampled
        candidate_of(prompt)
    fused = {} if config.fused_of is None else first_answers(read_samples(context.artifact("samples", config.fused_of)))
    samples = collect_samples(config, context, sources)
    choices = arbitrate(samples, prompts, config, fused)
    counts = {"sampled": len(samples), "usable": len(choices)}
    taken = Counter(choice.action for choice in choices)
    actions = {action: taken[action] for action in ACTIONS}
    summary = ", ".join(f"{name} {count:,}" for name, count in {**counts, **actions}.items())
    if not choices:
        raise ValueError(f"arbitrate '{context.name}': no sample is left ({summary}); train the model first")
    context.say(f"{context.name}: {summary}")
    file = context.folder / FILE
    write_jsonl(file, [_row(choice, prompts[choice.sample.prompt], config) for choice in choices])
    metrics = {name: float(count) for name, count in {**counts, **actions}.items()}
    context.tracker.record(1, metrics)
    facts: dict[str, object] = {
        "model_fingerprint": fingerprint(context.model),
        "reward": asdict(config.reward or context.rewards.config),
    }
    return Outcome(metrics, {"distilled": str(file), "samples": str(context.folder / SAMPLES)}, counts, facts)


def arbitrate(
    samples: Sequence[Sample], prompts: Mapping[str, Prompt], config: Config, fused: Mapping[str, str]
) -> list[Choice]:
    """Return a choice for each sample that can be one: that ended by itself, without an error, and holds no sign of the
    form."""
    return [
        _choose(sample, prompts[sample.prompt], config, fused.get(sample.prompt))
        for sample in samples
        # A sign within a transcript would be read as the form's own: as a question, or as an action.
        if not sample.truncated and sample.error is None and not any(sign in sample.response for sign in SIGNS)
    ]


def first_answers(samples: Iterable[Sample]) -> dict[str, str]:
    """Return {prompt: the answer of its first sample, by number, that ended by itself and without an error}."""
    answers: dict[str, str] = {}
    # The last line of a sample counts: one that was judged again has an earlier line with its error.
    last_lines = {sample.key: sample for sample in samples}
    for sample in sorted(last_lines.values(), key=lambda s: s.sample):
        if not sample.truncated and sample.error is None:
            answers.setdefault(sample.prompt, sample.response)
    return answers


def _choose(sample: Sample, prompt: Prompt, config: Config, fused: str | None) -> Choice:
    from rewards.answers.texts import normalise_text
    from rewards.answers.transcripts import error_rate

    own, external, gold = sample.response, candidate_of(prompt), prompt.answer or ""
    if config.compare == "answer":
        # As text, without the reward's verifiers: the external answer has never been judged.
        own_is_right, external_is_right = (normalise_text(text) == normalise_text(gold) for text in (own, external))
        action = choose_by_answer(own_is_right, external_is_right)
        return Choice(sample, own, external, action, own_is_right)
    try:
        texts = (own, external) if fused is None else (own, external, fused)
        rates = [error_rate(gold, text, config.compare == "cer") for text in texts]
    except ValueError as error:
        raise ValueError(f"prompt '{prompt.id}': {error}") from error
    return Choice(sample, own, external, choose_by_error(*rates), rates[0] == 0)


def _row(choice: Choice, prompt: Prompt, config: Config) -> dict[str, object]:
    """Return a row of the demonstrations, the prompt by reference."""
    sample, demonstration = choice.sample, choice.demonstration(prompt.answer or "", config)
    place = {"data": sample.data, "split": sample.split, "prompt": sample.prompt, "sample": sample.sample}
    texts = {"own": choice.own, "external": choice.external, "action": choice.action}
    answer = {"reasoning": demonstration.reasoning, "response": demonstration.response}
    return {"id": f"{sample.prompt}#{sample.sample}", **place, **texts, **answer}


KIND = Kind(
    Config,
    run,
    plan,
    makes=("distilled", "samples"),
    references={**MODEL_REFERENCE, "fused_of": "samples"},
    filters=True,
)
