"""Decodes sound: any file that soundfile reads, at any rate, with any channels, becomes 16 kHz mono float32.

Everything that listens (feature extraction, acoustic measurements, the report's players) starts from `waveform`, so
that all of them get the same samples. Memory is bounded by the longest clip accepted, never by what a header claims.
"""

from __future__ import annotations

import hashlib
import io
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rl.types import Clip

if TYPE_CHECKING:
    import numpy as np

SAMPLE_RATE = 16_000
"""Sampling rate of every waveform in the library, Hz."""
SHORTEST_S, LONGEST_S = 0.02, 600.0
"""Length of a clip that is accepted, s. Shorter ones leave no frame to an encoder; longer ones belong in pieces."""
RATES = (2_000, 768_000)
"""Lowest and highest sampling rate that is believed, Hz."""
OVERSHOOT = 2.0
"""Largest peak that lossy coding makes of full scale; such samples are clipped. Above it they have another scale."""
CACHED_BYTES = 256 << 20
"""Size of the cache of decoded waveforms."""
BLOCK = 1 << 18
"""Values (frames · channels) read at a time."""
UNKNOWN_FRAMES = 1 << 62
"""Least number of frames that libsndfile reports where a header does not tell it, as in FLAC that was written into a
pipe. It cannot read such a file."""
_RIFF_FROM_PIPE = 0xFFFFFF00
"""Least size in a WAV header that was written into a pipe: writers leave 0 or (nearly) all ones."""


def content(clip: Clip) -> bytes:
    """Return the clip's encoded bytes. Raises ValueError when its file cannot be read."""
    if clip.data is not None:
        return clip.data
    try:
        return Path(str(clip.path)).read_bytes()
    except OSError as error:
        raise _unreadable(clip, error) from error


def clip_name(clip: Clip) -> str:
    """Return the name of a clip for messages: its file, or where its bytes came from."""
    return one_line(clip.path or "audio clip")


def one_line(path: str | Path) -> str:
    """Return a path as messages show it, its line breaks escaped."""
    return "\\n".join(str(path).splitlines())


def fingerprint(clip: Clip) -> str:
    """Return a hash of the clip's content: the same sound under two paths is encoded and cached once."""
    return hashlib.blake2b(content(clip), digest_size=16).hexdigest()


def waveform(clip: Clip) -> np.ndarray:
    """Decode a clip to [samples] float32 in [-1, 1], mono (the mean of its channels), 16 kHz, read-only. Raises
    ValueError naming file and reason."""
    return _waveforms.get(_cache_key(clip), lambda: _decode(clip))


def duration_s(clip: Clip) -> float:
    """Return the length in seconds from the clip's header; nothing is decoded. Raises ValueError as `waveform` does, as
    far as the header shows it."""
    with _open(clip) as file:
        return file.frames / file.samplerate


def check_decodable(clip: Clip) -> None:
    """Raise ValueError where `waveform` would. The samples are not cached: a check passes over whole data sets."""
    _decode(clip)


def encode(samples: np.ndarray, rate: int = SAMPLE_RATE, bits: Literal[16, 24] = 16) -> bytes:
    """Encode mono samples in [-1, 1] as FLAC. Raises ValueError for samples out of that range, which the encoder would clip
    without a word."""
    import numpy as np
    import soundfile

    if not np.abs(samples).max(initial=0.0) <= 1:  # written so that NaN is refused too
        raise ValueError("samples beyond full scale or not numbers; lower the level")
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC", subtype=f"PCM_{bits}")
    return file.getvalue()


# --- decoding ------------------------------------------------------------------------------------------------------


def _unreadable(clip: Clip, error: OSError) -> ValueError:
    return ValueError(f"{clip_name(clip)}: {error.strerror}; correct the path")


@contextmanager
def _open(clip: Clip) -> Iterator[Any]:  # soundfile has no types
    """Open the clip as a soundfile.SoundFile with a plausible header."""
    import soundfile

    name = clip_name(clip)
    try:
        byte_count = Path(str(clip.path)).stat().st_size if clip.data is None else len(clip.data)
        if not byte_count:
            raise ValueError(f"{name}: empty, no audio in it; record it again or remove it")
        with (
            open(str(clip.path), "rb") if clip.data is None else io.BytesIO(clip.data) as raw,
            soundfile.SoundFile(raw) as file,
        ):
            _check_header(file.samplerate, file.frames, name)
            yield file
    except OSError as error:
        raise _unreadable(clip, error) from error
    except soundfile.SoundFileError as error:
        reason = str(getattr(error, "error_string", error)).rstrip(".")
        raise ValueError(f"{name}: no audio that can be read ({reason}); use WAV, FLAC, OGG or MP3") from error


def _check_header(rate: int, frames: int, name: str) -> None:
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"{name}: a sampling rate of {rate} Hz; resample it to {SAMPLE_RATE}")
    if frames >= UNKNOWN_FRAMES:
        raise ValueError(f"{name}: its header does not say how long it is; write it to a file, not into a pipe")
    seconds = frames / rate
    if seconds > LONGEST_S:
        raise ValueError(f"{name}: {seconds:,.0f} s long, the limit is {LONGEST_S:g} s; cut it in pieces")
    if seconds < SHORTEST_S:
        raise ValueError(f"{name}: {seconds:.3g} s long, at least {SHORTEST_S:g} s are needed; lengthen or remove it")


def _decode(clip: Clip) -> np.ndarray:
    """Decode, average the channels and resample block by block, so that a clip with many channels or a high rate is
    never whole in memory."""
    import numpy as np
    import soxr

    with _open(clip) as file:
        rate, header_frames, frames = file.samplerate, file.frames, 0
        resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1) if rate != SAMPLE_RATE else None
        parts: list[np.ndarray] = []
        while len(block := file.read(max(1, BLOCK // file.channels), dtype="float32", always_2d=True)):
            frames += len(block)
            if frames > LONGEST_S * rate:  # the header said less: MP3 and OGG may be longer than they say
                raise ValueError(f"{clip_name(clip)}: longer than {LONGEST_S:g} s; cut it in pieces")
            _check_samples(block, clip_name(clip))
            mono = block.mean(axis=1)
            parts.append(resampler.resample_chunk(mono) if resampler else mono)
        if frames < header_frames or frames < SHORTEST_S * rate or _is_cut_short(clip):
            seconds = frames / rate
            raise ValueError(f"{clip_name(clip)}: cut short, it ends after {seconds:.3g} s; copy it again or remove it")
        if resampler:  # the filter still holds the last samples
            parts.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    samples = np.clip(np.concatenate(parts), -1, 1, dtype=np.float32)
    samples.setflags(write=False)  # the cache hands the same array to everyone
    return samples


def _check_samples(block: np.ndarray, name: str) -> None:
    import numpy as np

    peak = float(np.abs(block).max())
    if not math.isfinite(peak):
        raise ValueError(f"{name}: holds samples that are no numbers (NaN or infinite); write it again")
    if peak > OVERSHOOT:
        raise ValueError(f"{name}: samples up to {peak:.3g}, full scale is 1; divide them and write it again")


def _is_cut_short(clip: Clip) -> bool:
    """Return whether a WAV file is shorter than its header says: libsndfile reads what there is without a word."""
    if clip.data is not None:
        head, size = clip.data[:8], len(clip.data)
    else:
        with open(str(clip.path), "rb") as file:
            head, size = file.read(8), Path(str(clip.path)).stat().st_size
    riff_size = int.from_bytes(head[4:8], "little")  # counts what follows these 8 bytes
    return head[:4] == b"RIFF" and 0 < riff_size < _RIFF_FROM_PIPE and riff_size + 8 > size


class WaveformCache:
    """A cache of the waveforms used last, bounded by their bytes; safe to share among threads."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self.entries: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the waveform under the key; where there is none, call `make` and store what it returns."""
        with self.lock:
            if key in self.entries:
                self.entries.move_to_end(key)
                return self.entries[key]
        # Decoding runs outside the lock: two threads may decode the same clip, but none waits for another's clip.
        samples = make()
        with self.lock:
            if key not in self.entries:
                self.entries[key] = samples
                self.bytes += samples.nbytes
            while self.bytes > self.most_bytes:
                self.bytes -= self.entries.popitem(last=False)[1].nbytes
        return samples


_waveforms = WaveformCache(CACHED_BYTES)


def _cache_key(clip: Clip) -> Hashable:
    """Return a key for the clip's content without reading its file: time and size change when the file does."""
    if clip.data is not None:
        return hashlib.blake2b(clip.data, digest_size=16).digest()
    try:
        stat = Path(str(clip.path)).stat()
    except OSError as error:
        raise _unreadable(clip, error) from error
    return clip.path, stat.st_mtime_ns, stat.st_size
