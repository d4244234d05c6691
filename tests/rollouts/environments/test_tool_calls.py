"""Calls of tools in the forms of many chat templates, and what is no call."""

from __future__ import annotations

import time

import pytest

from rollouts.environments.calls import MOST_CALLS, find_calls, find_tagged

SUM = {"expression": "2 + 3"}
WRITTEN = {
    "hermes": '<tool_call>\n{"name": "calculator", "arguments": {"expression": "2 + 3"}}\n</tool_call>',
    "hermes, arguments as text": '<tool_call>{"name": "calculator", "arguments": "{\\"expression\\": \\"2 + 3\\"}"}</tool_call>',
    "hermes, not closed": '<tool_call>{"name": "calculator", "arguments": {"expression": "2 + 3"}}',
    "openai": '<tool_call>{"type": "function", "function": {"name": "calculator", "arguments": {"expression": "2 + 3"}}}</tool_call>',
    "glm": "<tool_call>calculator\n<arg_key>expression</arg_key>\n<arg_value>2 + 3</arg_value>\n</tool_call>",
    "qwen 3 coder": "<tool_call>\n<function=calculator>\n<parameter=expression>\n2 + 3\n</parameter>\n</function>\n</tool_call>",
    "llama 3.1, its own": '<function=calculator>{"expression": "2 + 3"}</function>',
    "llama 3.1": '<|python_tag|>{"type": "function", "name": "calculator", "parameters": {"expression": "2 + 3"}}',
    "llama 3.2": '{"name": "calculator", "parameters": {"expression": "2 + 3"}}',
    "mistral": '[TOOL_CALLS] [{"name": "calculator", "arguments": {"expression": "2 + 3"}, "id": "VvvODy9mT"}]',
    "mistral small": '[TOOL_CALLS]calculator[ARGS]{"expression": "2 + 3"}',
    "magistral": '[TOOL_CALLS]calculator[CALL_ID]123456789[ARGS]{"expression": "2 + 3"}',
    "deepseek r1": '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>calculator\n```json\n{"expression": "2 + 3"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    "deepseek v3.1": '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>calculator<｜tool▁sep｜>{"expression": "2 + 3"}<｜tool▁call▁end｜>',
}  # fmt: skip


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("before", ["", "Let me calculate.\n"])
def test_each_form_is_read(form: str, before: str) -> None:
    if before and form == "llama 3.2":  # behind words an object is an example
        assert find_calls(before + WRITTEN[form]) == []
        return
    if before and form == "llama 3.1":
        before = ""
    (call,) = find_calls(before + WRITTEN[form])
    assert (call.name, dict(call.arguments), call.problem) == ("calculator", SUM, "")


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>not json</tool_call>",
        "<tool_call></tool_call>",
        '<tool_call>{"name": 3}</tool_call>',
        '<tool_call>{"name": "calculator", "arguments": [1]}</tool_call>',
        '<tool_call>{"name": "calculator", "arguments": "2 + 3"}</tool_call>',
        "<tool_call>[[[[" + "[" * 5000 + "</tool_call>",
        "[TOOL_CALLS] 7",
        "<function=calculator>{broken</function>",
    ],
)
def test_what_cannot_be_read_is_a_call_with_a_problem(text: str) -> None:
    (call,) = find_calls(text)
    assert call.problem


@pytest.mark.parametrize(
    "text", ["", "The answer is 5.", '{"answer": 5}', "I could use <tool> here", "{", "calculator(2)"]
)
def test_an_answer_in_words_is_no_call(text: str) -> None:
    assert find_calls(text) == []


def test_several_calls_and_far_too_many() -> None:
    one = WRITTEN["hermes"]
    assert len(find_calls(one * 3)) == 3
    assert len(find_calls(one * 500)) == MOST_CALLS


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>" + "<arg_key>" * 10_000,
        "<tool_call>" + "<arg_key>a</arg_key><arg_value>" * 5_000,
        "<tool_call><arg_key>" + "</arg_key><arg_value>" * 5_000,
        "<function=" * 10_000,
        "<function=f>" + "<parameter=" * 10_000,
        "<｜tool▁call▁begin｜>f<｜tool▁sep｜>```" + " " * 3_000,
    ],
)
def test_a_text_of_nothing_but_beginnings_costs_no_time(text: str) -> None:
    start = time.process_time()
    find_calls(text)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("it is <calc>2 + 3</calc>", ("calc", "2 + 3")),
        ("<calc>1</calc> <calc>2", ("calc", "1")),
        ("<calc>1 <calc>2</calc>", ("calc", "2")),
        ("<calc></calc>", ("calc", "")),
        ("2 + 3</calc>", ("calc", None)),
        ("<seg>1</calc>", ("calc", None)),
        ("<seg>1, 2</seg>.", ("seg", "1, 2")),
        ("<calc>2 + 3", None),
        ("<CALC>2</CALC>", None),
        ("", None),
    ],
)
def test_tags(text: str, call: tuple[str, str | None] | None) -> None:
    assert find_tagged(text, ["calc", "seg"]) == call


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"name": "a", "function": {"description": "x"}, "arguments": {"n": 1}}', "a"),
        ('{"function": {"name": "a", "arguments": {"n": 1}}, "name": "b"}', "a"),
        ('{"function": "a", "name": "b", "arguments": {"n": 1}}', "a"),
    ],
)
def test_the_name_of_a_call_written_in_two_places(text: str, name: str) -> None:
    (call,) = find_calls(f"<tool_call>{text}</tool_call>")
    assert (call.name, call.arguments, call.problem) == (name, {"n": 1}, "")
