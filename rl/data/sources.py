"""Where prompts come from: jsonl, parquet, Hugging Face `datasets`, a folder of audio files, a task of `TASKS`, or a
function of one's own.

A mistake in a row is one line, `FILE:LINE: what is wrong; the fix`; nothing is skipped in silence. Importing this
module costs nothing.
"""

from __future__ import annotations

import inspect as introspect
import os
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rl.config import ConfigError, coerce, did_you_mean
from rl.data import user_functions
from rl.data.clips import heard, placed
from rl.data.files import FILES, Refuse, compiled, hub_name, locate_file, rows
from rl.data.prompts import IMPLIED, to_prompt
from rl.data.rows import Row, check_split, column, fail, kind, parquet_counts, placeholders, text
from rl.data.tasks import COUNTS, TASKS
from rl.types import Message, Prompt

ON_BAD_ROW = ("fail", "skip")
CHECKED_BYTES = 8 << 20
"""`inspect` reads a jsonl file whole up to this size (about 0.2 s)."""

Placed = Iterator[tuple[str, Prompt]]


@dataclass
class DataConfig:
    source: str
    """jsonl, parquet, huggingface, folder, the name of a task, `pkg.mod:fn` or `file.py:fn`."""
    path: str | None = None
    """A file; for huggingface a hub name or a local folder; a folder of audio files, whose class folders are answers. A
    relative path begins at the working directory, or where nothing is there at the recipe's own folder."""
    fields: dict[str, str] = field(default_factory=dict[str, str])
    """What a prompt has: which column holds it. Keys that mean something: question, answer, id, source, reasoning and
    response (the demonstration), split, options, messages, audio (bytes, a path beside the file, {bytes, path}, or a
    list of these: one clip each); any other becomes `prompt.fields[key]`."""
    template: str = "{question}"
    """The user's message; `{name}` is a column or a key of `fields`, `{options}` one lettered line for each,
    `{audio}` where the clips are heard (before everything else, unless it says so)."""
    system: str | None = None
    split_column: str = "split"
    """Rows without it belong to every split."""
    final_mark: str | None = None
    """GSM8K's `####`: of a text holding it, reasoning is what stands before, answer and response what stands after."""
    args: dict[str, Any] = field(default_factory=dict[str, Any])
    """Arguments of the task, the function, or `datasets.load_dataset`; of a folder `pattern`, a regular expression whose
    named groups, found in a file's path, become columns."""
    expect_tokens: int | None = None
    """Of a sequence in the mean, prompt and response: with it `rl check` tells what is likely, not only the most."""
    on_bad_row: str = "fail"
    """`skip` leaves out rows that cannot be read and clips that are no sound, and says how many and why the first."""

    def __post_init__(self) -> None:
        if self.source == "folder":
            self.fields = {"audio": "audio", **self.fields}

    def validate(self, place: str) -> None:
        if self.expect_tokens is not None and self.expect_tokens < 1:
            raise ConfigError(f"{place}.expect_tokens: must be at least 1; got {self.expect_tokens}")
        if self.source in FILES:
            self._validate_files(place)
        elif ":" in self.source or self.source in TASKS:
            unsets = ("path", None), ("fields", {}), ("template", "{question}"), ("final_mark", None)
            for key, unset in (*unsets, ("on_bad_row", "fail")):
                if getattr(self, key) != unset:
                    raise ConfigError(f"{place}.{key}: '{self.source}' makes its own prompts; use `args: {{…}}`")
            if self.source in TASKS:
                arguments(TASKS[self.source], self.args, place)
        else:
            raise ConfigError(
                f"{place}.source: no source '{self.source}'{did_you_mean(self.source, [*FILES, *TASKS])}, "
                f"or write pkg.mod:fn or file.py:fn"
            )

    def _validate_files(self, place: str) -> None:
        if not self.path:
            raise ConfigError(f"{place}: source '{self.source}' needs `path: …`")
        if self.on_bad_row not in ON_BAD_ROW:
            known = did_you_mean(self.on_bad_row, ON_BAD_ROW)
            raise ConfigError(f"{place}.on_bad_row: no choice '{self.on_bad_row}'{known}")
        if self.source == "folder":
            compiled(self.args, place)
            if self.template == "{question}":
                raise ConfigError(f"{place}.template: a folder holds no questions; write one, such as `What is heard?`")
        elif self.args and self.source != "huggingface":
            raise ConfigError(f"{place}.args: source '{self.source}' takes none; remove it")
        if "reasoning" in self.fields and "response" not in self.fields:
            raise ConfigError(f"{place}.fields: 'reasoning' without 'response' is half a demonstration; map both")
        if "messages" in self.fields and ("question" in self.fields or self.template != "{question}"):
            raise ConfigError(f"{place}.fields: 'messages' holds the whole conversation; remove question and template")
        placeholders(self.template, f"{place}.template")

    @property
    def root(self) -> Path:
        """Where relative paths of clips begin: the folder of the data file."""
        path = Path(os.path.expanduser(os.path.expandvars(str(self.path))))
        return path.parent if path.is_file() else path

    @property
    def split_name(self) -> str:
        return self.fields.get("split", self.split_column)

    @property
    def needed(self) -> list[str]:
        """The columns that every row must have."""
        named = [] if "messages" in self.fields else placeholders(self.template, "template")
        return [*self.fields.values(), *(name for name in named if name not in self.fields)]

    @property
    def columns(self) -> list[str]:
        """The columns that are read where they exist."""
        return [*self.needed, self.split_column, *IMPLIED]


@dataclass(frozen=True)
class DataFacts:
    """What can be told before anything heavy: how many prompts (None: not known; of a task roughly), what is wrong, and
    what is worth knowing."""

    rows: int | None
    problems: list[str]
    notes: list[str] = field(default_factory=list[str])
    unsplit: bool = False
    """Its rows say nothing of splits: whatever split is asked for, all of them are read."""
    numbered: bool = False
    """Its rows bring no ids: they are called by their file and number."""


def load(
    config: DataConfig,
    split: str | None = None,
    limit: int | None = None,
    place: str = "data",
    say: Callable[[str], None] = print,
) -> list[Prompt]:
    """The prompts of `split` (all when None) in the order of the source, the first `limit` of them, ids unique. Clips
    are decoded once to know that they are sound, those of `TASKS` apart. `say` is told of rows that were skipped. Raises ConfigError for
    a mistake in `config`, ValueError for one in the data, each in one line."""
    return _load(config, split, limit, place, say, listen=True)


def _load(
    config: DataConfig, split: str | None, limit: int | None, place: str, say: Callable[[str], None], listen: bool
) -> list[Prompt]:
    config.validate(place)
    if limit is not None and limit < 1:
        raise ConfigError(f"{place}: limit {limit} leaves no prompt; use 1 or more")
    refused: list[ValueError] = []
    refuse = refused.append if config.on_bad_row == "skip" else fail
    where_of: dict[str, str] = {}
    prompts: list[Prompt] = []
    for where, prompt in _placed(config, split, place, refuse):
        try:
            if listen and config.source not in TASKS:
                heard(prompt, where)
            if prompt.id in where_of:
                raise ValueError(f"{where}: id '{prompt.id}' is that of {where_of[prompt.id]} too; make ids unique")
        except ValueError as error:
            refuse(error)
            continue
        where_of[prompt.id] = where
        prompts.append(prompt)
        if len(prompts) == limit:
            break
    skipped = f"{len(refused)} {'row' if len(refused) == 1 else 'rows'} skipped, first {refused[0]}" if refused else ""
    if not prompts:
        why = f"; {skipped}" if refused else "; check it"
        raise ValueError(f"{place}: {config.path or config.source} holds no prompts{why}")
    if refused:
        say(f"{place}: {skipped}")
    return prompts


def inspect(config: DataConfig, split: str | None = None, place: str = "data") -> DataFacts:
    """What `rl check` tells of a source in a fraction of a second, without `datasets`, without a network, and without
    decoding a clip."""
    notes: list[str] = []
    try:
        config.validate(place)
        count, first = _count(config, split, place, notes.append), _first(config, place)
        if first is None:
            return DataFacts(count, [], notes)
        numbered = "id" not in config.fields and first.get("id") is None
        return DataFacts(count, [], notes, config.split_name not in first, numbered)
    except ValueError as error:
        return DataFacts(None, [str(error)])


def _count(config: DataConfig, split: str | None, place: str, say: Callable[[str], None]) -> int | None:
    if config.source in COUNTS:
        return COUNTS[config.source](split, **arguments(TASKS[config.source], config.args, place))
    if config.source == "huggingface":
        hub_name(str(config.path), place)
        return None
    if config.source == "folder":
        return len(_load(config, split, None, place, say, listen=False))
    if config.source not in FILES:
        user_functions.check(config.source, config.args, place)
        return None
    file = locate_file(str(config.path), place)
    if config.source == "jsonl":
        whole = file.stat().st_size <= CHECKED_BYTES
        prompts = _load(config, split if whole else None, None if whole else 1, place, say, listen=False)
        return len(prompts) if whole else None
    _load(config, split, 1, place, say, listen=False)
    counts = parquet_counts(file, config.split_name)
    return sum(counts.values()) if split is None else counts.get(split, counts.get(None, 0))


def _first(config: DataConfig, place: str) -> Row | None:
    """The first row; None of what `inspect` does not open."""
    if config.source not in ("jsonl", "parquet"):
        return None
    return next((row for _, row in rows(config, None, place, lambda _: None)), None)


def _placed(config: DataConfig, split: str | None, place: str, refuse: Refuse) -> Placed:
    if config.source in FILES:
        return _prompts(rows(config, split, place, refuse), config, split, refuse)
    return _made(config, split, place)


def _prompts(placed: Iterator[tuple[str, Row]], config: DataConfig, split: str | None, refuse: Refuse) -> Placed:
    """Those of `split`, when the rows say which they belong to."""
    name = config.split_name
    has_splits: bool | None = True if "split" in config.fields else None
    splits: dict[str, None] = {}
    where = ""
    for number, (where, row) in enumerate(placed, 1):
        has_splits = name in row if has_splits is None else has_splits
        if has_splits != (name in row) and "split" not in config.fields:
            raise ValueError(f"{where}: column '{name}' is in some rows only; give it to all or to none")
        try:
            if has_splits:
                splits[user_functions := text(column(row, name, where), name, where)] = None
                if split not in (None, user_functions):
                    continue
            made = to_prompt(row, config, where, number)
        except ValueError as error:
            refuse(error)
        else:
            yield where, made
    if splits:
        check_split(split, splits, where.rpartition(":")[0] or str(config.path))


# --- tasks and functions -------------------------------------------------------------------------------------------


def _made(config: DataConfig, split: str | None, place: str) -> Placed:
    task = TASKS.get(config.source) or user_functions.load(config.source, f"{place}.source")
    made: Iterable[Any] = task(split, **arguments(task, config.args, place))
    for number, prompt in enumerate(made, 1):
        where = f"{place}: {config.source}: prompt {number}"
        if not isinstance(prompt, Prompt):
            raise ValueError(f"{where}: a {kind(prompt)} is not a Prompt; yield rl.types.Prompt")
        if config.system and prompt.messages[0].role != "system":
            prompt = replace(prompt, messages=(Message("system", config.system), *prompt.messages))
        yield where, replace(prompt, messages=placed(prompt.messages, prompt.clips, where))


def arguments(task: Callable[..., Any], args: dict[str, Any], place: str) -> dict[str, Any]:
    """`args` checked against the task's signature: names, types where annotated, and none missing. Raises ConfigError."""
    parameters = list(introspect.signature(task).parameters.values())[1:]  # the first is the split
    known = {p.name: p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    hints = typing.get_type_hints(task) if task in TASKS.values() else {}
    for key in args:
        if key not in known and all(p.kind is not p.VAR_KEYWORD for p in parameters):
            raise ConfigError(f"{place}.args: unknown key '{key}'{did_you_mean(key, known)}")
    for key, parameter in known.items():
        if parameter.default is parameter.empty and key not in args:
            raise ConfigError(f"{place}.args: missing key '{key}'; add `{key}: …`")
    return {key: coerce(hints.get(key, Any), value, f"{place}.args.{key}") for key, value in args.items()}
