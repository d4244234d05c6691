"""Loads prompts from data files, audio folders, Hugging Face `datasets`, tasks of `TASKS`, and users' functions.

A mistake in a row is one line, `FILE:LINE: what is wrong; the fix`; nothing is skipped in silence. Importing this
module imports nothing heavy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rl import terminal
from rl.config import ConfigError, did_you_mean
from rl.data import benchmark_rows, user_functions
from rl.data.clips import check_clips, place_marks
from rl.data.files import ENDING_SOURCES, FILES, SINGLE_FILES, Refuse, check_same_columns, compile_pattern, rows
from rl.data.messages import CHAIN_KEYS
from rl.data.paths import Paths, as_list, data_files
from rl.data.prompts import IMPLIED_KEYS, to_prompt
from rl.data.rows import (
    Row,
    check_split,
    check_split_column,
    column,
    fail,
    has_column,
    is_optional,
    normal_split,
    placeholders,
    text,
    type_name,
)
from rl.data.standard_forms import VERL, recognise
from rl.data.task_arguments import arguments
from rl.data.tasks import TASKS
from rl.types import Message, Prompt
from rl.units import many

ON_BAD_ROW = ("fail", "skip")
"""Choices of `on_bad_row`."""

PlacedPrompts = Iterator[tuple[str, Prompt]]
"""Prompts, each with the place of its row for messages."""
PlacedRow = tuple["DataConfig", str, str, Row]
"""(config of the file alone, place, id of a row without one, row)."""


@dataclass
class DataConfig:
    """A data set of a recipe."""

    source: str
    """Source of the prompts: jsonl, json, csv, parquet, verl (a parquet or json file made for verl), huggingface, folder,
    benchmark (a public set that you have downloaded, docs/benchmark_sets.md), the name of a task, `pkg.mod:fn` or
    `file.py:fn`."""
    path: Paths | None = None
    """A file, a pattern such as `data/*.jsonl`, or a list of these; for huggingface a hub name or a folder; for folder a
    folder of audio in class folders (answers). A relative path begins at the working directory, else at the recipe's."""
    fields: dict[str, str] = field(default_factory=dict[str, str])
    """Part of a prompt -> the column that holds it, or a part of one (`reward_model.ground_truth`, `prompt.0.content`). Keys with a meaning: question, answer, id, source, reasoning and
    response (the demonstration), split, options, messages, audio (bytes, a path beside the file, {bytes, path}, or a
    list of these: one clip each); any other becomes `prompt.fields[key]`. Rows may lack a column with `?` after its name.
    Conversations, demonstrations and pairs with the usual names of columns need no mapping (docs/data.md)."""
    template: str = "{question}"
    """The user's message; `{name}` is a column or a key of `fields`, `{options}` one lettered line for each option,
    `{audio}` the place of the clips (without it, before everything else)."""
    system: str | None = None
    """A system message for prompts that have none."""
    split_column: str = "split"
    """Column of a row's split; rows without it belong to every split."""
    final_mark: str | None = None
    """A mark such as GSM8K's `####`: the reasoning is the text before it, answer and response the text after it."""
    args: dict[str, Any] = field(default_factory=dict[str, Any])
    """Arguments of the task, the function, or `datasets.load_dataset`; of a folder `pattern`, a regular expression whose
    keywords groups, searched in a file's path, become columns; of a benchmark `set`, its name, and `prompt`, r1 or official."""
    expect_tokens: int | None = None
    """Mean length of a sequence, prompt and response: with it `rl check` tells likely costs, not only the highest."""
    external: str | None = None
    """A jsonl file of what an external recogniser heard, as the field `external` of the prompts with these ids; `rl data
    transcribe` writes one. A column of the rows needs none: `fields: {external: COLUMN}`."""
    on_bad_row: str = "fail"
    """Treatment of rows that cannot be read and clips that are no sound: `fail`, or `skip` them and say how many
    and why the first."""

    def __post_init__(self) -> None:
        if self.source == "folder":
            self.fields = {"audio": "audio", **self.fields}

    def validate(self, place: str) -> None:
        """Raise ConfigError for values that do not go together."""
        if self.expect_tokens is not None and self.expect_tokens < 1:
            raise ConfigError(f"{place}.expect_tokens: must be at least 1; got {self.expect_tokens}")
        if self.on_bad_row not in ON_BAD_ROW:
            hint = did_you_mean(self.on_bad_row, ON_BAD_ROW)
            raise ConfigError(f"{place}.on_bad_row: no choice '{self.on_bad_row}'{hint}")
        if self.source in FILES:
            self._validate_files(place)
        elif self.source == benchmark_rows.SOURCE:
            benchmark_rows.validate(self, place)
        elif ":" in self.source or self.source in TASKS:
            # These keys shape rows of files; left at their defaults they are not in the way.
            defaults = ("path", None), ("fields", {}), ("template", "{question}"), ("final_mark", None)
            for key, default in (*defaults, ("on_bad_row", "fail")):
                if getattr(self, key) != default:
                    raise ConfigError(f"{place}.{key}: '{self.source}' makes its own prompts; use `args: {{…}}`")
            if self.source in TASKS:
                arguments(TASKS[self.source], self.args, place)
        else:
            raise ConfigError(
                f"{place}.source: no source '{self.source}'{did_you_mean(self.source, [*FILES, *TASKS, benchmark_rows.SOURCE])}, "
                f"or write pkg.mod:fn or file.py:fn"
            )

    def _validate_files(self, place: str) -> None:
        if not self.path:
            raise ConfigError(f"{place}: source '{self.source}' needs `path: …`")
        for path in as_list(self.path):
            ending = Path(path).suffix.lower()
            kind = ENDING_SOURCES.get(ending, self.source)
            if (
                self.source in SINGLE_FILES
                and self.source not in (VERL, kind)
                and {kind, self.source} != {"json", "jsonl"}
            ):
                raise ConfigError(
                    f"{place}.source: '{self.source}', and {path} ends in {ending}; write `source: {kind}`"
                )
        if isinstance(self.path, list) and self.source not in SINGLE_FILES:
            raise ConfigError(f"{place}.path: source '{self.source}' takes one; make a data set of each")
        if self.source == "folder":
            compile_pattern(self.args, place)
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
        """The folder in which relative paths of clips begin: that of the data file."""
        path = Path(os.path.expanduser(os.path.expandvars(str(self.path))))
        return path.parent if os.path.isfile(path) else path

    def by_file(self, place: str) -> list[tuple[str, DataConfig]]:
        """Return (beginning of the ids of rows without one, config of that file alone) of every file. Raises ValueError where
        files are missing or have different columns."""
        if self.source not in SINGLE_FILES:
            return [(Path(str(self.path)).stem, self)]
        files = data_files(self.path, f"{place}.path")
        if len(files) == 1:
            return [(files[0].stem, replace(self, path=str(files[0])))]
        check_same_columns(files, self.source, self.columns)
        common = Path(os.path.commonpath([file.absolute().parent for file in files]))
        names = [file.absolute().relative_to(common).with_suffix("").as_posix() for file in files]
        if len({*names}) < len(names):  # rows.csv beside rows.tsv
            names = [file.absolute().relative_to(common).as_posix() for file in files]
        return [(name, replace(self, path=str(file))) for name, file in zip(names, files, strict=True)]

    @property
    def split_name(self) -> str:
        """The column of a row's split."""
        return self.fields.get("split", self.split_column)

    @property
    def required_columns(self) -> list[str]:
        """The columns that every row must have."""
        in_template = [] if "messages" in self.fields else placeholders(self.template, "template")
        if {"chosen", "rejected"} <= self.fields.keys() and self.template == "{question}":
            in_template = []  # without a question, the two answers hold the prompt
        mapped = [name for name in self.fields.values() if not is_optional(name)]
        return [*mapped, *(name for name in in_template if name not in self.fields)]

    @property
    def columns(self) -> list[str]:
        """The columns that are read, where they exist."""
        in_template = [] if "messages" in self.fields else placeholders(self.template, "template")
        return [*self.fields.values(), *in_template, self.split_column, *IMPLIED_KEYS, *CHAIN_KEYS]


def load(
    config: DataConfig,
    split: str | None = None,
    limit: int | None = None,
    place: str = "data",
    say: Callable[[str], None] = terminal.say,
) -> list[Prompt]:
    """Return the prompts of `split` (None: all) in the order of the source, the first `limit` of them, ids unique. Clips
    are decoded once to learn that they are sound, except those of `TASKS`. `say` gets a line about skipped rows. Raises
    ConfigError for a mistake in `config`, ValueError for one in the data, each in one line."""
    return read(config, split, limit, place, say, decode=True)


def read(
    config: DataConfig, split: str | None, limit: int | None, place: str, say: Callable[[str], None], decode: bool
) -> list[Prompt]:
    """Return the prompts as `load` does; without `decode`, their clips are taken for sound as they are."""
    config.validate(place)
    config = recognise(config, opens_hub=True)
    if limit is not None and limit < 1:
        raise ConfigError(f"{place}: limit {limit} leaves no prompt; use 1 or more")
    errors: list[ValueError] = []
    refuse = errors.append if config.on_bad_row == "skip" else fail
    places: dict[str, str] = {}  # of each id
    prompts: list[Prompt] = []
    for where, prompt in _prompts(config, split, place, refuse, say):
        try:
            if decode and config.source not in TASKS:  # tasks make or know their own sound
                check_clips(prompt, where)
            if prompt.id in places:
                raise ValueError(f"{where}: id '{prompt.id}' is that of {places[prompt.id]} too; make ids unique")
        except ValueError as error:
            refuse(error)
            continue
        places[prompt.id] = where
        prompts.append(prompt)
        if len(prompts) == limit:
            break
    skip_note = f"{many(len(errors), 'row')} skipped, first {errors[0]}" if errors else ""
    if not prompts:
        raise ValueError(f"{place}: {config.path or config.source} holds no prompts; {skip_note or 'check it'}")
    if skip_note:
        say(f"{place}: {skip_note}")
    return prompts


def _prompts(
    config: DataConfig, split: str | None, place: str, refuse: Refuse, say: Callable[[str], None]
) -> PlacedPrompts:
    if config.source in FILES:
        return _file_prompts(config, split, place, refuse, say)
    if config.source == benchmark_rows.SOURCE:  # a public set has no splits: all of it is a test
        return benchmark_rows.benchmark_prompts(str(config.path), config.args, place, refuse)
    return _function_prompts(config, split, place)


def _placed_rows(config: DataConfig, split: str | None, place: str, refuse: Refuse) -> Iterator[PlacedRow]:
    for id_start, file_config in config.by_file(place):
        for number, (where, row) in enumerate(rows(file_config, split, place, refuse), 1):
            yield file_config, where, f"{id_start}/{number}", row


def _file_prompts(
    config: DataConfig,
    split: str | None,
    place: str,
    refuse: Refuse,
    say: Callable[[str], None],
) -> PlacedPrompts:
    """Yield the prompts of `split`, or of all rows where these have no split. `say` gets a line where one split is written
    in two ways."""
    name = config.split_name
    has_splits: bool | None = True if "split" in config.fields else None  # None: the first row tells
    spellings: dict[str, str] = {}  # split -> how it is written first
    has_said = False
    where = ""
    for file_config, where, id, row in _placed_rows(config, split, place, refuse):
        if has_splits is None:
            has_splits = has_column(row, name)
            check_split_column(name, row, where)
        if has_splits != has_column(row, name) and "split" not in config.fields:
            raise ValueError(f"{where}: column '{name}' is in some rows only; give it to all or to none")
        try:
            if has_splits:
                row_split = text(column(row, name, where), name, where)
                spelling = spellings.setdefault(normal_split(row_split), row_split)
                if spelling != row_split and not has_said:
                    has_said = True
                    say(f"{place}: {where}: split '{row_split}' is read as '{spelling}', as it was written before")
                if split is not None and normal_split(split) != normal_split(row_split):
                    continue
            prompt = to_prompt(row, file_config, where, id)
        except ValueError as error:
            refuse(error)
        else:
            yield where, prompt
    if spellings and split is not None and normal_split(split) not in spellings:  # known after the last row
        check_split(split, spellings.values(), where.rpartition(":")[0] or str(config.path))


# --- tasks and user functions --------------------------------------------------------------------------------------


def _function_prompts(config: DataConfig, split: str | None, place: str) -> PlacedPrompts:
    function = TASKS.get(config.source) or user_functions.load(config.source, f"{place}.source")
    # Objects, for a user's may yield anything.
    prompts: Iterable[object] = function(split, **arguments(function, config.args, place))
    for number, prompt in enumerate(prompts, 1):
        where = f"{place}: {config.source}: prompt {number}"
        if not isinstance(prompt, Prompt):
            raise ValueError(f"{where}: a {type_name(prompt)} is not a Prompt; yield rl.types.Prompt")
        if config.system and prompt.messages[:1] and prompt.messages[0].role != "system":
            prompt = replace(prompt, messages=(Message("system", config.system), *prompt.messages))
        yield where, replace(prompt, messages=place_marks(prompt.messages, prompt.clips, where))
