"""Reads collections of real recordings: their rows, and their sound.

A collection is a folder with one parquet file and, beside it, a metadata.jsonl with the same rows without sound, from
which questions are planned in milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from rl.audio import SAMPLE_RATE, encode, waveform
from rl.config import ConfigError
from rl.data.arrow import parquet
from rl.data.json_rows import jsonl
from rl.data.rows import Row, check_columns, column, locate
from rl.data.tasks.questions import QUANTITIES
from rl.data.tasks.synthesis import concatenate, fade
from rl.types import Clip

if TYPE_CHECKING:
    import numpy as np

EXCERPT_S, GAP_S = 0.6, 0.2
"""Length of a recording's loudest part, and of the silence after it, where several recordings make one clip, s."""


@dataclass(frozen=True)
class Collection:
    """The layout of a collection: what each column of its rows means."""

    audio: str
    """Column of the encoded bytes."""
    classes: Mapping[str, tuple[str, str]]
    """Kind of question -> (column, question)."""
    measures: Mapping[str, tuple[Callable[[Row], float | None], ...]]
    """Quantity -> functions of a row to its measurements; the first is the gold, None where it is unreliable."""
    speech: str | None = None
    """Column of the word that is spoken, where one is."""

    may_repeat: frozenset[str] = frozenset()
    """Main classes whose recordings may hold more than one sound: left out where sounds are counted."""

    @property
    def main(self) -> str:
        """The main kind of class: the first."""
        return next(iter(self.classes))

    def label(self, row: Row) -> str:
        """Return the row's main class."""
        return str(row[self.classes[self.main][0]])

    def chain_name(self, row: Row) -> str:
        """Return the name that chains give the recording: its word or its class."""
        return str(row[self.speech]) if self.speech else self.label(row)

    def value(self, quantity: str, row: Row) -> float | None:
        """Return the gold measurement, None where it is unreliable."""
        return self.measures[quantity][0](row)

    def labels(self, row: Row) -> dict[str, str]:
        """Return the classes and the bin of each quantity, for encoder pretraining."""
        classes = {kind: str(row[name]) for kind, (name, _) in self.classes.items()}
        values = {quantity: self.value(quantity, row) for quantity in self.measures}
        bins = {f"{name}_bin": str(QUANTITIES[name].bin(value)) for name, value in values.items() if value is not None}
        return {**classes, **bins}


def _column(name: str) -> Callable[[Row], float | None]:
    return lambda row: row.get(name)


def _if_reliable(name: str) -> Callable[[Row], float | None]:
    # The metadata marks the clips on which two pitch trackers agree within a semitone.
    return lambda row: row.get(name) if row.get("f0_reliable") else None


def _sounding_rms(row: Row) -> float:
    """Return the level of the part that is not digital silence, dBFS."""
    # The energy is the same, spread over less time.
    return row["rms_dbfs"] + 10 * math.log10(row["duration_s"] / row["nonzero_s"])


COLLECTIONS = {
    "fsdd.parquet": Collection(
        "audio_flac",
        {
            "digit": ("digit", "which digit?"),
            "speaker": ("speaker", "who speaks?"),
            "accent": ("accent", "which accent?"),
        },
        {
            "pitch": (_if_reliable("f0_median_hz"), _column("f0_pyin_median_hz")),
            "loudness": (_column("rms_dbfs"), _column("intensity_mean_db")),
            # The second measure leaves out the silence around the word.
            "duration": (_column("duration_s"), lambda row: row["active_end_s"] - row["active_start_s"]),
            "brightness": (_column("spectral_centroid_hz"),),
            "rate": (_column("syllables_per_s"),),
        },
        speech="word",
    ),
    "esc10.parquet": Collection(
        "audio_ogg",
        {"sound": ("label", "what is it?")},
        {"loudness": (_column("rms_dbfs"), _sounding_rms), "brightness": (_column("spectral_centroid_hz"),)},
        may_repeat=frozenset({"dog bark", "baby cry", "clock tick", "person sneeze", "rooster", "fire crackling"}),
    ),
    "sonicpi.parquet": Collection(
        "audio_flac",
        {"instrument": ("label", "which instrument?")},
        {
            "loudness": (_column("rms_dbfs"), _column("peak_dbfs")),
            "duration": (_column("duration_s"),),
            "brightness": (_column("spectral_centroid_hz"),),
        },
        may_repeat=frozenset({"vinyl turntable", "guitar"}),
    ),
}
"""Name of the parquet file -> its collection."""


def locate_collection(path: str) -> Path:
    """Return the parquet file of the collection at `path`, the file itself or its folder. Raises ConfigError."""
    file_or_folder = locate(path, "recordings.path")
    for file in (file_or_folder, *(file_or_folder / name for name in COLLECTIONS)):
        if file.name in COLLECTIONS and file.is_file():
            return file
    raise ConfigError(f"recordings.path: {file_or_folder} holds no {' or '.join(COLLECTIONS)}; name the folder of one")


@lru_cache(maxsize=8)
def load_rows(file: Path) -> tuple[Row, ...]:
    """Return every row without its sound, from the metadata.jsonl beside the file, or else the file. Raises
    ValueError."""
    collection, metadata = COLLECTIONS[file.name], file.with_name("metadata.jsonl")
    columns = ["id", "split", *(name for name, _ in collection.classes.values())]
    rows: list[Row] = []
    for where, row in jsonl(metadata) if metadata.is_file() else parquet(file, None, columns):
        check_columns(columns, list(row), where)
        rows.append({name: value for name, value in row.items() if name != collection.audio})
    return tuple(rows)


@lru_cache(maxsize=4)
def load_clips(file: Path) -> dict[str, Clip]:
    """Return {id: clip} of every recording. Raises ValueError."""
    name = COLLECTIONS[file.name].audio
    return {
        column(row, "id", where): Clip(path=where, data=column(row, name, where))
        for where, row in parquet(file, ["id", name], ["id", name])
    }


@lru_cache(maxsize=4096)  # the stages of a recipe ask for the same clips
def join_recordings(file: Path, ids: tuple[str, ...], total_s: float | None) -> Clip:
    """Return one clip of several recordings, each its loudest `EXCERPT_S` at most, with silence between them and up to
    `total_s`."""
    clips = load_clips(file)
    parts = [_excerpt(waveform(clips[id])) for id in ids]
    return Clip(path=f"{file}: {', '.join(ids)}", data=encode(concatenate(parts, GAP_S, total_s)))


def _excerpt(samples: np.ndarray) -> np.ndarray:
    """Return the loudest `EXCERPT_S` of a recording, faded."""
    import numpy as np

    length = round(EXCERPT_S * SAMPLE_RATE)
    if len(samples) <= length:
        return samples
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])  # differences are sums of windows
    start = int(np.argmax(energy[length:] - energy[:-length]))
    return fade(samples[start : start + length].copy())  # a waveform of the cache is read-only


def can_be_joined(collection: Collection, row: Row) -> bool:
    """Return True where the recording can be one of several in a clip: sounds can be cut to `EXCERPT_S`, words cannot."""
    return not collection.speech or row["duration_s"] <= EXCERPT_S


def joined_length_s(count: int) -> float:
    """Return the greatest length of a clip of `count` recordings, s."""
    return count * (EXCERPT_S + GAP_S) - GAP_S
