"""A cache of a judge's opinions, so that the same question is paid for once."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from rewards.judge.prompt import Opinion
from rl.config import ConfigError


class OpinionCache:
    """Opinions by the digest of the question: in memory, and in an SQLite file that runs share where a path is given."""

    def __init__(self, path: str | None) -> None:
        """Open or create the file. Raises ConfigError where that fails."""
        self._memory: dict[str, Opinion] = {}
        self._file: sqlite3.Connection | None = None
        if path is not None:
            try:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                # isolation_level=None commits each row at once; timeout (s) is for other runs that hold the file's lock;
                # the service opens it in the caller's thread and uses it in the event loop's alone
                self._file = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
                self._file.execute("create table if not exists opinions (key text primary key, value text)")
            except (sqlite3.Error, OSError) as error:
                raise ConfigError(f"judge.args.cache: {path}: {error}; name another file") from error

    def get(self, key: str) -> Opinion | None:
        """Return the opinion with this digest, or None."""
        if key not in self._memory and self._file is not None:
            row = self._file.execute("select value from opinions where key = ?", (key,)).fetchone()
            if row is not None:
                marks, why = json.loads(row[0])
                self._memory[key] = marks, why
        return self._memory.get(key)

    def put(self, key: str, opinion: Opinion) -> None:
        """Keep an opinion, in the file too."""
        self._memory[key] = opinion
        if self._file is not None:
            self._file.execute("insert or replace into opinions values (?, ?)", (key, json.dumps(opinion)))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
