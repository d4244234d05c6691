"""The sounds of a run: each clip that was asked about is kept once, as it came, under `clips/FINGERPRINT`, so that
samples can be heard in the report and judged again long after the data set has moved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rl.audio import content, fingerprint
from rl.run.files import replacing
from rl.types import Clip

if TYPE_CHECKING:
    pass

CLIPS = "clips"


def keep(run_dir: Path, clips: Sequence[Clip]) -> list[str]:
    """Fingerprints of the clips; those not kept yet are written. Raises DiskFull."""
    names = [fingerprint(clip) for clip in clips]
    for name, clip in zip(names, clips, strict=True):
        if not (file := run_dir / CLIPS / name).exists():
            with replacing(file) as temporary:
                temporary.write_bytes(content(clip))
    return names


def kept(run_dir: Path, name: str) -> Clip:
    """The clip that `keep` named so."""
    return Clip(path=str(run_dir / CLIPS / name))
