"""Which native libraries open here, told without importing what is heavy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from elf import built

from rl import native_libraries
from rl.data.rows import parquet
from rl.native_libraries import complaint, linked_libraries, open_error, require

ROOT = Path(__file__).parents[1]


def test_what_a_file_links_to_is_read_from_it(tmp_path: Path) -> None:
    assert linked_libraries(built(tmp_path / "a.so", needs="libnowhere.so.7"))[0] == "libnowhere.so.7"
    assert "libnowhere.so.7" not in linked_libraries(built(tmp_path / "b.so"))
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
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines() == ["[None, None, None, None]", "[]"]


def test_a_system_library_that_an_extension_wants_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built(tmp_path / "hall" / "_C.abi3.so", needs="libnowhere.so.7")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(native_libraries.READ, "hall", "_C*.so")
    assert open_error("hall") is None, "torch's libraries are not found either before torch is imported"
    monkeypatch.setitem(native_libraries.SYSTEM_PACKAGES, "libnowhere.so.7", "libnowhere7")
    reason = open_error("hall")
    assert reason == "libnowhere.so.7: cannot open shared object file: no such file"
    says = f"packages: hall cannot be opened ({reason}); install what is missing: apt-get install libnowhere7"
    assert complaint("hall", reason) == says
    monkeypatch.setitem(native_libraries.SHARED, "hall", "_C*.so")
    assert "libnowhere.so.7: cannot open shared object file" in str(open_error("hall"))


def test_a_broken_extension_is_a_line_with_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hall").mkdir()
    (tmp_path / "hall" / "lib.so").write_bytes(b"half of it")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(native_libraries.SHARED, "hall", "lib*.so")
    fix = "install what is missing: pip install --force-reinstall --no-deps hall"
    with pytest.raises(ValueError, match=rf"^packages: hall cannot be opened \(.*lib\.so: .*\); {fix}$"):
        require("hall")
    monkeypatch.setitem(native_libraries.SHARED, "nohall", "lib*.so")
    assert open_error("nohall") == "nohall is not installed"


def test_parquet_without_arrow_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(native_libraries.SHARED, "pyarrow", "no_such_file")
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

    done = rl(command, "quickstart")
    fix = "pip install --force-reinstall --no-deps soundfile, or apt-get install libsndfile1"
    says = f"error: packages: soundfile cannot be opened ({missing}); install what is missing: {fix}\n"
    assert (done.returncode, done.stderr) == (2, says)
    assert rl("check", "spell_backward").returncode == 0, "it reads only"
