"""A harness in its killable processes: what it returns, and what becomes of one that fails, with a policy of letters."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from harness_client import LetterChat, dealing

from rl.config import ConfigError
from rl.types import Message, Prompt, Rollout, Verdict
from rollouts.environments.checks import check_environment
from rollouts.environments.config import EnvironmentConfig, as_config
from rollouts.environments.metrics import error_reason
from rollouts.harness.service import HarnessService
from rollouts.harness.work import as_verdict
from rollouts.requests import Request

HARNESS = """
import asyncio, json, os, signal, sys, time, urllib.request
from rl.types import Verdict

def ask(base_url, api_key, *texts):
    messages = [{"role": "user", "content": text} for text in texts]
    body = json.dumps({"messages": messages}).encode()
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{base_url}/chat/completions", body, headers)) as response:
        return json.load(response)["choices"][0]["message"]["content"]

plays = 0

def play(prompt, base_url, api_key, *, bonus=0.0):
    global plays
    kind, plays = prompt.id, plays + 1
    if kind == "silent":
        return 1.0
    answer = ask(base_url, api_key, prompt.question)
    if kind == "nothing":
        return None
    if kind == "raises":
        raise KeyError("a bug of the harness")
    if kind == "hangs":
        time.sleep(1000)
    if kind == "loops":
        while True:
            pass
    if kind == "exits":
        sys.exit(3)
    if kind == "dies":
        os._exit(3)
    if kind == "memory":
        return len(bytearray(1 << 31))
    if kind == "late memory" and plays > 1:
        return len(bytearray(1 << 31))
    if kind == "kills all":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(1000)
    if kind == "text":
        return "very good"
    if kind == "nan":
        return float("nan")
    if kind == "often":
        for i in range(1000):
            ask(base_url, api_key, str(i))
    if kind == "verdict":
        return Verdict(score=2.0, parts={"accuracy": 1.0, "style": 0.5}, reason="well done")
    if kind == "fails":
        return Verdict(error="its judge was away")
    return float(answer == prompt.answer) + bonus

async def agent(prompt, base_url, api_key):
    answers = await asyncio.gather(*(asyncio.to_thread(ask, base_url, api_key, text) for text in ("one", "three")))
    return float(len(answers))

def wrong(prompt, key):
    pass

NUMBER = 3
"""


def prompt(id: str) -> Prompt:
    return Prompt(id, (Message("user", "hello"),), answer="n10")


def played(folder: Path, ids: list[str], **settings: object) -> dict[str, Rollout]:
    (folder / "harness.py").write_text(HARNESS)
    values: dict[str, object] = {"harness": "harness.py:play", "memory_mb": 1024, "max_turns": 4, "workers": 3}
    config = EnvironmentConfig(**{**values, **settings})  # type: ignore[arg-type]
    config.validate("environment")
    with HarnessService(config, folder) as service:
        service.start()
        sessions = service.open(LetterChat())
        with dealing(sessions) as finished:
            for i, id in enumerate(ids):
                sessions.begin(prompt(id), Request((i, 0), (), 0, 100, 1.0), 7, 400)
            due = time.monotonic() + 300
            while len(finished) < len(ids) and time.monotonic() < due:
                time.sleep(0.02)
    return {rollout.prompt.id: rollout for rollout in finished}


KINDS = ["good", "nothing", "verdict", "raises", "exits", "dies", "memory", "text", "nan", "often", "silent", "fails"]


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Rollout]:
    return played(tmp_path_factory.mktemp("harness"), KINDS)


def test_what_a_harness_returns_is_the_verdict(sessions: dict[str, Rollout]) -> None:
    assert sessions["good"].verdict == Verdict(score=1.0, parts={"accuracy": 1.0})
    assert sessions["nothing"].verdict is None
    assert sessions["nothing"].error is None
    parts = {"accuracy": 1.0, "style": 0.5}
    assert sessions["verdict"].verdict == Verdict(score=2.0, parts=parts, reason="well done")
    assert sessions["good"].text == "n10"


@pytest.mark.parametrize(
    ("kind", "error", "reason"),
    [
        ("raises", "harness: KeyError: 'a bug of the harness'", "KeyError"),
        ("exits", "harness: SystemExit: 3", "SystemExit"),
        ("dies", "harness: the verifier ended its process (exit status 3)", "exit"),
        ("memory", "harness: out of memory (memory_mb: 1024)", "memory"),
        ("text", "harness: ValueError: answered str, not a number, a Verdict of rl.types or None", "ValueError"),
        ("nan", "harness: score nan is not a finite number", "verdict"),
        ("often", "harness: HTTPError: HTTP Error 400: Bad Request", "HTTPError"),
        ("silent", "harness: it has asked for nothing", "nothing_asked"),
        ("fails", "harness: its judge was away", "verdict"),
    ],
)
def test_a_harness_that_fails_is_an_error_and_no_score(
    sessions: dict[str, Rollout], kind: str, error: str, reason: str
) -> None:
    assert (sessions[kind].error, sessions[kind].verdict) == (error, None)
    assert error_reason(error) == reason


def test_a_hang_costs_its_sample_alone_and_an_endless_loop_its_cpu_time(tmp_path: Path) -> None:
    rollouts = played(tmp_path, ["hangs", "loops", "good", "nothing"], deadline_s=0.2, workers=2)
    assert rollouts["hangs"].error == "harness: gave no answer within 12 s"
    assert rollouts["loops"].error == "harness: used its 0.2 s of CPU time"
    assert rollouts["good"].error is None
    assert rollouts["nothing"].error is None
    assert len(rollouts["hangs"].logprobs) == 4, "what was written before is there to be read"


def test_a_session_is_played_once_whatever_becomes_of_its_process(tmp_path: Path) -> None:
    """What was asked before lies in the session: a second play would be learned from beside the first."""
    rollouts = played(tmp_path, ["good", "late memory", "kills all", "nothing"], workers=1)
    assert rollouts["late memory"].error == "harness: out of memory (memory_mb: 1024)"
    assert (rollouts["kills all"].error or "").startswith("harness: the verifier's process was lost")
    assert [len(rollout.siblings) for rollout in rollouts.values()] == [0, 0, 0, 0]
    assert [rollouts[id].error for id in ("good", "nothing")] == [None, None]


def test_an_async_harness_asks_side_by_side(tmp_path: Path) -> None:
    rollout = played(tmp_path, ["both"], harness="harness.py:agent")["both"]
    assert rollout.verdict == Verdict(score=2.0, parts={"accuracy": 2.0})
    assert [*map(len, (rollout.siblings, rollout.exchanges))] == [1, 1]


def test_arguments_of_the_recipe_reach_the_harness(tmp_path: Path) -> None:
    rollout = played(tmp_path, ["good"], args={"bonus": 0.5})["good"]
    assert rollout.verdict is not None
    assert rollout.verdict.score == 1.5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "harness.py").write_text(HARNESS)
    return tmp_path


def check(config: EnvironmentConfig, folder: Path) -> None:
    config.validate("environment")
    check_environment(config, "environment", folder)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"harness": "harness.py:plai"}, "plai"),
        ({"harness": "nowhere.py:play"}, "nowhere"),
        ({"harness": "harness.py:play", "args": {"bonsu": 1}}, "bonsu"),
        ({"harness": "harness.py:wrong"}, "wrong"),
        ({"harness": "play"}, "file.py:play"),
        ({"harness": "harness.py:play", "step": "harness.py:play"}, "one of the three"),
        ({"harness": "harness.py:play", "tools": ["calculator"]}, "one of the three"),
        ({"harness": "harness.py:play", "stop": ["x"]}, "stop"),
        ({"harness": "harness.py:play", "calls": "template"}, "calls"),
        ({"harness": "harness.py:play", "workers": 0}, "workers"),
    ],
)
def test_a_wrong_harness_is_refused_before_anything_starts(
    folder: Path, settings: dict[str, object], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        check(EnvironmentConfig(**settings), folder)  # type: ignore[arg-type]


def test_a_harness_that_is_no_function_does_not_start(folder: Path) -> None:
    with (
        HarnessService(EnvironmentConfig(harness="harness.py:NUMBER"), folder) as service,
        pytest.raises(ValueError, match="has no function NUMBER"),
    ):
        service.start()


def test_environments_of_other_kinds_have_one_process() -> None:
    config = as_config("calculator", "environment")
    assert config is not None
    assert (config.process_count, EnvironmentConfig(harness="a.py:play").process_count) == (1, 8)


@pytest.mark.parametrize("result", ["1", [1.0], {"score": 1.0}, object()])
def test_other_results_are_no_verdict(result: object) -> None:
    with pytest.raises(ValueError, match="not a number, a Verdict"):
        as_verdict(result)
