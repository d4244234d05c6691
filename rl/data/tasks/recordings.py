"""Listening to real recordings: what is said or sounds, by whom, and how two clips compare.

Gold answers of acoustic questions are the measurements that come with the recordings, asked only where they are apart
by a safe margin (`questions.QUANTITIES`) and a second measurement, where there is one, says the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from random import Random

from rl.config import ConfigError
from rl.data.rows import Row, check_columns, check_split, column, jsonl, locate, parquet, rank
from rl.data.tasks.questions import (
    COMPARISONS,
    QUANTITIES,
    Question,
    check_kinds,
    check_share,
    comparable,
    comparison,
    in_turn,
    prompt,
    swapped,
)
from rl.types import Clip, Prompt

TRIES = 500
"""Pairs looked at before a kind is held to have no further one."""


@dataclass(frozen=True)
class Collection:
    """A folder's parquet file and what its rows tell of each recording."""

    audio: str
    """Column of the encoded bytes."""
    classes: Mapping[str, tuple[str, str]]
    """Kind -> (column, question)."""
    measured: Mapping[str, tuple[Callable[[Row], float | None], ...]]
    """Quantity -> its measurements; the first one is the gold, None where it is not to be trusted."""
    excerpt_s: float | None = None
    """Recordings that go on for longer are heard in part where several make one clip."""
    spelt: Mapping[str, str] = field(default_factory=dict[str, str])
    """Class column -> the column that says it in a chain."""


def _of(name: str) -> Callable[[Row], float | None]:
    return lambda row: row[name]


def _if_reliable(name: str) -> Callable[[Row], float | None]:
    return lambda row: row[name] if row["f0_reliable"] else None


_LEVEL_AND_LIGHT = {"loudness": (_of("rms_dbfs"),), "brightness": (_of("spectral_centroid_hz"),)}
COLLECTIONS = {
    "fsdd.parquet": Collection(
        "audio_flac",
        {
            "digit": ("digit", "which digit?"),
            "speaker": ("speaker", "who speaks?"),
            "accent": ("accent", "which accent?"),
        },
        {
            "pitch": (_if_reliable("f0_median_hz"), _of("f0_pyin_median_hz")),
            "loudness": (_of("rms_dbfs"), _of("intensity_mean_db")),
            "duration": (_of("duration_s"), lambda row: row["active_end_s"] - row["active_start_s"]),
            "brightness": (_of("spectral_centroid_hz"),),
            "rate": (_of("syllables_per_s"),),
        },
        spelt={"digit": "word"},
    ),
    "esc10.parquet": Collection("audio_ogg", {"sound": ("label", "what is it?")}, _LEVEL_AND_LIGHT, excerpt_s=0.8),
    "sonicpi.parquet": Collection(
        "audio_flac",
        {"instrument": ("label", "which instrument?")},
        {"duration": (_of("duration_s"),), **_LEVEL_AND_LIGHT},
        excerpt_s=0.8,
    ),
}
"""By the name of the parquet file; a metadata.jsonl with the same rows, without sound, lies beside it."""


@dataclass(frozen=True, slots=True)
class Item:
    """A question and the recordings of each of its clips."""

    question: Question
    clips: tuple[tuple[str, ...], ...]
    total_s: float | None = None
    """Of a clip made of several recordings."""


def recordings(
    split: str | None,
    path: str,
    kinds: list[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    multiple_choice: float = 0.0,
) -> Iterator[Prompt]:
    """Real recordings (fsdd, esc10, sonicpi_oneshots): digit, speaker, sound class, and acoustic questions on them.

    `path`: a folder with its parquet file and metadata.jsonl. `kinds` (default: all but `labels`, one prompt a
    recording for encoder pretraining) come in turn, at most `limit` prompts of each in a split; kinds that combine
    recordings have as many as there are recordings. Splits are those of the data and never mixed; where there is no
    test split, validation stands for it. A share `multiple_choice` asks for the letter of an option. Prompts on one
    recording have `fields["labels"]`, a label for each head of an encoder that applies. Raises ValueError."""
    check_share(multiple_choice, "recordings.multiple_choice")
    file = _file(path)
    for item, ordinal in _plan(file, split, tuple(kinds) if kinds is not None else None, limit, seed):
        clips = [_clip(file, ids, item.total_s) for ids in item.clips]
        yield prompt(item.question, clips, ordinal, multiple_choice)


def count(
    split: str | None, path: str, kinds: list[str] | None = None, limit: int | None = None, seed: int = 0, **_: object
) -> int:
    """How many prompts `recordings` makes, told without their sound."""
    return len(_plan(_file(path), split, tuple(kinds) if kinds is not None else None, limit, seed))


def _file(path: str) -> Path:
    folder = locate(path, "recordings.path")
    for name in COLLECTIONS:
        if (folder / name).is_file() and (folder / "metadata.jsonl").is_file():
            return folder / name
    raise ConfigError(f"recordings.path: {folder} holds no {' or '.join(COLLECTIONS)} with its metadata.jsonl")


# --- planning, without sound ---------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _rows(file: Path) -> tuple[Row, ...]:
    collection = COLLECTIONS[file.name]
    needed = ["id", "split", *(name for name, _ in collection.classes.values())]
    rows: list[Row] = []
    for where, row in jsonl(file.with_name("metadata.jsonl")):
        check_columns(needed, list(row), where)
        rows.append(row)
    return tuple(rows)


@lru_cache(maxsize=32)
def _plan(
    file: Path, split: str | None, kinds: tuple[str, ...] | None, limit: int | None, seed: int
) -> tuple[tuple[Item, int], ...]:
    """Every item with its ordinal within its kind and split, kinds in turn."""
    collection, rows = COLLECTIONS[file.name], _rows(file)
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
    main = next(iter(collection.classes))
    compared = [kind for kind, quantity in COMPARISONS.items() if quantity in collection.measured]
    return {
        **{kind: _named(kind, kind) for kind in collection.classes},
        **{kind: _compared(kind) for kind in compared},
        "labels": _named("labels", main),
    }


def _value(collection: Collection, quantity: str, row: Row) -> float | None:
    return collection.measured[quantity][0](row)


def _labels(collection: Collection, row: Row) -> dict[str, str]:
    """Classes, and the bin of each quantity that was measured."""
    classes = {kind: str(row[name]) for kind, (name, _) in collection.classes.items()}
    values = {quantity: _value(collection, quantity, row) for quantity in collection.measured}
    bins = {f"{name}_bin": str(QUANTITIES[name].bin(value)) for name, value in values.items() if value is not None}
    return {**classes, **bins}


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
    measured = {quantity: _value(collection, quantity, row) for quantity in collection.measured}
    heard = [QUANTITIES[q].show(value) for q in ("pitch", "brightness") if (value := measured.get(q)) is not None]
    chain = row[collection.spelt[name]] if name in collection.spelt else " ".join(heard)
    attributes = ({name: str(row[name]), **measured},)
    labels = _labels(collection, row)
    return Question(f"{kind}/{row['id']}", kind, text, str(row[name]), chain, classes, attributes, labels)


def _compared(kind: str) -> Planner:
    """Two recordings; both orders and both directions in turn. A pair is asked about once in each direction."""
    quantity = COMPARISONS[kind]

    def apart(collection: Collection, a: Row, b: Row) -> bool:
        both = [(measure(a), measure(b)) for measure in collection.measured[quantity]]
        if not all(comparable(quantity, x, y) for x, y in both):
            return False
        return len({x > y for x, y in both if x is not None and y is not None}) == 1

    def plan(collection: Collection, rows: Sequence[Row], size: int, random: Random) -> list[Item]:
        usable = [row for row in rows if _value(collection, quantity, row) is not None]
        items: dict[str, Item] = {}
        for _ in range(size * TRIES if len(usable) > 1 else 0):
            if len(items) == size:
                break
            a, b = random.sample(usable, 2)
            if not apart(collection, a, b):
                continue
            values = [measured for row in (a, b) if (measured := _value(collection, quantity, row)) is not None]
            if swapped(len(items), *values):
                a, b, values = b, a, values[::-1]
            question = comparison(kind, len(items), (a["id"], b["id"]), values)
            items.setdefault(question.id, Item(question, ((a["id"],), (b["id"],))))
        return list(items.values())

    return plan


# --- sound ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _audio(file: Path) -> dict[str, Clip]:
    name = COLLECTIONS[file.name].audio
    return {
        column(row, "id", where): Clip(path=where, data=column(row, name, where))
        for where, row in parquet(file, ["id", name], ["id", name])
    }


def _clip(file: Path, ids: Sequence[str], total_s: float | None) -> Clip:
    return _audio(file)[ids[0]]
