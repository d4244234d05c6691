from __future__ import annotations

import errno
import pickle
import shutil
from pathlib import Path

import pytest

from rl.run.files import DiskFull, detect_full_disk, link, replacing, replacing_folder


def half_write(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("tw")
        temporary.touch(exist_ok=False)


def write_to_full_disk(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_text("x")


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with replacing(path) as temporary:
        temporary.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    with pytest.raises(FileExistsError):
        half_write(path)
    assert path.read_text() == "one"
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_is_one_line_and_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("good")
    with pytest.raises(DiskFull) as caught:
        write_to_full_disk(path)
    assert str(caught.value) == f"{path}: the disk is full; free some space, then go on with --resume"
    assert caught.value.errno == errno.ENOSPC
    assert path.read_text() == "good"
    assert list(tmp_path.iterdir()) == [path]


def test_other_errors_keep_their_names(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file"):
        pass


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model"
    for content in ("one", "two"):
        with replacing_folder(path) as temporary:
            (temporary / content).write_text(content)
            assert not (path / content).exists()
        assert [file.name for file in path.iterdir()] == [content]
    with pytest.raises(FileNotFoundError), replacing_folder(path) as temporary:
        (temporary / "three").write_text((temporary / "nothing").read_text())
    assert [file.name for file in path.iterdir()] == ["two"]
    assert list(path.parent.iterdir()) == [path]


class Wrapped(Exception):
    """As Ray hands on what a worker raised."""

    cause = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        Exception("No space left on device (os error 28)"),  # tokenizers
        Exception("Error while serializing: I/O error: Disk quota exceeded (os error 122)"),  # safetensors
        Wrapped("ray::PolicyWorker.export() …"),
    ],
)
def test_a_full_disk_is_known_in_all_its_words(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(DiskFull, match=rf"^{tmp_path}: the disk is full"), detect_full_disk(tmp_path):
        raise error


@pytest.mark.parametrize(
    "error", [PermissionError(errno.EACCES, "denied"), ValueError("[Errno 28] in a line"), KeyError("os error 28")]
)
def test_what_is_no_full_disk_stays(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)), detect_full_disk(tmp_path):
        raise error


def test_the_first_name_stays_through_nets_and_processes(tmp_path: Path) -> None:
    with pytest.raises(DiskFull) as caught, detect_full_disk(tmp_path), detect_full_disk(tmp_path / "model"):
        raise OSError(errno.ENOSPC, "No space left on device")
    sent = pickle.loads(pickle.dumps(caught.value))
    assert str(sent) == str(caught.value)
    assert str(sent).startswith(f"{tmp_path / 'model'}: the disk is full; ")


def test_a_copy_that_does_not_fit_leaves_room(tmp_path: Path, small_disk: Path) -> None:
    (tmp_path / "source").mkdir()
    for name, size in (("config.json", 10), ("model.safetensors", 300_000)):
        (tmp_path / "source" / name).write_bytes(b"x" * size)
    with (
        pytest.raises(DiskFull, match=rf"^{small_disk / 'model'}: the disk is full"),
        replacing_folder(small_disk / "model") as temporary,
    ):
        shutil.copytree(tmp_path / "source", temporary, copy_function=link, dirs_exist_ok=True)
    assert list(small_disk.iterdir()) == []
