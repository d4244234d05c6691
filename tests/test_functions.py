"""Functions of a user's own, told by their source alone."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from rl.config import ConfigError
from rl.functions import check_call, find_function, find_module, names_in_file, top_level_names


def function(text: str) -> ast.FunctionDef:
    (found,) = ast.parse(text).body
    assert isinstance(found, ast.FunctionDef)
    return found


def test_names_at_the_top_are_bound_however_they_come() -> None:
    text = "import a.b, c as d\nfrom e import f as g\nh, (i, j) = 1, (2, 3)\nk: int = 4\n"
    text += "try:\n    def l(): ...\nexcept ImportError:\n    l = None\nclass M: n = 5\n"
    assert set(top_level_names(ast.parse(text))) == {"a", "d", "g", "h", "i", "j", "k", "l", "M"}


@pytest.mark.parametrize(
    "block",
    [
        "if True:\n    {}",
        "try:\n    pass\nfinally:\n    {}",
        "try:\n    pass\nexcept* OSError:\n    {}",
        "with suppress(ImportError):\n    {}",
        "for _ in ():\n    {}",
        "while True:\n    {}",
        "match 1:\n    case 1:\n        {}",
        "if True:\n    pass\nelif True:\n    with suppress(ImportError):\n        {}",
    ],
)
def test_blocks_bind_at_the_top_and_bodies_do_not(block: str) -> None:
    assert set(top_level_names(ast.parse(block.format("from x import score")))) == {"score"}
    for body in ("def f(): inner = 1", "class C: inner = 1", "async def f(): import inner"):
        assert "inner" not in top_level_names(ast.parse(block.format(body)))


@pytest.mark.parametrize("text", ["from json import *\n", "def __getattr__(name): ...\n"])
def test_what_a_module_makes_when_it_is_imported_is_not_denied(text: str, tmp_path: Path) -> None:
    path = tmp_path / "their.py"
    path.write_text(text)
    assert find_function(names_in_file(path, "p"), "their:any", path, "p") is None
    path.write_text("")
    with pytest.raises(ConfigError, match=r"^p: .*their.py defines no 'any'"):
        find_function(names_in_file(path, "p"), "their:any", path, "p")


@pytest.mark.parametrize(
    "signature", ["a, b", "a, b, c=1", "*args", "a, *rest, k=1", "a, b, **more", "a, b=1", "a, b, /", "a=1, b=2"]
)
def test_two_arguments_are_taken(signature: str) -> None:
    check_call(function(f"def f({signature}): ..."), ("x", "y"), "p")


@pytest.mark.parametrize("signature", ["", "a", "a, b, c", "a, b, *, k", "a, *, b", "**more"])
def test_two_arguments_are_not_taken(signature: str) -> None:
    with pytest.raises(ConfigError, match=r"^p: f\(.*\) must take \(x, y\) and no more$"):
        check_call(function(f"def f({signature}): ..."), ("x", "y"), "p")


def test_modules_are_found_unimported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "__init__.py").write_text("raise SystemExit\n")
    (tmp_path / "deep" / "inner.py").write_text("raise SystemExit\n")
    assert find_module("deep.inner", "p", [tmp_path]) == tmp_path / "deep" / "inner.py"
    assert find_module("math", "p") is None  # compiled: nothing to read
    for name in ("deep.outer", "__main__"):
        monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)  # as for a program that is a file
        with pytest.raises(ConfigError, match=rf"^p: no module '{name}' to import; look again$"):
            find_module(name, "p", [tmp_path], fix="look again")
