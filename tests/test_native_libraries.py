"""The check of native libraries, which imports nothing heavy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from elf import build_library

from rl import native_libraries
from rl.data.arrow import parquet
from rl.native_libraries import describe_problem, linked_libraries, open_error, require

ROOT = Path(__file__).parents[1]


def test_what_a_file_links_to_is_read_from_it(tmp_path: Path) -> None:
    assert linked_libraries(build_library(tmp_path / "a.so", needs="libnowhere.so.7"))[0] == "libnowhere.so.7"
    assert "libnowhere.so.7" not in linked_libraries(build_library(tmp_path / "b.so"))
    (tmp_path / "text.so").write_text("INPUT(libc.so.6)")
    assert linked_libraries(tmp_path / "text.so") == []
    whole = (tmp_path / "b.so").read_bytes()
    for end in (70, 1000):  # in the table of segments, and before what they hold
        (tmp_path / "half.so").write_bytes(whole[:end])
        with pytest.raises(OSError, match=r"half\.so: file too short"):
            linked_libraries(tmp_path / "half.so")


def test_what_is_installed_opens_and_nothing_heavy_is_imported() -> None:
    program = (
        "import sys; from rl.native_libraries import open_error\n"
        "print([open_error(p) for p in ('soundfile', 'soxr', 'pyarrow', 'vllm')])\n"
        "print([m for m in ('pyarrow', 'vllm', 'torch', 'ray') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.splitlines() == ["[None, None, None, None]", "[]"]


def test_a_system_library_that_an_extension_wants_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_library(tmp_path / "hall" / "_C.abi3.so", needs="libnowhere.so.7")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(native_libraries.CHECKED_BY_HEADER, "hall", "_C*.so")
    assert open_error("hall") is None, "torch's libraries are not found either before torch is imported"
    monkeypatch.setitem(native_libraries.SYSTEM_PACKAGES, "libnowhere.so.7", "libnowhere7")
    reason = open_error("hall")
    assert reason == "libnowhere.so.7: cannot open shared object file: no such file"
    message = f"packages: hall cannot be opened ({reason}); install what is missing: apt-get install libnowhere7"
    assert describe_problem("hall", reason) == message
    monkeypatch.setitem(native_libraries.CHECKED_BY_DLOPEN, "hall", "_C*.so")
    assert "libnowhere.so.7: cannot open shared object file" in str(open_error("hall"))


def test_a_broken_extension_is_a_line_with_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hall").mkdir()
    (tmp_path / "hall" / "lib.so").write_bytes(b"half of it")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(native_libraries.CHECKED_BY_DLOPEN, "hall", "lib*.so")
    fix = "install what is missing: pip install --force-reinstall --no-deps hall"
    with pytest.raises(ValueError, match=rf"^packages: hall cannot be opened \(.*lib\.so: .*\); {fix}$"):
        require("hall")
    monkeypatch.setitem(native_libraries.CHECKED_BY_DLOPEN, "nohall", "lib*.so")
    assert open_error("nohall") == "nohall is not installed"


def test_parquet_without_arrow_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(native_libraries.CHECKED_BY_DLOPEN, "pyarrow", "no_such_file")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"^packages: pyarrow cannot be opened \(pyarrow is not installed\); install"):
        next(parquet(tmp_path / "rows.parquet", None, []))


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_recipe_that_hears_wants_soundfile_and_says_so_in_one_line(command: str, tmp_path: Path) -> None:
    missing = "cannot load library 'libsndfile.so': libsndfile.so: cannot open shared object file"
    (tmp_path / "soundfile.py").write_text(f'raise OSError("{missing}")\n')

    def rl(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
        line = [sys.executable, "-m", "rl.cli", *arguments]
        return subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)

    result = rl(command, "quickstart")
    fix = "pip install --force-reinstall --no-deps soundfile, or apt-get install libsndfile1"
    message = f"error: packages: soundfile cannot be opened ({missing}); install what is missing: {fix}\n"
    assert (result.returncode, result.stderr) == (2, message)
    assert rl("check", "spell_backward").returncode == 0, "it reads only"
