"""From the name of a verifier in a recipe to its function; checked by `ast`, so that `rl check` executes nothing.

`name` is the module `rewards/verifiers/name.py`; `pkg.mod:fn` is imported, with the recipe's folder and the working
directory at the end of the path; `file.py:fn` is read from the recipe's folder or the working directory.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from rewards.verifiers import Case
from rl.config import ConfigError, build, did_you_mean
from rl.types import Verdict

IN_TREE = Path(__file__).parent / "verifiers"
_FUNCTION = "verify"


@dataclass(frozen=True, slots=True)
class Verifier:
    verify: Callable[..., Verdict]
    gold: list[Case] | None
    """None where the module has no GOLD."""


def known() -> dict[str, str]:
    """The verifiers that come with the library: name to the first line of their docstring. Imports none of them."""
    files = sorted(path for path in IN_TREE.glob("*.py") if not path.stem.startswith("_"))
    return {path.stem: (ast.get_docstring(_tree(path)) or "").partition("\n")[0] for path in files}


def check(spec: str, place: str, folder: Path | None = None, args: Mapping[str, Any] | None = None) -> None:
    """Raise ConfigError where `spec` names no verifier, or its function does not take the `args` that are given.
    Executes no code but the library's own."""
    where, colon, function = spec.rpartition(":")
    if not colon:
        if spec not in known():
            hint = did_you_mean(spec, known())
            raise ConfigError(f"{place}: unknown verifier '{spec}'{hint} (or your own as file.py:fn or pkg.mod:fn)")
        path, function = IN_TREE / f"{spec}.py", _FUNCTION
    elif where.endswith(".py"):
        path = _find_file(where, place, folder)
    else:
        path = _find_module(where, place, folder)
    if path is None:
        return  # compiled: nothing to read
    if not function.isidentifier():
        raise ConfigError(f"{place}: '{spec}' names no function; write {where}:fn")
    try:
        tree = _tree(path)
    except SyntaxError as error:
        raise ConfigError(f"{place}: {path}, line {error.lineno}: {error.msg}") from error
    names = _bound(tree)
    if function not in names and "*" not in names:
        raise ConfigError(f"{place}: {path} defines no '{function}'{did_you_mean(function, names)}")
    if not colon and "serve" in names:
        config = importlib.import_module(f"rewards.verifiers.{spec}").Config
        build(config, args or {}, f"{place.removesuffix('.verifier')}.args")
        return
    definition = names.get(function)
    if isinstance(definition, ast.FunctionDef):
        _check_arguments(definition, args, f"{place.removesuffix('.verifier')}.args")


def asks_a_model(spec: str) -> bool:
    """Whether a verifier that passed `check` is one of `rewards.served`."""
    return ":" not in spec and "serve" in _bound(_tree(IN_TREE / f"{spec}.py"))


def load(spec: str, folder: Path | None = None) -> Verifier:
    """Import a verifier: this executes its module. Raises what the import raises, ConfigError where it is missing,
    ValueError where something that it needs is (its module's `require()`)."""
    if spec not in known():
        check(spec, "verifier", folder)
    where, colon, function = spec.rpartition(":")
    for extra in (folder, Path.cwd()):  # at the end, so that nothing there takes the place of an installed module
        if extra is not None and str(extra) not in sys.path:
            sys.path.append(str(extra))
    if not colon:
        module, function = importlib.import_module(f"rewards.verifiers.{spec}"), _FUNCTION
    elif where.endswith(".py"):
        module = _load_file(_find_file(where, "verifier", folder))
    else:
        module = importlib.import_module(where)
    verify = getattr(module, function)
    if not callable(verify):
        raise ConfigError(f"verifier: '{spec}' is not a function")
    getattr(module, "require", lambda: None)()
    gold = getattr(module, "GOLD", None)
    return Verifier(cast("Callable[..., Verdict]", verify), None if gold is None else [_case(c, spec) for c in gold])


def _case(case: Any, spec: str) -> Case:
    if not isinstance(case, Case):
        raise ConfigError(f"verifier '{spec}': GOLD holds {case!r}; write Case(pred, gold, equal) of rewards.verifiers")
    return case


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


def _find_file(where: str, place: str, folder: Path | None) -> Path:
    bases = [base.absolute() for base in (folder, Path.cwd()) if base is not None]
    for base in bases:
        if (base / where).is_file():
            return base / where
    raise ConfigError(f"{place}: no file {where} in {' or '.join(dict.fromkeys(map(str, bases)))}")


def _find_module(where: str, place: str, folder: Path | None) -> Path | None:
    path = [*sys.path, *(str(base) for base in (folder, Path.cwd()) if base is not None)]
    spec: ModuleSpec | None = None
    for depth, name in enumerate(parts := where.split("."), 1):
        found = PathFinder.find_spec(".".join(parts[:depth]), path) if name.isidentifier() else None
        if found is None and depth == 1 and name.isidentifier():
            found = importlib.util.find_spec(name)  # built in or of an editable install; executes nothing at depth 1
        if found is None:
            missing = ".".join(parts[:depth])
            raise ConfigError(f"{place}: no module '{missing}' to import; install it or write file.py:fn")
        spec, path = found, list(found.submodule_search_locations or ())
    origin = spec.origin if spec else None
    return Path(origin) if origin and origin.endswith(".py") else None


def _load_file(path: Path) -> ModuleType:
    name = f"verifier_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses and pickle look their module up
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec.loader.exec_module(module)
    return module


def _bound(tree: ast.Module) -> dict[str, ast.AST]:
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
                names |= {target.id: inner for target in targets if isinstance(target, ast.Name)}
    return names


def _check_arguments(function: ast.FunctionDef, args: Mapping[str, Any] | None, place: str) -> None:
    given = function.args
    positional = [a.arg for a in (*given.posonlyargs, *given.args)]
    if len(positional) < 2 and given.vararg is None:
        raise ConfigError(f"{place}: {function.name}({', '.join(positional)}) must take (prompt, rollout, …)")
    if args is None:
        return
    takes = [*positional[2:], *(a.arg for a in given.kwonlyargs)]
    for key in args if given.kwarg is None else ():
        if key not in takes:
            hint = did_you_mean(key, takes) if takes else "; it takes none"
            raise ConfigError(f"{place}: unknown key '{key}'{hint}")
    defaults = len(given.defaults)
    required = positional[2 : len(positional) - defaults] if defaults else positional[2:]
    required += [a.arg for a, default in zip(given.kwonlyargs, given.kw_defaults, strict=True) if default is None]
    for key in required:
        if key not in args:
            raise ConfigError(f"{place}: missing key '{key}' of {function.name}; add `{key}: …`")
