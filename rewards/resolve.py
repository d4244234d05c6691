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
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from rewards.contract import Case
from rl import functions
from rl.config import ConfigError, build, did_you_mean
from rl.types import Verdict

IN_TREE = Path(__file__).parent / "verifiers"
_FUNCTION = "verify"


@dataclass(frozen=True, slots=True)
class Verifier:
    verify: Callable[..., Verdict]
    gold: list[Case] | None
    """None where the module has no GOLD."""


@cache
def known() -> Mapping[str, str]:
    """The verifiers that come with the library: name to the first line of their docstring. Imports none of them."""
    files = sorted(path for path in IN_TREE.glob("*.py") if not path.stem.startswith("_"))
    return {path.stem: (ast.get_docstring(functions.parse_file(path)) or "").partition("\n")[0] for path in files}


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
        path = functions.find_file(where, place, _beside(folder))
    else:
        path = functions.find_module(where, place, _beside(folder))
    if path is None:
        return given  # compiled: nothing to read
    names = functions.names_in_file(path, place)
    found = functions.find_function(names, f"{where}:{function}", path, place, answers="no Verdict")
    arguments = f"{place.removesuffix('.verifier')}.args"
    if not colon and "serve" in names:
        build(importlib.import_module(f"rewards.verifiers.{spec}").Config, given, arguments)
        return given
    return functions.check_arguments(found, ("prompt", "rollout"), args, arguments) if found else given


def asks_a_model(spec: str) -> bool:
    """Whether a verifier that passed `check` is one of `rewards.served`."""
    return ":" not in spec and "serve" in functions.top_level_names(functions.parse_file(IN_TREE / f"{spec}.py"))


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
        module = _load_file(functions.find_file(where, "verifier", _beside(folder)))
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


def _beside(folder: Path | None) -> list[Path]:
    return [base for base in (folder, Path.cwd()) if base is not None]


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
