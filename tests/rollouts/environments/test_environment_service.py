"""Environments in their processes: what they may be, and what becomes of those that misbehave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rl.audio import encode
from rl.config import ConfigError, build
from rl.messages import AUDIO_PATCH, Exchange
from rl.types import Clip, Message, Prompt, Reply, Rollout
from rollouts.environments.checks import check_environment
from rollouts.environments.config import EnvironmentConfig, as_config
from rollouts.environments.metrics import error_reason
from rollouts.environments.service import EnvironmentService
from rollouts.episodes import Answer

SOUND = encode(np.zeros(8000, dtype=np.float32))
GAMES = """
import os, time
from rl.types import Clip, Message, Reply

def step(prompt, rollout, word="hi"):
    deed = prompt.id
    if deed == "raise": raise RuntimeError("broken")
    if deed == "exit": os._exit(3)
    if deed == "sys.exit": raise SystemExit(0)
    if deed == "hang": time.sleep(1000)
    if deed == "loop":
        while True: pass
    if deed == "memory": return Reply((Message("user", "x" * (1 << 34)),))
    if deed == "10 MB": return Reply((Message("user", "x" * 10_000_000),))
    if deed == "int": return 7
    if deed == "dict": return {"messages": []}
    if deed == "str in messages": return Reply(("hello",))
    if deed == "bytes": return Reply((Message("user", b"hello"),))
    if deed == "system": return Reply((Message("system", "obey"),))
    if deed == "two assistants": return Reply((Message("assistant", "a"), Message("user", "b")))
    if deed == "clip without a mark": return Reply((Message("user", "listen"),), (Clip("x.wav"),))
    if deed == "no such clip": return Reply((Message("user", "<audio_patch>"),), (Clip("nowhere.wav"),))
    if deed == "no sound": return Reply((Message("user", "<audio_patch>"),), (Clip(data=b"RIFF nonsense"),))
    if deed == "nan": return Reply((Message("user", "x"),), reward=float("nan"))
    if deed == "huge": return Reply((Message("user", "x"),), reward=1e30)
    if deed == "text for a reward": return Reply((Message("user", "x"),), reward="1")
    if deed == "surrogate": return Reply((Message("user", "a\\ud800b"),), note="bad word/with:signs")
    if deed == "over": return None
    return Reply((Message("user", word),), reward=1, note="said")

class Counter:
    def __init__(self, start=0): self.count = start
    def step(self, prompt, rollout):
        self.count += 1
        if prompt.id == "unkept": self.lock = __import__("threading").Lock()
        if prompt.id == "large": self.data = os.urandom(2 << 20)
        return Reply((Message("user", str(self.count)),))

def play(prompt, rollout, rounds=2):
    for i in range(rounds):
        rollout = yield Reply((Message("user", f"round {i}: {rollout.text}"),))
    if prompt.id == "reward": return Reply(reward=2.0, last=True)
"""
ERRORS = {
    "raise": "RuntimeError: broken",
    "exit": "exit status 3",
    "sys.exit": "SystemExit",
    "loop": "used its 1 s of CPU time",
    "memory": "out of memory",
    "10 MB": "a reply of 10,000,000 characters; at most 65,536 are given",
    "int": "answered int, not a Reply",
    "dict": "answered dict, not a Reply",
    "str in messages": "a reply holds str; make it a Message",
    "bytes": "content is bytes; make it text",
    "system": "role 'system'; use user, tool, assistant",
    "two assistants": "stands alone in a reply",
    "clip without a mark": "x.wav",
    "no such clip": "nowhere.wav",
    "no sound": "no audio that can be read",
    "nan": "the reward nan",
    "huge": "the reward 1e\\+30",
    "text for a reward": "the reward '1'",
}

REASONS = {
    "raise": "RuntimeError",
    "exit": "exit",
    "sys.exit": "SystemExit",
    "loop": "deadline",
    "memory": "memory",
    "10 MB": "ReplySizeError",
    **dict.fromkeys(("int", "dict", "str in messages", "bytes"), "ReplyTypeError"),
    **dict.fromkeys(("system", "two assistants"), "ReplyMessageError"),
    **dict.fromkeys(("clip without a mark", "no such clip", "no sound"), "ReplyClipError"),
    **dict.fromkeys(("nan", "huge", "text for a reward"), "ReplyRewardError"),
}
"""Words under which the metrics count them."""


def rollout_of(
    deed: str, text: str = "hm", exchanges: tuple[Exchange, ...] = (), clips: tuple[Clip, ...] = ()
) -> Rollout:
    tokens = np.arange(4)
    prompt = Prompt(deed, (Message("user", "?"),), clips=clips)
    return Rollout(prompt, 0, tokens, tokens > 1, np.zeros(2, np.float32), "stop", 0, text, exchanges=exchanges)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("games")
    (folder / "games.py").write_text(GAMES)
    for name in ("lookup.py", "more.py"):
        (folder / name).write_text("def fetch(text): return text\ndef nameless(text, /): return text\n")
    return folder


def ask(service: EnvironmentService, *pauses: tuple[Rollout, bytes | None]) -> list[Answer]:
    for i, (rollout, state) in enumerate(pauses):
        service.submit((0, i), rollout, state)
    answers: dict[int, Answer] = {}
    while service.pending:
        answers |= {key[1]: answer for key, answer in service.take_answers(1.0)}
    return [answers[i] for i in range(len(pauses))]


@pytest.fixture(scope="module")
def game(folder: Path) -> Iterator[EnvironmentService]:
    with EnvironmentService(EnvironmentConfig(step="games.py:step", deadline_s=1.0, memory_mb=512), folder) as service:
        service.start()
        yield service


def test_what_goes_wrong_costs_its_sample_alone(game: EnvironmentService) -> None:
    deeds = [deed for failing in ERRORS for deed in (failing, "fine")]
    answers = ask(game, *((rollout_of(deed), None) for deed in deeds))
    for deed, answer in zip(deeds, answers, strict=True):
        if deed == "fine":
            assert answer.reply == Reply((Message("user", "hi"),), reward=1.0, note="said")
        else:
            assert answer.reply is None
            assert answer.error is not None
            assert answer.error.startswith("environment: ")
            assert __import__("re").search(ERRORS[deed], answer.error), answer.error
            assert error_reason(answer.error) == REASONS[deed]


def test_a_reply_that_is_over_and_odd_texts(game: EnvironmentService) -> None:
    over, odd = ask(game, (rollout_of("over"), None), (rollout_of("surrogate"), None))
    assert over == Answer()
    assert odd.reply == Reply((Message("user", "a?b"),), note="bad word_with_signs")


def test_an_object_keeps_its_state_between_turns(folder: Path) -> None:
    config = EnvironmentConfig(step="games.py:Counter", args={"start": 5}, workers=2)
    with EnvironmentService(config, folder) as service:
        first, unkept, large = ask(service, *((rollout_of(deed), None) for deed in ("a", "unkept", "large")))
        assert first.reply is not None
        assert first.reply.messages[0].content == "6"
        (second,) = ask(service, (rollout_of("a"), first.state))
        assert second.reply is not None
        assert second.reply.messages[0].content == "7"
    assert "cannot be kept for the next turn" in str(unkept.error)
    assert "at most 1,048,576 are kept" in str(large.error)


def test_a_generator_goes_on_where_it_was(folder: Path) -> None:
    with EnvironmentService(EnvironmentConfig(step="games.py:play"), folder) as service:
        exchanges: tuple[Exchange, ...] = ()
        for i, text in enumerate(("first", "second")):
            (answer,) = ask(service, (rollout_of("reward", text, exchanges), None))
            assert answer.reply == Reply((Message("user", f"round {i}: {text}"),))
            exchanges = (*exchanges, Exchange(text, answer.reply, 2 + i, 3 + i))
        (end,) = ask(service, (rollout_of("reward", "third", exchanges), None))
        assert end.reply == Reply(reward=2.0, last=True)
        changed = (Exchange("another", exchanges[0].reply, 2, 3), exchanges[1])
        (other,) = ask(service, (rollout_of("reward", "third", changed), None))
        assert "it replies otherwise than before to the same turns" in str(other.error)


def test_a_tool_that_does_not_load_is_told_at_the_start(folder: Path) -> None:
    (folder / "broken_tool.py").write_text("import nothing_at_all\ndef f(x: str) -> str:\n    return x\n")
    with (
        EnvironmentService(EnvironmentConfig(tools=["broken_tool.py:f"]), folder) as service,
        pytest.raises(ValueError, match=r"cannot be loaded: ModuleNotFoundError: No module named 'nothing_at_all'"),
    ):
        service.start()


def test_tools_by_tags_and_by_template(folder: Path) -> None:
    (folder / "odd_tool.py").write_text("def odd(x: str):\n    return object() if x == 'o' else {'x': x}\n")
    clip = Clip(data=SOUND)
    tags = EnvironmentConfig(tools=["calculator", "listen", "odd_tool.py:odd"])
    texts = (
        "<calc>2+3</calc>",
        "<seg>0.1, 0.4</seg>",
        "<seg>2, 1</seg>",
        "no call",
        "x</calc>",
        "<odd>o</odd>",
        "<odd>y</odd>",
    )
    with EnvironmentService(tags, folder) as service:
        assert service.stop == ("</calc>", "</seg>", "</odd>")
        calc, seg, reversed_, none, malformed, odd, mapping = ask(
            service, *((rollout_of("p", text, clips=(clip,)), None) for text in texts)
        )
    assert calc.reply == Reply((Message("assistant", "<result>5</result>"),), note="calculator")
    assert seg.reply is not None
    assert (seg.reply.messages, len(seg.reply.clips)) == ((Message("assistant", AUDIO_PATCH),), 1)
    assert reversed_.reply == Reply(note="reversed")
    assert none == Answer()
    assert malformed.reply is not None
    assert malformed.reply.note == "malformed"
    assert odd.error == "environment: TypeError: tool odd answered object; return text, a number, a Clip or a Reply"
    assert mapping.reply == Reply((Message("assistant", '<result>{"x": "y"}</result>'),), note="odd")
    call = '<tool_call>{"name": "calculator", "arguments": {"expression": "2+3"}}</tool_call>'
    with EnvironmentService(EnvironmentConfig(tools=["calculator"], calls="template"), folder) as service:
        assert service.stop == ()
        service.start()
        assert [tool["function"]["name"] for tool in service.tools] == ["calculator"]  # type: ignore[index]
        called, other, words = ask(
            service, *((rollout_of("p", t), None) for t in (call, call.replace("calculator", "abacus"), "It is 5."))
        )
    assert called.reply == Reply((Message("tool", "5"),), note="calculator")
    assert other.reply is not None
    assert other.reply.note == "unknown_tool"
    assert words == Answer()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "name `step: file.py:step`, `tools: \\[calculator\\]` or `harness: file.py:play`, one of the three"),
        ({"step": "games.py:step", "tools": ["calculator"]}, "one of the three"),
        (
            {"step": "calculator"},
            "environment.step: 'calculator' is no function; write file.py:step, or tools: \\[calculator\\]",
        ),
        ({"step": "games.py:steep"}, "defines no 'steep'; did you mean 'step'"),
        ({"step": "gone.py:step"}, "no file gone.py"),
        ({"step": "games.py:step", "args": {"wurd": 1}}, "environment.args: unknown key 'wurd'; did you mean 'word'"),
        ({"tools": ["calculater"]}, "environment.tools\\[0\\]: unknown tool 'calculater'; did you mean 'calculator'"),
        ({"tools": ["calculator", "calculator"]}, "name each once"),
        ({"tools": ["calculator", {"tool": "python", "tag": "calc"}]}, "'calc' calls an earlier tool"),
        ({"tools": [{"tool": "calculator", "tag": "<calc>"}]}, "'<calc>' is no name"),
        ({"tools": ["calculator"], "stop": ["x"]}, "only a `step` of yours takes it"),
        ({"tools": ["calculator"], "max_turns": 0}, "environment.max_turns: 0 is too small"),
        ({"tools": ["calculator"], "max_turns": 1}, "environment.max_turns: a call in the last turn is not answered"),
        ({"tools": ["calculator"], "max_tuns": 2}, "unknown key 'max_tuns'; did you mean 'max_turns'"),
        ({"tools": [{"tol": "calculator"}]}, "unknown key 'tol'"),
        (
            {"tools": [{"tool": "listen", "args": {"elsewere": True}}]},
            "tools\\[0\\].args: unknown key 'elsewere'; did you mean 'elsewhere'",
        ),
        ({"tools": [{"tool": "listen", "args": {"elsewhere": 3}}]}, "args.elsewhere: expected true or false; got 3"),
        ({"tools": [{"tool": "listen", "args": {"start": 1.0}}]}, "args: unknown key 'start'"),
        ({"tools": ["search"]}, "tools\\[0\\].args: missing key 'file' of search"),
        (
            {"tools": ["lookup.py:fetch", {"tool": "more.py:fetch", "tag": "more"}], "calls": "template"},
            "^environment.tools\\[1\\]: 'fetch' calls an earlier tool; rename the function$",
        ),
        ({"tools": ["lookup.py:nameless"]}, "tools\\[0\\]: nameless: its arguments are given by name; remove the `/`"),
    ],
)
def test_what_cannot_be_an_environment_is_said_before_anything_starts(
    folder: Path, values: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_environment(build(EnvironmentConfig, values, "environment"), "environment", folder)


def test_the_short_forms() -> None:
    assert as_config("calculator", "environment") == EnvironmentConfig(tools=["calculator"])
    assert as_config("my.py:step", "environment") == EnvironmentConfig(step="my.py:step")
    assert as_config("none", "environment") is as_config(None, "environment") is None
