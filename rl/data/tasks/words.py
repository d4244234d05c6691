"""Makes letter tasks on the words of real text: `reverse`, `sort` and `vowels`, short enough for a model from scratch.

Every byte is a token to such a model, so questions are `reverse: apple` and chains hold only what the answer needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from rl.config import ConfigError, did_you_mean
from rl.data.json_rows import jsonl
from rl.data.rows import SPLITS, check_split, column, locate, rank, split_of, text
from rl.types import Demonstration, Message, Prompt


def _reverse(word: str) -> tuple[str, str]:
    return spell_numbered(word), word[::-1]


def _sort(word: str) -> tuple[str, str]:
    return "".join(sorted(set(word))), "".join(sorted(word))  # the chain lists the letters, the answer repeats them


def _vowels(word: str) -> tuple[str, str]:
    return running_count(word, "aeiou"), str(sum(letter in "aeiou" for letter in word))


LETTERS = {"reverse": _reverse, "sort": _sort, "vowels": _vowels}
"""Name of a task -> a function of a word that returns its (chain, answer)."""


def spell_numbered(word: str) -> str:
    """Return `1a2p3p4l5e` for `apple`: each letter behind its place, so that the answer can be read from the end."""
    return "".join(f"{i}{letter}" for i, letter in enumerate(word, 1))


def running_count(word: str, letters: str) -> str:
    """Return `0a1e2` for the vowels of `apple`: each of `letters` in order and how many there are so far; the last
    number is the answer."""
    matches = [letter for letter in word if letter in letters]
    return "0" + "".join(f"{letter}{i}" for i, letter in enumerate(matches, 1))


def words(
    split: str | None,
    path: str | list[str],
    columns: list[str] | None = None,
    min_letters: int = 3,
    max_letters: int = 9,
    tasks: list[str] | None = None,
    limit_words: int | None = None,
) -> Iterator[Prompt]:
    """Yield letter tasks on words of real text: spell them backward, sort their letters, count their vowels.

    `path`: jsonl files, or a folder's train.jsonl, validation.jsonl and test.jsonl; `columns` (default question and
    solution) hold the text, whose runs of the letters a–z in lower case are the words. A word's split (80 % train, 10 %
    validation, 10 % test) and its place in the order depend on the word alone; `limit_words` takes the first so many
    words of the split. Raises ValueError."""
    check_split(split, SPLITS, "words")
    task_names = list(LETTERS) if tasks is None else tasks
    for task in task_names:
        if task not in LETTERS:
            raise ConfigError(f"words.tasks: no task '{task}'{did_you_mean(task, LETTERS)}")
    if not 1 <= min_letters <= max_letters:
        raise ConfigError(f"words: min_letters {min_letters} and max_letters {max_letters} leave no word")
    files = tuple(file for name in ([path] if isinstance(path, str) else path) for file in _files(name))
    for word in _select_words(
        files, tuple(columns or ("question", "solution")), min_letters, max_letters, split, limit_words
    ):
        for task in task_names:
            chain, answer = LETTERS[task](word)
            yield Prompt(
                id=f"{task}/{word}",
                messages=(Message("user", f"{task}: {word}"),),
                answer=answer,
                source=task,
                demonstration=Demonstration(chain, answer),
            )


def count(split: str | None, **args: object) -> int:
    """Return the number of prompts that `words` makes."""
    return sum(1 for _ in words(split, **args))  # type: ignore[arg-type]


def _files(path: str) -> list[Path]:
    file = locate(path, "words.path")
    if not file.is_dir():
        return [file]
    files = [part for name in SPLITS if (part := file / f"{name}.jsonl").is_file()]
    if not files:
        raise ConfigError(f"words.path: {file} holds no train.jsonl; name the jsonl files in a list")
    return files


def _select_words(
    files: tuple[Path, ...], columns: tuple[str, ...], low: int, high: int, split: str | None, limit: int | None
) -> Sequence[str]:
    words_of_length = (word for word in _distinct_words(files, columns) if low <= len(word) <= high)
    # By hash, so that a limit takes words from all over the text.
    return sorted((word for word in words_of_length if split in (None, split_of(word))), key=rank)[:limit]


@lru_cache(maxsize=4)  # the stages of a recipe ask for the splits of the same files
def _distinct_words(files: tuple[Path, ...], columns: tuple[str, ...]) -> frozenset[str]:
    values = (text(column(row, name, where), name, where) for f in files for where, row in jsonl(f) for name in columns)
    return frozenset(word for value in values for word in re.findall("[a-z]+", value.lower()))
