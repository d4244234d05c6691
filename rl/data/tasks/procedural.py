"""Makes questions with reasoning-gym: no files, no network, as many as one asks for.

Its own wording is for large models. For the datasets in `COMPACT` the question is written anew from the item's
metadata, in a few lower-case letters (every byte is a token to a model from scratch), with a short chain that does the
work for the warm start; the others keep their own question and have no demonstration.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping, Sized
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol, cast

from rl.config import ConfigError, did_you_mean, first_line
from rl.data.rows import SPLITS, check_split, placeholders, render, split_of
from rl.data.tasks.words import running_count, spell_numbered
from rl.types import Demonstration, Message, Prompt


@dataclasses.dataclass(frozen=True)
class Item:
    """A question of a dataset, in the words that a prompt uses."""

    key: str
    """Subject of the item: it decides the split, and of items with the same key only the first is used."""
    question: str
    answer: str | None
    chain: str | None = None


Entry = Mapping[str, Any]
"""An item as reasoning-gym returns it: question, answer, and metadata that differ by dataset."""


class Dataset(Sized, Protocol):
    """A dataset of reasoning-gym, which comes without types."""

    def __getitem__(self, index: int) -> Entry: ...


def _spell_backward(item: Entry) -> Item:
    word: str = item["metadata"]["word"].lower()
    return Item(word, f"reverse: {word}", word[::-1], spell_numbered(word))


def _letter_counting(item: Entry) -> Item:
    letter, span = item["metadata"]["target_letter"], " ".join(item["metadata"]["span"]).lower()
    return Item(f"{letter} {span}", f"count {letter}: {span}", item["answer"], running_count(span, letter))


def _chain_sum(item: Entry) -> Item:
    """Return the sum with the running total after each term as its chain: 7-4+2 has `7 3 5`."""
    expression: str = item["metadata"]["expression"].replace(" ", "")
    totals = accumulate(int(term) for term in re.findall(r"[+-]?\d+", expression))
    return Item(expression, expression, item["answer"], " ".join(map(str, totals)))


COMPACT: dict[str, Callable[[Entry], Item]] = {
    "spell_backward": _spell_backward,
    "letter_counting": _letter_counting,
    "chain_sum": _chain_sum,
}
"""Name of a dataset -> its short form."""


def procedural(
    split: str | None,
    dataset: str = "spell_backward",
    size: int = 5000,
    seed: int = 0,
    config: dict[str, Any] | None = None,
    template: str | None = None,
    chain: str | None = None,
) -> Iterator[Prompt]:
    """Yield a dataset of reasoning-gym; spell_backward, letter_counting and chain_sum in short form with a chain.

    `size` items are drawn for all splits together (80 % train, 10 % validation, 10 % test, by a hash of the item, so
    that none crosses splits even when `size` or `seed` change); repeated ones are dropped. `config` holds the
    dataset's own settings; `template` words the question anew from {question}, {answer} and the item's metadata, and `chain`
    the chain of its demonstration: `<calc>{question}</calc>`.
    An item of a dataset without a short form is in `prompt.fields["entry"]`, for a user's verifier that calls
    reasoning-gym's `score_answer`. Raises ValueError."""
    check_split(split, SPLITS, "reasoning_gym")
    if template is not None:
        placeholders(template, "reasoning_gym.template")
    if chain is not None:
        placeholders(chain, "reasoning_gym.chain")
    entries, keys = _create(dataset, size, seed, config or {}), set[str]()
    for index in range(size):
        entry = entries[index]
        item = COMPACT.get(dataset, _original)(entry)
        if item.key in keys or split not in (None, split_of(item.key)):
            continue
        keys.add(item.key)
        place = f"reasoning_gym: {dataset} item {index}"
        values = {**entry["metadata"], "question": item.question, "answer": item.answer}
        question = item.question if template is None else render(template, values, place)
        shown_chain = item.chain if chain is None else render(chain, values, place)
        # Ids stand in tables, and a key may be a whole paragraph.
        short_key = item.key if len(item.key) <= 32 else hashlib.sha256(item.key.encode()).hexdigest()[:12]
        yield Prompt(
            id=f"{dataset}/{short_key}",
            messages=(Message("user", question),),
            answer=item.answer,
            source=dataset,
            demonstration=None if shown_chain is None else Demonstration(shown_chain, str(item.answer)),
            fields={} if dataset in COMPACT else {"entry": entry},
        )


def count(split: str | None, dataset: str = "spell_backward", size: int = 5000, **_: object) -> int:
    """Return about how many prompts `procedural` makes, without making them: repeated items are counted too. Raises
    ConfigError."""
    check_split(split, SPLITS, "reasoning_gym")
    if dataset not in COMPACT:
        names = _dataset_names()
        if names and dataset not in names:
            raise ConfigError(f"reasoning_gym.dataset: no dataset '{dataset}'{did_you_mean(dataset, names)}")
    if size < 1:
        raise ConfigError(f"reasoning_gym.size: must be at least 1; got {size}")
    low = 0.0
    for name, high in SPLITS.items():
        if name == split:
            return round(size * (high - low))
        low = high
    return size


@cache
def _dataset_names() -> list[str]:
    """Return the names of reasoning-gym's datasets, read from its source: importing it takes a second. Empty where it is
    not installed."""
    spec = importlib.util.find_spec("reasoning_gym")
    names = list[str]()
    if spec is None or spec.origin is None:
        return names
    for file in Path(spec.origin).parent.rglob("*.py"):
        text = file.read_text()
        # `register_dataset(DATASET_NAME, …)`, the name a constant of the same file, or a literal.
        for name in re.findall(r"^register_dataset\(\s*([\w\"']+)", text, re.MULTILINE):
            constant = re.search(rf"^{name}\b[^=\n]*=\s*[\"']([^\"']+)", text, re.MULTILINE)
            names.append(constant[1] if constant else name.strip("\"'"))
    return names


def _original(entry: Entry) -> Item:
    return Item(entry["question"], entry["question"], None if entry["answer"] is None else str(entry["answer"]))


def _create(dataset: str, size: int, seed: int, config: Mapping[str, object]) -> Dataset:
    import reasoning_gym  # 1.1 s: it imports sympy and matplotlib for all of its datasets
    from reasoning_gym.factory import DATASETS

    if dataset not in DATASETS:
        raise ConfigError(f"reasoning_gym.dataset: no dataset '{dataset}'{did_you_mean(dataset, DATASETS)}")
    settings = [f.name for f in dataclasses.fields(DATASETS[dataset][1]) if f.name not in ("seed", "size")]
    for key in config:
        if key not in settings:
            raise ConfigError(f"reasoning_gym.config: {dataset} has no setting '{key}'{did_you_mean(key, settings)}")
    try:
        # It adds the index to the seed, so neighbouring seeds would share all items but one.
        spread_seed = seed * 1_000_003 % 2**31
        return cast(Dataset, reasoning_gym.create_dataset(dataset, seed=spread_seed, size=size, **config))
    except (AssertionError, TypeError, ValueError) as error:  # how its datasets refuse their settings
        raise ConfigError(f"reasoning_gym.config: {dataset}: {first_line(error)}") from error
