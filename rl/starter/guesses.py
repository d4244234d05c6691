"""Guesses about a data file: the columns of questions, answers, conversations, options and sound, and its splits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from rl.data.arrow import parquet, parquet_counts
from rl.data.csv_rows import csv_rows
from rl.data.files import ENDING_SOURCES
from rl.data.json_rows import json_rows
from rl.data.rows import Row, column, has_column
from rl.starter.columns import (
    LONGEST_ANSWER,
    MARKED,
    SCANNED_ROWS,
    SPLIT_NAMES,
    TEST_COLUMNS,
    Column,
    describe_columns,
    find_named,
    is_conversation,
    is_list_of_texts,
    is_sound,
    is_surely_sound,
)


@dataclass
class DataGuess:
    """A data file and what its columns were taken for."""

    path: str
    source: str
    rows: int
    """Rows that were looked at."""
    columns: list[Column]
    fields: dict[str, str] = field(default_factory=dict[str, str])
    """Part of a prompt → column, as a recipe has it."""
    splits: list[str] = field(default_factory=list[str])
    """Names of its splits; empty without a column of them."""
    labels: list[str] = field(default_factory=list[str])
    """All answers of the file, where a question has to name them: of sound about which nothing is asked."""
    final_mark: str | None = None
    """The mark before the answer proper, where answers have one, as GSM8K's."""

    @property
    def has_demonstrations(self) -> bool:
        """Return whether rows show what to answer, and no more than that can be learned from them."""
        turns = self.column("messages")
        # The first conversation that is one: the user may have named a column that is empty in the first rows.
        last = next((value[-1] for value in turns.values if isinstance(value, list) and value), None) if turns else None
        return "response" in self.fields or (
            isinstance(last, dict) and (last.get("role") or last.get("from")) in ("assistant", "gpt")
        )

    @property
    def answers(self) -> list[str]:
        """The answers of the first rows; empty without a column of them."""
        column = self.column("answer")
        texts = column.texts if column else []
        return [text.rpartition(self.final_mark)[2].strip() if self.final_mark else text for text in texts]

    def column(self, key: str) -> Column | None:
        """Return the column that is mapped to `key`."""
        return next((c for c in self.columns if c.name == self.fields.get(key)), None)


def guess(path: str, file: Path, fields: Mapping[str, str]) -> DataGuess:
    """Return what `file`, the first that `path` names, seems to hold; `fields` are what the user says it holds. Raises
    ValueError for a file that cannot be read, and for a column in `fields` that it lacks."""
    source = ENDING_SOURCES.get(file.suffix.lower()) or _sniff(file)
    rows = [row for _, row in islice(_rows(file, source), SCANNED_ROWS)]
    if not rows:
        raise ValueError(f"{path}: holds no rows; name a file with at least one")
    columns = describe_columns(rows)
    names = [c.name for c in columns]
    for key, name in fields.items():
        if not any(has_column(row, name) for row in rows):
            raise ValueError(f"--fields: {path} has no column '{name}' for {key}; it has {', '.join(names)}")
    result = DataGuess(path, source, len(rows), columns, dict(fields))
    _guess_fields(result, file.parent)
    split = next((c for c in columns if c.name == result.fields.get("split", "split") and c.is_scalar), None)
    if split is not None:
        result.splits = _all_values(file, source, split.name)
    if not {"question", "messages"} & result.fields.keys() and "answer" in result.fields:
        result.labels = _all_values(file, source, result.fields["answer"])
    return result


def _rows(file: Path, source: str) -> Iterable[tuple[str, Row]]:
    def skip(_: ValueError) -> None:
        """Go on: `rl check` names rows that cannot be read."""

    if source == "parquet":
        return parquet(file, None, [], batch=32)
    return csv_rows(file, skip) if source == "csv" else json_rows(file, skip)


def _sniff(file: Path) -> str:
    """Return the source of a file whose name tells nothing. Raises ValueError where the content does not tell either."""
    with open(file, "rb") as content:
        start = content.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith((b"{", b"[")):
        return "json" if start.startswith(b"[") else "jsonl"
    raise ValueError(
        f"{file}: neither jsonl, json, csv nor parquet by its name and content; give its name the right ending"
    )


def _all_values(file: Path, source: str, name: str) -> list[str]:
    """Return the different values of a column in all rows of a file, in order: the first rows often have one alone."""
    if source == "parquet":
        values: Iterable[object] = parquet_counts(file, name)
    else:
        values = (column(row, name, "") for _, row in _rows(file, source) if has_column(row, name))
    return sorted({str(value).strip() for value in values if value not in (None, "")})


def _guess_fields(data: DataGuess, root: Path) -> None:
    """Fill in the fields that the user has not named; relative paths of clips begin at `root`."""
    free = [c for c in data.columns if c.filled and c.name not in data.fields.values()]
    audio = find_named(free, "audio", is_sound) or next(
        (c for c in free if is_sound(c) and is_surely_sound(c, root)), None
    )
    if audio is not None:
        data.fields.setdefault("audio", audio.name)
    if "question" not in data.fields and (turns := find_named(free, "messages", is_conversation)):
        data.fields.setdefault("messages", turns.name)
    if options := find_named(free, "options", is_list_of_texts):
        data.fields.setdefault("options", options.name)
    free = [c for c in free if c.name not in data.fields.values() and c.is_scalar and not _is_part_of_mapped(c, data)]
    # A program is judged by its tests: a solution beside them is no answer to compare with.
    is_code = any(c.name in TEST_COLUMNS for c in data.columns)
    if not is_code and "answer" not in data.fields and (answer := _guess_answer(free)):
        data.fields["answer"] = answer.name
    if not {"question", "messages"} & data.fields.keys() and (question := _guess_question(free, data)):
        data.fields["question"] = question.name
    split = find_named(free, "split", lambda c: c.filled == data.rows and {*map(str.casefold, c.texts)} <= SPLIT_NAMES)
    if split is not None and split.name != "split":  # a column of that name needs no mapping
        data.fields.setdefault("split", split.name)
    answer = data.column("answer")
    if answer is not None and answer.share(MARKED) > 0.9:
        data.final_mark = "####"
    has_answers = is_code or "answer" in data.fields or "question" not in data.fields
    if not has_answers and (demonstration := _guess_demonstration(free, data)):
        data.fields.setdefault("response", demonstration.name)


def _guess_answer(columns: Sequence[Column]) -> Column | None:
    # Long texts under such a name are chains or demonstrations, which no verifier compares with.
    return find_named(columns, "answer", lambda c: c.mean_length <= LONGEST_ANSWER or c.share(MARKED) > 0.9)


def _guess_demonstration(columns: Sequence[Column], data: DataGuess) -> Column | None:
    """Return a column of texts to imitate, for a file without answers to compare with."""
    rest = [c for c in columns if c.name != data.fields.get("question")]
    return find_named(rest, "answer", lambda c: c.kinds == {"text"} and c.filled == data.rows)


def _guess_question(columns: Sequence[Column], data: DataGuess) -> Column | None:
    rest = [c for c in columns if c.name != data.fields.get("answer")]
    if column := find_named(rest, "question", lambda c: "text" in c.kinds):
        return column
    if "audio" in data.fields:  # what is asked about a sound often stands nowhere
        return None
    # Of the columns of prose, where no name tells: the longest one, since ids, labels and categories are short.
    texts = [c for c in rest if c.kinds == {"text"} and c.share(r".*\s.*(?s:.)*") > 0.5 and c.filled > data.rows / 2]
    return max(texts, key=lambda c: c.mean_length, default=None)


def _is_part_of_mapped(c: Column, data: DataGuess) -> bool:
    return any(
        c.name.startswith(f"{name}.") for key, name in data.fields.items() if key in ("audio", "messages", "options")
    )
