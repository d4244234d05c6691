"""Guesses what the columns of a data file hold: questions, answers, conversations, options, sound, tests of programs.

Names are compared without capitals and signs, so `Final Answer`, `final_answer` and `finalAnswer` are one; where no name is
usual, what stands in the column tells.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rl.data.clips import ENDINGS, INLINE
from rl.data.rows import Row, column, flat_names, has_column, is_missing, type_name

SCANNED_ROWS = 200
"""Rows from the start of a file by which its columns are guessed."""
MOST_LABELS = 20
"""Different answers up to which they are taken for labels, of which a question can name all."""

USUAL_NAMES: dict[str, tuple[str, ...]] = {
    "messages": ("messages", "conversation", "conversations", "prompt", "chat", "turns"),
    "question": (
        *(
            "question",
            "problem",
            "prompt",
            "instruction",
            "query",
            "questiontext",
            "problemstatement",
            "problemdescription",
        ),
        *(
            "input",
            "inputtext",
            "task",
            "sentence",
            "text",
            "content",
            "frage",
            "pregunta",
            "вопрос",
            "问题",
            "題目",
            "质问",
        ),
    ),
    "answer": (
        *("answerfinal", "finalanswer", "groundtruth", "rewardmodelgroundtruth", "gold", "goldanswer", "correctanswer"),
        *(
            "answer",
            "answers",
            "answerkey",
            "expectedanswer",
            "target",
            "targets",
            "label",
            "labels",
            "correct",
            "solution",
            "output",
        ),
        *("expectedoutput", "expected", "reference", "result", "response", "completion", "transcription", "transcript"),
        *("word", "antwort", "respuesta", "ответ", "答案"),
    ),
    "options": ("options", "choices", "choicestext", "endings", "candidates", "alternatives"),
    "audio": ("audio", "sound", "clip", "wav", "audiopath", "audiofile", "audiofilepath", "speech", "recording"),
    "split": ("split", "subset", "partition", "fold"),
}
"""Names that a column of each part often has, the likeliest first."""
SPLIT_NAMES = {"train", "training", "test", "testing", "validation", "valid", "val", "dev", "eval"}
LONGEST_ANSWER = 200
"""Mean characters up to which texts are answers that a verifier may compare with."""
MARKED = r"(?s:.*)####\s*\S.*"
TEST_COLUMNS = (
    "test",
    "test_list",
    "inputs",
    "input_output",
    "public_test_cases",
    "private_test_cases",
    "public_tests",
)
"""Columns by which a row is a programming problem, as the verifier `code` reads them."""
CODE_COLUMNS = (
    *TEST_COLUMNS,
    *(
        "outputs",
        "fn_name",
        "entry_point",
        "starter_code",
        "metadata",
        "test_imports",
        "test_setup_code",
        "private_tests",
    ),
    *("generated_tests", "prompt"),
)
"""Further columns that `code` reads, where there are any."""


@dataclass(frozen=True)
class Column:
    """Content of one column, or of a part of one, in the first rows.

    Example: `Column("answer_final", 200, ["18", "3"], {"text"})`.
    """

    name: str
    filled: int
    """Rows with a value."""
    values: Sequence[object]
    """The values that are there, in order."""
    kinds: set[str]
    """Types of the values, in a user's words."""

    @property
    def key(self) -> str:
        """The name without capitals and signs."""
        return re.sub(r"[\W_]+", "", self.name).casefold()

    @property
    def is_scalar(self) -> bool:
        """Return whether all values are texts or numbers."""
        return bool(self.kinds) and self.kinds <= {"text", "number"}

    @property
    def texts(self) -> list[str]:
        """The values as texts."""
        return [str(value).strip() for value in self.values]

    @property
    def mean_length(self) -> float:
        """Mean length of the values as texts, in characters."""
        return sum(map(len, self.texts)) / max(len(self.values), 1)

    def share(self, pattern: str) -> float:
        """Return the share of the values that match a regular expression as a whole."""
        texts = self.texts
        return sum(re.fullmatch(pattern, text) is not None for text in texts) / max(len(texts), 1)

    @property
    def example(self) -> str:
        """The first value in a few characters."""
        if not self.values:
            return "(always empty)"
        value = self.values[0]
        text = f"({len(value)} bytes)" if isinstance(value, bytes) else " ".join(str(value).split())
        return text if len(text) <= 60 else f"{text[:57]}…"


def describe_columns(rows: Sequence[Row]) -> list[Column]:
    """Return the columns of rows, and after a mapping its parts."""
    names = dict.fromkeys(name for row in rows for name in flat_names(row))
    columns: list[Column] = []
    for name in names:
        values = [column(row, name, "") for row in rows if has_column(row, name)]
        present = [value for value in values if not is_missing(value) and value != ""]
        columns.append(Column(name, len(present), present, {type_name(value) for value in present}))
    return columns


def find_named(columns: Sequence[Column], key: str, fits: Callable[[Column], bool]) -> Column | None:
    """Return the first of the columns with a usual name of a part that also holds what the part needs."""
    # By name first, since names stand from the likeliest on: the order of the columns in the file means nothing.
    for usual in USUAL_NAMES[key]:
        for c in columns:
            # By the whole name or by its last part: `extra_info.question` is a question too.
            if usual in (c.key, re.sub(r"[\W_]+", "", c.name.rpartition(".")[2]).casefold()) and fits(c):
                return c
    return None


def is_conversation(c: Column) -> bool:
    first = c.values[0] if c.values else None
    return (
        isinstance(first, list)
        and bool(first)
        and isinstance(first[0], dict)
        and bool({"role", "from"} & first[0].keys())
    )


def is_list_of_texts(c: Column) -> bool:
    first = c.values[0] if c.values else None
    return isinstance(first, list) and len(first) > 1 and all(isinstance(item, str) for item in first)


def is_sound(c: Column) -> bool:
    first = c.values[0] if c.values else None
    if isinstance(first, list) and first:
        first = first[0]
    if isinstance(first, dict):
        # As Hugging Face's data sets store a sound, and a picture too.
        return {"bytes", "path"} <= first.keys() and "image" not in c.name.casefold()
    if isinstance(first, bytes):
        # By the first bytes of WAV, FLAC, Ogg, AIFF, AU and CAF, and of MP3 with a tag and without one.
        return (
            first[:4] in (b"RIFF", b"fLaC", b"OggS", b"FORM", b".snd", b"caff")
            or first[:3] == b"ID3"
            or first[:2] in (b"\xff\xfb", b"\xff\xf3")
        )
    return isinstance(first, str) and (first.lower().endswith(ENDINGS) or first.startswith(f"{INLINE}audio/"))


def is_surely_sound(c: Column, root: Path) -> bool:
    """Return whether a column that no usual name calls sound is more than names of files that are elsewhere."""
    first = c.values[0]
    return (
        not isinstance(first, str) or "audio" in c.name.casefold() or os.path.isfile(root / first)
    )  # unlike Path.is_file it answers for any text
