"""Reads a tokenizer's tokens and ids from its files without loading it, and tells how two tokenizers differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from rl.json_files import read_object

FIX = "fetch the file again"


def read_vocabulary(folder: Path) -> dict[str, int] | None:
    """Return {token: id} of the folder's tokenizer.json, added tokens included; None without one that lists its tokens. Raises
    ValueError for a broken file."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    whole = read_object(file, FIX)
    model, added = whole.get("model"), whole.get("added_tokens")
    tokens = cast("Mapping[str, object]", model).get("vocab") if isinstance(model, dict) else None
    ids: dict[str, int] = {}
    if isinstance(tokens, dict):  # of BPE and WordPiece
        ids |= {token: id for token, id in cast("dict[str, object]", tokens).items() if isinstance(id, int)}
    elif isinstance(tokens, list):  # of Unigram: [token, score] in the order of their ids
        for i, entry in enumerate(cast("list[object]", tokens)):
            if not isinstance(entry, list) or not entry:
                raise ValueError(f"{file}: model.vocab[{i}] is not [token, score]; {FIX}")
            ids[str(cast("list[object]", entry)[0])] = i
    for entry in cast("list[object]", added) if isinstance(added, list) else []:
        token = cast("dict[str, object]", entry) if isinstance(entry, dict) else {}
        if isinstance(id := token.get("id"), int):
            ids[str(token.get("content"))] = id
    return ids or None


def describe_difference(ours: Mapping[str, int], theirs: Mapping[str, int], rows: int) -> str | None:
    """Return how a tokenizer differs from `ours`, in words; None where it has each of our tokens under the same id, or at
    least a row of its model's `rows` for it: one that it does not know costs it nothing to refuse."""
    moved = {token: id for token, id in ours.items() if token in theirs and theirs[token] != id}
    if moved:
        token = min(moved, key=lambda token: moved[token])
        return (
            f"{token!r} is {moved[token]} here and {theirs[token]} there, {len(moved):,} of {len(ours):,} tokens differ"
        )
    taken = {*theirs.values()}
    # A token that the other lacks is harmless if its id is a free row there, like the marks of clips, which a decoder
    # gets when it is composed with an encoder.
    missing = {token: id for token, id in ours.items() if token not in theirs and (id in taken or id >= rows)}
    if missing:
        token = min(missing, key=lambda token: missing[token])
        return f"{token!r} ({missing[token]}) is not there, {len(missing):,} of {len(ours):,} tokens are not"
    unknown = sum(token not in theirs for token in ours)
    # Two tokenizers that share no token would pass the lines above where the second has room for all of the first.
    return f"{unknown:,} of {len(ours):,} tokens are not there" if 2 * unknown > len(ours) else None
