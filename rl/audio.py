"""Sound as numbers: any file soundfile reads, at any rate, with any channels, becomes 16 kHz mono float32.

Everything that listens (feature extraction, acoustic measurements, the report's players) starts from `waveform`, so
that all of them hear the same samples. Memory is bounded by what a clip may be long, never by what its header claims.
"""

from __future__ import annotations

import hashlib
import io
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl.types import Clip

if TYPE_CHECKING:
    import numpy as np

SAMPLE_RATE = 16_000
"""Hz, of every waveform in the house."""
SHORTEST_S, LONGEST_S = 0.02, 600.0
"""Of a clip that is accepted. Shorter ones leave no frame to an encoder; longer ones belong in pieces."""
RATES = (2_000, 768_000)
"""Hz, the lowest and the highest sampling rate that is believed."""
OVERSHOOT = 2.0
"""Peaks up to here are what lossy coding makes of full scale, and are cut; beyond it the samples have another scale."""
CACHED_BYTES = 256 << 20
"""Of waveforms that are kept decoded."""
BLOCK = 1 << 18
"""Values read at a time."""
UNKNOWN = 1 << 62
"""libsndfile's frames, and more, where a header does not tell: FLAC that was written into a pipe. It cannot read it."""


def content(clip: Clip) -> bytes:
    """The clip's encoded bytes. Raises ValueError when its file cannot be read."""
    if clip.data is not None:
        return clip.data
    try:
        return Path(str(clip.path)).read_bytes()
    except OSError as error:
        raise _unreadable(clip, error) from error


def name(clip: Clip) -> str:
    """What a clip is called in a message: its file, or where its bytes came from."""
    return one_line(clip.path or "audio clip")


def one_line(path: str | Path) -> str:
    """A path as messages show it, even one with line breaks in it."""
    return "\\n".join(str(path).splitlines())


def fingerprint(clip: Clip) -> str:
    """Names the clip by its content: the same sound under two paths is encoded and cached once."""
    return hashlib.blake2b(content(clip), digest_size=16).hexdigest()


def waveform(clip: Clip) -> np.ndarray:
    """[samples] float32 in [-1, 1], mono, 16 kHz, read-only; channels are averaged. Raises ValueError naming file and
    reason."""
    return _waveforms.get(_key(clip), lambda: _decoded(clip))


def duration_s(clip: Clip) -> float:
    """Seconds, as the clip's header tells; nothing is decoded. Raises ValueError as `waveform` does, as far as that can
    be seen from there."""
    with _opened(clip) as file:
        return file.frames / file.samplerate


def check(clip: Clip) -> None:
    """Raises ValueError as `waveform` does. What was decoded is not kept."""
    _decoded(clip)


def encode(samples: np.ndarray, rate: int = SAMPLE_RATE) -> bytes:
    """Mono samples in [-1, 1] as 16-bit FLAC. Raises ValueError for samples out of that range: a sound is never cut in
    silence."""
    import numpy as np
    import soundfile

    if not np.abs(samples).max(initial=0.0) <= 1:
        raise ValueError("samples beyond full scale or not numbers; lower the level")
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()


# --- decoding ------------------------------------------------------------------------------------------------------


def _unreadable(clip: Clip, error: OSError) -> ValueError:
    return ValueError(f"{name(clip)}: {error.strerror}; correct the path")


@contextmanager
def _opened(clip: Clip) -> Iterator[Any]:
    """The clip as a soundfile.SoundFile whose header is plausible."""
    import soundfile

    called = name(clip)
    try:
        if not (Path(str(clip.path)).stat().st_size if clip.data is None else clip.data):
            raise ValueError(f"{called}: empty, no audio in it; record it again or remove it")
        with (
            open(str(clip.path), "rb") if clip.data is None else io.BytesIO(clip.data) as raw,
            soundfile.SoundFile(raw) as file,
        ):
            _check_header(file.samplerate, file.frames, called)
            yield file
    except OSError as error:
        raise _unreadable(clip, error) from error
    except soundfile.SoundFileError as error:
        reason = str(getattr(error, "error_string", error)).rstrip(".")
        raise ValueError(f"{called}: no audio that can be read ({reason}); use WAV, FLAC, OGG or MP3") from error


def _check_header(rate: int, frames: int, called: str) -> None:
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"{called}: a sampling rate of {rate} Hz; resample it to {SAMPLE_RATE}")
    if frames >= UNKNOWN:
        raise ValueError(f"{called}: its header does not say how long it is; write it to a file, not into a pipe")
    seconds = frames / rate
    if seconds > LONGEST_S:
        raise ValueError(f"{called}: {seconds:,.0f} s long, at most {LONGEST_S:g} s are heard; cut it in pieces")
    if seconds < SHORTEST_S:
        raise ValueError(
            f"{called}: {seconds:.3g} s long, at least {SHORTEST_S:g} s are needed; lengthen it or remove it"
        )


def _decoded(clip: Clip) -> np.ndarray:
    """Read, averaged over channels and resampled block by block: a clip's many channels or high rate are never whole in
    memory."""
    import numpy as np
    import soxr

    with _opened(clip) as file:
        rate, claimed, heard = file.samplerate, file.frames, 0
        resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1) if rate != SAMPLE_RATE else None
        parts: list[np.ndarray] = []
        while len(block := file.read(max(1, BLOCK // file.channels), dtype="float32", always_2d=True)):
            heard += len(block)
            if heard > LONGEST_S * rate:
                raise ValueError(f"{name(clip)}: longer than {LONGEST_S:g} s; cut it in pieces")
            _check_samples(block, name(clip))
            mono = block.mean(axis=1)
            parts.append(resampler.resample_chunk(mono) if resampler else mono)
        if heard < claimed or heard < SHORTEST_S * rate or _cut_short(clip):
            raise ValueError(f"{name(clip)}: cut short, it ends after {heard / rate:.3g} s; copy it again or remove it")
        if resampler:
            parts.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    samples = np.clip(np.concatenate(parts), -1, 1, dtype=np.float32)
    samples.setflags(write=False)
    return samples


def _check_samples(block: np.ndarray, called: str) -> None:
    import numpy as np

    peak = float(np.abs(block).max())
    if not math.isfinite(peak):
        raise ValueError(f"{called}: holds samples that are no numbers (NaN or infinite); write it again")
    if peak > OVERSHOOT:
        raise ValueError(f"{called}: samples up to {peak:.3g}, full scale is 1; divide them and write it again")


def _cut_short(clip: Clip) -> bool:
    """Whether a WAV file is shorter than its header says; the library would read what there is without a word. Sizes of
    0 and of all ones are what writers into a pipe leave."""
    if clip.data is not None:
        head, size = clip.data[:8], len(clip.data)
    else:
        with open(str(clip.path), "rb") as file:
            head, size = file.read(8), Path(str(clip.path)).stat().st_size
    claimed = int.from_bytes(head[4:8], "little")
    return head[:4] == b"RIFF" and 0 < claimed < 0xFFFFFF00 and claimed + 8 > size


class Waveforms:
    """The waveforms heard last, as many as fit into so many bytes; safe to share among threads."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self.kept: OrderedDict[Any, np.ndarray] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], np.ndarray]) -> np.ndarray:
        """What is kept under the key, else what `make` gives."""
        with self.lock:
            if key in self.kept:
                self.kept.move_to_end(key)
                return self.kept[key]
        made = make()
        with self.lock:
            if key not in self.kept:
                self.kept[key] = made
                self.bytes += made.nbytes
            while self.bytes > self.most_bytes:
                self.bytes -= self.kept.popitem(last=False)[1].nbytes
        return made


_waveforms = Waveforms(CACHED_BYTES)


def _key(clip: Clip) -> Any:
    """Names the clip's content without reading its file: the file is another one when it changes."""
    if clip.data is not None:
        return hashlib.blake2b(clip.data, digest_size=16).digest()
    try:
        stat = Path(str(clip.path)).stat()
    except OSError as error:
        raise _unreadable(clip, error) from error
    return clip.path, stat.st_mtime_ns, stat.st_size
