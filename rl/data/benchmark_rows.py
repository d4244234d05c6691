"""Turns a user's download of a public set (`rl.benchmarks`) into prompts: `source: benchmark`, `path: FOLDER`."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

from rl.audio import fingerprint
from rl.benchmarks.benchmark import SHIPPED_PROMPT, Benchmark, Item
from rl.benchmarks.sets import BENCHMARKS, find_benchmark
from rl.config import ConfigError, did_you_mean
from rl.data.arrow import parquet
from rl.data.clips import place_marks, read_clips
from rl.data.json_rows import json_rows
from rl.data.paths import Paths
from rl.data.rows import Row, locate, type_name
from rl.json_files import read_bytes, read_object
from rl.types import Message, Prompt

SOURCE = "benchmark"
"""Name of the source in `data:`."""
AUDIO_ROWS = 64
"""Rows of a parquet file in memory at a time: they may hold sound."""
FIX = "name a file of rows that can be read"
"""End of a line on a file that cannot."""


class BenchmarkConfig(Protocol):
    """The part of `rl.data.sources.DataConfig`, where it is documented, that concerns a public set."""

    path: Paths | None
    fields: dict[str, str]
    template: str
    final_mark: str | None
    system: str | None
    args: dict[str, Any]  # as `DataConfig` has it


def validate(config: BenchmarkConfig, place: str) -> None:
    """Raise ConfigError for settings that a public set does not take."""
    check_args(config.args, place)
    if not isinstance(config.path, str):
        raise ConfigError(f"{place}: source '{SOURCE}' needs `path: …`, the folder of your download")
    defaults: tuple[tuple[str, object], ...] = (
        ("fields", {}),
        ("template", "{question}"),
        ("final_mark", None),
        ("system", None),
    )
    for key, default in defaults:
        if getattr(config, key) != default:
            raise ConfigError(f"{place}.{key}: a benchmark is read and asked in its own way; remove it")


def check_args(args: Mapping[str, object], place: str) -> tuple[str, Benchmark, str]:
    """Return (name, the set, the prompt's name) of the `args` of a data set. Raises ConfigError."""
    for key in args:
        if key not in ("set", "prompt"):
            raise ConfigError(f"{place}.args: unknown key '{key}'{did_you_mean(key, ['set', 'prompt'])}")
    name = args.get("set")
    if not isinstance(name, str):
        raise ConfigError(f"{place}.args: missing key 'set'; name one of {', '.join(BENCHMARKS)}")
    benchmark = find_benchmark(name, f"{place}.args.set")
    prompt = args.get("prompt") or next(iter(benchmark.prompts))
    if prompt not in benchmark.prompts:
        fix = f"use {' or '.join(benchmark.prompts)}"
        raise ConfigError(f"{place}.args.prompt: {name} has no prompt '{prompt}'; {fix}")
    return name, benchmark, str(prompt)


def benchmark_prompts(
    path: str, args: Mapping[str, object], place: str, refuse: Callable[[ValueError], None]
) -> Iterator[tuple[str, Prompt]]:
    """Yield (place, prompt) of every item of a public set in a folder, or in one of its files, ids unique but those of an item
    that is there twice. A row that cannot be asked or scored goes to `refuse`. Raises ConfigError where there is no such file."""
    name, benchmark, wording = check_args(args, place)
    by_id: dict[str, Prompt] = {}
    files = find_set_files(path, name, f"{place}.path")
    root = Path(os.path.commonpath([file.absolute().parent for file in files]))
    for file in files:
        file_name = file.absolute().relative_to(root).as_posix()
        for number, (where, row) in enumerate(_rows(file, benchmark, refuse), 1):
            try:
                item = benchmark.read(row)
                prompt = _to_prompt(name, item, benchmark.prompts[wording](item), file, where, f"{file.stem}/{number}")
            except ValueError as error:
                line = str(error)
                refuse(error if line.startswith(where) else ValueError(f"{where}: {line}"))
            else:
                prompt = _with_distinct_id(prompt, by_id, (file_name, number))
                by_id[prompt.id] = prompt
                yield where, prompt


def _with_distinct_id(prompt: Prompt, by_id: Mapping[str, Prompt], place: tuple[str, int]) -> Prompt:
    """Return a prompt under an id that no other question before it has. Ids may begin anew in each part or file of a set: the
    later item then has its file, and its number there, before or after its own. The same question again keeps its id."""
    file_name, number = place
    ids = itertools.chain(
        (prompt.id, f"{file_name}/{prompt.id}"), (f"{file_name}/{prompt.id}#{n}" for n in itertools.count(number))
    )
    return replace(prompt, id=next(id for id in ids if id not in by_id or _is_same_question(prompt, by_id[id])))


def _is_same_question(a: Prompt, b: Prompt) -> bool:
    # the answer too: of two that differ there neither may vanish unseen. Sound as bytes is named after its row.
    is_same_text = (a.messages, a.answer, a.fields.get("options")) == (b.messages, b.answer, b.fields.get("options"))
    return is_same_text and [fingerprint(clip) for clip in a.clips] == [fingerprint(clip) for clip in b.clips]


def find_set_files(path: str, name: str, place: str) -> list[Path]:
    """Return the files of the set `name` below `path`, or the file that it names. Raises ConfigError where there is none."""
    folder, benchmark = locate(path, place), BENCHMARKS[name]
    if folder.is_file():
        return [folder]
    for pattern in benchmark.files:
        if files := sorted(file for file in folder.glob(pattern) if file.is_file()):
            return files
    raise ConfigError(
        f"{place}: {folder} holds no {benchmark.files[0]} of {benchmark.title}; download it from {benchmark.source}, "
        "or name the file itself"
    )


def _rows(file: Path, benchmark: Benchmark, refuse: Callable[[ValueError], None]) -> Iterator[tuple[str, Row]]:
    """Yield (place, row) of one file; a row without `split` gets the one that the file is called after, and every
    row the request that its set ships."""
    rows = (
        parquet(file, None, [], AUDIO_ROWS)
        if file.suffix.lower() == ".parquet"
        else _json_rows(file, benchmark, refuse)
    )
    shipped = _shipped_prompt(file, benchmark)
    for where, row in rows:
        # Files of the hub are called `test-00000-of-00001.parquet`.
        yield where, {"split": file.stem.partition("-")[0], **row, **shipped}


def _shipped_prompt(file: Path, benchmark: Benchmark) -> Row:
    """Return the request that a download ships beside its rows, under its key; nothing without one. Raises ConfigError."""
    request = file.parent / benchmark.prompt_file
    if not request.is_file():
        return {}
    try:
        return {SHIPPED_PROMPT: read_bytes(request, FIX).decode("utf-8-sig")}
    except UnicodeDecodeError:
        raise ConfigError(f"{request}: no UTF-8 text; save it as such") from None


def _json_rows(file: Path, benchmark: Benchmark, refuse: Callable[[ValueError], None]) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a file of rows; of one that is an object its `examples`, as BIG-Bench Hard's tasks have them, or the
    object itself: DCASE has a file for each question."""
    if file.suffix.lower() == ".json" and _is_one_object(file):
        whole = dict(read_object(file, FIX))
        examples = whole.get("examples")
        if not isinstance(examples, list):
            yield str(file), whole
            return
        for number, row in enumerate(cast("list[object]", examples), 1):
            where = f"{file}: row {number}"
            if isinstance(row, dict):
                yield where, {"task": file.stem, **cast(Row, row)}
            else:
                refuse(ValueError(f"{where}: a {type_name(row)} is not a row; write a list of objects"))
        return
    yield from json_rows(file, refuse)


def _is_one_object(file: Path) -> bool:
    """Return whether a file is one object; False for a list of rows, and for a row on each line."""
    text = read_bytes(file, FIX).removeprefix(b"\xef\xbb\xbf").strip()
    first, _, rest = text.partition(b"\n")
    try:
        json.loads(first)
    except (ValueError, RecursionError):  # it goes on in the next line
        return text.startswith(b"{")
    return text.startswith(b"{") and not rest


def _to_prompt(name: str, item: Item, text: str, file: Path, where: str, fallback_id: str) -> Prompt:
    clips = read_clips(item.audio, "audio", _clip_root(item, file), where)
    if not text.strip():
        raise ValueError("nothing to ask; complete the row or remove it")
    fields = {
        "benchmark": name,
        "options": list(item.options),
        "groups": dict(item.groups),
        "question": item.question,
        **item.extra,
    }
    return Prompt(
        id=item.id or fallback_id,
        messages=place_marks((Message("user", text),), clips, where),
        answer=item.answer or None,
        source=name,
        clips=clips,
        fields=fields if item.options else {key: value for key, value in fields.items() if key != "options"},
    )


def _clip_root(item: Item, file: Path) -> Path:
    """Return the folder in which an item's relative paths begin: that of its file, or the one above it, where Big Bench Audio's
    and others' metadata lie beside the sound that they name from above."""
    paths = cast("list[object]", item.audio) if isinstance(item.audio, list) else [item.audio]
    first = paths[0] if paths else None
    if isinstance(first, str) and not (file.parent / first).is_file() and (file.parent.parent / first).is_file():
        return file.parent.parent
    return file.parent
