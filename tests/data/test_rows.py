"""Rows of a file to prompts, and what is said of every bad one."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from row_files import ROWS, jsonl, write

from rl.data.inspection import inspect
from rl.data.sources import DataConfig, load
from rl.types import Demonstration, Message, Prompt


def test_rows_become_prompts_of_the_asked_split_in_order(tmp_path: Path):
    config = jsonl(write(tmp_path, *ROWS))
    assert [p.id for p in load(config)] == ["a", "b", "c"]
    assert [p.id for p in load(config, "train")] == ["a", "c"]
    assert [p.id for p in load(config, "train", limit=1)] == ["a"]
    assert load(config, "test") == [Prompt("b", (Message("user", "2+2"),), answer="4")]


def test_every_field_finds_its_column(tmp_path: Path):
    row = {"q": "Which?", "gold": "B", "choices": ["red", 7], "why": "it shines", "out": "B", "set": "mmau", "n": 3}
    fields = {
        "question": "q",
        "answer": "gold",
        "options": "choices",
        "reasoning": "why",
        "response": "out",
        "source": "set",
        "people": "n",
    }
    [prompt] = load(jsonl(write(tmp_path, row), fields=fields, template="{question} ({n})\n{options}", system="Think."))
    assert prompt == Prompt(
        id="rows/1",
        messages=(Message("system", "Think."), Message("user", "Which? (3)\nA. red\nB. 7")),
        answer="B",
        source="mmau",
        demonstration=Demonstration("it shines", "B"),
        fields={"people": 3, "options": ["red", "7"]},
    )


def test_conversations_and_their_closing_answer(tmp_path: Path):
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "<think>\npolite\n</think>\nhello"}]
    file = write(tmp_path, {"m": turns[:1]}, {"m": turns}, {"m": [{"role": "system", "content": "own"}, *turns]})
    first, second, third = load(jsonl(file, fields={"messages": "m"}, system="ours"))
    assert first.demonstration is None
    assert second.demonstration == third.demonstration == Demonstration("polite", "hello")
    assert second.messages == (Message("system", "ours"), Message("user", "hi"))
    assert third.messages == (Message("system", "own"), Message("user", "hi"))


def test_a_response_with_its_own_chain_and_a_final_mark(tmp_path: Path):
    row = {"question": "1+1", "answer": "1+1=2\n#### 2"}
    fields = {"answer": "answer", "reasoning": "answer", "response": "answer"}
    [prompt] = load(jsonl(write(tmp_path, row), fields=fields, final_mark="####"))
    assert (prompt.answer, prompt.demonstration) == ("2", Demonstration("1+1=2", "2"))
    row = {"question": "1+1", "r1": "<think>one and one</think>2"}
    [prompt] = load(jsonl(write(tmp_path, row), fields={"response": "r1"}))
    assert prompt.demonstration == Demonstration("one and one", "2")
    [prompt] = load(jsonl(write(tmp_path, {**row, "why": None}), fields={"response": "r1", "reasoning": "why"}))
    assert prompt.demonstration == Demonstration("one and one", "2")


def test_byte_order_mark_line_separators_and_blank_last_lines(tmp_path: Path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"question": "a\xe2\x80\xa8b"}\r\n{"question": "c"}\n\n \n')
    assert [p.question for p in load(jsonl(file))] == ["a\u2028b", "c"]


GOOD = {"id": "x", "question": "1+1", "answer": "2"}
BAD_ROWS = [
    ('{"question": ', {}, "invalid JSON: Expecting value at column 13; write one JSON object a line"),
    (
        '{"question": "1", "answer": 2, "answer": 3}',
        {},
        "invalid JSON: key 'answer' stands twice in an object; write one",
    ),
    ("[1]", {}, "a list is not a row; write one JSON object a line"),
    ('{"question": 1' + "0" * 5000 + "}", {}, "invalid JSON: Exceeds the limit"),
    ("[" * 200_000, {}, "invalid JSON: maximum recursion depth"),
    ("\n" + json.dumps(GOOD), {}, "blank line; remove it"),
    ({"answer": "2"}, {}, "the template's {question} is no column; known: answer"),
    ({"questoin": "1"}, {}, "the template's {question} is no column; did you mean 'questoin'?"),
    ({"question": 7}, {}, "column 'question' is number, not text; correct the row"),
    ({"question": None}, {}, "column 'question' is null, not text; correct the row"),
    ({"question": " "}, {}, "column 'question' is empty; give the question or remove the row"),
    ('{"question": "\\ud800"}', {}, "column 'question' holds half a surrogate pair; correct the row"),
    (GOOD, {"fields": {"answer": "gold"}}, "no column 'gold'; known: answer, id, question"),
    ({**GOOD, "answer": None}, {"fields": {"answer": "answer"}}, "column 'answer' is null, not text or a number"),
    (
        '{"question": "1", "answer": NaN}',
        {"fields": {"answer": "answer"}},
        "column 'answer' is NaN, not text or a number; correct the row",
    ),
    (
        '{"question": "1", "answer": -Infinity}',
        {},
        "column 'answer' is infinite, not text or a number; correct the row",
    ),
    (
        {**GOOD, "answer": True},
        {},
        "column 'answer' is true or false, not text or a number; store it as text, as an answer would say it",
    ),
    ({**GOOD, "answer": ["2"]}, {}, "column 'answer' is list, not text or a number; correct the row"),
    ({**GOOD, "answer": ""}, {}, "column 'answer' is empty; give the answer or remove the row"),
    ({**GOOD, "answer": "so ####"}, {"final_mark": "####"}, "the answer is empty; give one"),
    (GOOD, {"template": "{x}{question}"}, "the template's {x} is no column; known: answer, id, question"),
    ({**GOOD, "e": ""}, {"template": "{e}"}, "the question is empty; check the row and the template"),
    ({**GOOD, "id": "first"}, {}, "id 'first' is that of FILE:1 too; make ids unique"),
    ({**GOOD, "split": "train"}, {}, "column 'split' is in some rows only; give it to all or to none"),
    ({**GOOD, "r": "<think>so"}, {"fields": {"response": "r"}}, "the response is empty; give one"),
    (
        {**GOOD, "r": "<think>a</think>b<think>"},
        {"fields": {"response": "r"}},
        "the demonstration holds a second <think>",
    ),
    (
        {**GOOD, "o": "A"},
        {"fields": {"options": "o"}},
        "options are text, not a list of 2 to 26 texts; correct the row",
    ),
    (
        {**GOOD, "m": '[{"role": "user"}]'},
        {"fields": {"messages": "m"}},
        "column 'm' is text, not a list of {role, content}",
    ),
    ({**GOOD, "m": [{"from": "human"}]}, {"fields": {"messages": "m"}}, "column 'm': a turn without a role"),
    ({**GOOD, "m": [{"role": "user"}]}, {"fields": {"messages": "m"}}, "column 'm.content' is null, not text"),
    ({**GOOD, "m": [{"role": "system", "content": "s"}]}, {"fields": {"messages": "m"}}, "column 'm': no user turn"),
]


@pytest.mark.parametrize(("row", "keys", "reason"), BAD_ROWS, ids=[reason[:48] for *_, reason in BAD_ROWS])
def test_a_bad_row_is_named_by_file_line_and_reason(row: object, keys: dict[str, object], reason: str, tmp_path: Path):
    file = tmp_path / "rows.jsonl"
    first = {**GOOD, "id": "first", "r": "ok", "o": ["a", "b"], "e": "x", "x": "x", "gold": "2"}
    first["m"] = [{"role": "user", "content": "hi"}]
    write(tmp_path, first, row)
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: ") as caught:
        load(jsonl(file, **keys))
    assert str(caught.value).startswith(f"{file}:2: {reason.replace('FILE', str(file))}")
    assert "\n" not in str(caught.value)
    assert inspect(jsonl(file, **keys)).problems == [str(caught.value)]


def test_bytes_that_are_not_utf8(tmp_path: Path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"question": "\xff"}\n')
    with pytest.raises(ValueError, match=r"rows\.jsonl:1: not utf-8 \(byte 15\); save the file as utf-8"):
        load(jsonl(file))


def attempt(config: DataConfig) -> tuple[list[Prompt], str]:
    try:
        return load(config), ""
    except ValueError as error:
        return [], str(error)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
            st.dictionaries(
                st.sampled_from(["question", "answer", "id", "split", "r", "m"]),
                st.recursive(
                    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=7), inner, max_size=3),
                    max_leaves=5,
                ),
            ).map(lambda row: json.dumps(row).encode()),
        ),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from([{}, {"response": "r"}, {"messages": "m"}, {"options": "r"}]),
)
def test_any_file_is_read_or_refused_in_one_line(tmp_path: Path, lines: list[bytes], fields: dict[str, str]):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"\n".join(lines))
    prompts, refusal = attempt(jsonl(file, fields=fields))
    assert all(prompt.id and prompt.question.strip() for prompt in prompts)
    assert prompts or refusal.startswith(f"{file}:") or refusal == f"data: {file} holds no prompts; check it"
    assert "\n" not in refusal
