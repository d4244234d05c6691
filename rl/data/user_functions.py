"""Checks and imports a user's data function, `file.py:fn` or `pkg.mod:fn`: called with the split, it yields prompts."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import cast

from rl import functions
from rl.config import ConfigError, did_you_mean, first_line
from rl.data.rows import locate
from rl.types import Prompt


def check(source: str, args: Mapping[str, object], place: str) -> None:
    """Raise ConfigError where no such function is defined, or it does not take `args`. Executes nothing."""
    where, here = source.rpartition(":")[0], f"{place}.source"
    path = locate(where, here) if where.endswith(".py") else functions.find_module(where, here)
    if path is None:
        return  # compiled: nothing to read
    names = functions.names_in_file(path, here)
    function = functions.find_function(names, source, path, here, answers="no prompts")
    if function is not None:
        functions.check_arguments(function, ("split",), args, f"{place}.args")


def load(source: str, place: str) -> Callable[..., Iterable[Prompt]]:
    """Import the function, which executes its module. Raises ConfigError."""
    module_name, _, name = source.rpartition(":")
    try:
        if module_name.endswith(".py"):
            # Under a name of its own: the user's `random.py` must not take the place of the module of that name.
            spec = importlib.util.spec_from_file_location(f"file_{Path(module_name).stem}", locate(module_name, place))
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module  # dataclasses look their module up there
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(module_name)
    except ConfigError:  # its file is not there
        raise
    except (Exception, SystemExit) as error:  # the module is somebody else's, and may raise anything
        raise ConfigError(
            f"{place}: cannot import {module_name}: {first_line(error)}; correct the name or the file"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(f"{place}: {module_name} has no function '{name}'{did_you_mean(name, vars(module))}")
    return cast(Callable[..., Iterable[Prompt]], function)
