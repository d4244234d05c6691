"""What an external recogniser has heard of a data set: a jsonl file of `{"id": …, "external": …}`, a line for each prompt."""

from __future__ import annotations

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
