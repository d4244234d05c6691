"""The description of a public set: where it comes from, how its rows are read, how it asks, and by which rule it scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from rl.types import AUDIO_PATCH, Prompt

Row = Mapping[str, object]
"""A row of the set's file."""
SHIPPED_PROMPT = "prompt of the download"
"""Key under which a row finds the text of its set's `prompt_file`, where the user's folder has it."""
NO_GROUP = "(none)"
"""Group of an item whose row lacks the key of a table."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a set, as a row tells it.

    Example: `Item("7", "Which animal?", "a dog", ("a dog", "a cat"), "audio/7.wav", {"task": "sound"})`.
    """

    id: str
    """Id in the set; empty where the set's rows have none."""
    question: str
    answer: str
    options: tuple[str, ...] = ()
    """Texts of the options, in the set's order."""
    audio: object = None
    """Sound as a row of a data file has it: a path, bytes, or a list of these; None for a text."""
    groups: Mapping[str, str] = field(default_factory=dict[str, str])
    """Table -> the group of it in which the item is counted."""
    extra: Mapping[str, object] = field(default_factory=dict[str, object])
    """Columns that its rule or its judge needs beside question, answer and options."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The verdict of a set's own rule on one answer."""

    score: float
    """1.0 right, 0.0 wrong."""
    is_counted: bool = True
    """False where the set's own code leaves the item out of its mean."""


Rule = Callable[[Prompt, str], Mark]
"""A set's own rule: (prompt, what the model says after its chain) -> its mark."""
Wording = Callable[[Item], str]
"""The user's turn for an item; `AUDIO_PATCH` stands where its sound is heard."""


@dataclass(frozen=True, slots=True)
class Judging:
    """The way in which a language model marks the answers of a set, on the set's own scale."""

    system: str
    """Instruction to the judge, beside how it has to answer."""
    material: Callable[[Prompt, str, str], Mapping[str, object]]
    """Texts that it is shown: (prompt, chain, answer) -> named texts."""
    criteria: Callable[[Prompt], Mapping[str, tuple[str, int, int]]]
    """Marks that it gives: name -> (when it gets full marks, lowest mark, highest mark)."""
    figure: Callable[[Prompt, Mapping[str, int]], float]
    """One rating's marks -> its figure on the set's scale."""
    scale: tuple[float, float] = (0.0, 1.0)
    """Worst and best figure."""
    ratings: int = 1
    """Ratings of each answer."""
    is_trimmed: bool = False
    """True where the highest and the lowest rating are dropped before the mean."""
    language: str = ""
    """Language of the answers: one in another has the worst figure, whatever the judge says. Empty: any."""
    first: Rule | None = None
    """A rule that is asked before the judge: where it says 1.0 the answer is right, and the judge is not asked."""
    closed: Rule | None = None
    """A rule that alone settles an answer where the prompt has options: best or worst figure, and the judge is not asked."""
    needs_right: Rule | None = None
    """A rule without whose 1.0 the answer has the worst figure and the judge is not asked."""
    options: Mapping[str, object] = field(default_factory=lambda: {"temperature": 0.0, "max_tokens": 1024})
    """Parameters of a request, as the set's own evaluation has them where they are public."""
    model: str = "its judge's model is not named"
    """The model that judges officially, in words."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A public set, as `rl benchmark` measures on it."""

    title: str
    licence: str
    source: str
    """Address from which a user downloads it."""
    items: int
    """Number of its items; 0 where that is not fixed."""
    files: Sequence[str]
    """Patterns of its file or files, below the folder of a download; the first that matches is read."""
    read: Callable[[Row], Item]
    """A row -> the item. Raises ValueError for what cannot be asked or scored."""
    prompts: Mapping[str, Wording]
    """`r1` (as Step-Audio-R1 asks) and `official`; the first one is used unless another is named."""
    rule: str
    """Official rule, in words for `rl benchmark --list`."""
    strict: str
    """The verifier behind the strict rule: choice, numeric, math or text."""
    official: Rule | None = None
    """The set's own rule, where a public one exists that needs no judge, or a substitute for it."""
    judging: Judging | None = None
    tables: Sequence[str] = ()
    """Tables that it reports, by name; the values are those of `Item.groups`."""
    mean_of: str | None = None
    """The table over whose groups an unweighted mean is reported, too."""
    orders: int = 0
    """Orders of the options in which it asks each item."""
    is_heard: bool = True
    """False for a set of texts."""
    is_substitute: bool = False
    """True where `official`, or `strict` in its absence, stands in for the set's own scoring, which is not public or asks a
    model."""
    prompt_file: str = ""
    """Path of the request that a download ships, from the folder of its rows; empty: none."""

    @property
    def rules(self) -> list[str]:
        """Names of the rules by which it can be scored without a judge; `official` first."""
        # Where a judge alone scores, golds are missing or free texts, which the strict verifier cannot compare.
        return (["official"] if self.official else []) + ([] if self.judging and not self.official else ["strict"])


def text_of(row: Row, *names: str) -> str:
    """Return the first of these columns that holds text or a number, as text; empty where none does."""
    for name in names:
        value = row.get(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if (is_number or isinstance(value, str)) and (text := _to_text(value)):
            return text
    return ""


def _to_text(value: object) -> str:
    """Return a value as text, a whole number without a point: gold and option must agree letter for letter."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def need(row: Row, *names: str) -> str:
    """Return what `text_of` does. Raises ValueError where it is empty."""
    value = text_of(row, *names)
    if not value:
        raise ValueError(f"no text in column '{names[0]}'; complete the row or remove it")
    return value


def group(row: Row, *names: str) -> str:
    """Return the group that the first of these columns puts a row in: a list of words joined, `(none)` where it is missing.
    In MMAU 13 items have their category in a list."""
    for name in names:
        value = row.get(name)
        if isinstance(value, list | tuple):
            value = ", ".join(map(str, cast("Sequence[object]", value)))
        if value is not None and str(value).strip():
            return str(value).strip()
    return NO_GROUP


def texts(value: object) -> tuple[str, ...]:
    """Return a list of options as texts, numbers included; empty for anything that is no list."""
    if not isinstance(value, list | tuple):
        return ()
    return tuple(_to_text(option) for option in cast("Sequence[object]", value) if option is not None)


def lettered_lines(options: Sequence[str], form: str = "{letter}. {option}") -> str:
    """Return the options, a line each, after their letters."""
    return "\n".join(form.format(letter=chr(ord("A") + i), option=option) for i, option in enumerate(options))


def count_clips(item: Item) -> int:
    """Return the number of an item's clips."""
    if item.audio is None:
        return 0
    return len(cast("Sequence[object]", item.audio)) if isinstance(item.audio, list | tuple) else 1


def after(text: str, item: Item) -> str:
    """Return a text with the item's sound after it."""
    return text + AUDIO_PATCH * count_clips(item)


def before(text: str, item: Item) -> str:
    """Return a text with the item's sound before it."""
    return AUDIO_PATCH * count_clips(item) + text
