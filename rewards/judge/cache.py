"""Caches a judge's opinions, so that the same question is paid for once."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import cast

from rewards.judge.prompt import Opinion
from rl.config import ConfigError
from rl.json_files import is_whole

_MOST_IN_MEMORY = 100_000  # opinions, of about 1 kB each


class OpinionCache:
    """Opinions by the digest of the question: in memory, and in an SQLite file that runs share where a path is given."""

    def __init__(self, path: str | None) -> None:
        """Open or create the file. Raises ConfigError where that fails."""
        self._path = path
        self._memory: dict[str, Opinion] = {}
        self._file: sqlite3.Connection | None = None
        if path is not None:
            try:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                # isolation_level=None commits each row at once; timeout (s) is for other runs that hold the file's
                # lock. check_same_thread=False: the file is opened in the caller's thread and used only in the event
                # loop's.
                self._file = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
                self._file.execute("create table if not exists opinions (key text primary key, value text)")
            except (sqlite3.Error, OSError) as error:
                raise ConfigError(f"judge.args.cache: {path}: {error}; name another file") from error

    def get(self, key: str) -> Opinion | None:
        """Return the opinion with this digest, or None, also where the file holds none that can be read."""
        if key not in self._memory:
            rows = self._execute("select value from opinions where key = ?", key)
            if rows and (opinion := _parse(rows[0][0])) is not None:
                self._keep(key, opinion)
        return self._memory.get(key)

    def put(self, key: str, opinion: Opinion) -> None:
        """Keep an opinion, in the file too."""
        self._keep(key, opinion)
        self._execute("insert or replace into opinions values (?, ?)", key, json.dumps(opinion))

    def _keep(self, key: str, opinion: Opinion) -> None:
        self._memory[key] = opinion
        if len(self._memory) > _MOST_IN_MEMORY:
            del self._memory[next(iter(self._memory))]  # the oldest

    def _execute(self, statement: str, *values: str) -> list[tuple[object, ...]]:
        """Return the rows of a statement; none without a file. Raises ConfigError where the file is damaged."""
        if self._file is None:
            return []
        try:
            return self._file.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise ConfigError(f"judge.args.cache: {self._path}: {error}; delete it or name another file") from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _parse(value: object) -> Opinion | None:
    """Return the opinion in a row of the file, or None for a damaged row: its question is asked again."""
    try:
        opinion: object = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(opinion, list) or len(cast("list[object]", opinion)) != 2:
        return None
    marks, why = cast("list[object]", opinion)
    if not isinstance(marks, dict) or not isinstance(why, str):
        return None
    marks = cast("dict[str, object]", marks)
    return (cast("dict[str, int]", marks), why) if all(is_whole(mark, 0) for mark in marks.values()) else None
