"""Looks up verifiers: from the name in a recipe to the function.

`name` is the module `rewards/verifiers/name.py`; `pkg.mod:fn` is imported, with the recipe's folder and the working
directory at the end of the path; `file.py:fn` is read from the recipe's folder or the working directory. `check` reads the
source alone (`ast`), so that `rl check` stays quick and executes no user code; `load` imports.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import cast

from rewards import signatures
from rewards.contract import Case, TimeoutPolicy
from rewards.foreign import ForeignReward, import_all
from rl import functions
from rl.config import ConfigError, build, did_you_mean

IN_TREE = Path(__file__).parent / "verifiers"
_FUNCTION = "verify"  # the function of an in-tree verifier's module
_TIMEOUT_POLICY = "ON_TIMEOUT"  # the constant of a verifier's module with the policy for samples that are too slow


@dataclass(frozen=True, slots=True)
class Verifier:
    """A verifier whose module is imported."""

    verify: Callable[..., object]
    """Its function: `verify(prompt, rollout, **args)`, which answers a Verdict."""
    gold: list[Case] | None
    """The cases that it must judge right; None where its module has no GOLD."""
    is_bounded: bool = True
    """True where its scores must lie in [0, 1]. Functions made for other libraries have scales of their own."""


@cache
def list_verifiers() -> Mapping[str, str]:
    """Return the verifiers that come with the library: name -> the first line of their docstring. Imports none of them."""
    files = sorted(path for path in IN_TREE.glob("*.py") if not path.stem.startswith("_"))
    return {path.stem: (ast.get_docstring(functions.parse_file(path)) or "").partition("\n")[0] for path in files}


def check(
    spec: str, place: str, folder: Path | None = None, args: Mapping[str, object] | None = None
) -> dict[str, object]:
    """Return the `args` in the types that the verifier's function annotates. Raises ConfigError where `spec` names no
    verifier, or its function does not take them. Executes no code but the library's own."""
    values = dict(args or {})
    module, colon, _ = spec.rpartition(":")
    path, function = _find_source(spec, place, folder)
    if path is None:
        return values  # a compiled module: there is no source to check against
    names = functions.names_in_file(path, place)
    definition = functions.find_definition(names, f"{module}:{function}", path, place)
    args_place = f"{place.removesuffix('.verifier')}.args"
    if not colon and "connect" in names:  # it asks a model: its arguments are a dataclass with rules between fields
        build(importlib.import_module(f"rewards.verifiers.{spec}").Config, values, args_place)
        return values
    if isinstance(definition, ast.ClassDef):
        _check_class(definition, args, args_place)
        return values
    if not isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef):
        return values  # imported from elsewhere or made at import: nothing to read here
    signature = signatures.of_node(definition)
    form = signatures.form_of(signature, function, [*functions.texts_in(names, function)])
    if form == "ours":
        return functions.check_arguments(cast(ast.FunctionDef, definition), ("prompt", "rollout"), args, args_place)
    if args is not None:
        signatures.check_args(signature, form, args, function, args_place)
    return values


def _check_class(definition: ast.ClassDef, args: Mapping[str, object] | None, place: str) -> None:
    """Raise ConfigError where a class has no method that judges, or its constructor does not take the `args`."""
    methods = {node.name: node for node in definition.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    if definition.bases or definition.keywords or definition.decorator_list:
        return  # what it inherits, or is given, stands elsewhere
    if signatures.method_name([*methods]) is None:
        listed = " or ".join(signatures.METHODS)
        raise ConfigError(f"{place}: class {definition.name} cannot judge; give it a method {listed}")
    constructor = methods.get("__init__")
    signature = signatures.of_node(constructor, is_method=True) if constructor else signatures.Signature(())
    if args is not None:
        # Nothing is passed by anybody but the recipe.
        for key in args:
            if key not in signature.names and not signature.has_kwargs:
                hint = did_you_mean(key, signature.names) if signature.names else "; it takes none"
                raise ConfigError(f"{place}: unknown key '{key}'{hint}")
        for key in signature.required:
            if key not in args:
                raise ConfigError(f"{place}: missing key '{key}' of {definition.name}; add `{key}: …`")


def settle_timeout(
    spec: str, policy: TimeoutPolicy | None, place: str, folder: Path | None = None, is_penalty: bool = False
) -> TimeoutPolicy:
    """Return what becomes of samples on which a verifier uses up its CPU time or memory: the recipe's `policy`, or else the
    verifier's own. Raises ConfigError where they can have no meaning. Executes no code."""
    if asks_a_model(spec):
        if policy == "zero":
            raise ConfigError(
                f"{place}: '{spec}' waits for a model, which is no fault of the answer; remove it, a timeout is an error"
            )
        return "error"
    if policy is None and is_penalty:
        return "error"  # with a negative weight 0 would be the best score
    return policy or _read_timeout_policy(spec, place, folder)


def _read_timeout_policy(spec: str, place: str, folder: Path | None) -> TimeoutPolicy:
    """Return the `ON_TIMEOUT` of a verifier's module. Without one, the time of a library verifier depends on the answer
    alone; of a user's nobody has said so. Raises ConfigError for any other value."""
    path, _ = _find_source(spec, place, folder)
    node = functions.names_in_file(path, place).get(_TIMEOUT_POLICY) if path else None
    if node is None:
        return "error" if ":" in spec else "zero"
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    if not isinstance(value, ast.Constant) or value.value not in ("zero", "error"):
        raise ConfigError(f'{place}: {path}: {_TIMEOUT_POLICY} must be "zero" or "error"; correct it')
    return value.value


def _find_source(spec: str, place: str, folder: Path | None) -> tuple[Path | None, str]:
    """Return (the file of a verifier, None for a compiled module; the name of its function). Raises ConfigError."""
    _, colon, _ = spec.rpartition(":")
    if not colon:
        if spec not in list_verifiers():
            hint = did_you_mean(spec, list_verifiers())
            raise ConfigError(f"{place}: unknown verifier '{spec}'{hint} (or your own as file.py:fn or pkg.mod:fn)")
        return IN_TREE / f"{spec}.py", _FUNCTION
    return find_source(spec, place, folder)


def reads_gold(spec: str, folder: Path | None = None) -> bool:
    """Return whether a verifier that passed `check` reads the prompt's `answer`, as far as its source shows."""
    path, function = _find_source(spec, "verifier", folder)
    if path is None:
        return False
    return "answer" in functions.attributes_read(functions.names_in_file(path, "verifier"), function)


def asks_a_model(spec: str) -> bool:
    """Return whether a verifier that passed `check` asks a model (`rewards.served`); only in-tree ones can."""
    return ":" not in spec and "connect" in functions.top_level_names(functions.parse_file(IN_TREE / f"{spec}.py"))


def load(spec: str, folder: Path | None = None, args: Mapping[str, object] | None = None) -> Verifier:
    """Import a verifier, which executes its module; a class is constructed with `args`. Raises what the import raises,
    ConfigError where the verifier is missing, and ValueError where its module's `require()` misses something that it needs."""
    if spec not in list_verifiers():
        check(spec, "verifier", folder)
    module_name, colon, function = spec.rpartition(":")
    if not colon:
        module, function = importlib.import_module(f"rewards.verifiers.{spec}"), _FUNCTION
    else:
        module = import_module(module_name, folder, "verifier")
    verify = getattr(module, function)
    if not callable(verify):
        raise ConfigError(f"verifier: '{spec}' is not a function")
    if hasattr(module, "require"):
        module.require()
    gold: object = getattr(module, "GOLD", None)
    if gold is not None and not isinstance(gold, list | tuple):
        raise ConfigError(f"verifier '{spec}': GOLD is {gold!r}; make it a list of Case(pred, gold, equal)")
    cases = None if gold is None else [_check_case(case, i, spec) for i, case in enumerate(cast(list[object], gold))]
    if not colon:
        return Verifier(verify, cases, is_bounded=not getattr(module, "ANY_SCALE", False))
    reward = _wrap(verify, spec, folder, args or {})
    return Verifier(reward, cases, is_bounded=reward.form in ("ours", "ours_batch"))


def import_module(name: str, folder: Path | None, kind: str) -> ModuleType:
    """Import `pkg.mod`, or `file.py` from the recipe's folder or the working directory. `kind` is what it holds, for messages
    and for the module's name."""
    for path in _search_folders(folder):  # at the end of the path, so that nothing there hides an installed module
        if str(path) not in sys.path:
            sys.path.append(str(path))
    if name.endswith(".py"):
        return _load_file(functions.find_file(name, kind, _search_folders(folder)), kind)
    return importlib.import_module(name)


def _wrap(verify: Callable[..., object], spec: str, folder: Path | None, args: Mapping[str, object]) -> ForeignReward:
    """Return a user's function, or an object of the user's class, behind our contract. What it imports in its body is
    imported here."""
    names, function = _read_source(verify)
    if function not in names:  # a decorator's inner function, or one without source: what the spec names may be a `def`
        path, function = _find_source(spec, "verifier", folder)
        names = functions.names_in_file(path, "verifier") if path else {}
    import_all(functions.inner_imports(names, function))
    is_class = isinstance(verify, type)
    target = verify(**args) if is_class else verify
    texts = functions.texts_in(names, function)
    method = signatures.method_name([name for name in signatures.METHODS if callable(getattr(target, name, None))])
    if is_class or not inspect.isroutine(target):
        if method is None:
            raise ConfigError(f"verifier: '{spec}' cannot judge; give it a method {' or '.join(signatures.METHODS)}")
        target = cast("Callable[..., object]", target if method == "__call__" else getattr(target, method))
    signature = signatures.of_callable(target)
    definition = names.get(function)
    if not signature.names and isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef):
        signature = signatures.of_node(definition)  # a decorator hides it behind `*args, **kwargs`
    form = signatures.form_of(signature, spec.rpartition(":")[2], [*texts])
    return ForeignReward(target, form, signature, "content" in texts, is_class)


def _read_source(verify: object) -> tuple[Mapping[str, ast.AST], str]:
    """Return (the names of the module in which a function, a class or an object's class is written, its name there); no
    names where there is no source. It may have been imported from there into the module that the recipe names."""
    inner = cast("object", verify.func) if isinstance(verify, partial) else verify
    original = cast("type | Callable[..., object]", inspect.unwrap(inner) if inspect.isroutine(inner) else inner)
    if not inspect.isroutine(original) and not isinstance(original, type):
        original = type(original)
    try:
        file = inspect.getsourcefile(original)
    except TypeError:  # of a builtin
        file = None
    return functions.names_in_file(Path(file), "verifier") if file else {}, original.__name__


def _check_case(case: object, index: int, spec: str) -> Case:
    """Return a user's gold case. Raises ConfigError where its fields are not of the types that `Case` annotates: a
    dataclass checks none, and a wrong one would fail far from here."""
    place = f"verifier '{spec}': GOLD[{index}]"
    if not isinstance(case, Case):
        raise ConfigError(f"{place} holds {case!r}; write Case(pred, gold, equal) of rewards.verifiers")
    for name, types, description in (
        ("pred", str, "text"),
        ("gold", str | None, "text, or None"),
        ("question", str, "text"),
        ("fields", Mapping, "a mapping"),
        ("args", Mapping, "a mapping"),
    ):
        value = getattr(case, name)
        if not isinstance(value, types):
            raise ConfigError(f"{place}: {name} is {value!r}; make it {description}")
    if case.score is not None and not _is_range(case.score):
        raise ConfigError(f"{place}: score is {case.score!r}; make it a range such as (0.4, 0.6)")
    return case


def _is_range(score: object) -> bool:
    if not isinstance(score, tuple | list):
        return False
    bounds = cast(list[object], score)
    return len(bounds) == 2 and all(isinstance(bound, int | float) for bound in bounds)


def find_source(spec: str, place: str, folder: Path | None) -> tuple[Path | None, str]:
    """Return (the file of a function written `file.py:fn` or `pkg.mod:fn`, None for a compiled module; its name). Raises
    ConfigError."""
    module, _, function = spec.rpartition(":")
    if module.endswith(".py"):
        return functions.find_file(module, place, _search_folders(folder)), function
    return functions.find_module(module, place, _search_folders(folder)), function


def _search_folders(folder: Path | None) -> list[Path]:
    return [path for path in (folder, Path.cwd()) if path is not None]


def _load_file(path: Path, kind: str) -> ModuleType:
    name = f"{kind}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses and pickle look their module up
    if str(path.parent) not in sys.path:  # it may import its neighbours
        sys.path.append(str(path.parent))
    spec.loader.exec_module(module)
    return module
