"""Functions that a recipe names: by a name in a registry, or as `pkg.mod:fn` of the user's own. They are checked by reading
their source, so that `rl check` imports nothing of theirs."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from rl import functions
from rl.config import ConfigError, did_you_mean

F = TypeVar("F", bound=Callable[..., Any])

COLUMNS = {"old_A": "old", "ref_A": "ref", "values_A": "values"}
"""Columns of a batch that cost a pass of some model, by the attribute that reads them."""


def resolve(name: str, registry: Mapping[str, F], kind: str) -> F:
    """Return the function behind a name in the `registry`, or behind `pkg.mod:fn`, which is imported. Raises
    ConfigError."""
    if name in registry:
        return registry[name]
    module, attribute = _split(name, registry, kind)
    try:
        function: object = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{kind} '{name}': {error}; write it as `pkg.mod:fn`") from error
    if not callable(function):
        raise ConfigError(f"{kind} '{name}' is not a function; name one")
    return cast(F, function)


def check_call(name: str, registry: Mapping[str, F], kind: str, parameters: Sequence[str]) -> None:
    """Import what `resolve` finds. Raises ConfigError unless it can be called with the positional `parameters`."""
    if name in registry:
        return
    try:
        inspect.signature(resolve(name, registry, kind)).bind(*parameters)
    except TypeError as error:
        raise ConfigError(f"{kind} '{name}': {error}; it is called with ({', '.join(parameters)})") from error
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        # Any other ValueError: a compiled function without a signature, of which nothing can be said.


def check_name(name: str, registry: Mapping[str, F], place: str, parameters: Sequence[str]) -> None:
    """Raise ConfigError unless `name` is in the registry, or a function that a module defines and that takes the
    positional `parameters`. The module is read and not imported, so that a check stays quick whatever it needs."""
    if name in registry:
        return
    module, attribute = _split(name, registry, place)
    path = functions.find_module(module, place, fix=f"is the folder of '{name}' on the Python path?")
    if path is None:
        return  # compiled: nothing to read
    function = functions.find_function(functions.names_in_file(path, place), f"{module}:{attribute}", path, place)
    if function:
        functions.check_call(function, parameters, place)


def columns_read(name: str, registry: Mapping[str, F], place: str) -> frozenset[str]:
    """Return which of the costly columns of a batch (`old`, `ref`, `values`) a function reads, from its source and that of
    the functions it calls in its module. What a user's function reads elsewhere is not seen, and `old` is assumed.
    Raises ConfigError as `check_name` does."""
    if name in registry:
        function = registry[name]
        path, attribute = Path(str(sys.modules[function.__module__].__file__)), function.__name__
        assumed = frozenset[str]()
    else:
        module, attribute = _split(name, registry, place)
        path, assumed = functions.find_module(module, place), frozenset({"old"})
    if path is None:
        return assumed
    attributes = functions.attributes_read(functions.names_in_file(path, place), attribute)
    return assumed | {COLUMNS[attribute] for attribute in attributes & COLUMNS.keys()}


def _split(name: str, registry: Mapping[str, F], place: str) -> tuple[str, str]:
    """Return (module, function) of `pkg.mod:fn`. Raises ConfigError for anything else."""
    module, colon, attribute = name.partition(":")
    if not (colon and attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ConfigError(f"{place}: '{name}' is neither known nor `pkg.mod:fn`{did_you_mean(name, registry)}")
    return module, attribute
