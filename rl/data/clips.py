"""The clips of a row: bytes, a path beside the data file, what Hugging Face stores, or several of these in a list.

Clips stay encoded; `heard` decodes one to say whether it is sound at all.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rl.audio import check, one_line
from rl.data.rows import kind
from rl.types import AUDIO_PATCH, Clip, Message, Prompt

INLINE = "data:"
"""How the text of a jsonl file holds bytes: `data:audio/flac;base64,…` (RFC 2397)."""


def clips_of(value: Any, name: str, root: Path, where: str) -> tuple[Clip, ...]:
    """The clips of a column's value, none where it is null or an empty list. Bytes get the row's place for a name. Files
    are looked for in `root`. Raises ValueError naming the row."""
    if value is None:
        return ()
    if not isinstance(value, list):
        return (_clip(value, name, root, where, where),)
    return tuple(_clip(each, name, root, where, f"{where}, clip {i}") for i, each in enumerate(value, 1))


def _clip(value: Any, name: str, root: Path, where: str, called: str) -> Clip:
    if isinstance(value, Mapping) and {"bytes", "path"} & value.keys():
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    if isinstance(value, str) and value.startswith(INLINE):
        value = _decoded(value, name, where)
    if isinstance(value, bytes | bytearray | memoryview):
        return Clip(called, bytes(value))
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"{where}: column '{name}' is {kind(value)}, not bytes or a path of audio; correct the row")
    file = root / value
    if not file.is_file():
        raise ValueError(f"{where}: column '{name}': no such file: {one_line(file)}; correct the path")
    return Clip(str(file))


def _decoded(value: str, name: str, where: str) -> bytes:
    head, comma, body = value.partition(",")
    try:
        if not comma or not head.endswith(";base64"):
            raise ValueError("no `;base64,`")
        return base64.b64decode(body, validate=True)
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"{where}: column '{name}' is no base64 audio ({error}); write it again") from error


def placed(messages: Sequence[Message], clips: Sequence[Clip], where: str) -> tuple[Message, ...]:
    """The messages with one mark for each clip; where there is none they stand before the last user turn. Raises
    ValueError when the text has another number of marks."""
    marks = sum(message.content.count(AUDIO_PATCH) for message in messages)
    if not clips or marks == len(clips):
        return tuple(messages)
    if marks:
        raise ValueError(f"{where}: {marks} {AUDIO_PATCH} in the text for {len(clips)} clips; write one for each")
    last = max(i for i, message in enumerate(messages) if message.role == "user")
    marked = replace(messages[last], content=AUDIO_PATCH * len(clips) + messages[last].content)
    return (*messages[:last], marked, *messages[last + 1 :])


def heard(prompt: Prompt, where: str) -> None:
    """Decodes the prompt's clips. Raises ValueError naming the row when one is no sound."""
    for clip in prompt.clips:
        try:
            check(clip)
        except ValueError as error:
            line = str(error)
            raise ValueError(line if line.startswith(where) else f"{where}: {line}") from error


ENDINGS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf")


def audio_files(folder: Path) -> Iterator[Path]:
    """The audio files below a folder, by their endings, in order; hidden ones are left out. Relative to it."""
    files = (file.relative_to(folder) for file in folder.rglob("*") if file.suffix.lower() in ENDINGS)
    yield from sorted(file for file in files if not any(part.startswith(".") for part in file.parts))
