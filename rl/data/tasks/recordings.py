"""Listening to real recordings: what is said or sounds, by whom, and how two clips compare.

Gold answers of acoustic questions are the measurements that come with the recordings, asked only where they are apart
by a safe margin (`questions.QUANTITIES`) and a second measurement, where there is one, says the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from pathlib import Path
from random import Random

from rl.data.rows import Row, check_split, rank
from rl.data.tasks.corpora import (
    COLLECTIONS,
    Collection,
    fits,
    in_a_row,
    locate_collection,
    recorded,
    rows_of,
    whole_s,
)
from rl.data.tasks.questions import (
    COMPARISONS,
    QUANTITIES,
    Chains,
    Question,
    check_kinds,
    check_share,
    comparable,
    comparison,
    in_turn,
    prompt,
    swapped,
)
from rl.types import Prompt

MOST = 4
"""Sounds that are counted."""
TRIES = 500
"""Draws without a new question before a kind is held to have no further one."""


@dataclass(frozen=True, slots=True)
class Item:
    """A question and the recordings of each of its clips."""

    question: Question
    clips: tuple[tuple[str, ...], ...]
    total_s: float | None = None
    """None: each clip is one recording as it is; otherwise how long a clip made of several is, at least."""


def recordings(
    split: str | None,
    path: str,
    kinds: list[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    multiple_choice: float = 0.0,
    chains: dict[str, float] | None = None,
    ask: str | None = None,
) -> Iterator[Prompt]:
    """Real recordings (fsdd, esc10, sonicpi_oneshots): digit, speaker, sound class, and how they compare.

    `path`: a folder with its parquet file and metadata.jsonl. `kinds` (default: all but `labels`, one prompt a
    recording for encoder pretraining) come in turn, at most `limit` prompts of each in a split; kinds that combine
    recordings have as many as there are recordings. Splits are those of the data and never mixed; where there is no
    test split, validation stands for it. A share `multiple_choice` asks for the letter of an option; `chains` are the
    shares of what demonstrations reason with and `ask` ends the questions of one of them (see chains.py). Prompts on one
    recording have `fields["labels"]`, a label for each head of an encoder that applies. Raises ValueError."""
    check_share(multiple_choice, "recordings.multiple_choice")
    manners = Chains.of(chains, ask, "recordings")
    file = locate_collection(path)
    for item, ordinal in _plan(file, split, tuple(kinds) if kinds is not None else None, limit, seed):
        whole, total_s = recorded(file), item.total_s
        clips = [whole[ids[0]] if total_s is None else in_a_row(file, ids, total_s) for ids in item.clips]
        yield prompt(item.question, clips, ordinal, multiple_choice, manners)


def count(
    split: str | None, path: str, kinds: list[str] | None = None, limit: int | None = None, seed: int = 0, **_: object
) -> int:
    """How many prompts `recordings` makes, told without their sound."""
    return len(_plan(locate_collection(path), split, tuple(kinds) if kinds is not None else None, limit, seed))


# --- planning, without sound ---------------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def _plan(
    file: Path, split: str | None, kinds: tuple[str, ...] | None, limit: int | None, seed: int
) -> tuple[tuple[Item, int], ...]:
    """Every item with its ordinal within its kind and split, kinds in turn."""
    collection, rows = COLLECTIONS[file.name], rows_of(file)
    known = _kinds(collection)
    check_kinds(kinds or (), known, "recordings")
    wanted = [kind for kind in known if kind != "labels"] if kinds is None else kinds
    splits = list(dict.fromkeys(row["split"] for row in rows))
    if split == "test" and "test" not in splits:
        split = "validation"
    check_split(split, splits, f"recordings: {file.parent.name}")
    made: list[tuple[Item, int]] = []
    for part in splits if split is None else [split]:
        there = sorted((row for row in rows if row["split"] == part), key=lambda row: rank(f"{seed}/{row['id']}"))
        size = len(there) if limit is None else limit
        series = [known[kind](collection, there, size, Random(f"{seed}/{part}/{kind}")) for kind in wanted]
        made += in_turn([(item, n) for n, item in enumerate(items)] for items in series)
    return tuple(made)


Planner = Callable[[Collection, Sequence[Row], int, Random], list[Item]]


def _kinds(collection: Collection) -> dict[str, Planner]:
    """Kind -> a function of the rows of a split, how many items at most, and a source of chance, that gives items."""
    compared = [kind for kind, quantity in COMPARISONS.items() if quantity in collection.measured]
    return {
        **{kind: _named(kind, kind) for kind in collection.classes},
        **{kind: _compared(kind) for kind in compared},
        "order": _order,
        "count": _count,
        "labels": _named("labels", collection.main),
    }


def _distinct(size: int, draw: Callable[[int], Item | None]) -> list[Item]:
    """Up to `size` items with questions of their own; `draw` makes the nth, or None where chance was against it."""
    items: dict[str, Item] = {}
    missed = 0
    while len(items) < size and missed < TRIES:
        item = draw(len(items))
        if item is None or item.question.id in items:
            missed += 1
        else:
            items[item.question.id], missed = item, 0
    return list(items.values())


def _named(kind: str, of: str) -> Planner:
    """One recording, one of its classes: every class in turn, cut to equally many where none has under half."""

    def plan(collection: Collection, rows: Sequence[Row], size: int, random: Random) -> list[Item]:
        name, text = collection.classes[of]
        groups: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            groups[str(row[name])].append(row)
        least, most = min(map(len, groups.values())), max(map(len, groups.values()))
        even = least if kind != "labels" and 2 * least >= most else most
        mixed = in_turn(groups[label][:even] for label in sorted(groups))
        return [
            Item(_class_question(collection, kind, name, text, tuple(sorted(groups)), row), ((row["id"],),))
            for row, _ in zip(mixed, range(size), strict=False)
        ]

    return plan


def _class_question(
    collection: Collection, kind: str, name: str, text: str, classes: tuple[str, ...], row: Row
) -> Question:
    measured = {quantity: collection.value(quantity, row) for quantity in collection.measured}
    heard = [QUANTITIES[q].show(value) for q in ("pitch", "brightness") if (value := measured.get(q)) is not None]
    chain = collection.said(row) if name == "digit" else " ".join(heard)
    attributes = ({name: str(row[name]), **measured},)
    labels = collection.labels(row)
    return Question(f"{kind}/{row['id']}", kind, text, str(row[name]), chain, classes, attributes, labels)


def _compared(kind: str) -> Planner:
    """Two recordings that are apart in one quantity; both orders and both directions in turn."""
    quantity = COMPARISONS[kind]

    def apart(collection: Collection, a: Row, b: Row) -> bool:
        both = [(measure(a), measure(b)) for measure in collection.measured[quantity]]
        if not all(comparable(quantity, x, y) for x, y in both):
            return False
        return len({x > y for x, y in both if x is not None and y is not None}) == 1

    def plan(collection: Collection, rows: Sequence[Row], size: int, random: Random) -> list[Item]:
        usable = [(row, value) for row in rows if (value := collection.value(quantity, row)) is not None]

        def draw(n: int) -> Item | None:
            (a, x), (b, y) = random.sample(usable, 2)
            if not apart(collection, a, b):
                return None
            if swapped(n, x, y):
                a, b, x, y = b, a, y, x
            return Item(comparison(kind, n, (a["id"], b["id"]), (x, y)), ((a["id"],), (b["id"],)))

        return _distinct(size if len(usable) > 1 else 0, draw)

    return plan


def _order(collection: Collection, rows: Sequence[Row], size: int, random: Random) -> list[Item]:
    """Three recordings of different classes in one clip; every class comes first equally often."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if fits(collection, row):
            groups[collection.label(row)].append(row)
    labels, comma = sorted(groups), " " if collection.speech else ", "

    def draw(n: int) -> Item:
        first = labels[n % len(labels)]
        chosen = [first, *random.sample([label for label in labels if label != first], 2)]
        there = [random.choice(groups[label]) for label in chosen]
        ids = tuple(row["id"] for row in there)
        question = Question(
            id=f"order/{'/'.join(ids)}",
            kind="order",
            text="which digits?" if collection.speech else "in which order?",
            answer=comma.join(chosen),
            chain=" then ".join(collection.said(row) for row in there),
            choices=tuple(comma.join(each) for each in permutations(chosen)),
            attributes=({"order": chosen},),
        )
        return Item(question, (ids,), whole_s(len(chosen)))

    return _distinct(size if len(labels) >= 3 else 0, draw)


def _count(collection: Collection, rows: Sequence[Row], size: int, random: Random) -> list[Item]:
    """One to four recordings in a clip that is equally long for all."""
    single = [row for row in rows if collection.label(row) not in collection.several]
    fitting = [row["id"] for row in single if fits(collection, row)]

    def draw(n: int) -> Item:
        number = n % MOST + 1
        ids = tuple(random.sample(fitting, number))
        question = Question(
            id=f"count/{'/'.join(ids)}",
            kind="count",
            text=f"how many {'words' if collection.speech else 'sounds'}?",
            answer=str(number),
            chain=" ".join(map(str, range(1, number + 1))),
            choices=tuple(map(str, range(1, MOST + 1))),
            attributes=({"count": number},),
        )
        return Item(question, (ids,), whole_s(MOST))

    return _distinct(size if len(fitting) >= MOST else 0, draw)
