"""Write the data files of tests."""

from __future__ import annotations

import json
from pathlib import Path

from rl.config import build
from rl.data.sources import DataConfig

ROWS = [
    {"id": "a", "question": "1+1", "answer": "2", "split": "train"},
    {"id": "b", "question": "2+2", "answer": 4, "split": "test"},
    {"id": "c", "question": "3+3", "answer": "6", "split": "train"},
]


def write(folder: Path, *lines: object, name: str = "rows.jsonl") -> Path:
    file = folder / name
    file.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines), encoding="utf-8")
    return file


def jsonl(file: Path, **keys: object) -> DataConfig:
    return build(DataConfig, {"source": "jsonl", "path": str(file), **keys}, "data")
