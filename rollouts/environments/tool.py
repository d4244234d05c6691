"""Makes a tool of a Python function: the model gives the parameters before `*`, the recipe those after it.

A parameter named `prompt` is given the prompt.

    def weather(city: str, *, file: Path) -> str:
        '''Return the weather in a city.'''

The model is told of a ValueError that the function raises, since it has asked for something that cannot be done; any
other exception is an error of the sample.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import json
import math
import numbers
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

from rewards.resolve import import_module
from rl import functions
from rl.config import ConfigError, coerce, did_you_mean
from rl.messages import Clip, Reply
from rl.types import Prompt

IN_TREE = Path(__file__).parent / "tools"
BY_NAME = "its arguments are given by name; remove the `/` from its parameters"
"""Refusal of a function with positional-only parameters."""
Result = str | Clip | Reply
"""Answer of a tool: text, a sound, or a whole reply."""
_WORDS: Mapping[object, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_JSON_TYPES: Mapping[object, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


class BadCallError(ValueError):
    """A call that no tool can answer; `reason` is the word under which it is counted."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def list_tools() -> list[str]:
    """Return the names of the tools that come with the library."""
    return sorted(path.stem for path in IN_TREE.glob("*.py") if path.stem != "__init__")


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call."""

    name: str
    tag: str
    function: Callable[..., object]
    args: Mapping[str, object]
    """Arguments that the recipe gives."""
    parameters: Mapping[str, inspect.Parameter]
    """Parameters that the model gives, by name, in order."""
    hints: Mapping[str, object]
    takes_prompt: bool

    @property
    def schema(self) -> dict[str, object]:
        """The tool as chat templates take it: a JSON schema of its parameters."""
        required = [name for name, p in self.parameters.items() if p.default is inspect.Parameter.empty]
        properties = {
            name: {"type": _JSON_TYPES.get(_plain(self.hints.get(name)), "string")} for name in self.parameters
        }
        function = {
            "name": self.name,
            "description": inspect.cleandoc(self.function.__doc__ or self.name).partition("\n")[0],
            "parameters": {"type": "object", "properties": properties, "required": required},
        }
        return {"type": "function", "function": function}

    def read_content(self, content: str) -> dict[str, object]:
        """Return the arguments written between tags: the whole text for a tool of one parameter or whose first is a
        text, else values separated by commas. Raises BadCallError for too many values."""
        names = [*self.parameters]
        if len(names) <= 1 or _plain(self.hints.get(names[0])) is str:
            return {names[0]: content} if names else {}
        values = [value.strip() for value in content.split(",")]
        if len(values) > len(names):
            raise BadCallError("malformed", f"{len(values)} values for {', '.join(names)}")
        return dict(zip(names, values, strict=False))

    def call(self, arguments: Mapping[str, object], prompt: Prompt) -> Result:
        """Return the tool's answer. Raises BadCallError for arguments that it does not take, and what the tool raises."""
        given = {name: self._coerce(name, value) for name, value in arguments.items()}
        for name, parameter in self.parameters.items():
            if parameter.default is inspect.Parameter.empty and name not in given:
                raise BadCallError("malformed", f"{self.name} needs {name}")
        # Copied, since a tool may change its arguments and the next call must not see that.
        passed: dict[str, Any] = {**given, **copy.deepcopy(dict(self.args))}
        if self.takes_prompt:
            passed["prompt"] = prompt
        return _as_result(self.function(**passed), self.name)

    def _coerce(self, name: str, value: object) -> object:
        """Return an argument as the type that the tool annotates. Raises BadCallError."""
        if name not in self.parameters:
            raise BadCallError("malformed", f"{self.name} takes no {name}")
        hint = _plain(self.hints.get(name))
        try:
            is_number = hint is int or hint is float
            if is_number and isinstance(value, int | float | str) and not isinstance(value, bool):
                return float(value) if hint is float else _read_whole(value)
            if hint is str:
                return value if isinstance(value, str) else json.dumps(value)
            is_right = not is_number and (hint is not bool or isinstance(value, bool))
        except (ValueError, OverflowError):
            is_right = False
        if not is_right:
            raise BadCallError("malformed", f"{self.name}: {name} is to be {_WORDS[hint]}")
        return value


def load_tool(spec: str, args: Mapping[str, object], tag: str | None, folder: Path | None) -> Tool:
    """Return a tool that a recipe names. Raises ConfigError where it cannot be one, and what its module raises."""
    module_name, colon, name = spec.rpartition(":")
    if not colon and spec not in list_tools():
        raise ConfigError(f"unknown tool '{spec}'{did_you_mean(spec, list_tools())} (or your own as file.py:fn)")
    if colon:
        module = import_module(module_name, folder, "tool")
    else:
        module = importlib.import_module(f"rollouts.environments.tools.{spec}")
    function = getattr(module, name, None)
    if not inspect.isfunction(function):
        raise ConfigError(f"'{spec}' is no function; a tool is one")
    hints = typing.get_type_hints(function)
    signature = inspect.signature(function).parameters
    if any(p.kind is inspect.Parameter.POSITIONAL_ONLY for p in signature.values()):
        raise ConfigError(f"tool '{spec}': {BY_NAME}")
    own = [p for p in signature.values() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    for parameter in own:
        if parameter.default is inspect.Parameter.empty and parameter.name not in args:
            raise ConfigError(
                f"tool '{spec}': missing argument '{parameter.name}'; add `args: {{{parameter.name}: …}}`"
            )
    if unknown := [key for key in args if key not in {p.name for p in own}]:
        listed = did_you_mean(unknown[0], [p.name for p in own]) if own else "; it takes none"
        raise ConfigError(f"tool '{spec}': unknown argument '{unknown[0]}'{listed}")
    own_args = {
        key: _as_annotated(value, hints.get(key), folder, f"tool '{spec}': args.{key}") for key, value in args.items()
    }
    # Before the run begins: a sandbox that is missing, or a file that cannot be searched, is told here, and not to the
    # policy at each of its calls.
    if not colon and hasattr(module, "require"):
        module.require(**own_args)
    parameters = {
        n: p for n, p in signature.items() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and n != "prompt"
    }
    return Tool(
        name=name,
        tag=tag or cast("str", getattr(module, "TAG", name) if not colon else name),
        function=function,
        args=own_args,
        parameters=parameters,
        hints=hints,
        takes_prompt="prompt" in signature,
    )


def tag_of(spec: str, tag: str | None) -> str:
    """Return the tag that calls a tool, without importing a user's module."""
    if tag or ":" in spec:
        return tag or spec.rpartition(":")[2]
    values = functions.names_in_file(IN_TREE / f"{spec}.py", spec)
    node = values.get("TAG")
    return cast("str", typing.cast("Any", node).value.value)


def _as_annotated(value: object, hint: object, folder: Path | None, place: str) -> object:
    """Return an argument of the recipe's as the type that the tool annotates; a Path looked up in the recipe's folder and the
    working directory. Raises ConfigError."""
    if hint is bool or hint is int or hint is float or hint is str:
        return coerce(hint, value, place)
    if hint is not Path or not isinstance(value, str):
        return value
    return functions.find_file(value, "tool", [path for path in (folder, Path.cwd()) if path is not None])


def _read_whole(value: float | str) -> int:
    """Return a whole number as it is written, however long. Raises ValueError or OverflowError for anything else."""
    if isinstance(value, int):
        return value
    if not math.isfinite(float(value)):  # before it is read exactly: 1e999999999 would fill the memory
        raise ValueError
    number = Fraction(value)
    if number.denominator != 1:
        raise ValueError
    return number.numerator


def _plain(hint: object) -> object:
    """Return the type of an annotation without its None."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        choices = [choice for choice in typing.get_args(hint) if choice is not type(None)]
        return choices[0] if len(choices) == 1 else object
    return str if hint is None else hint


def _as_result(answer: object, name: str) -> Result:
    """Return what a tool answered as text, a clip or a reply. Raises TypeError for anything else."""
    if isinstance(answer, str | Clip | Reply):
        return answer
    if answer is None or isinstance(answer, numbers.Number):  # a Fraction, numpy's, sympy's
        return str(answer)
    if isinstance(answer, Mapping | Sequence) and not isinstance(answer, bytes):
        try:
            return json.dumps(answer, ensure_ascii=False)
        except (TypeError, ValueError):
            pass
    type_name = type(cast("object", answer)).__name__
    raise TypeError(f"tool {name} answered {type_name}; return text, a number, a Clip or a Reply")
