"""Finds and checks a function that a recipe names, `file.py:fn` or `pkg.mod:fn`, without importing it.

Modules are read with `ast`, so nothing of the user's is executed and `rl check` stays quick whatever they import.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, Literal, cast

from rl.config import ConfigError, coerce, did_you_mean


def find_file(where: str, place: str, folders: Sequence[Path]) -> Path:
    """Return the first `folder / where` that is a file. Raises ConfigError."""
    bases = [folder.absolute() for folder in folders]
    for base in bases:
        if os.path.isfile(base / where):
            return base / where
    raise ConfigError(f"{place}: no file {where} in {' or '.join(dict.fromkeys(map(str, bases)))}; correct the path")


def find_module(
    where: str, place: str, folders: Sequence[Path] = (), fix: str = "install it or write file.py:fn"
) -> Path | None:
    """Return the source file of a module on Python's path followed by `folders`, or None for a compiled one. Raises
    ConfigError, which ends with `fix`, where there is no such module."""
    path = [*sys.path, *map(str, folders)]
    spec: ModuleSpec | None = None
    parts = where.split(".")
    for depth, name in enumerate(parts, 1):
        # `importlib.util.find_spec("a.b")` would execute `a`: so each package is looked up in the folders of the last.
        part_spec = PathFinder.find_spec(".".join(parts[:depth]), path) if name.isidentifier() else None
        if part_spec is None and depth == 1 and name.isidentifier():
            # Built in, or an editable install; executes nothing at depth 1.
            with suppress(ValueError):  # `__main__` is there, and says not where
                part_spec = importlib.util.find_spec(name)
        if part_spec is None:
            raise ConfigError(f"{place}: no module '{'.'.join(parts[:depth])}' to import; {fix}")
        spec, path = part_spec, list(part_spec.submodule_search_locations or ())
    origin = spec.origin if spec else None
    return Path(origin) if origin and origin.endswith(".py") else None


def parse_file(path: Path) -> ast.Module:
    """Parse a Python file. Raises SyntaxError, or ValueError for null bytes in it."""
    return ast.parse(path.read_bytes(), str(path))


def names_in_file(path: Path, place: str) -> dict[str, ast.AST]:
    """Return the `top_level_names` of a file. Raises ConfigError where it is not valid Python."""
    try:
        return top_level_names(parse_file(path))
    except (SyntaxError, ValueError) as error:  # ValueError: null bytes
        line = getattr(error, "lineno", None)
        where = f"{path}, line {line}" if line else str(path)
        raise ConfigError(f"{place}: {where}: {getattr(error, 'msg', error)}") from error


def top_level_names(tree: ast.Module) -> dict[str, ast.AST]:
    """Return the names that a module binds at its top level ('*' for a star import), each with the node that binds it."""
    names: dict[str, ast.AST] = {}
    for node in _top_level_statements(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names[node.name] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0]: node for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:  # `a, (b, c) = …` has its names nested
                names |= {leaf.id: node for leaf in ast.walk(target) if isinstance(leaf, ast.Name)}
    return names


def _top_level_statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the statements that run when the module is imported, in order: those in `try: import x`, `if TYPE_CHECKING:` and other
    blocks too, and none in the body of a function or a class."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            children = [*ast.iter_child_nodes(node)]
            pending += [c for c in reversed(children) if isinstance(c, ast.stmt | ast.excepthandler | ast.match_case)]


def walk_reachable(names: Mapping[str, ast.AST], function: str) -> Iterator[ast.AST]:
    """Yield every node of `function`, and of the functions and classes of its module that it mentions (`names`: as
    `names_in_file` returns them)."""
    visited: set[str] = set()
    pending = [function]
    while pending:
        name = pending.pop()
        node = names.get(name)
        if name in visited or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        visited.add(name)
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name):
                pending.append(inner.id)
            yield inner


def attributes_read(names: Mapping[str, ast.AST], function: str) -> set[str]:
    """Return the names of all attributes that `function` reads, as far as `walk_reachable` sees."""
    return {node.attr for node in walk_reachable(names, function) if isinstance(node, ast.Attribute)}


def texts_in(names: Mapping[str, ast.AST], function: str) -> set[str]:
    """Return the texts that stand in `function`, as far as `walk_reachable` sees."""
    constants = (node.value for node in walk_reachable(names, function) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str)}


def inner_imports(names: Mapping[str, ast.AST], function: str) -> list[str]:
    """Return the modules that `function` imports in its body, in order, as far as `walk_reachable` sees."""
    modules: list[str] = []
    for node in walk_reachable(names, function):
        match node:
            case ast.Import(names=aliases):
                modules += [alias.name for alias in aliases]
            case ast.ImportFrom(module=str(module), level=0, names=aliases):
                # What is imported from a package may be a module itself.
                modules += [module, *(f"{module}.{alias.name}" for alias in aliases if alias.name != "*")]
            case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
                modules += [a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            case _:
                pass
    return list(dict.fromkeys(modules))


def find_definition(names: Mapping[str, ast.AST], spec: str, path: Path, place: str) -> ast.AST | None:
    """Return what binds the name of `spec` among the `names` of the module at `path`, or None where only an import tells.
    Raises ConfigError where the name is missing."""
    module, _, function = spec.rpartition(":")
    if not function.isidentifier():
        raise ConfigError(f"{place}: '{spec}' names no function; write {module}:fn")
    if function not in names and not _may_exist_after_import(function, names, module):
        public = did_you_mean(function, [name for name in names if name.isidentifier() and name[0] != "_"])
        raise ConfigError(f"{place}: {path} defines no '{function}'{public}")
    return names.get(function)


def find_function(
    names: Mapping[str, ast.AST], spec: str, path: Path, place: str, answers: str = "nothing"
) -> ast.FunctionDef | None:
    """Return the function that `spec` names among the `names` of the module at `path`, or None where the name is there
    but not as a `def` (imported or assigned). Raises ConfigError where the name is missing, or the function is async:
    called like any other, it would answer `answers`."""
    node = find_definition(names, spec, path, place)
    function = spec.rpartition(":")[2]
    if isinstance(node, ast.AsyncFunctionDef):
        raise ConfigError(f"{place}: {function} is async and would answer {answers}; write `def {function}`")
    return node if isinstance(node, ast.FunctionDef) else None


def _may_exist_after_import(function: str, names: Mapping[str, ast.AST], module: str) -> bool:
    """Return True where a star import or a module's `__getattr__` may supply a name that its source does not show."""
    if not names.keys() & {"*", "__getattr__"}:
        return False
    # A module that happens to be imported already can simply be asked.
    return hasattr(sys.modules[module], function) if module in sys.modules else True


def check_call(function: ast.FunctionDef, arguments: Sequence[str], place: str) -> None:
    """Raise ConfigError unless the function can be called with these positional `arguments` and no more."""
    signature = function.args
    positional = [a.arg for a in (*signature.posonlyargs, *signature.args)]
    missing = _required_parameters(function)[len(arguments) :] + _required_keyword_parameters(function)
    if missing or (len(positional) < len(arguments) and signature.vararg is None):
        parameters = [*positional, *(name for name in missing if name not in positional)]
        raise ConfigError(
            f"{place}: {function.name}({', '.join(parameters)}) must take ({', '.join(arguments)}) and no more"
        )


def check_arguments(
    function: ast.FunctionDef | ast.AsyncFunctionDef,
    positional_arguments: Sequence[str],
    args: Mapping[str, object] | None,
    place: str,
) -> dict[str, Any]:
    """Return the keyword arguments `args`, which follow `positional_arguments`, converted as the function's annotations
    say; None: not known yet, only the positional ones are checked. Raises ConfigError where it does not take them."""
    signature = function.args
    count = len(positional_arguments)
    positional = [a.arg for a in (*signature.posonlyargs, *signature.args)]
    if len(positional) < count and signature.vararg is None:
        parameters = ", ".join(positional)
        raise ConfigError(f"{place}: {function.name}({parameters}) must take ({', '.join(positional_arguments)}, …)")
    if args is None:
        return {}
    if signature.kwarg is None:
        names = [*positional[count:], *(a.arg for a in signature.kwonlyargs)]
        for key in args:
            if key not in names:
                hint = did_you_mean(key, names) if names else "; it takes none"
                raise ConfigError(f"{place}: unknown key '{key}'{hint}")
    for key in _required_parameters(function)[count:] + _required_keyword_parameters(function):
        if key not in args:
            raise ConfigError(f"{place}: missing key '{key}' of {function.name}; add `{key}: …`")
    hints = {a.arg: _hint(a.annotation) for a in (*signature.args, *signature.kwonlyargs)}
    return {key: coerce(hints.get(key, object), value, f"{place}.{key}") for key, value in args.items()}


def _required_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Return the positional parameters without a default; `ast` lists the defaults of the last ones."""
    positional = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
    return positional[: len(positional) - len(function.args.defaults)]


def _required_keyword_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    keywords = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    return [a.arg for a, default in keywords if default is None]


_PLAIN_HINTS: dict[str, object] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "list": list[object],
    "dict": dict[str, object],
}


def _hint(annotation: ast.expr | None) -> object:
    """Return the type of an annotation, as far as it is known without executing it, else `object`, which accepts all."""
    match annotation:
        case ast.Constant(value=None):
            return type(None)
        case ast.Name(id=name):
            return _PLAIN_HINTS.get(name, object)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            hints = (_hint(left), _hint(right))
            return object if object in hints else cast(type, hints[0]) | cast(type, hints[1])
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            return list[_hint(item)]
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Constant(value=value)):
            return Literal[value]
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Tuple(elts=values)) if all(
            isinstance(value, ast.Constant) for value in values
        ):
            return Literal[tuple(cast(ast.Constant, value).value for value in values)]
        case _:
            return object
