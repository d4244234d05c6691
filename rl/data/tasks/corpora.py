"""Collections of real recordings: what their rows tell, and the sound itself.

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
from rl.data.rows import Row, check_columns, column, jsonl, locate, parquet
from rl.data.tasks.questions import QUANTITIES
from rl.data.tasks.synthesis import faded, joined
from rl.types import Clip

if TYPE_CHECKING:
    import numpy as np

EXCERPT_S, GAP_S = 0.6, 0.2
"""Of a recording, its loudest part, and of the silence after it, where several make one clip."""


@dataclass(frozen=True)
class Collection:
    """A folder's parquet file and what its rows tell of each recording."""

    audio: str
    """Column of the encoded bytes."""
    classes: Mapping[str, tuple[str, str]]
    """Kind -> (column, question)."""
    measured: Mapping[str, tuple[Callable[[Row], float | None], ...]]
    """Quantity -> its measurements; the first one is the gold, None where it is not to be trusted."""
    speech: str | None = None
    """Column of the word that is spoken, where one is."""

    several: frozenset[str] = frozenset()
    """Main classes whose recordings may hold more than one sound: they are not counted."""

    @property
    def main(self) -> str:
        """The first kind of class."""
        return next(iter(self.classes))

    def label(self, row: Row) -> str:
        """The row's main class."""
        return str(row[self.classes[self.main][0]])

    def said(self, row: Row) -> str:
        """How a chain names the recording: by its word or its class."""
        return str(row[self.speech]) if self.speech else self.label(row)

    def value(self, quantity: str, row: Row) -> float | None:
        """The gold measurement."""
        return self.measured[quantity][0](row)

    def labels(self, row: Row) -> dict[str, str]:
        """Classes, and the bin of each quantity that was measured."""
        classes = {kind: str(row[name]) for kind, (name, _) in self.classes.items()}
        values = {quantity: self.value(quantity, row) for quantity in self.measured}
        bins = {f"{name}_bin": str(QUANTITIES[name].bin(value)) for name, value in values.items() if value is not None}
        return {**classes, **bins}


def _of(name: str) -> Callable[[Row], float | None]:
    return lambda row: row.get(name)


def _if_reliable(name: str) -> Callable[[Row], float | None]:
    return lambda row: row.get(name) if row.get("f0_reliable") else None


def _sounding_rms(row: Row) -> float:
    """dBFS of the part that is not digital silence."""
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
            "pitch": (_if_reliable("f0_median_hz"), _of("f0_pyin_median_hz")),
            "loudness": (_of("rms_dbfs"), _of("intensity_mean_db")),
            "duration": (_of("duration_s"), lambda row: row["active_end_s"] - row["active_start_s"]),
            "brightness": (_of("spectral_centroid_hz"),),
            "rate": (_of("syllables_per_s"),),
        },
        speech="word",
    ),
    "esc10.parquet": Collection(
        "audio_ogg",
        {"sound": ("label", "what is it?")},
        {"loudness": (_of("rms_dbfs"), _sounding_rms), "brightness": (_of("spectral_centroid_hz"),)},
        several=frozenset({"dog bark", "baby cry", "clock tick", "person sneeze", "rooster", "fire crackling"}),
    ),
    "sonicpi.parquet": Collection(
        "audio_flac",
        {"instrument": ("label", "which instrument?")},
        {
            "loudness": (_of("rms_dbfs"), _of("peak_dbfs")),
            "duration": (_of("duration_s"),),
            "brightness": (_of("spectral_centroid_hz"),),
        },
        several=frozenset({"vinyl turntable", "guitar"}),
    ),
}
"""By the name of the parquet file."""


def locate_collection(path: str) -> Path:
    """The parquet file, or the one in the folder. Raises ConfigError."""
    there = locate(path, "recordings.path")
    for file in (there, *(there / name for name in COLLECTIONS)):
        if file.name in COLLECTIONS and file.is_file():
            return file
    raise ConfigError(f"recordings.path: {there} holds no {' or '.join(COLLECTIONS)}; name the folder of one")


@lru_cache(maxsize=8)
def rows_of(file: Path) -> tuple[Row, ...]:
    """Every row, without sound: of the metadata.jsonl beside the file, or else of the file. Raises ValueError."""
    collection, beside = COLLECTIONS[file.name], file.with_name("metadata.jsonl")
    needed = ["id", "split", *(name for name, _ in collection.classes.values())]
    rows: list[Row] = []
    for where, row in jsonl(beside) if beside.is_file() else parquet(file, None, needed):
        check_columns(needed, list(row), where)
        rows.append({name: value for name, value in row.items() if name != collection.audio})
    return tuple(rows)


@lru_cache(maxsize=4)
def recorded(file: Path) -> dict[str, Clip]:
    """Every recording by its id. Raises ValueError."""
    name = COLLECTIONS[file.name].audio
    return {
        column(row, "id", where): Clip(path=where, data=column(row, name, where))
        for where, row in parquet(file, ["id", name], ["id", name])
    }


@lru_cache(maxsize=4096)  # the stages of a recipe ask for the same clips
def in_a_row(file: Path, ids: tuple[str, ...], total_s: float | None) -> Clip:
    """One clip of several recordings, each its loudest `EXCERPT_S` at most, with silence between them and up to
    `total_s`."""
    parts = [_excerpt(waveform(recorded(file)[each])) for each in ids]
    return Clip(path=f"{file}: {', '.join(ids)}", data=encode(joined(parts, GAP_S, total_s)))


def _excerpt(samples: np.ndarray) -> np.ndarray:
    import numpy as np

    length = round(EXCERPT_S * SAMPLE_RATE)
    if len(samples) <= length:
        return samples
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    start = int(np.argmax(energy[length:] - energy[:-length]))
    return faded(samples[start : start + length].copy())


def fits(collection: Collection, row: Row) -> bool:
    """Whether the recording can be one of several in a clip: other sounds can be cut, words cannot."""
    return not collection.speech or row["duration_s"] <= EXCERPT_S


def whole_s(count: int) -> float:
    """Seconds that so many recordings take at most."""
    return count * (EXCERPT_S + GAP_S) - GAP_S
