from __future__ import annotations

import errno
from pathlib import Path

import pytest

from rl.run.files import DiskFull, replacing


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
