"""A function that a recipe names, `file.py:fn` or `pkg.mod:fn`: found, and checked by `ast`, so that nothing is executed
and `rl check` stays quick whatever its module imports."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, Literal, cast

from rl.config import ConfigError, coerce, did_you_mean


def find_file(where: str, place: str, folders: Sequence[Path]) -> Path:
    """The first of `folders` / `where` that is a file. Raises ConfigError."""
    bases = [base.absolute() for base in folders]
    for base in bases:
        if (base / where).is_file():
            return base / where
    raise ConfigError(f"{place}: no file {where} in {' or '.join(dict.fromkeys(map(str, bases)))}")


def find_module(
    where: str, place: str, folders: Sequence[Path] = (), fix: str = "install it or write file.py:fn"
) -> Path | None:
    """The file of a module on Python's path with `folders` at its end; None for one that is compiled. Raises
    ConfigError."""
    path = [*sys.path, *map(str, folders)]
    spec: ModuleSpec | None = None
    for depth, name in enumerate(parts := where.split("."), 1):
        found = PathFinder.find_spec(".".join(parts[:depth]), path) if name.isidentifier() else None
        if found is None and depth == 1 and name.isidentifier():
            found = importlib.util.find_spec(name)  # built in or of an editable install; executes nothing at depth 1
        if found is None:
            raise ConfigError(f"{place}: no module '{'.'.join(parts[:depth])}' to import; {fix}")
        spec, path = found, list(found.submodule_search_locations or ())
    origin = spec.origin if spec else None
    return Path(origin) if origin and origin.endswith(".py") else None


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


def names_in(path: Path, place: str) -> dict[str, ast.AST]:
    """As `bound`, of a file. Raises ConfigError for one that is no Python."""
    try:
        return bound(parsed(path))
    except (SyntaxError, ValueError) as error:  # ValueError: null bytes
        line = getattr(error, "lineno", None)
        raise ConfigError(
            f"{place}: {path}{f', line {line}' if line else ''}: {getattr(error, 'msg', error)}"
        ) from error


def bound(tree: ast.Module) -> dict[str, ast.AST]:
    """Names that a module binds at its top level ('*' for a star import), with the node that does."""
    names: dict[str, ast.AST] = {}
    for node in tree.body:
        for inner in ast.walk(node) if isinstance(node, ast.If | ast.Try) else (node,):
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names[inner.name] = inner
            elif isinstance(inner, ast.Import | ast.ImportFrom):
                names |= {alias.asname or alias.name.partition(".")[0]: inner for alias in inner.names}
            elif isinstance(inner, ast.Assign | ast.AnnAssign):
                targets = inner.targets if isinstance(inner, ast.Assign) else [inner.target]
                names |= {each.id: inner for t in targets for each in ast.walk(t) if isinstance(each, ast.Name)}
    return names


def attributes_read(names: Mapping[str, ast.AST], function: str) -> set[str]:
    """Return the names of all attributes that `function` reads, in its own body and in the functions of its module that
    it mentions (`names`: as `names_in` returns them)."""
    attributes: set[str] = set()
    visited: set[str] = set()
    pending = [function]
    while pending:
        name = pending.pop()
        node = names.get(name)
        if name in visited or not isinstance(node, ast.FunctionDef):
            continue
        visited.add(name)
        for inner in ast.walk(node):
            if isinstance(inner, ast.Attribute):
                attributes.add(inner.attr)
            elif isinstance(inner, ast.Name):
                pending.append(inner.id)
    return attributes


def definition(
    names: Mapping[str, ast.AST], spec: str, path: Path, place: str, answers: str = "nothing"
) -> ast.FunctionDef | None:
    """The function that `spec` names among the `names` of its module at `path`; None where it comes from elsewhere.
    Raises ConfigError where there is none, or it is async and `answers` that only later."""
    module, _, function = spec.rpartition(":")
    if not function.isidentifier():
        raise ConfigError(f"{place}: '{spec}' names no function; write {module}:fn")
    if function not in names and not _made_on_import(function, names, module):
        public = did_you_mean(function, [name for name in names if name.isidentifier() and name[0] != "_"])
        raise ConfigError(f"{place}: {path} defines no '{function}'{public}")
    found = names.get(function)
    if isinstance(found, ast.AsyncFunctionDef):
        raise ConfigError(f"{place}: {function} is async and would answer {answers}; write `def {function}`")
    return found if isinstance(found, ast.FunctionDef) else None


def _made_on_import(function: str, names: Mapping[str, ast.AST], module: str) -> bool:
    """Whether a name that is not to be read may be there still: by a star import or `__getattr__`. A module that is
    imported already tells."""
    if not names.keys() & {"*", "__getattr__"}:
        return False
    return hasattr(sys.modules[module], function) if module in sys.modules else True


def check_call(function: ast.FunctionDef, given: Sequence[str], place: str) -> None:
    """Raises ConfigError unless the function can be called with the positional arguments `given` and no more."""
    taken = function.args
    positional = [a.arg for a in (*taken.posonlyargs, *taken.args)]
    required = positional[: len(positional) - len(taken.defaults)]
    beyond = required[len(given) :]
    beyond += [a.arg for a, default in zip(taken.kwonlyargs, taken.kw_defaults, strict=True) if default is None]
    if beyond or (len(positional) < len(given) and taken.vararg is None):
        raise ConfigError(
            f"{place}: {function.name}({', '.join([*positional, *(a for a in beyond if a not in positional)])}) must take "
            f"({', '.join(given)}) and no more"
        )


def check_arguments(
    function: ast.FunctionDef, given: Sequence[str], args: Mapping[str, Any] | None, place: str
) -> dict[str, Any]:
    """The `args`, which follow the positional arguments `given`, as the function's annotations have them (None: not told
    yet). Raises ConfigError where it does not take them."""
    taken = function.args
    positional = [a.arg for a in (*taken.posonlyargs, *taken.args)]
    if len(positional) < len(given) and taken.vararg is None:
        raise ConfigError(f"{place}: {function.name}({', '.join(positional)}) must take ({', '.join(given)}, …)")
    if args is None:
        return {}
    takes = [*positional[len(given) :], *(a.arg for a in taken.kwonlyargs)]
    for key in args if taken.kwarg is None else ():
        if key not in takes:
            hint = did_you_mean(key, takes) if takes else "; it takes none"
            raise ConfigError(f"{place}: unknown key '{key}'{hint}")
    required = positional[: len(positional) - len(taken.defaults)][len(given) :]
    required += [a.arg for a, default in zip(taken.kwonlyargs, taken.kw_defaults, strict=True) if default is None]
    for key in required:
        if key not in args:
            raise ConfigError(f"{place}: missing key '{key}' of {function.name}; add `{key}: …`")
    hints = {a.arg: _hint(a.annotation) for a in (*taken.args, *taken.kwonlyargs)}
    return {key: coerce(hints.get(key, Any), value, f"{place}.{key}") for key, value in args.items()}


_PLAIN = {"int": int, "float": float, "str": str, "bool": bool, "list": list[Any], "dict": dict[str, Any]}


def _hint(annotation: ast.expr | None) -> Any:
    """What of an annotation can be told without executing it; Any of the rest."""
    match annotation:
        case ast.Constant(value=None):
            return type(None)
        case ast.Name(id=name):
            return _PLAIN.get(name, Any)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            hints = (_hint(left), _hint(right))
            return Any if Any in hints else hints[0] | hints[1]
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            return list[_hint(item)]
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Constant(value=only)):
            return Literal[only]
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Tuple(elts=values)) if all(
            isinstance(value, ast.Constant) for value in values
        ):
            return Literal[tuple(cast(ast.Constant, value).value for value in values)]
        case _:
            return Any
