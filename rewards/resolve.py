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
from typing import Any, Literal, cast

from rewards.verifiers import Case
from rl.config import ConfigError, build, coerce, did_you_mean
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


def check(spec: str, place: str, folder: Path | None = None, args: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The `args` as the function's annotations have them. Raises ConfigError where `spec` names no verifier, or its
    function does not take them. Executes no code but the library's own."""
    given = dict(args or {})
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
        return given  # compiled: nothing to read
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
        build(config, given, f"{place.removesuffix('.verifier')}.args")
        return given
    definition = names.get(function)
    if isinstance(definition, ast.AsyncFunctionDef):
        raise ConfigError(f"{place}: {function} is async and would answer no Verdict; write `def {function}`")
    if not isinstance(definition, ast.FunctionDef):
        return given
    return _arguments(definition, args, f"{place.removesuffix('.verifier')}.args")


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
    if gold is not None and not isinstance(gold, list | tuple):
        raise ConfigError(f"verifier '{spec}': GOLD is {gold!r}; make it a list of Case(pred, gold, equal)")
    cases = None if gold is None else [_case(c, i, spec) for i, c in enumerate(cast(list[Any], gold))]
    return Verifier(cast("Callable[..., Verdict]", verify), cases)


def _case(case: Any, index: int, spec: str) -> Case:
    place = f"verifier '{spec}': GOLD[{index}]"
    if not isinstance(case, Case):
        raise ConfigError(f"{place} holds {case!r}; write Case(pred, gold, equal) of rewards.verifiers")
    for name, kinds, wanted in (
        ("pred", str, "text"),
        ("gold", str | None, "text, or None"),
        ("question", str, "text"),
        ("fields", Mapping, "a mapping"),
        ("args", Mapping, "a mapping"),
    ):
        if not isinstance(value := getattr(case, name), kinds):
            raise ConfigError(f"{place}: {name} is {value!r}; make it {wanted}")
    least_and_greatest = case.score is None or (
        isinstance(cast(Any, case.score), tuple | list)
        and len(case.score) == 2
        and all(isinstance(cast(Any, bound), int | float) for bound in case.score)
    )
    if not least_and_greatest:
        raise ConfigError(f"{place}: score is {case.score!r}; make it a range such as (0.4, 0.6)")
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


def _arguments(function: ast.FunctionDef, args: Mapping[str, Any] | None, place: str) -> dict[str, Any]:
    given = function.args
    positional = [a.arg for a in (*given.posonlyargs, *given.args)]
    if len(positional) < 2 and given.vararg is None:
        raise ConfigError(f"{place}: {function.name}({', '.join(positional)}) must take (prompt, rollout, …)")
    if args is None:
        return {}
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
    hints = {a.arg: _hint(a.annotation) for a in (*given.args, *given.kwonlyargs)}
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
