"""Looks up functions that a recipe names, by a name in a registry or as the user's `pkg.mod:fn`. A user's function is
checked by reading its source, so that `rl check` runs no user code."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar, cast

from rl import functions
from rl.config import ConfigError, did_you_mean, first_line

F = TypeVar("F", bound=Callable[..., object])

COLUMNS = {"old_A": "old", "ref_A": "ref", "teacher_A": "teacher", "values_A": "values"}
"""Columns of a batch that cost a forward pass of a model, by the attribute of Batch that reads them."""


def resolve(name: str, registry: Mapping[str, F], kind: str) -> F:
    """Return the function behind a name in the `registry`, or behind `pkg.mod:fn`, which is imported. Raises
    ConfigError."""
    if name in registry:
        return registry[name]
    module, attribute = _split(name, registry, kind)
    was_imported = module in sys.modules
    try:
        imported = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # the module is somebody else's, and may raise anything
        # Also for want of another module: only where itself or a package that it is in is missing is the name wrong.
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise ConfigError(f"{kind} '{name}': {error}; write it as `pkg.mod:fn`") from error
        raise ConfigError(
            f"{kind} '{name}': its module raises {type(error).__name__}: {first_line(error)}; mend it"
        ) from error
    try:
        function: object = getattr(imported, attribute)
    except AttributeError as error:
        if not was_imported:  # or `check_name` would ask it, and say the same in other words
            sys.modules.pop(module, None)
        raise ConfigError(f"{kind} '{name}': {error}; write it as `pkg.mod:fn`") from error
    if not callable(function):
        raise ConfigError(f"{kind} '{name}' is not a function; name one")
    return cast(F, function)


def check_call(name: str, registry: Mapping[str, F], kind: str, parameters: Sequence[str]) -> None:
    """Import the function. Raises ConfigError unless it can be called with the positional `parameters`."""
    if name in registry:
        return
    try:
        inspect.signature(resolve(name, registry, kind)).bind(*parameters)
    except TypeError as error:
        raise ConfigError(f"{kind} '{name}': {error}; it is called with ({', '.join(parameters)})") from error
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        # inspect raises ValueError for a compiled function without a signature, which cannot be checked.


def check_name(name: str, registry: Mapping[str, F], place: str, parameters: Sequence[str]) -> None:
    """Raise ConfigError unless `name` is in the registry, or a function that a module defines and that takes the
    positional `parameters`."""
    if name in registry:
        return
    # The module is read, not imported: a check stays quick whatever the module imports.
    module, attribute = _split(name, registry, place)
    path = functions.find_module(module, place, fix=f"is the folder of '{name}' on the Python path?")
    if path is None:
        return  # compiled: nothing to read
    function = functions.find_function(functions.names_in_file(path, place), f"{module}:{attribute}", path, place)
    if function:
        functions.check_call(function, parameters, place)


def columns_read(name: str, registry: Mapping[str, F], place: str) -> frozenset[str]:
    """Return the costly columns of a batch (`old`, `ref`, `teacher`, `values`) that a function reads, by its source and that of the
    functions it calls in its module. Raises ConfigError as `check_name` does."""
    if name in registry:
        function = registry[name]
        path, attribute = Path(str(sys.modules[function.__module__].__file__)), function.__name__
        always = frozenset[str]()
    else:
        module, attribute = _split(name, registry, place)
        path = functions.find_module(module, place)
        always = frozenset({"old"})  # a user's function may read it through another module, which is not read here
    if path is None:
        return always
    return always | _columns_in_source(path, attribute, place, path.stat().st_mtime_ns)


@cache
def _columns_in_source(path: Path, function: str, place: str, changed_at: int) -> frozenset[str]:
    """Return the costly columns that a function reads in its module, which was last changed at that time: a plan asks
    hundreds of times."""
    attributes = functions.attributes_read(functions.names_in_file(path, place), function)
    return frozenset(COLUMNS[attribute] for attribute in attributes & COLUMNS.keys())


def _split(name: str, registry: Mapping[str, F], place: str) -> tuple[str, str]:
    """Return (module, function) of `pkg.mod:fn`. Raises ConfigError for anything else."""
    module, colon, attribute = name.partition(":")
    if not (colon and attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ConfigError(
            f"{place}: '{name}' is neither a built-in name nor `pkg.mod:fn`{did_you_mean(name, registry)}"
        )
    return module, attribute
