from __future__ import annotations

import io
import os
import resource
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from rl import audio
from rl.audio import (
    LONGEST_S,
    SAMPLE_RATE,
    SHORTEST_S,
    WaveformCache,
    content,
    duration_s,
    encode,
    fingerprint,
    waveform,
)
from rl.types import Clip


def sine(hertz: float, seconds: float, rate: int, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def encode_file(samples: np.ndarray, rate: int, kind: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def refusal(data: bytes, path: str = "row 7") -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        waveform(Clip(path, data))
    assert "\n" not in str(caught.value)
    return str(caught.value)


FORMATS = [("WAV", "PCM_16"), ("WAV", "PCM_U8"), ("WAV", "FLOAT"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("MP3", None)]


@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_every_format_and_rate_is_the_same_sound(kind: str, subtype: str | None, rate: int) -> None:
    clip = Clip(data=encode_file(sine(440, 0.5, rate), rate, kind, subtype))
    output = waveform(clip)
    assert output.dtype == np.float32
    assert not output.flags.writeable
    assert len(output) / SAMPLE_RATE == pytest.approx(duration_s(clip), abs=1e-3)
    assert duration_s(clip) == pytest.approx(0.5, abs=0.1 if kind == "MP3" else 1e-3)
    spectrum = np.abs(np.fft.rfft(output * np.hanning(len(output))))
    assert np.argmax(spectrum) * SAMPLE_RATE / len(output) == pytest.approx(440, abs=2)
    middle = output[2000:6000]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.03)


def test_sixteen_bits_at_our_own_rate_come_back_exactly() -> None:
    samples = np.round(sine(300, 0.1, SAMPLE_RATE) * 32768) / 32768
    for data in (encode_file(samples, SAMPLE_RATE), encode(samples)):
        assert np.array_equal(waveform(Clip(data=data)), samples.astype(np.float32))


def test_seven_channels_are_averaged_and_192_khz_resampled() -> None:
    silent = np.zeros(19_200)
    samples = np.stack([sine(1000, 0.1, 192_000)] + [silent] * 6, axis=1)
    output = waveform(Clip(data=encode_file(samples, 192_000)))
    assert len(output) == 1600
    assert np.abs(output[400:1200]).max() == pytest.approx(0.5 / 7, rel=1e-2)


def test_blocks_leave_no_seams() -> None:
    import soxr

    samples = sine(440, 40, 44_100).astype(np.float32)
    stereo = np.stack([samples, samples], axis=1)
    assert len(samples) > audio.BLOCK
    whole = soxr.resample(samples, 44_100, SAMPLE_RATE)
    output = waveform(Clip(data=encode_file(stereo, 44_100, subtype="FLOAT")))
    assert len(output) == len(whole)
    assert np.abs(output - whole).max() < 1e-5


def test_what_is_no_sound_is_one_line() -> None:
    good = encode_file(sine(440, 0.5, 16_000), 16_000)
    flac = encode_file(sine(440, 2, 16_000) + np.random.default_rng(0).normal(0, 0.01, 32_000), 16_000, "FLAC")
    nan = sine(440, 0.5, 16_000)
    nan[100] = np.nan
    for data, reason in [
        (b"", "empty, no audio in it; record it again or remove it"),
        (b"not audio at all", "no audio that can be read (Format not recognised); use WAV, FLAC, OGG or MP3"),
        (b"\0" * 1000, "no audio that can be read (Format not recognised); use WAV, FLAC, OGG or MP3"),
        (good[: len(good) // 2], "cut short, it ends after 0.249 s; copy it again or remove it"),
        (
            encode_file(nan, 16_000, subtype="FLOAT"),
            "holds samples that are no numbers (NaN or infinite); write it again",
        ),
        (
            encode_file(sine(440, 0.5, 16_000, amplitude=20_000), 16_000, subtype="FLOAT"),
            "samples up to 2e+04, full scale is 1; divide them and write it again",
        ),
        (
            encode_file(sine(440, 0.01, 16_000), 16_000),
            "0.01 s long, at least 0.02 s are needed; lengthen or remove it",
        ),
        (encode_file(np.zeros(0), 16_000), "0 s long, at least 0.02 s are needed; lengthen or remove it"),
        (encode_file(np.zeros(8000 * 601), 8000), "601 s long, the limit is 600 s; cut it in pieces"),
        (encode_file(np.zeros(1000), 1000), "a sampling rate of 1000 Hz; resample it to 16000"),
    ]:
        assert refusal(data) == f"row 7: {reason}"
    assert refusal(flac[: len(flac) // 2]).startswith("row 7: ")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for path, reason in [("none.wav", "No such file or directory"), (".", "Is a directory")]:
        clip = Clip(str(tmp_path / path))
        for ask in (waveform, content, duration_s):
            with pytest.raises(ValueError, match=rf"{path}: {reason}; correct the path$"):
                ask(clip)


def test_a_header_that_claims_hours_costs_no_memory() -> None:
    """FLAC's total of samples is 36 bits in its first block; here it says 238 hours."""
    data = bytearray(encode_file(sine(440, 0.5, 16_000), 16_000, "FLAC"))
    data[21] |= 0x03
    data[22:26] = b"\xff\xff\xff\xff"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "s long, the limit is 600 s; cut it in pieces" in refusal(bytes(data))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "KB"


def test_ten_minutes_of_many_channels_stay_small(tmp_path: Path) -> None:
    """7 channels × 48 kHz × 300 s are 403 MB as float32; read in blocks they are never whole in memory."""
    file = tmp_path / "long.wav"
    with soundfile.SoundFile(file, "w", 48_000, 7, "PCM_U8") as out:
        for _ in range(30):
            out.write(np.zeros((480_000, 7), np.float32))
    code = (
        "import resource; from rl.audio import waveform; from rl.types import Clip\n"
        "import numpy, soundfile, soxr\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"print(len(waveform(Clip({str(file)!r}))))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    samples, kilobytes = map(int, done.stdout.split())
    assert samples == 300 * SAMPLE_RATE
    assert kilobytes < 100_000


def test_waveforms_are_decoded_once_and_forgotten_by_size(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(encode_file(sine(440, 0.1, 16_000), 16_000))
    clip = Clip(str(file))
    assert waveform(clip) is waveform(Clip(str(file)))
    assert fingerprint(clip) == fingerprint(Clip(data=file.read_bytes()))
    first = waveform(clip)
    file.write_bytes(encode_file(sine(880, 0.2, 16_000), 16_000))
    os.utime(file, ns=(1, 1))
    assert len(waveform(clip)) == 2 * len(first)
    cache, calls = WaveformCache(most_bytes=100), list[int]()
    for key, size in [(1, 10), (2, 10), (1, 10), (3, 10), (1, 10), (2, 10), (4, 50)]:
        cache.get(key, lambda key=key, size=size: calls.append(key) or np.zeros(size, np.float32))
    assert calls == [1, 2, 3, 2, 4]
    assert cache.bytes <= 100


def test_encoding_refuses_what_it_would_cut() -> None:
    for samples in (np.array([0.0, 1.5]), np.array([0.0, np.nan])):
        with pytest.raises(ValueError, match="samples beyond full scale or not numbers; lower the level"):
            encode(samples)


NOISY = 0.3 * np.random.default_rng(1).standard_normal((4000, 2)).clip(-2, 2)
WHOLE = [encode_file(NOISY, 16_000, kind, subtype) for kind, subtype in FORMATS]
HEADERS = [b"RIFF", b"RIFX", b"fLaC", b"OggS", b"ID3", b"\xff\xfb\x90", b"FORM", b".snd", b"caff", b"RF64", b"wvpk"]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real encoding, cut, with bits flipped and bytes overwritten, most of them in its header."""
    data = bytearray(draw(st.sampled_from(WHOLE)))
    for _ in range(draw(st.integers(0, 8))):
        place = draw(st.integers(0, 80) | st.integers(0, len(data) - 1))
        data[place] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)) | st.just(len(data)))])


def attempt(clip: Clip) -> tuple[np.ndarray | None, str]:
    try:
        return waveform(clip), ""
    except ValueError as error:
        return None, str(error)


@settings(max_examples=400)
@given(damaged() | st.binary(max_size=400) | st.tuples(st.sampled_from(HEADERS), st.binary(max_size=200)).map(b"".join))
def test_any_bytes_are_a_sound_or_one_line(data: bytes) -> None:
    output, error = attempt(Clip("upload.bin", data))
    if output is None:
        assert error.startswith("upload.bin: ")
        assert "\n" not in error
    else:
        assert output.dtype == np.float32
        assert SHORTEST_S * SAMPLE_RATE - 1 <= len(output) <= LONGEST_S * SAMPLE_RATE + 1
        assert np.abs(output).max(initial=0) <= 1
        assert np.isfinite(output).all()


def test_a_writer_into_a_pipe_leaves_no_size() -> None:
    data = bytearray(encode_file(sine(440, 0.5, 16_000), 16_000))
    data[4:8] = data[40:44] = struct.pack("<I", 0xFFFFFFFF)
    assert len(waveform(Clip(data=bytes(data)))) == 8000
    flac = bytearray(encode_file(sine(440, 0.5, 16_000), 16_000, "FLAC"))
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    fix = "its header does not say how long it is; write it to a file, not into a pipe"
    assert refusal(bytes(flac)) == f"row 7: {fix}"
