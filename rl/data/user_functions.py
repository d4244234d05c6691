"""A data function of the user's own, `file.py:fn` or `pkg.mod:fn`: called with the split, it gives prompt after prompt."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from rl import functions
from rl.config import ConfigError, did_you_mean
from rl.data.rows import first_line, locate
from rl.types import Prompt


def check(source: str, args: Mapping[str, Any], place: str) -> None:
    """Raises ConfigError where no such function is defined, or it does not take `args`. Executes nothing."""
    where, here = source.rpartition(":")[0], f"{place}.source"
    path = locate(where, here) if where.endswith(".py") else functions.find_module(where, here)
    if path is None:
        return  # compiled: nothing to read
    if found := functions.find_function(functions.names_in_file(path, here), source, path, here, answers="no prompts"):
        functions.check_arguments(found, ("split",), args, f"{place}.args")


def load(source: str, place: str) -> Callable[..., Iterable[Prompt]]:
    """Imports it: this executes its module. Raises ConfigError."""
    module, _, name = source.rpartition(":")
    try:
        if module.endswith(".py"):
            spec = importlib.util.spec_from_file_location(f"file_{Path(module).stem}", locate(module, place))
            assert spec is not None
            assert spec.loader is not None
            loaded = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look it up there
            spec.loader.exec_module(loaded)
        else:
            loaded = importlib.import_module(module)
    except (ImportError, SyntaxError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{place}: cannot import {module}: {first_line(error)}; correct the name or the file"
        ) from error
    found = getattr(loaded, name, None)
    if not callable(found):
        raise ConfigError(f"{place}: {module} has no function '{name}'{did_you_mean(name, vars(loaded))}")
    return cast(Callable[..., Iterable[Prompt]], found)
