"""Converts the `args` of a data set for the task or the user's function that makes its prompts."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any  # Any: arguments of whatever function is called

from rl.config import ConfigError, coerce, did_you_mean
from rl.data.tasks import TASKS


def arguments(function: Callable[..., object], args: Mapping[str, object], place: str) -> dict[str, Any]:
    """Return `args`, converted as the signature of a task or a user's function says: names, types where a task annotates
    them, none missing. Raises ConfigError."""
    parameters = list(inspect.signature(function).parameters.values())[1:]  # the first is the split
    keywords = {p.name: p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    # Annotations of a user's function may name what its module does not import.
    hints = typing.get_type_hints(function) if function in TASKS.values() else {}
    for key in args:
        if key not in keywords and all(p.kind is not p.VAR_KEYWORD for p in parameters):
            raise ConfigError(f"{place}.args: unknown key '{key}'{did_you_mean(key, keywords)}")
    for key, parameter in keywords.items():
        if parameter.default is parameter.empty and key not in args:
            raise ConfigError(f"{place}.args: missing key '{key}'; add `{key}: …`")
    return {key: coerce(hints.get(key, object), value, f"{place}.args.{key}") for key, value in args.items()}
