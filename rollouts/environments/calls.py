"""Finds calls of tools in what a model writes: between tags, or in the form of the model's own chat template.

<calc>2 + 3</calc>   <seg>1.0, 2.0</seg>                                          tags
<tool_call>{"name": "calculator", "arguments": {"expression": "2 + 3"}}</tool_call>  Qwen, Hermes, SmolLM
<tool_call>calculator<arg_key>expression</arg_key><arg_value>2 + 3</arg_value></tool_call>       GLM
<function=calculator><parameter=expression>2 + 3</parameter></function>           Qwen3-Coder, Llama 3.1's own
<function=calculator>{"expression": "2 + 3"}</function>                           Llama 3.1
[TOOL_CALLS] [{"name": "calculator", "arguments": {…}}]   [TOOL_CALLS]calculator[ARGS]{…}         Mistral
<|python_tag|>{"name": …, "parameters": {…}}   or the bare object                 Llama 3.1, 3.2
<｜tool▁call▁begin｜>function<｜tool▁sep｜>calculator\\n```json\\n{…}\\n```<｜tool▁call▁end｜>   DeepSeek
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

MOST_CALLS = 8
"""Calls of one turn that are answered."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool: its name and arguments, or the `problem` that keeps it from being read."""

    name: str = ""
    arguments: Mapping[str, object] = field(default_factory=dict[str, object])
    problem: str = ""


def find_tagged(text: str, tags: Sequence[str]) -> tuple[str, str | None] | None:
    """Return (tag, content) of the call after which the policy has paused, or None if no tag is closed. The content is
    None for a tag that was closed but never opened."""
    closed = [(text.rfind(f"</{tag}>"), tag) for tag in tags]
    place, tag = max(closed, default=(-1, ""))
    if place < 0:
        return None
    opening = text.rfind(f"<{tag}>", 0, place)
    return tag, None if opening < 0 else text[opening + len(tag) + 2 : place]


_HERMES = re.compile(r"<tool_call>(.*?)(?:</tool_call>|(?=<tool_call>)|\Z)", re.DOTALL)
# No pattern reaches beyond the next beginning of its kind: a text of nothing but beginnings would be read to its end for each.
_FUNCTION = re.compile(r"<function=([^<>\n]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^<>\n]+)>\n?(.*?)\n?(?:</parameter>|(?=<parameter=)|\Z)", re.DOTALL)
_GLM_PAIR = re.compile(
    r"<arg_key>((?:(?!</?arg_key>).)*)</arg_key>\s*<arg_value>((?:(?!<arg_key>|</arg_value>).)*)</arg_value>", re.DOTALL
)
_MISTRAL = re.compile(r"\[TOOL_CALLS\]\s*")
_MISTRAL_NEW = re.compile(r"([\w.-]+)\s*(?:\[CALL_ID\]\s*\w+\s*)?\[ARGS\]\s*")
_DEEPSEEK = re.compile(r"<｜tool▁call▁begin｜>(.*?)(?:<｜tool▁call▁end｜>|\Z)", re.DOTALL)
_LLAMA = re.compile(r"(?:<\|python_tag\|>)?\s*(\{\s*\"(?:name|type|function)\".*)\Z", re.DOTALL)


def find_calls(text: str) -> list[ToolCall]:
    """Return the calls in a turn, without its chain of thought, in whichever form they are written; none for an answer in
    words."""
    # Functions first: Qwen3-Coder writes them within `<tool_call>`, where `_read_hermes` would look for JSON.
    for reader in (_read_functions, _read_hermes, _read_mistral, _read_deepseek, _read_llama):
        if calls := list(reader(text)):
            return calls[:MOST_CALLS]
    return []


def _read_hermes(text: str) -> Iterator[ToolCall]:
    for match in _HERMES.finditer(text):
        body = match[1].strip()
        if pairs := _GLM_PAIR.findall(body):
            name = body.partition("<arg_key>")[0].strip()
            yield ToolCall(name, {key.strip(): _value(value) for key, value in pairs})
        else:
            yield from _from_json(body)


def _read_functions(text: str) -> Iterator[ToolCall]:
    for match in _FUNCTION.finditer(text):
        name, body = match[1].strip(), match[2].strip()
        if parameters := _PARAMETER.findall(body):
            yield ToolCall(name, {key.strip(): _value(value) for key, value in parameters})
        elif not body:
            yield ToolCall(name)
        else:
            yield _with_arguments(name, body)


def _read_mistral(text: str) -> Iterator[ToolCall]:
    for part in _MISTRAL.split(text)[1:]:
        if match := _MISTRAL_NEW.match(part):
            yield _with_arguments(match[1], part[match.end() :])
        else:
            yield from _from_json(part)


def _read_deepseek(text: str) -> Iterator[ToolCall]:
    for match in _DEEPSEEK.finditer(text):
        name, _, rest = match[1].partition("<｜tool▁sep｜>")
        if name.strip() == "function":  # V3 and R1 write the type of the call before its name
            name, _, rest = rest.partition("\n")
        _, fence, fenced = rest.partition("```")
        yield _with_arguments(name.strip(), fenced.removeprefix("json") if fence else rest)


def _read_llama(text: str) -> Iterator[ToolCall]:
    match = _LLAMA.match(text.strip())
    if match:
        for part in match[1].split(";\n") if ";\n" in match[1] else [match[1]]:
            yield from _from_json(part)


def _from_json(text: str) -> Iterator[ToolCall]:
    """Yield the calls of an object, or of a list of them."""
    value = _parse(text)
    for item in cast("list[object]", value) if isinstance(value, list) else [value]:
        call = cast("dict[str, object]", item) if isinstance(item, dict) else {}
        # A call may repeat the form of the schemas: {"type": "function", "function": {"name": …}}.
        function = call.get("function")
        if isinstance(function, dict) and "name" in function:
            call = cast("dict[str, object]", function)
        name = function if isinstance(function, str) else call.get("name")
        if not isinstance(name, str):
            yield ToolCall(problem="a call that is no JSON object with a name and arguments")
            continue
        arguments = call.get("arguments", call.get("parameters", {}))
        parsed = _parse(arguments) if isinstance(arguments, str) else arguments
        if isinstance(parsed, dict):
            yield ToolCall(name, cast("dict[str, object]", parsed))
        else:
            yield ToolCall(name, problem="its arguments are no JSON object")


def _with_arguments(name: str, text: str) -> ToolCall:
    value = _parse(text)
    if isinstance(value, dict):
        return ToolCall(name, cast("dict[str, object]", value))
    return ToolCall(name, problem="its arguments are no JSON object")


def _parse(text: str) -> object:
    """Return the JSON value that a text begins with; None where it begins with none."""
    try:
        value, _ = json.JSONDecoder().raw_decode(text.strip())
    except (ValueError, RecursionError):
        return None
    return cast("object", value)


def _value(text: str) -> object:
    """Return an argument written as text: JSON where it is that, else the text."""
    try:
        return cast("object", json.loads(text.strip()))
    except (ValueError, RecursionError):
        return text.strip()
