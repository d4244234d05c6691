"""Conversations as chat APIs write them: read whole, or refused by row, turn and key."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from row_files import jsonl, write

from rl.data.inspection import inspect
from rl.data.pairs import pairs_of
from rl.data.sources import DataConfig, load
from rl.types import Demonstration, Message, Prompt

USER = {"role": "user", "content": "Q"}
MESSAGES = {"messages": "messages"}


def read(folder: Path, *turns: Any, **row: Any) -> Any:
    [prompt] = load(jsonl(write(folder, {"messages": [*turns], **row}), fields=MESSAGES))
    return prompt


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_a_chain_beside_the_content_is_the_chain(key: str, tmp_path: Path) -> None:
    for chain in ("because", " because\n", "<think>\nbecause\n</think>", "<think>because"):
        assert read(tmp_path, USER, {"role": "assistant", key: chain, "content": "d"}).demonstration == Demonstration(
            "because", "d"
        )
        assert read(tmp_path, USER, {"role": "assistant", "content": "d"}, **{key: chain}).demonstration == (
            Demonstration("because", "d")
        )
        file = write(tmp_path, {"question": "Q", "out": "d", key: chain})
        [prompt] = load(jsonl(file, fields={"response": "out"}))
        assert prompt.demonstration == Demonstration("because", "d")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[THINK]", "[/THINK]"),
        (" \n[THINK]\n", "\n[/THINK]\n\n"),
        ("<|START_THINKING|>", "<|END_THINKING|>"),
        ("<seed:think>", "</seed:think>"),
        ("◁think▷", "◁/think▷"),
        ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ],
)
def test_a_chain_in_the_tags_of_another_model_is_a_chain(before: str, after: str, tmp_path: Path) -> None:
    right = Demonstration("because", "d")
    turn = {"role": "assistant", "content": f"{before}because{after}d"}
    assert read(tmp_path, USER, turn).demonstration == right
    [prompt] = load(jsonl(write(tmp_path, {"question": "Q", "out": turn["content"]}), fields={"response": "out"}))
    assert prompt.demonstration == right
    assert (
        read(tmp_path, USER, {"role": "assistant", "content": "d", "thinking": f"{before}because{after}"}).demonstration
        == right
    )
    row = {"question": "Q", "a": turn["content"], "b": "no"}
    [prompt] = load(jsonl(write(tmp_path, row), fields={"chosen": "a", "rejected": "b"}))
    assert pairs_of([prompt], "data.d")[0].chosen == right


@pytest.mark.parametrize(
    "text", ["see [THINK]x[/THINK]d", "[THINK]x", "x[/THINK]d", "<reasoning>x</reasoning>d", "[think]x[/think]d"]
)
def test_other_words_are_text(text: str, tmp_path: Path) -> None:
    assert read(tmp_path, USER, {"role": "assistant", "content": text}).demonstration == Demonstration("", text)


def test_a_chain_of_an_earlier_turn_stands_before_its_answer(tmp_path: Path) -> None:
    earlier = {"role": "assistant", "reasoning_content": "r", "content": "a"}
    prompt = read(tmp_path, USER, earlier, {"role": "user", "content": "Q2"})
    assert prompt.messages == (
        Message("user", "Q"),
        Message("assistant", "<think>\nr\n</think>\na"),
        Message("user", "Q2"),
    )
    assert prompt.demonstration is None


def test_what_says_nothing_is_no_chain(tmp_path: Path) -> None:
    for empty in (None, "", " \n", [], "<think>\n\n</think>"):
        if empty != []:
            prompt = read(tmp_path, USER, {"role": "assistant", "content": "d"}, reasoning=empty)
            assert prompt.demonstration == Demonstration("", "d")
        turn = {"role": "assistant", "content": "d", "thinking": empty, "tool_calls": None, "name": "", "prefix": False}
        assert read(tmp_path, USER, turn).demonstration == Demonstration("", "d")


def test_the_same_chain_twice_is_one(tmp_path: Path) -> None:
    turn = {"role": "assistant", "content": "d", "reasoning": "r", "reasoning_content": "r "}
    assert read(tmp_path, USER, turn, thinking="r").demonstration == Demonstration("r", "d")
    tagged = {"role": "assistant", "content": "<think>\nr\n</think>\nd"}
    assert read(tmp_path, USER, tagged, reasoning="r").demonstration == Demonstration("r", "d")


def test_a_column_that_is_mapped_otherwise_is_no_chain(tmp_path: Path) -> None:
    row = {"question": "Q", "out": "<think>r</think>d", "reasoning": "off", "thinking": True}
    file = write(tmp_path, row)
    with pytest.raises(
        ValueError, match=r"column 'reasoning' is text 'off', which is no chain; .* fields: {flag: reas"
    ):
        load(jsonl(file, fields={"response": "out"}))
    with pytest.raises(ValueError, match=r"column 'thinking' is true or false True, which is no chain"):
        load(jsonl(file, fields={"response": "out", "flag": "reasoning"}))
    [prompt] = load(jsonl(file, fields={"response": "out", "flag": "reasoning", "mode": "thinking"}))
    assert prompt.demonstration == Demonstration("r", "d")
    assert prompt.fields == {"flag": "off", "mode": True}


def test_texts_of_parts_are_joined(tmp_path: Path) -> None:
    parts = [
        {"type": "text", "text": "one", "image": None},
        {"type": "input_text", "text": "two"},
        "three",
        {"text": "4"},
    ]
    answer = [{"type": "thinking", "thinking": "r"}, {"type": "text", "text": "d"}]
    prompt = read(tmp_path, {"role": "user", "content": parts}, {"role": "assistant", "content": answer})
    assert prompt.question == "one\ntwo\nthree\n4"
    assert prompt.demonstration == Demonstration("r", "d")


def test_audio_parts_are_clips(tmp_path: Path) -> None:
    import numpy as np
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(8000) / 10), 16000)
    sound = (tmp_path / "a.wav").read_bytes()
    encoded = base64.b64encode(sound).decode()
    content = [
        {"type": "text", "text": "A:"},
        {"type": "audio", "audio": "a.wav"},
        {"type": "text", "text": "B:"},
        {"type": "input_audio", "input_audio": {"data": encoded, "format": "wav"}},
        {"type": "audio_url", "audio_url": {"url": f"data:audio/wav;base64,{encoded}"}},
        {"type": "audio", "audio_url": "a.wav"},
    ]
    prompt = read(tmp_path, {"role": "user", "content": content})
    assert prompt.question == "A:<audio_patch>B:<audio_patch><audio_patch><audio_patch>"
    assert [clip.data for clip in prompt.clips] == [None, sound, sound, None]
    assert prompt.clips[0].path == prompt.clips[3].path == str(tmp_path / "a.wav")
    file = write(tmp_path, {"messages": [{"role": "user", "content": content}], "clip": "a.wav"})
    with pytest.raises(ValueError, match="sound in column 'clip' and in the conversation; drop one"):
        load(jsonl(file, fields={**MESSAGES, "audio": "clip"}))


def test_developer_is_another_name_of_system(tmp_path: Path) -> None:
    prompt = read(tmp_path, {"role": "developer", "content": "Be brief."}, USER)
    assert prompt.messages[0] == Message("system", "Be brief.")


CALL = [{"function": {"name": "f", "arguments": "{}"}}]
REFUSED = [
    ({"tool_calls": CALL}, "turn 2: key 'tool_calls' would be lost"),
    ({"function_call": CALL[0]}, "turn 2: key 'function_call' would be lost"),
    ({"name": "Ann"}, "turn 2: key 'name' would be lost; write what it says into the content, or remove it"),
    ({"audio": {"id": "x"}}, "turn 2: key 'audio' would be lost"),
    ({"refusal": "I cannot"}, "turn 2: key 'refusal' would be lost"),
    ({"reasoning_details": [{"x": 1}]}, "turn 2: key 'reasoning_details' would be lost"),
    ({"Content": "d"}, "turn 2: key 'Content' would be lost"),
    ({"role": "tool"}, "turn 2: a prompt has no role 'tool', only system (or developer), user and assistant"),
    ({"role": "function"}, "turn 2: a prompt has no role 'function'"),
    ({"role": "Assistant"}, "turn 2: a prompt has no role 'Assistant'"),
    ({"role": "model"}, "turn 2: a prompt has no role 'model'"),
    ({"thinking": "a", "reasoning": "b"}, "turn 2: 2 chains of thought that differ; remove all but one"),
    ({"thinking": "a", "content": "<think>b</think>c"}, "turn 2: a chain of thought beside the content, and <think> in"),
    ({"thinking": 7}, "column 'messages.thinking' is number, not text"),
    ({"thinking": True}, "column 'messages.thinking' is true or false, not text"),
    ({"role": "user", "thinking": "a"}, "turn 2: a chain of thought in a turn of the user; only the assistant's can"),
    ({"content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "a part of type 'image_url' ('image_url') is no text"),
    ({"content": [{"type": "image"}]}, "turn 2: a part of type 'image' () is no text and no sound; remove it or the row"),
    ({"content": [{"type": "tool_use", "id": "1", "input": {"a": 1}}]}, "turn 2: a part of type 'tool_use' ('id', 'input')"),
    ({"content": [{"type": "text", "text": "a", "citations": ["x"]}]}, "turn 2: a part of type 'text' ('text', 'citations')"),
    ({"content": [{"type": "thinking", "thinking": "a", "text": "b"}]}, "turn 2: a part of type 'thinking' ('thinking', 'text')"),
    ({"content": [7]}, "turn 2: a part of the content is number, not a text or a mapping"),
    ({"content": {"text": "a"}}, "column 'messages.content' is mapping, not text"),
]  # fmt: skip


@pytest.mark.parametrize(("turn", "says"), REFUSED, ids=[says[:60] for _, says in REFUSED])
def test_what_cannot_be_read_is_refused(turn: dict[str, Any], says: str, tmp_path: Path) -> None:
    file = write(tmp_path, {"messages": [USER]}, {"messages": [USER, {"role": "assistant", "content": "d", **turn}]})
    config = jsonl(file, fields=MESSAGES)
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: ") as caught:
        load(config)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert inspect(config).problems == [str(caught.value)]


def test_keys_that_arrow_adds_to_every_turn_are_no_content(tmp_path: Path) -> None:
    import datasets

    turns = [
        [USER, {"role": "assistant", "content": "d", "reasoning_content": "r"}],
        [{"role": "user", "content": "Q2", "name": None}, {"role": "assistant", "content": "e"}],
    ]
    data = datasets.Dataset.from_list([{"messages": turn} for turn in turns])
    data.to_parquet(tmp_path / "rows.parquet")
    data.save_to_disk(tmp_path / "saved")
    for source, name in (("parquet", "rows.parquet"), ("huggingface", "saved")):
        prompts = load(DataConfig(source, str(tmp_path / name), MESSAGES))
        assert [p.demonstration for p in prompts] == [Demonstration("r", "d"), Demonstration("", "e")]


def test_a_chain_column_is_read_from_parquet_and_hugging_face(tmp_path: Path) -> None:
    import datasets

    data = datasets.Dataset.from_list([{"question": "Q", "out": "d", "reasoning_content": "r"}])
    data.to_parquet(tmp_path / "rows.parquet")
    data.save_to_disk(tmp_path / "saved")
    for source, name in (("parquet", "rows.parquet"), ("huggingface", "saved")):
        [prompt] = load(DataConfig(source, str(tmp_path / name), {"response": "out"}))
        assert prompt.demonstration == Demonstration("r", "d")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "text", "audio", "x"]), inner),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(["role", "content", "thinking", "reasoning", "name", "tool_calls", "x"]), JSON))
def test_nothing_of_a_turn_is_lost(tmp_path: Path, turn: dict[str, Any]) -> None:
    """Every text of a turn that is read is in the prompt or its demonstration."""
    turn = {"role": "assistant", "content": "d", **turn}
    file = write(tmp_path, {"messages": [USER, turn]})
    prompts, refusal = attempt(jsonl(file, fields=MESSAGES))
    assert prompts or refusal.startswith(f"{file}:1: ")
    for value in turn.values():
        if (
            prompts and isinstance(value, str) and any(map(str.isprintable, value))
        ):  # control characters alone say nothing
            assert value.strip().replace("<think>", "") in all_texts(prompts[0])


def attempt(config: DataConfig) -> tuple[list[Prompt], str]:
    try:
        return load(config), ""
    except ValueError as error:
        return [], str(error)


def all_texts(prompt: Prompt) -> str:
    """Roles and texts of a prompt and its demonstration."""
    closing = prompt.demonstration or Demonstration("", "")
    turns = [f"{message.role} {message.content}" for message in prompt.messages]
    return " ".join([*turns, closing.reasoning, closing.response, "assistant developer"])
