"""Reads the clips of a row: bytes, a path beside the data file, what Hugging Face stores, or a list of these.

Clips stay encoded; `check_clips` decodes them once to learn whether they are sound at all.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rl.audio import check_decodable, one_line
from rl.data.rows import type_name
from rl.types import AUDIO_PATCH, Clip, Message, Prompt

INLINE = "data:"
"""Prefix of bytes in the text of a jsonl file: `data:audio/flac;base64,…` (RFC 2397)."""
ENDINGS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf")
"""Endings of the files that `audio_files` takes for sound."""


def read_clips(value: object, name: str, root: Path, where: str) -> tuple[Clip, ...]:
    """Return the clips of the column `name`, none where it is null or an empty list. Files are looked for in `root`.
    Clips of bytes are called after the row's place, `where`. Raises ValueError naming the row."""
    if value is None:
        return ()
    if not isinstance(value, list):
        return (_clip(value, name, root, where, where),)
    return tuple(_clip(item, name, root, where, f"{where}, clip {i}") for i, item in enumerate(value, 1))


def _clip(value: object, name: str, root: Path, where: str, clip_name: str) -> Clip:
    if isinstance(value, Mapping) and {"bytes", "path"} & value.keys():
        # Hugging Face's Audio feature keeps the original path beside the bytes; that file is often gone.
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    elif isinstance(value, Mapping) and {"array", "sampling_rate"} <= value.keys():  # what its feature decodes to
        value = _encode(value["array"], value["sampling_rate"], name, where)
    elif isinstance(value, Mapping) and len(value) == 1 and {"audio", "audio_url"} & value.keys():
        (value,) = value.values()
    if isinstance(value, str) and value.startswith(INLINE):
        value = _decode_inline(value, name, where)
    if isinstance(value, bytes | bytearray | memoryview):
        return Clip(clip_name, bytes(value))
    if not isinstance(value, str) or not value or "\0" in value:  # the system refuses paths with null bytes
        raise ValueError(
            f"{where}: column '{name}' is {type_name(value)}, not bytes or a path of audio; correct the row"
        )
    file = root / value
    if not os.path.isfile(file):
        raise ValueError(f"{where}: column '{name}': no such file: {one_line(file)}; correct the path")
    return Clip(str(file))


def _encode(array: object, rate: object, name: str, where: str) -> bytes:
    """Return samples, [frames] or [frames, channels], as the bytes of a WAV file."""
    import numpy as np
    import soundfile

    file = io.BytesIO()
    try:
        soundfile.write(file, np.asarray(array, dtype=np.float32), rate, format="WAV", subtype="FLOAT")
    except (TypeError, ValueError, OverflowError, IndexError, soundfile.LibsndfileError) as error:
        raise ValueError(f"{where}: the array of column '{name}' is no sound ({error}); correct the row") from error
    return file.getvalue()


def _decode_inline(value: str, name: str, where: str) -> bytes:
    head, comma, body = value.partition(",")
    try:
        if not comma or not head.endswith(";base64"):
            raise ValueError("no `;base64,`")
        return base64.b64decode(body, validate=True)
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"{where}: column '{name}' is no base64 audio ({error}); write it again") from error


def place_marks(messages: Sequence[Message], clips: Sequence[Clip], where: str) -> tuple[Message, ...]:
    """Return the messages with one `<audio_patch>` for each clip, put before the last user turn where the text has
    none. Raises ValueError when the text has another number of them."""
    if not messages:
        raise ValueError(f"{where}: no messages, so nothing is asked; give it at least one")
    marks = sum(message.content.count(AUDIO_PATCH) for message in messages)
    if not clips or marks == len(clips):  # without clips a mark is text like any other
        return tuple(messages)
    if marks:
        raise ValueError(f"{where}: {marks} {AUDIO_PATCH} in the text for {len(clips)} clips; write one for each")
    last = max((i for i, message in enumerate(messages) if message.role == "user"), default=None)
    if last is None:
        raise ValueError(
            f"{where}: clips, and no message of a user to put them into; write one, or {AUDIO_PATCH} into the text"
        )
    last_turn = replace(messages[last], content=AUDIO_PATCH * len(clips) + messages[last].content)
    return (*messages[:last], last_turn, *messages[last + 1 :])


def check_clips(prompt: Prompt, where: str) -> None:
    """Decode the prompt's clips and raise ValueError naming the row when one is no sound."""
    for clip in (*prompt.clips, *prompt.later):
        try:
            check_decodable(clip)
        except ValueError as error:
            line = str(error)  # begins with the row for a clip of bytes, else with its file
            raise ValueError(line if line.startswith(where) else f"{where}: {line}") from error


def audio_files(folder: Path) -> Iterator[Path]:
    """Yield the audio files below a folder in order of name, relative to it; hidden ones are left out."""
    files = (file.relative_to(folder) for file in folder.rglob("*") if file.suffix.lower() in ENDINGS)
    yield from sorted(file for file in files if not any(part.startswith(".") for part in file.parts))
