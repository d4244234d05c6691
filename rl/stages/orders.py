"""Deals the letters of multiple-choice questions anew, to tell whether a model chooses an option or a letter (DCASE 2025, task
5: accuracy under shuffled options)."""

from __future__ import annotations

import random
import string
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rewards.answers.texts import normalise_text
from rewards.choices.options import read_options
from rewards.verifiers.choice import find_gold_letter
from rl.types import Message, Prompt

if TYPE_CHECKING:
    from rl.stages.scoring import Scorer
    from rl.stages.settings import SamplingConfig
    from rl.types import Scored
    from rollouts.sampler import Sampler

FORMS = ("{letter}. {option}", "({letter}) {option}", "{letter}) {option}", "{letter}: {option}")
"""Forms in which a line of a question may show an option."""
KEYS = ("options", "choices")
"""Keys of `Prompt.fields` that may hold the options."""


def deal(prompt: Prompt, order: int) -> Prompt:
    """Return the prompt with its options in the `order`-th order of its own, the gold following its text. An order of n
    options is the one before it moved on by one place, so that over n orders every option stands once at every letter; after
    n orders another shuffle begins. All of it depends on the prompt's id alone. Raises ValueError where the question does not
    show the options one a line."""
    texts = list(_options(prompt).values())
    gold = find_gold_letter(prompt, read_options(texts))
    assert gold is not None, "options that have texts have a gold among them"
    places = _shuffle(prompt.id, len(texts), order // len(texts))
    shift = order % len(texts)
    places = places[shift:] + places[:shift]
    dealt = [texts[place] for place in places]
    for number in range(len(prompt.messages) - 1, -1, -1):
        turn = prompt.messages[number]
        for form in FORMS:
            block = _block(form, texts)
            if block in turn.content:
                content = turn.content.replace(block, _block(form, dealt))
                messages = (*prompt.messages[:number], Message(turn.role, content), *prompt.messages[number + 1 :])
                # Both keys go: whoever reads the other one would mark by the old letters.
                fields = {key: value for key, value in prompt.fields.items() if key not in KEYS}
                # As a text, since its letter is another one in each order.
                answer = texts[string.ascii_uppercase.index(gold)]
                return replace(prompt, messages=messages, answer=answer, fields={**fields, "options": dealt})
    raise ValueError(
        f"prompt '{prompt.id}' does not show its options one a line, as `A. …`; write {{options}} in its template"
    )


def has_options(prompt: Prompt) -> bool:
    """Return whether a prompt has options with texts, which can be dealt."""
    return len(_options(prompt)) > 1


def deal_orders(prompts: Sequence[Prompt], orders: int, place: str) -> list[list[Prompt]]:
    """Return the prompts with options in each of so many orders. Raises ValueError where none has options, or one
    cannot be dealt: this is asked before anything is sampled."""
    with_options = [prompt for prompt in prompts if has_options(prompt)]
    if not with_options:
        raise ValueError(f"{place}.orders: no prompt has options with texts (`fields: {{options: …}}`); remove it")
    return [[deal(prompt, order) for prompt in with_options] for order in range(orders)]


def measure_orders(
    orders: Sequence[Sequence[Prompt]], config: SamplingConfig, sampler: Sampler, scorer: Scorer, seed: int
) -> dict[str, float]:
    """Return the metrics of `order_metrics` of the model that the engines hold, asked greedily in each of the
    orders."""
    by_order: list[list[Scored]] = []
    for dealt in orders:
        # greedily: what differs between two orders is then due to the order alone
        stream = sampler.generate(
            dealt, samples=1, temperature=0.0, max_sequence_tokens=config.max_sequence_tokens, seed=seed
        )
        by_order.append(scorer.collect(stream))
    return order_metrics(by_order)


def order_metrics(by_order: Sequence[Sequence[Scored]]) -> dict[str, float]:
    """Return over prompts, with intervals: `accuracy_over_orders`, `right_in_all_orders`, and `text_changes`, the share whose
    chosen text is not the same in all orders. A prompt with an error in any order is left out."""
    from rl.stages.scoring import is_correct, with_interval

    right: dict[str, list[bool]] = defaultdict(list)
    texts: dict[str, list[str]] = defaultdict(list)
    for samples in by_order:
        for sample in samples:
            if sample.verdict.error is None:
                right[sample.rollout.prompt.id].append(is_correct(sample))
                texts[sample.rollout.prompt.id].append(_chosen_text(sample))
    whole = [id for id, verdicts in right.items() if len(verdicts) == len(by_order)]
    values = {
        "accuracy_over_orders": [sum(right[id]) / len(right[id]) for id in whole],
        "right_in_all_orders": [float(all(right[id])) for id in whole],
        "text_changes": [float(len({*texts[id]}) > 1) for id in whole],
    }
    return {key: value for name, numbers in values.items() for key, value in with_interval(name, numbers).items()}


def _chosen_text(sample: Scored) -> str:
    """Return the text of the option that an answer chooses, in a normal form; the answer itself where none was read."""
    options, read = _options(sample.rollout.prompt), sample.verdict.read
    return normalise_text(options.get(read, read or sample.rollout.response))


def _options(prompt: Prompt) -> dict[str, str]:
    options = next((prompt.fields[key] for key in KEYS if key in prompt.fields), None)
    return {letter: text for letter, text in read_options(options).items() if text} if options is not None else {}


def _shuffle(id: str, count: int, round: int) -> list[int]:
    """Return the numbers below `count` in an order that depends on the id and the round."""
    places = list(range(count))
    random.Random(f"{round}/{id}").shuffle(places)  # a text seeds it alike on every machine
    return places


def _block(form: str, texts: Sequence[str]) -> str:
    return "\n".join(
        form.format(letter=letter, option=text) for letter, text in zip(string.ascii_uppercase, texts, strict=False)
    )
