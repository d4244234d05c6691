"""Every knob of an algorithm, with its one default: `Objective()` is Step-Audio-R1's PPO (arXiv 2511.15848)."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from rl import functions
from rl.config import ConfigError, did_you_mean

F = TypeVar("F", bound=Callable[..., Any])


def resolve(name: str, known: Mapping[str, F], kind: str) -> F:
    """The function behind a name in the registry `known`, or behind `pkg.mod:fn`. Imports; raises ConfigError."""
    if name in known:
        return known[name]
    module, attribute = _split(name, known, kind)
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{kind} '{name}': {error}; write it as `pkg.mod:fn`") from error
    if not callable(found):
        raise ConfigError(f"{kind} '{name}' is not a function; name one")
    return cast(F, found)


def check_call(name: str, known: Mapping[str, F], kind: str, given: Sequence[str]) -> None:
    """Imports what `resolve` finds; ConfigError unless it can be called with the positional arguments `given`."""
    if name in known:
        return
    try:
        inspect.signature(resolve(name, known, kind)).bind(*given)
    except TypeError as error:
        raise ConfigError(f"{kind} '{name}': {error}; it is called with ({', '.join(given)})") from error
    except ValueError as error:  # ConfigError is one; of a compiled function nothing can be told
        if isinstance(error, ConfigError):
            raise


def check_name(name: str, known: Iterable[str], place: str, given: Sequence[str]) -> None:
    """ConfigError unless `name` is known, or a function that a module defines and that takes the positional arguments
    `given`. The module is read and not imported, so that a check stays quick whatever it needs."""
    if name in known:
        return
    module, attribute = _split(name, known, place)
    path = functions.find_module(module, place, fix=f"is the folder of '{name}' on the Python path?")
    if path is None:
        return  # compiled: nothing to read
    spec = f"{module}:{attribute}"
    if found := functions.find_function(functions.names_in_file(path, place), spec, path, place):
        functions.check_call(found, given, place)


def _split(name: str, known: Iterable[str], place: str) -> tuple[str, str]:
    module, colon, attribute = name.partition(":")
    if not (colon and attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ConfigError(f"{place}: '{name}' is neither known nor `pkg.mod:fn`{did_you_mean(name, known)}")
    return module, attribute
