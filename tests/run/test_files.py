from __future__ import annotations

import errno
import pickle
import shutil
import subprocess
from contextlib import suppress
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
    (path.parent / ".model.0a1b2c.tmp").mkdir()  # of a process that was killed
    (path.parent / ".model.json.17.tmp").touch()  # of a thread that writes another file
    with replacing_folder(path) as first:
        pass
    with replacing_folder(path) as second:
        assert first != second, "a writer of the first attempt finds nothing under the name of its folder"
    assert sorted(file.name for file in path.parent.iterdir()) == [".model.json.17.tmp", "model"]


class Wrapped(Exception):
    """As Ray hands on what a worker raised."""

    cause = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "your disk quota is used up; delete files of yours"),
        (Exception("No space left on device (os error 28)"), "the disk is full"),  # tokenizers
        (Exception("I/O error: Disk quota exceeded (os error 122)"), "your disk quota is used up"),  # safetensors
        (Wrapped("ray::PolicyWorker.export() …"), "the disk is full"),
    ],
)
def test_a_full_disk_is_known_in_all_its_words(tmp_path: Path, error: Exception, says: str) -> None:
    with (
        pytest.raises(DiskFull, match=rf"^{tmp_path}: {says}.*, then go on with --resume$") as e,
        detect_full_disk(tmp_path),
    ):
        raise error
    sent = pickle.loads(pickle.dumps(e.value))
    assert (str(sent), sent.errno) == (str(e.value), e.value.errno)


def test_a_disk_without_inodes_is_told_as_that(tmp_path: Path) -> None:
    """Through every way of writing: a file, a folder, one below folders that are not there."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=8", "tmpfs", folder], capture_output=True
    ).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        (folder / "kept").write_text("kept")
        for i in range(10):
            with suppress(OSError):
                (folder / f"small-{i}").touch()
        for path in (folder / "file", folder / "new" / "below" / "file"):
            with pytest.raises(DiskFull, match=rf"^{path}: the disk has no inode left .*delete files .*--resume$"):
                half_write(path)
        with (
            pytest.raises(DiskFull, match=rf"^{folder / 'model'}: the disk has no inode left"),
            replacing_folder(folder / "model"),
        ):
            pass
        assert (folder / "kept").read_text() == "kept"
        (folder / "small-0").unlink()
        (folder / "small-1").unlink()
        with (
            pytest.raises(DiskFull, match=rf"^{folder / 'large'}: the disk is full; free some space"),
            replacing(folder / "large") as t,
        ):
            t.write_bytes(b"x" * (2 << 20))
    finally:
        subprocess.run(["umount", folder], check=True)


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
