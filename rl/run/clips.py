"""Sounds of a run: each clip of a recorded prompt is stored once, as it came, under `clips/FINGERPRINT`.

So samples can be played in the report and judged again after the data set has moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rl.audio import content, fingerprint
from rl.run.files import replacing
from rl.types import Clip

CLIPS = "clips"


def store_clips(run_dir: Path, clips: Sequence[Clip]) -> list[str]:
    """Return the fingerprints of the clips and write those that the run does not hold yet. Raises DiskFull."""
    names = [fingerprint(clip) for clip in clips]
    for name, clip in zip(names, clips, strict=True):
        file = run_dir / CLIPS / name
        if not file.exists():  # the fingerprint is of the content: an existing file is this clip
            with replacing(file) as temporary:
                temporary.write_bytes(content(clip))
    return names


def stored_clip(run_dir: Path, name: str) -> Clip:
    """Return the clip that `store_clips` wrote under the fingerprint `name`."""
    return Clip(path=str(run_dir / CLIPS / name))
