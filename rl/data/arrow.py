"""Reads parquet files, and turns the values of arrow columns into what was meant where their storage hides it.

A `ClassLabel` of Hugging Face is stored as a number, whose name stands in the schema's metadata, also in a parquet file
that `datasets` wrote. A float of 32 bits read as one of 64 has digits that nobody wrote: 0.1 becomes 0.10000000149011612.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from rl import native_libraries
from rl.config import first_line
from rl.data.rows import Row, check_columns, column, top_level

Arrow = Any  # pyarrow has no types: a table, a schema, a type of its
Decoder = Callable[[Arrow], object]
"""A function from a stored value, not null, to the one that was meant."""


def parquet(
    file: Path, columns: Sequence[str] | None, required: Sequence[str], batch: int = 1024
) -> Iterator[tuple[str, Row]]:
    """Yield (`FILE: row N`, row) of a parquet file with those of `columns` (None: all) that it has, `batch` rows in
    memory at a time. Raises ValueError where a `required` column is missing, or the file cannot be read."""
    with _parquet_file(file) as table:
        names: list[str] = table.schema_arrow.names
        check_columns(required, names, str(file))
        top_columns = None if columns is None else top_level(columns)
        batches = table.iter_batches(
            batch, columns=[name for name in names if top_columns is None or name in top_columns]
        )
        decoded_rows = (row for part in batches for row in decode_rows(part.to_pylist(), part.schema))
        yield from ((f"{file}: row {number}", row) for number, row in enumerate(decoded_rows, 1))


def read_columns(file: Path, kinds: Mapping[str, str]) -> list[Row]:
    """Return the rows of a parquet file that a run wrote. `kinds`: what each column holds, `text`, `number`, `whole` or
    `flag`, or `list`, with `?` where rows without a value are allowed. Raises ValueError, which names the file, where
    it cannot be read, or lacks a column or holds another kind in it."""
    with _parquet_file(file) as table:
        schema = table.schema_arrow
        check_columns(kinds, schema.names, str(file))
        whole = table.read(columns=[*kinds])
        for name, kind in kinds.items():
            column, is_optional = whole.column(name), kind.endswith("?")
            if not _holds(column.type, kind.removesuffix("?")):
                raise ValueError(
                    f"{file}: column '{name}' holds {column.type}, not {kind.removesuffix('?')}; write it again"
                )
            if column.null_count and not is_optional:
                raise ValueError(f"{file}: column '{name}' lacks values; write it again")
        return cast("list[Row]", whole.to_pylist())


def _holds(kind: Arrow, name: str) -> bool:
    """Return whether a column of that arrow type holds what `name` says."""
    import pyarrow.types as types

    is_whole, is_float = types.is_integer(kind), types.is_floating(kind)
    tests = {
        "text": types.is_string(kind) or types.is_large_string(kind),
        "number": is_whole or is_float,
        "whole": is_whole,
        "flag": types.is_boolean(kind),
        "list": types.is_list(kind) or types.is_large_list(kind),
    }
    return tests[name] or types.is_null(kind)  # arrow's type of a column without any value


def parquet_columns(file: Path) -> list[str]:
    """Return the names of a parquet file's columns, and after that of a struct those of its parts. Raises ValueError where it
    cannot be read."""
    with _parquet_file(file) as table:
        return _flat_names(table.schema_arrow)


def _flat_names(fields: Iterable[Arrow]) -> list[str]:
    import pyarrow.types as types

    names: list[str] = []
    for field in fields:
        names.append(field.name)
        if types.is_struct(field.type):
            names += [f"{field.name}.{inner}" for inner in _flat_names(field.type)]
    return names


def parquet_counts(file: Path, name: str) -> dict[str | None, int]:
    """Return {value: rows that hold it in the column `name`}; {None: all rows} where there is no such column."""
    with _parquet_file(file) as table:
        names = [name for name in top_level([name]) if name in table.schema_arrow.names]
        if not names:
            return {None: table.metadata.num_rows}
        part = table.read(columns=names)
        return dict(Counter(column(row, name, str(file)) for row in decode_rows(part.to_pylist(), part.schema)))


@contextmanager
def _parquet_file(file: Path) -> Generator[Arrow]:
    native_libraries.require("pyarrow")
    import pyarrow
    import pyarrow.parquet

    try:
        if not os.path.isfile(file):  # of a pipe the end would be waited for
            raise FileNotFoundError("no such file")
        with pyarrow.parquet.ParquetFile(file) as table:
            yield table
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise ValueError(f"{file}: cannot be read as parquet: {first_line(error)}; write it again") from error


def decode_rows(rows: Iterable[Row], schema: Arrow) -> Iterator[Row]:
    """Yield the rows, which have columns of the arrow `schema`, with every value as it was meant."""
    decoders = column_decoders(schema)
    for row in rows:
        decoded = {name: decode(row[name]) for name, decode in decoders.items() if row.get(name) is not None}
        yield {**row, **decoded}


def column_decoders(schema: Arrow) -> dict[str, Decoder]:
    """Return the decoders of the columns that need one."""
    feature_text = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = _mapping(_mapping(_mapping(json.loads(feature_text)).get("info")).get("features"))
    except ValueError:  # metadata of somebody else under the same name
        features = {}
    decoders = {field.name: _decoder(field.type, features.get(field.name)) for field in schema}
    return {name: decoder for name, decoder in decoders.items() if decoder is not None}


def _decoder(kind: Arrow, feature: object) -> Decoder | None:
    """Return the decoder of a type with its `feature` (as `datasets` describes it); None where values are what they seem."""
    import pyarrow.types as types

    described = _mapping(feature)
    if types.is_dictionary(kind):
        return _decoder(kind.value_type, feature)
    if described.get("_type") == "ClassLabel" and isinstance(described.get("names"), list):
        return _class_namer(cast("list[str]", described["names"]))
    if types.is_float16(kind) or types.is_float32(kind):
        return _shortener("float16" if types.is_float16(kind) else "float32")
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner_feature = feature[0] if isinstance(feature, list) and feature else described.get("feature")
        inner = _decoder(kind.value_type, inner_feature)
        return inner and _list_decoder(inner)
    if types.is_struct(kind):
        # `Sequence` of a mapping was stored as a mapping of lists, each described by the feature of its items.
        of_field = _mapping(described.get("feature")) or described
        inner_decoders = {field.name: _decoder(field.type, of_field.get(field.name)) for field in kind}
        return _struct_decoder({name: inner for name, inner in inner_decoders.items() if inner is not None})
    return None


def _class_namer(names: Sequence[str]) -> Decoder:
    def name_of(label: int) -> str | int | None:
        if label == -1:  # `datasets` stores a label that is not known as -1
            return None
        return names[label] if 0 <= label < len(names) else label

    return name_of


def _shortener(dtype: str) -> Decoder:
    import numpy as np

    # 0.1 in 32 bits is 0.10000000149011612 as a Python float; the shortest text of the narrow number is what was meant.
    shorten = np.dtype(dtype).type
    return lambda value: float(str(shorten(value)))


def _list_decoder(inner: Decoder) -> Decoder:
    return lambda values: [None if value is None else inner(value) for value in values]


def _struct_decoder(inner_decoders: Mapping[str, Decoder]) -> Decoder | None:
    if not inner_decoders:
        return None
    return lambda values: {
        name: inner_decoders[name](value) if name in inner_decoders and value is not None else value
        for name, value in values.items()
    }


def _mapping(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}
