"""Files that a Python module names in its source, so that a verifier's word list travels with it. Nothing is executed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath

from rl.config import ConfigError

PLACEHOLDER = re.compile(r"%\(?\w*\)?[sdri]|\{[^{}]*\}")
"""Pattern of what `%` and `str.format` replace in a text."""
OPENS_FILES = re.compile(r"__file__|\bopen\(|\bPath\(|\bread_(text|bytes)\(|\blistdir\(|\bglob\(|\bload\w*\(")
"""Pattern of a source that seems to read files, so that a word in it may be a folder's name."""


def parse(file: Path) -> ast.Module:
    """Return the syntax tree of a module. Raises ConfigError for invalid Python."""
    try:
        return ast.parse(file.read_bytes(), str(file))
    except SyntaxError as error:
        raise ConfigError(f"{file}, line {error.lineno}: {error.msg}") from error


def find_named_files(file: Path, folders: list[Path]) -> tuple[list[tuple[Path, str]], bool]:
    """Return [(folder, path within it)] of the files and folders that a module's source names and that exist in one of
    `folders`, absolute paths among them; and whether it looks beside itself for something whose name it does not tell.

    A path may be put together: `HERE / "data" / "words.txt"`, `os.path.join(...)`, `f"words_{language}.txt"`."""
    tree, source = parse(file), file.read_text(encoding="utf-8", errors="replace")
    matches: dict[tuple[Path, str], None] = {}
    for pattern in dict.fromkeys(_patterns(tree)):
        matches |= {match: None for match in _match(pattern, file, folders) if match[0] / match[1] != file}
    files = [match for match in matches if (match[0] / match[1]).is_file()]
    if OPENS_FILES.search(source):
        # A folder stands for all that is in it, unless its files are named too: `HERE / "data" / "words.txt"`.
        places = {folder / path for folder, path in files}
        files += [
            (folder, path)
            for folder, path in matches
            if (folder / path).is_dir() and not any(place.is_relative_to(folder / path) for place in places)
        ]
    return files, "__file__" in source and not files


def _match(pattern: str, file: Path, folders: list[Path]) -> Iterator[tuple[Path, str]]:
    """Yield (folder, path within it) of what exists of a path, in which `*` stands for what is not known."""
    if not pattern.strip("./*") or "\0" in pattern or "\n" in pattern or len(pattern) > 1000:
        return
    if pattern.startswith("."):  # `Path(__file__).with_suffix(".txt")`
        beside = file.name.removesuffix(".py") + pattern
        if "/" not in pattern and (file.parent / beside).is_file():
            yield file.parent, beside
    for folder in folders:
        try:
            if "*" in pattern and not pattern.startswith(("/", "~")):
                # A pattern needs an ending, or it would take whatever lies there.
                files = sorted(folder.glob(pattern)) if re.search(r"\w[^/*]*\.\w+$|\.\w{2,}$", pattern) else []
                yield from ((folder, str(path.relative_to(folder))) for path in files)
            elif (folder / Path(pattern).expanduser()).exists():
                yield folder, pattern
        except (OSError, ValueError, NotImplementedError, RuntimeError):  # a text that is no path
            continue


def _patterns(tree: ast.Module) -> Iterator[str]:
    """Yield every text of a module that may be a path, and every path that is put together of texts."""
    values = {
        node.targets[0].id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp | ast.Call):
            parts = _parts(node, values, 0)
            if parts:
                yield str(PurePath(*parts)) if len(parts) > 1 else parts[0]


def _parts(node: ast.expr, values: Mapping[str, ast.expr], depth: int) -> list[str]:
    """Return the parts of a path as far as they are written in the source; a part that is not known is left out, and `*`
    within a name."""
    if depth > 20:  # `a = a / "x"`
        return []
    if isinstance(node, ast.Constant):
        return [PLACEHOLDER.sub("*", node.value)] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        texts = [str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values]
        return ["".join(texts)]
    if isinstance(node, ast.Name):
        return _parts(values[node.id], values, depth + 1) if node.id in values else []
    if isinstance(node, ast.Attribute):
        return _parts(node.value, values, depth + 1)
    if isinstance(node, ast.Call):
        inner = [node.func, *node.args] if isinstance(node.func, ast.Attribute) else node.args
        return [part for item in inner for part in _parts(item, values, depth + 1)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.Add | ast.Mod):
        left, right = (_parts(side, values, depth + 1) for side in (node.left, node.right))
        if isinstance(node.op, ast.Div):
            return [*left, *right]
        if isinstance(node.op, ast.Mod):
            return left
        return ["".join([*left, *(right or ["*"])])] if left else []
    return []
