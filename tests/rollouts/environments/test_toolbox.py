"""Replies of tools to what a policy writes: whatever that is, it is no error of the sample."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from rl.audio import SAMPLE_RATE, encode
from rl.messages import AUDIO_PATCH
from rl.types import Clip, Prompt, Reply, Rollout
from rollouts.environments.config import EnvironmentConfig
from rollouts.environments.contract import Pause, read_answer, to_wire
from rollouts.environments.toolbox import Toolbox, toolbox_args

TOOLS: list[str] = ["calculator", "search_of_ours.py:fetch", "listen"]
OWN = """
def fetch(text: str, number: int = 1) -> str:
    if text == "bytes": return b"\\xff".decode()
    if text == "echo": return text
    raise ValueError(f"no {text}")
"""


@cache
def long_sound() -> Clip:
    """Noise, which no encoder makes shorter."""
    noise = np.random.default_rng(0).uniform(-1, 1, 150 * SAMPLE_RATE).astype(np.float32)
    return Clip(data=encode(noise, bits=24))


def reply_to(text: str, folder: Path, calls: str = "tags", clips: tuple[Clip, ...] = ()) -> Reply | None:
    """Return the reply as it comes out of a process."""
    (folder / "search_of_ours.py").write_text(OWN)
    config = EnvironmentConfig(tools=[*TOOLS], calls=calls)  # type: ignore[arg-type]
    toolbox = Toolbox.load(toolbox_args(config), folder)
    tokens = np.arange(4)
    rollout = Rollout(Prompt("p", (), clips=clips), 0, tokens, tokens > 1, np.zeros(2, np.float32), "stop", 0, text)
    answer = read_answer(to_wire(*toolbox.reply(Pause(rollout, None), {})))
    assert answer is not None
    return answer.reply


HOSTILE = {
    "a mark in an expression": ("calculator", {"expression": f"2+{AUDIO_PATCH}"}),
    "a mark within a mark": ("calculator", {"expression": "2+<audio_<audio_patch>patch>"}),
    "overlapping marks": ("fetch", {"text": "<audio_patch<audio_patch>>"}),
    "a mark alone": ("fetch", {"text": AUDIO_PATCH}),
    "many marks": ("fetch", {"text": AUDIO_PATCH * 9000}),
    "a long text": ("fetch", {"text": "x" * 100_000}),
    "a lone surrogate": ("fetch", {"text": "\ud800"}),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("calls", ["tags", "template"])
def test_a_bad_call_is_told_and_no_error(case: str, calls: str, tmp_path: Path) -> None:
    name, arguments = HOSTILE[case]
    tag = {"calculator": "calc", "fetch": "fetch"}[name]
    text = f"<{tag}>{next(iter(arguments.values()))}</{tag}>"
    if calls == "template":
        text = f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"
    reply = reply_to(text, tmp_path, calls)
    assert reply is not None
    assert reply.note == "error"
    (message,) = reply.messages
    assert message.content.removeprefix("<result>").startswith("error: ")
    assert AUDIO_PATCH not in message.content
    assert len(message.content) < 1100


@pytest.mark.parametrize(
    "call",
    [
        {"name": f"a{AUDIO_PATCH}", "arguments": {}},
        {"name": "calculator", "arguments": {f"<audio_{AUDIO_PATCH}patch>": 1}},
        {"name": "calculator", "arguments": {"x" * 100_000: 1}},
    ],
)
def test_a_bad_call_beside_a_sound_is_no_second_place_for_one(call: dict[str, object], tmp_path: Path) -> None:
    calls = [{"name": "listen", "arguments": {"start": 0, "end": 1}}, call]
    text = "".join(f"<tool_call>{json.dumps(c)}</tool_call>" for c in calls)
    reply = reply_to(text, tmp_path, "template", (long_sound(),))
    assert reply is not None
    assert [AUDIO_PATCH in message.content for message in reply.messages] == [True, False]


def test_a_reason_is_one_word(tmp_path: Path) -> None:
    reply = reply_to("<fetch>bytes</fetch>", tmp_path)
    assert reply is not None
    assert reply.note == "error"


def test_a_stretch_that_is_too_long_has_a_reason(tmp_path: Path) -> None:
    assert reply_to("<seg>0, 150</seg>", tmp_path, clips=(long_sound(),)) == Reply(note="too_long")
    call = '<tool_call>{"name": "listen", "arguments": {"start": 0, "end": 60}}</tool_call>'
    reply = reply_to(call * 3, tmp_path, "template", (long_sound(),))
    assert reply is not None
    assert (reply.note, len(reply.clips)) == ("listen listen too_long", 2)
    assert reply.messages[-1].content == "error: too long to be heard in one turn"


CALL = '<tool_call>{"name": "calculator", "arguments": {"expression": "2+3"}}</tool_call>'


@pytest.mark.parametrize(
    ("text", "is_called"),
    [
        (CALL, True),
        (f"<think>\nhm\n</think>\n{CALL}", True),
        (f"hm</think>{CALL}", True),
        (f"{CALL}<think>hm", True),
        (f"<think>\n{CALL}\n</think>\n", False),
        (f"<think>\n{CALL}\n</think>\nIt is 5.", False),
        (f"<think>\n{CALL}", False),
        (f"  <think>{CALL}", False),
        (f"Let me see. <think>{CALL}", False),
        (f"<think>a</think><think>{CALL}", False),
        (f"{CALL}</think>", False),
        ("", False),
    ],
)
def test_what_is_drafted_in_a_chain_is_no_call(text: str, is_called: bool, tmp_path: Path) -> None:
    assert (reply_to(text, tmp_path, "template") is not None) == is_called
