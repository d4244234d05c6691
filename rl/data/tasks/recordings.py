"""Asks questions about real recordings: what is said or sounds, by whom, and how two clips compare.

Gold answers of acoustic questions are the measurements that come with the recordings. Two clips are compared only where
these are apart by a safe margin (`questions.QUANTITIES`) and a second measurement, where there is one, agrees.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import permutations
from pathlib import Path
from random import Random

from rl.config import ConfigError, did_you_mean
from rl.data.rows import Row, check_split, rank
from rl.data.tasks.corpora import (
    COLLECTIONS,
    Collection,
    can_be_joined,
    join_recordings,
    joined_length_s,
    load_clips,
    load_rows,
    locate_collection,
)
from rl.data.tasks.digit_questions import DIGIT_PLANNERS, check_arriving, hear_in_turn
from rl.data.tasks.impaired import Misheard, check_noise, impair
from rl.data.tasks.items import Item, Planner, draw_distinct
from rl.data.tasks.questions import (
    COMPARISONS,
    QUANTITIES,
    Chains,
    Question,
    are_comparable,
    check_kinds,
    check_share,
    interleave,
    make_comparison,
    make_prompt,
    must_swap,
)
from rl.types import Prompt

ON_REQUEST = ("labels", *DIGIT_PLANNERS)
"""Kinds that come only where they are named."""
MOST_COUNTED = 4
"""Largest number of sounds that a question asks to count."""


def recordings(
    split: str | None,
    path: str,
    kinds: list[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    multiple_choice: float = 0.0,
    chains: dict[str, float] | None = None,
    ask: str | None = None,
    speakers: list[str] | None = None,
    noise_db: list[float] | None = None,
    external: dict[str, object] | None = None,
    apart: bool = False,
    arriving: bool = False,
) -> Iterator[Prompt]:
    """Yield questions on real recordings (fsdd, esc10, sonicpi_oneshots): digit, speaker, sound class, comparisons.

    `path`: a folder with its parquet file and metadata.jsonl. `kinds` (default: all but those of `ON_REQUEST`: `labels`, one
    prompt a recording for encoder pretraining; `digits` and `sum`, of two spoken digits; `string`, of three by one speaker;
    `transcript`, of one to five to write down in words; `restated_sum` and `sum_first`, sentences on three) come in turn, at most `limit` prompts of each in a split; kinds that
    combine recordings have as many as there are recordings. `speakers`: recordings of these alone (default: of all).
    `apart`: what would be joined is heard as a clip each, which an encoder that learned from single ones can tell apart.
    `arriving`: the same, and of a sentence's digits only the first is heard at once (`hear_in_turn`). `noise_db`: white noise over each clip, at one of these ratios to it. `external`: what a made-up recogniser hears, `{errors:
    0.1, always_wrong: [jackson]}`, as the field `external`. Splits are those of the data and never mixed; where there is no
    test split, validation stands for it. A share `multiple_choice` asks for the letter of an option; `chains` are the shares of
    the styles of demonstrations and `ask` ends the questions of the style `asked` (`questions.CHAIN_STYLES`). Prompts on one
    recording have `fields["labels"]`, a label for each head of an encoder that applies. Raises ValueError."""
    check_share(multiple_choice, "recordings.multiple_choice")
    check_arriving(arriving, kinds)
    misheard = _check_hearing(noise_db, external)
    file = locate_collection(path)
    plan = _plan(file, split, _as_tuple(kinds), limit, seed, _as_tuple(speakers))
    shares = _check_chains(plan, chains, ask)
    for item, ordinal in plan:
        recordings_by_id = load_clips(file)  # cached; only here, since planning needs no sound
        if item.total_s is None or apart or arriving:
            clips = [recordings_by_id[id] for ids in item.clips for id in ids]
        else:
            clips = [join_recordings(file, ids, item.total_s) for ids in item.clips]
        prompt = make_prompt(item.question, clips, ordinal, multiple_choice, shares)
        yield impair(hear_in_turn(prompt) if arriving else prompt, item.question, noise_db, misheard)


def _check_hearing(noise_db: list[float] | None, external: dict[str, object] | None) -> Misheard | None:
    """Return the made-up recogniser, or None for none. Raises ConfigError for what is none, and for noise that is none."""
    if noise_db is not None:
        check_noise(noise_db, "recordings.noise_db")
    return None if external is None else Misheard.build(external, "recordings.external")


def _check_chains(plan: Sequence[tuple[Item, int]], chains: dict[str, float] | None, ask: str | None) -> Chains:
    """Return the shares of the styles. Raises ConfigError for those that no demonstration of the planned questions can have."""
    shares = Chains.build(chains, ask, "recordings")
    shares.check((item.question for item, _ in plan), "recordings")
    return shares


def count(
    split: str | None,
    path: str,
    kinds: list[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    chains: dict[str, float] | None = None,
    ask: str | None = None,
    speakers: list[str] | None = None,
    noise_db: list[float] | None = None,
    external: dict[str, object] | None = None,
    arriving: bool = False,
    **_: object,
) -> int:
    """Return the number of prompts that `recordings` makes, without reading sound."""
    check_arriving(arriving, kinds)
    _check_hearing(noise_db, external)
    plan = _plan(locate_collection(path), split, _as_tuple(kinds), limit, seed, _as_tuple(speakers))
    _check_chains(plan, chains, ask)
    return len(plan)


def _as_tuple(names: list[str] | None) -> tuple[str, ...] | None:
    """Return the names as `_plan` takes them, whose results are cached."""
    return None if names is None else tuple(names)


# --- planning, without sound ---------------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def _plan(
    file: Path,
    split: str | None,
    kinds: tuple[str, ...] | None,
    limit: int | None,
    seed: int,
    speakers: tuple[str, ...] | None = None,
) -> tuple[tuple[Item, int], ...]:
    """Return every item with its ordinal within its kind and split, kinds in turn."""
    collection, rows = COLLECTIONS[file.name], _rows_of(file, speakers)
    planners = _planners(collection)
    check_kinds(kinds or (), planners, "recordings")
    names = [kind for kind in planners if kind not in ON_REQUEST] if kinds is None else kinds
    splits = list(dict.fromkeys(row["split"] for row in rows))
    if split == "test" and "test" not in splits:
        split = "validation"
    check_split(split, splits, f"recordings: {file.parent.name}")
    plan: list[tuple[Item, int]] = []
    for part in splits if split is None else [split]:
        # An order of the rows that does not depend on which others there are.
        part_rows = sorted((row for row in rows if row["split"] == part), key=lambda row: rank(f"{seed}/{row['id']}"))
        size = len(part_rows) if limit is None else limit
        series = [planners[kind](collection, part_rows, size, Random(f"{seed}/{part}/{kind}")) for kind in names]
        plan += interleave([(item, n) for n, item in enumerate(items)] for items in series)
    return tuple(plan)


def _rows_of(file: Path, speakers: tuple[str, ...] | None) -> Sequence[Row]:
    """Return the rows of a collection, of these speakers alone unless None. Raises ConfigError for one who is not there."""
    rows = load_rows(file)
    if speakers is None:
        return rows
    names = {str(row["speaker"]) for row in rows if "speaker" in row}
    if not names:
        raise ConfigError(f"recordings.speakers: {file.parent.name} has no speakers; remove the key")
    for name in speakers:
        if name not in names:
            raise ConfigError(f"recordings.speakers: {file.parent.name} has no '{name}'{did_you_mean(name, names)}")
    return [row for row in rows if row["speaker"] in speakers]


def _planners(collection: Collection) -> dict[str, Planner]:
    """Return {kind: its planner}."""
    comparisons = [kind for kind, quantity in COMPARISONS.items() if quantity in collection.measures]
    return {
        **{kind: _plan_classes(kind, kind) for kind in collection.classes},
        **{kind: _plan_comparisons(kind) for kind in comparisons},
        "order": _plan_orders,
        "count": _plan_counts,
        **(DIGIT_PLANNERS if "digit" in collection.classes else {}),
        "labels": _plan_classes("labels", collection.main),
    }


def _plan_classes(kind: str, class_kind: str) -> Planner:
    """Return the planner of questions on one class of one recording, every class in turn."""

    def plan(collection: Collection, rows: Sequence[Row], size: int, random: Random) -> list[Item]:
        name, text = collection.classes[class_kind]
        groups: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            groups[str(row[name])].append(row)
        smallest, largest = min(map(len, groups.values())), max(map(len, groups.values()))
        # Equally many of each class, so that guessing the most frequent one earns nothing, unless that loses over half.
        per_class = smallest if kind != "labels" and 2 * smallest >= largest else largest
        in_turn = interleave(groups[label][:per_class] for label in sorted(groups))
        return [
            Item(_class_question(collection, kind, name, text, tuple(sorted(groups)), row), ((row["id"],),))
            for row, _ in zip(in_turn, range(size), strict=False)
        ]

    return plan


def _class_question(
    collection: Collection, kind: str, name: str, text: str, classes: tuple[str, ...], row: Row
) -> Question:
    values = {quantity: collection.value(quantity, row) for quantity in collection.measures}
    texts = [QUANTITIES[q].show(value) for q in ("pitch", "brightness") if (value := values.get(q)) is not None]
    chain = collection.chain_name(row) if name == "digit" else " ".join(texts)
    attributes = ({name: str(row[name]), **values},)
    labels = collection.labels(row)
    return Question(f"{kind}/{row['id']}", kind, text, str(row[name]), chain, classes, attributes, labels)


def _plan_comparisons(kind: str) -> Planner:
    """Return the planner of questions on two recordings that differ in one quantity; both orders and both directions
    come in turn."""
    quantity = COMPARISONS[kind]

    def clearly_differ(collection: Collection, a: Row, b: Row) -> bool:
        values = [(measure(a), measure(b)) for measure in collection.measures[quantity]]
        if not all(are_comparable(quantity, x, y) for x, y in values):
            return False
        return len({x > y for x, y in values if x is not None and y is not None}) == 1  # all measurements agree

    def plan(collection: Collection, rows: Sequence[Row], size: int, random: Random) -> list[Item]:
        usable = [(row, value) for row in rows if (value := collection.value(quantity, row)) is not None]

        def draw(n: int) -> Item | None:
            (a, x), (b, y) = random.sample(usable, 2)
            if not clearly_differ(collection, a, b):
                return None
            if must_swap(n, x, y):
                a, b, x, y = b, a, y, x
            return Item(make_comparison(kind, n, (a["id"], b["id"]), (x, y)), ((a["id"],), (b["id"],)))

        return draw_distinct(size if len(usable) > 1 else 0, draw)

    return plan


def _plan_orders(collection: Collection, rows: Sequence[Row], size: int, random: Random) -> list[Item]:
    """Plan clips of three recordings of different classes; every class comes first equally often."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if can_be_joined(collection, row):
            groups[collection.label(row)].append(row)
    labels, separator = sorted(groups), " " if collection.speech else ", "  # `dog bark` has a space of its own

    def draw(n: int) -> Item:
        first = labels[n % len(labels)]
        order = [first, *random.sample([label for label in labels if label != first], 2)]
        clip_rows = [random.choice(groups[label]) for label in order]
        ids = tuple(row["id"] for row in clip_rows)
        question = Question(
            id=f"order/{'/'.join(ids)}",
            kind="order",
            text="which digits?" if collection.speech else "in which order?",
            answer=separator.join(order),
            chain=" then ".join(collection.chain_name(row) for row in clip_rows),
            choices=tuple(separator.join(permutation) for permutation in permutations(order)),
            attributes=({"order": order},),
        )
        return Item(question, (ids,), joined_length_s(len(order)))

    return draw_distinct(size if len(labels) >= 3 else 0, draw)


def _plan_counts(collection: Collection, rows: Sequence[Row], size: int, random: Random) -> list[Item]:
    """Plan clips of one to four recordings."""
    single_sounds = [row for row in rows if collection.label(row) not in collection.may_repeat]
    usable_ids = [row["id"] for row in single_sounds if can_be_joined(collection, row)]

    def draw(n: int) -> Item:
        number = n % MOST_COUNTED + 1
        ids = tuple(random.sample(usable_ids, number))
        question = Question(
            id=f"count/{'/'.join(ids)}",
            kind="count",
            text=f"how many {'words' if collection.speech else 'sounds'}?",
            answer=str(number),
            chain=" ".join(map(str, range(1, number + 1))),
            choices=tuple(map(str, range(1, MOST_COUNTED + 1))),
            attributes=({"count": number},),
        )
        return Item(question, (ids,), joined_length_s(MOST_COUNTED))  # equally long for all: length tells no number

    return draw_distinct(size if len(usable_ids) >= MOST_COUNTED else 0, draw)
