"""Transcripts of a data set by an external recogniser: a jsonl file of `{"id": …, "external": …}`, a line for each prompt.

`rl data transcribe` adds who heard it, so that a file that is gone on with has one ear: `"ear": "whisper-tiny.en", "digits": true`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rl.data.arbitration import FIELD, hypotheses_of
from rl.data.json_rows import jsonl
from rl.data.rows import column, text
from rl.types import Prompt

DIGITS = {
    word: str(digit)
    for digit, word in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
}
"""Spoken digit -> its figure."""
_BEGINNING = b'{"id": '
"""First bytes of a line that `rl data transcribe` writes."""
_RUN = re.compile(r"\d(?=\d)")


def read_transcripts(file: Path) -> dict[str, object]:
    """Return {prompt id: a text, or a list of hypotheses}; the last line of an id counts. Raises ValueError for a line that is
    none."""
    transcripts: dict[str, object] = {}
    for where, row in jsonl(file):
        id = text(column(row, "id", where), "id", where)
        transcripts[id] = column(row, FIELD, where)
        try:
            hypotheses_of(Prompt(id, (), fields={FIELD: transcripts[id]}))
        except ValueError as error:
            raise ValueError(f"{where}: column '{FIELD}' is no text and no list of texts; correct the row") from error
    return transcripts


def transcribed_ids(file: Path, ear: str, digits: bool) -> set[str]:
    """Return the ids of the prompts that this ear has heard already, and remove a last line that was not written to its end.
    Raises ValueError for a line of another ear, or with digits written otherwise: two ears in one file would pass for one."""
    if not file.is_file():
        return set()
    content = file.read_bytes()
    end = content.rfind(b"\n") + 1  # a line is written with its end: what has none was killed on the way
    problems: list[ValueError] = []
    for where, row in jsonl(file, problems.append):
        if (row.get("ear"), row.get("digits")) != (ear, digits):
            how = "with --digits" if row.get("digits") else "without --digits"
            what = f"heard by '{row['ear']}' {how}" if "ear" in row else "not written by `rl data transcribe`"
            raise ValueError(f"{where}: {what}; name another --out, or the same --ear and --digits")
    is_torn = content[end:].startswith(_BEGINNING) or _BEGINNING.startswith(content[end:])
    # A torn line is the last of the problems: with any before it the file is not one that was merely cut off.
    if problems and (not is_torn or problems[:-1]):  # a file of something else is left as it is
        raise problems[0]
    # Lines are appended: behind a torn one, the next would be torn too.
    os.truncate(file, end)
    return set(read_transcripts(file))


def add_transcripts(prompts: Sequence[Prompt], file: Path) -> list[Prompt]:
    """Return the prompts, those of which the file has something with it as the field `external`, the others without the field.
    A file may hold a part of a data set: who needs what is missing says so (`rl.data.arbitration.hypotheses_of`)."""
    transcripts = read_transcripts(file)
    joined: list[Prompt] = []
    for prompt in prompts:
        # Not what the data set itself may have there: two ears under one name would be compared as one.
        fields = {name: value for name, value in prompt.fields.items() if name != FIELD}
        if prompt.id in transcripts:
            fields[FIELD] = transcripts[prompt.id]
        joined.append(replace(prompt, fields=fields))
    return joined


def write_digits(transcript: str) -> str:
    """Return a transcript with its digits as figures, one by one: `Seven, three 45.` has `7 3 4 5`."""
    words: list[str] = re.findall(r"[^\W_]+", transcript.casefold())
    return " ".join(_RUN.sub(r"\g<0> ", DIGITS.get(word, word)) for word in words)
