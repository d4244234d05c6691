"""What a harness asks over HTTP becomes rollouts whose tokens are those that were written, with a policy of letters."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
import urllib.error
import urllib.request
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from harness_client import AUDIO, END, TOKEN, LetterChat, ask, call, dealing, user, write

from rl.audio import encode
from rl.types import AUDIO_PATCH, Clip, Message, Prompt, Rollout, Verdict
from rollouts.environments.metrics import error_reason, exchange_metrics
from rollouts.harness.answers import read_answer
from rollouts.harness.asks import Ask, read_ask
from rollouts.harness.prompts import to_messages
from rollouts.harness.server import Endpoint
from rollouts.harness.sessions import NOTHING_ASKED, Sessions
from rollouts.harness.settings import AskError
from rollouts.requests import Completion, Request

LIMIT = 400
PROMPT = Prompt("p0", (Message("user", "what?"),), answer="n8")


class Table:
    """An endpoint with sessions and what is finished."""

    def __init__(self, max_questions: int = 8) -> None:
        self.sessions = Sessions(LetterChat(), max_questions=max_questions)
        self.endpoint = Endpoint(self.sessions, TOKEN)

    def open(self, id: str, sample: int = 0, prompt: Prompt = PROMPT) -> None:
        self.sessions.start(id, (0, sample), prompt, 7, LIMIT, 1.0)

    def ask(self, id: str, *messages: Any, **settings: Any) -> tuple[int, dict[str, Any]]:
        return ask(self.endpoint, id, list(messages), **settings)

    def say(self, id: str, *messages: Any, **settings: Any) -> dict[str, Any]:
        status, body = self.ask(id, *messages, **settings)
        assert status == 200, body
        return body["choices"][0]["message"]

    def finish(self, id: str, verdict: Verdict | None = None, error: str | None = None) -> Rollout:
        rollout = self.sessions.end(id, verdict, error).result(10)
        assert rollout is not None
        return rollout


@pytest.fixture
def table() -> Iterator[Table]:
    desk = Table()
    desk.open("s")
    with dealing(desk.sessions):
        yield desk
    desk.sessions.close("over")
    desk.endpoint.close()


def letters(rollout: Rollout) -> str:
    return LetterChat().written(rollout.tokens.tolist())


def actions(rollout: Rollout) -> str:
    return LetterChat().written(rollout.tokens[rollout.action_mask].tolist())


def test_a_conversation_is_one_rollout_whose_ids_are_kept(table: Table) -> None:
    first = user("hello")
    answer = table.say("s", first)
    assert answer == {"role": "assistant", "content": "n10"}
    second = table.say("s", first, answer, {"role": "user", "content": "on"})
    assert second["content"] == "n21"
    rollout = table.finish("s")
    assert letters(rollout) == "u:hello|a:n10u:on|a:n21"
    assert actions(rollout) == "n10n21"
    assert len(rollout.logprobs) == rollout.action_mask.sum() == 8  # with both ends
    assert rollout.prompt.messages == (Message("user", "hello"),)
    assert (rollout.prompt.id, rollout.prompt.answer, rollout.text, rollout.version) == ("p0", "n8", "n21", 3)
    (exchange,) = rollout.exchanges
    assert (exchange.text, exchange.reply.messages) == ("n10", (Message("user", "on"),))
    assert LetterChat().written(rollout.tokens[exchange.start : exchange.end].tolist()) == "u:on|a:"
    assert rollout.siblings == ()
    assert rollout.error is None


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([user("other")], "conversation"),
        ([user("hello"), {"role": "assistant", "content": "mine"}, user("on")], "answer_changed"),
        ([user("hello")], "again"),
        (
            [{"role": "system", "content": "x"}, user("hello"), {"role": "assistant", "content": "n10"}, user("on")],
            "conversation",
        ),
        ([user("hello"), {"role": "assistant", "content": "n10"}, {"role": "system", "content": "x"}], "template"),
        (
            [user("hello"), {"role": "assistant", "content": "n10"}, {"role": "assistant", "content": "x"}, user("on")],
            "template",
        ),
    ],
)
def test_what_goes_on_with_nothing_begins_a_rollout_and_is_counted(
    table: Table, messages: list[Any], reason: str
) -> None:
    table.say("s", user("hello"))
    table.say("s", *messages)
    rollout = table.finish("s", Verdict(score=0.5))
    (other,) = rollout.siblings
    assert actions(other) == "n10"
    assert actions(rollout).startswith("n")
    assert [e.reply.note for e in rollout.exchanges if e.reply.last] == [f"began_{reason}"]
    assert exchange_metrics([rollout])[f"environment/note/began_{reason}"] == 1.0


def test_other_tools_begin_a_rollout(table: Table) -> None:
    tools: list[object] = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    answer = table.say("s", user("hello"))
    table.say("s", user("hello"), answer, user("on"), tools=tools)
    rollout = table.finish("s")
    assert len(rollout.siblings) == 1
    assert rollout.exchanges[-1].reply.note == "began_tools"
    assert letters(rollout).startswith('[{"type": "function"')


def test_two_ways_on_share_their_beginning_which_is_learned_from_once(table: Table) -> None:
    answer = table.say("s", user("hello"))
    table.say("s", user("hello"), answer, user("left"))
    table.say("s", user("hello"), answer, user("right"))
    rollout = table.finish("s")
    (other,) = rollout.siblings
    assert letters(rollout) == "u:hello|a:n10u:right|a:n24"
    assert actions(rollout) == "n10n24"
    assert letters(other) == "u:hello|a:n10u:left|a:n23"
    assert actions(other) == "n23"
    assert len(other.logprobs) == other.action_mask.sum()
    assert rollout.exchanges[-1].reply.note == "began_branch"


def test_an_answer_that_a_client_has_stripped_is_still_the_policys(table: Table) -> None:
    table.say("s", user("hello"))
    table.say("s", user("hello"), {"role": "assistant", "content": " n10\n", "refusal": None}, user("on"))
    assert table.finish("s").siblings == ()


def test_a_cut_answer_is_closed_by_the_template_and_stop_texts_end_one(table: Table) -> None:
    status, body = table.ask("s", user("hello"), max_tokens=2, logprobs=True)
    choice = body["choices"][0]
    assert (status, choice["message"]["content"], choice["finish_reason"]) == (200, "n1", "length")
    assert [(t["token"], t["logprob"], t["bytes"]) for t in choice["logprobs"]["content"]] == [
        ("n", -0.5, [110]),
        ("1", -0.5, [49]),
    ]
    assert body["usage"] == {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    table.say("s", user("hello"), choice["message"], user("on"))
    assert letters(table.finish("s")) == "u:hello|a:n1|u:on|a:n20"


def seeds_of(order: str, **settings: Any) -> dict[tuple[str, str, int], int]:
    """Return the seed of each question, by (session, text, how often it was asked before), asked session by session."""
    desk, seeds = Table(), dict[tuple[str, str, int], int]()
    newest: list[Request] = []

    def take(request: Request) -> Completion:
        newest.append(request)
        return write(request)

    for sample, id in enumerate("ab"):
        desk.open(id, sample)
    with dealing(desk.sessions, take):
        for id in order:
            for text in ("one", "two", "two"):
                desk.say(id, user(text), **settings)
                seeds[id, text, sum(key[:2] == (id, text) for key in seeds)] = newest[-1].seed
    desk.sessions.close("over")
    desk.endpoint.close()
    return seeds


def test_seeds_depend_on_what_is_asked_and_not_on_who_asks_first() -> None:
    seeds = seeds_of("ab")
    assert seeds == seeds_of("ba")
    assert len({*seeds.values()}) == 6, "each question of each session is a sample of its own"


def test_a_seed_of_the_clients_repeats_its_answer_within_the_session() -> None:
    seeds = seeds_of("ab", seed=5)
    assert seeds["a", "two", 0] == seeds["a", "two", 1]
    assert len({*seeds.values()}) == 4, "another session's sample is another one all the same"


AUDIO_PART = {
    "type": "input_audio",
    "input_audio": {"data": base64.b64encode(encode(np.zeros(1600, dtype=np.float32))).decode(), "format": "wav"},
}


def test_sound_stands_where_its_part_stands_and_later_turns_may_bring_more(table: Table) -> None:
    heard = {"role": "user", "content": [{"type": "text", "text": "hear "}, AUDIO_PART, {"type": "text", "text": "!"}]}
    answer = table.say("s", heard)
    table.say("s", heard, answer, {"role": "user", "content": [AUDIO_PART]})
    rollout = table.finish("s")
    assert rollout.tokens.tolist().count(AUDIO) == 6
    assert len(rollout.clips) == 2
    assert len(rollout.prompt.clips) == 1
    assert len(rollout.exchanges[0].reply.clips) == 1


@pytest.mark.parametrize(
    ("body", "status", "code", "text"),
    [
        (b"", 400, "body", "no JSON"),
        (b"[1", 400, "body", "no JSON"),
        (b"[1]", 400, "body", "no JSON object"),
        (b"[" * 200_000, 400, "body", "no JSON"),
        ({"messages": "hello"}, 400, "messages", "list"),
        ({"messages": {}}, 400, "messages", "list"),
        ({"messages": []}, 400, "messages", "list"),
        ({"messages": ["hello"]}, 400, "messages", "messages[0]"),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400, "messages", "role"),
        ({"messages": [{"role": "user"}]}, 400, "content", "neither text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, 400, "content", "image_url"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "?"}}]}]}, 400, "audio", "base64"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA"}}]}]}, 400, "audio", "no audio"),
        ({"messages": [user("x"), {"role": "assistant", "content": "y"}]}, 400, "messages", "end with an assistant"),
        ({"messages": [{**user("x"), "prefix": True}]}, 400, "messages", "messages[0].prefix"),
        ({"messages": [{**user("x"), "tool_calls": [1]}]}, 400, "messages", "messages[0].tool_calls"),
        ({"messages": [user("x"), {"role": "assistant", "content": "", "function_call": {"name": "f"}}, user("y")]}, 400, "messages", "messages[1].function_call"),
        ({"messages": [user("x"), {"role": "assistant", "content": "", "refusal": "no"}, user("y")]}, 400, "messages", "messages[1].refusal"),
        ({"messages": [user("x")], "stream_options": {"include_usage": True, "chunks": 3}}, 400, "setting", "stream_options"),
        ({"messages": [user("x")], "n": 2}, 400, "setting", "n: 2"),
        ({"messages": [user("x")], "n": True}, 400, "setting", "n: true"),
        ({"messages": [user("x")], "top_p": 0.9}, 400, "setting", "top_p"),
        ({"messages": [user("x")], "temperature": 0.2}, 400, "temperature", "the stage, 1"),
        ({"messages": [user("x")], "temperature": 2.1}, 400, "setting", "no number from 0 to 2"),
        ({"messages": [user("x")], "max_tokens": 0}, 400, "setting", "max_tokens"),
        ({"messages": [user("x")], "seed": "7"}, 400, "setting", "seed"),
        ({"messages": [user("x")], "stop": [""]}, 400, "setting", "stop"),
        ({"messages": [user("x")], "tools": [{"name": "f"}]}, 400, "tools", "tools"),
        ({"messages": [user("x")], "tool_choice": "required"}, 400, "setting", "tool_choice"),
        ({"messages": [user("x")], "response_format": {"type": "json_object"}}, 400, "setting", "response_format"),
        ({"messages": [user("x")], "best_of": 3}, 400, "setting", "best_of"),
        ({"messages": [user("x" * LIMIT)]}, 400, "context_length_exceeded", "max_sequence_tokens"),
        ({"messages": [user("x"), {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}, user("y")]}, 400, "calls", "tool_calls"),
    ],
)  # fmt: skip
def test_bad_questions_are_refused_in_one_line_and_counted(
    table: Table, body: Any, status: int, code: str, text: str
) -> None:
    got, answer = call(f"{table.endpoint.base_url('s')}/chat/completions", body)
    assert (got, answer["error"]["code"]) == (status, code)
    assert text in answer["error"]["message"]
    assert "\n" not in answer["error"]["message"]
    assert len(answer["error"]["message"]) < 400
    assert table.say("s", user("hello"))["content"] == "n10"
    rollout = table.finish("s")
    if code != "body":
        counted = "length" if code == "context_length_exceeded" else code
        assert rollout.exchanges[-1].reply.note == f"refused_{counted}"


@pytest.mark.parametrize(
    "tool",
    [
        {"name": "f", "description": "a\ud800"},
        {"name": "\udfff"},
        {"name": "f", "parameters": {"type": "object", "properties": {"\ud800": {"enum": ["\udc00"]}}}},
    ],
)
def test_lone_surrogates_in_tools_and_stops_never_reach_the_tokenizer(tool: dict[str, object]) -> None:
    ask = read_ask({"messages": [user("x")], "tools": [{"type": "function", "function": tool}], "stop": "a\ud800"})
    "".join([json.dumps(ask.tools, ensure_ascii=False), *ask.stop]).encode()


def test_tools_that_are_too_deep_are_refused() -> None:
    deep: dict[str, object] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(AskError, match="too deep"):
        read_ask(
            {"messages": [user("x")], "tools": [{"type": "function", "function": {"name": "f", "parameters": deep}}]}
        )


class TroubledChat(LetterChat):
    """A chat format with a bug."""

    def prompt(self, messages: Sequence[Message], *args: Any, **settings: Any) -> list[int]:
        if messages[-1].content == "trouble":
            raise TypeError("TextEncodeInput must be text")
        return super().prompt(messages, *args, **settings)


def test_a_question_on_which_the_template_fails_costs_itself_alone(table: Table) -> None:
    table.sessions.chat = TroubledChat()
    status, body = table.ask("s", user("trouble"))
    assert (status, body["error"]["code"]) == (500, "internal")
    assert "TextEncodeInput" in body["error"]["message"]
    assert table.say("s", user("hello"))["content"] == "n10"
    assert table.finish("s").exchanges[-1].reply.note == "refused_internal"


def test_tokens_sessions_and_addresses_are_checked(table: Table) -> None:
    address, body = table.endpoint.address, {"messages": [user("hello")]}
    url = f"{address}/sessions/s/v1/chat/completions"
    assert (
        call(url, body, token=None)[0]
        == call(url, body, token="wrong")[0]
        == call(f"{address}/v1/models", token="x")[0]
        == 401
    )
    assert call(f"{address}/v1/models")[1]["data"][0]["id"] == "policy"
    assert call(f"{address}/sessions/s/v1/models")[0] == 200
    for wrong in ("/", "/v1/completions", "/sessions/s/v1/embeddings", "/sessions/s/finish"):
        assert call(address + wrong, body)[0] == 404
    put = urllib.request.Request(url, b"{}", method="PUT")
    with pytest.raises(urllib.error.HTTPError, match="501") as refusal:
        urllib.request.urlopen(put)
    assert json.load(refusal.value)["error"]["code"] == "http"
    for unknown in ("t", "..%2fs", "x" * 200, "%00"):
        status, answer = call(f"{address}/sessions/{unknown}/v1/chat/completions", body)
        assert (status, answer["error"]["code"]) == (404, "unknown_session")
    plain = f"{address}/v1/chat/completions"
    assert call(plain, body)[1]["error"]["code"] == "unknown_session"
    assert call(plain, body, headers={"X-Session-Id": "s"})[0] == 200
    assert call(plain, {**body, "user": "s"})[0] == 200
    assert call(plain, {**body, "metadata": {"session_id": "s"}})[0] == 200


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        (b"Content-Length: \xb2", b"", 411),
        (b"Content-Length: -1", b"", 411),
        (b"Content-Length: " + b"9" * 5000, b"", 401),
        (b"Content-Length: 67108864", b"x" * 1000, 401),  # and not waited for
        (b"Content-Length: 67108864\r\nAuthorization: Bearer wrong", b"", 401),
        (b"Content-Length: 67108865\r\nAuthorization: Bearer secret", b"", 413),
        (b"Content-Length: " + b"9" * 5000 + b"\r\nAuthorization: Bearer secret", b"", 413),
    ],
)
def test_long_bodies_are_not_read_without_the_token(table: Table, head: bytes, body: bytes, status: int) -> None:
    with socket.create_connection(("127.0.0.1", int(table.endpoint.address.rpartition(":")[2])), 10) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n" + body)
        assert connection.recv(100).split()[1] == str(status).encode()


def test_a_harness_that_asks_too_often_is_told_so(table: Table) -> None:
    messages: list[Any] = [user("hello")]
    for _ in range(8):
        messages += [table.say("s", *messages), user("on")]
    for _ in range(3):
        status, body = table.ask("s", *messages)
        assert (status, body["error"]["code"]) == (400, "turns")
    rollout = table.finish("s")
    assert len(rollout.logprobs)
    assert rollout.exchanges[-1].reply.note == " ".join(["refused_turns"] * 3)


def test_a_session_without_a_question_is_an_error(table: Table) -> None:
    rollout = table.finish("s", Verdict(score=1.0))
    assert rollout.error == NOTHING_ASKED
    assert error_reason(rollout.error) == "nothing_asked"
    assert not len(rollout.tokens)


def test_what_clients_send_back_of_an_answer_is_taken(table: Table) -> None:
    answer = table.say("s", user("hello"))
    empty: dict[str, object] = {"refusal": None, "audio": None, "function_call": None, "tool_calls": None}
    given: dict[str, object] = {
        **answer,
        **empty,
        "annotations": [],
        "reasoning_content": "so",
        "provider_specific_fields": {"a": 1},
    }
    table.say("s", user("hello"), given, {**user("on"), "name": "judge"}, stream_options={"include_usage": False})
    assert table.finish("s").siblings == ()


def test_a_greedy_pass_is_greedy_whatever_temperature_is_named() -> None:
    sessions = Sessions(LetterChat())
    sessions.start("s", (0, 0), PROMPT, 7, LIMIT, 0.0)
    questions = [sessions.ask("s", read_ask({"messages": [user("hello")], **t})) for t in ({}, {"temperature": 0.7})]
    requests, _ = sessions.advance()
    assert [request.temperature for request in requests] == [0.0, 0.0]
    for request in requests:
        sessions.add(write(request))
    assert all(question.result(0) for question in questions)
    ending = sessions.end("s", None)
    sessions.advance()
    rollout = ending.result(0)
    assert rollout is not None
    assert rollout.exchanges[-1].reply.note == "began_conversation greedy"


def test_questions_that_nobody_waits_for_at_the_end_are_counted() -> None:
    sessions = Sessions(LetterChat())
    sessions.start("s", (0, 0), PROMPT, 7, LIMIT, 1.0)
    for text in ("hello", "more"):
        sessions.ask("s", read_ask({"messages": [user(text)]}))
    (first, _), _ = sessions.advance()
    sessions.add(write(first))
    ending = sessions.end("s", None)
    sessions.advance()
    rollout = ending.result(0)
    assert rollout is not None
    assert "unanswered" in rollout.exchanges[-1].reply.note.split()


def test_what_comes_after_the_end_is_refused(table: Table) -> None:
    table.say("s", user("hello"))
    table.finish("s", error="harness: KeyError: 'x'")
    status, body = table.ask("s", user("more"))
    assert (status, body["error"]["code"]) == (410, "ended")
    table.sessions.close("the stage is over")
    status, body = table.ask("s", user("more"))
    assert (status, body["error"]["message"]) == (410, "the stage is over")


def test_questions_that_wait_when_the_stage_ends_are_answered_with_its_end() -> None:
    sessions = Sessions(LetterChat())
    sessions.start("s", (0, 0), PROMPT, 7, LIMIT, 1.0)
    questions = [sessions.ask("s", read_ask({"messages": [user("hello")]})) for _ in range(2)]
    sessions.advance()  # the first two are with an engine, the third with nobody
    questions.append(sessions.ask("s", read_ask({"messages": [user("hello")]})))
    sessions.close("the stage is over")
    for question in questions:
        with pytest.raises(AskError, match="the stage is over") as refusal:
            question.result(0)
        assert refusal.value.status == 410


def test_a_client_that_leaves_costs_its_question_alone() -> None:
    desk = Table()
    desk.open("s")
    held: list[Request] = []
    port = int(desk.endpoint.address.rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port)
    body = json.dumps({"messages": [user("hello")]})
    connection.request("POST", "/sessions/s/v1/chat/completions", body, {"Authorization": f"Bearer {TOKEN}"})
    while not held:
        held, _ = desk.sessions.advance(0.05)
    connection.close()
    gone: set[Any] = set()
    while not gone:
        desk.sessions.advance(0.05)
        gone = desk.sessions.take_abandoned()
    assert gone == {held[0].key}
    assert desk.sessions.add(write(held[0])) is None  # an engine was faster
    with dealing(desk.sessions):
        assert desk.say("s", user("hello"))["content"] == "n10"
        rollout = desk.finish("s")
    assert rollout.siblings == ()
    assert rollout.exchanges[-1].reply.note == "withdrawn"
    desk.endpoint.close()


def test_fifty_sessions_at_once_do_not_mix() -> None:
    desk = Table()
    for i in range(50):
        desk.open(f"s{i}", i)

    def play(i: int) -> None:
        messages: list[Any] = [user(f"session {i}")]
        for turn in range(3):
            messages += [desk.say(f"s{i}", *messages), user(f"turn {turn} of {i}")]

    with dealing(desk.sessions):
        threads = [threading.Thread(target=play, args=(i,)) for i in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rollouts = [desk.finish(f"s{i}") for i in range(50)]
    for i, rollout in enumerate(rollouts):
        text = letters(rollout)
        assert rollout.sample == i
        assert rollout.siblings == ()
        assert text.startswith(f"u:session {i}|a:n")
        assert f"u:turn 1 of {i}|" in text
        assert text.count("|a:") == 3
    desk.sessions.close("over")
    desk.endpoint.close()


def test_sessions_of_no_run_open_by_themselves_and_choose_their_temperature() -> None:
    sessions = Sessions(LetterChat(), is_free=True)
    endpoint = Endpoint(sessions, TOKEN, open_session=lambda id: sessions.start_alone(id, 7, LIMIT, 0.5))
    taken: list[Request] = []

    def take(request: Request) -> Completion:
        taken.append(request)
        return write(request)

    with dealing(sessions, take) as finished:
        assert ask(endpoint, "mine", [user("hello")], temperature=0)[0] == 200
        assert ask(endpoint, "mine", [user("more")])[0] == 200
        rollout = sessions.end("mine", None).result(10)
        assert ask(endpoint, "mine", [user("late")])[0] == 410, "an ended session is not begun anew"
    assert rollout is not None
    assert [request.temperature for request in taken] == [0.0, 0.5]
    assert (rollout.prompt.id, len(rollout.siblings), finished) == ("mine", 1, [])
    sessions.close("over")
    endpoint.close()


def test_a_stream_brings_the_whole_answer_as_events(table: Table) -> None:
    body = {"messages": [user("hello")], "stream": True, "stream_options": {"include_usage": True}}
    request = urllib.request.Request(
        f"{table.endpoint.base_url('s')}/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {TOKEN}"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        *events, done, _ = response.read().decode().split("\n\n")
    said, end, usage = [json.loads(event.removeprefix("data: ")) for event in events]
    assert done == "data: [DONE]"
    assert said["choices"][0]["delta"] == {"role": "assistant", "content": "n10"}
    assert end["choices"][0]["finish_reason"] == "stop"
    assert usage["usage"]["completion_tokens"] == 4


def test_a_prompt_is_sent_with_its_sounds(table: Table) -> None:
    clip = Clip(data=encode(np.zeros(1600, dtype=np.float32)))
    prompt = Prompt(
        "p", (Message("system", "listen"), Message("user", f"a {AUDIO_PATCH} b{AUDIO_PATCH}")), clips=(clip, clip)
    )
    assert table.ask("s", *to_messages(prompt))[0] == 200
    rollout = table.finish("s")
    assert rollout.prompt.clips == prompt.clips
    assert rollout.prompt.messages == prompt.messages


TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def test_a_call_of_a_tool_is_given_back_and_its_answer_goes_on_behind_it() -> None:
    desk = Table()
    desk.open("s")
    call_text = 'so <tool_call>\n{"name": "add", "arguments": {"b": 2, "a": 1}}\n</tool_call>'

    def take(request: Request) -> Completion:
        written = write(request)
        if written.prompt_length < 120:
            ids = [*map(ord, call_text), END]
            tokens = np.array([*written.tokens[: written.prompt_length], *ids])
            logprobs = np.full(len(ids), -0.5, np.float32)
            return Completion(request.key, tokens, written.prompt_length, logprobs, "stop", ((3, len(ids)),))
        return written

    with dealing(desk.sessions, take):
        status, body = desk.ask("s", user("hello"), tools=[TOOL])
        choice = body["choices"][0]
        assert (status, choice["finish_reason"], choice["message"]["content"]) == (200, "tool_calls", "so")
        (made_call,) = choice["message"]["tool_calls"]
        assert made_call["function"]["name"] == "add"
        # A client may write the arguments in another order, and send no text.
        made_call["function"]["arguments"] = '{"a":1,"b":2}'
        result = {"role": "tool", "tool_call_id": made_call["id"], "content": "3"}
        desk.say("s", user("hello"), choice["message"], result, tools=[TOOL])
        rollout = desk.finish("s")
    assert rollout.siblings == ()
    assert [m.role for e in rollout.exchanges for m in e.reply.messages] == ["tool"]
    assert f"a:{call_text}t:3|a:" in letters(rollout)
    desk.sessions.close("over")
    desk.endpoint.close()


def test_behind_the_token_that_stands_for_sound_a_rollout_begins() -> None:
    desk = Table()
    desk.open("s")

    def take(request: Request) -> Completion:
        written = write(request)
        if written.prompt_length > 10:
            return written
        tokens = np.array([*written.tokens[:-2], AUDIO, END])
        return replace(written, tokens=tokens)

    with dealing(desk.sessions, take):
        answer = desk.say("s", user("hello"))
        desk.say("s", user("hello"), answer, user("on"))
        rollout = desk.finish("s")
    assert len(rollout.siblings) == 1
    assert AUDIO not in rollout.tokens.tolist()
    assert rollout.exchanges[-1].reply.note == "began_audio_token"
    desk.sessions.close("over")
    desk.endpoint.close()


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        ('{"name": "Bob", "age": 3}', '{"name": "Bob", "age": 3}', ()),
        ('<tool_call>{"name": "sub"}</tool_call>', '<tool_call>{"name": "sub"}</tool_call>', ()),
        ('{"name": "add", "arguments": {"a": 3}}', "", (("add", '{"a": 3}'),)),
    ],
)
def test_only_tools_that_were_given_are_called(text: str, content: str, calls: tuple[tuple[str, str], ...]) -> None:
    answer = read_answer(text, Ask((), (TOOL,)), "stop")
    assert (answer.content, answer.calls, answer.finish_reason) == (content, calls, "tool_calls" if calls else "stop")


@pytest.mark.parametrize(
    ("text", "finish_reason", "content"),
    [
        ("4</answer>", "stop", "4"),
        ("4</answer>,", "stop", "4"),  # `>,` may be one token
        ("4;</answer>", "stop", "4"),
        ("4", "stop", "4"),
        ("4</answer>,", "length", "4</answer>,"),
    ],
)
def test_an_answer_ends_before_its_stop_text(text: str, finish_reason: str, content: str) -> None:
    assert read_answer(text, Ask((), stop=("</answer>", ";")), finish_reason).content == content


def test_a_session_that_ends_is_at_no_moment_unknown() -> None:
    """A request that opens sessions comes just when one ends."""
    sessions = Sessions(LetterChat(), is_free=True)

    class Endings(OrderedDict[str, str]):
        def __setitem__(self, id: str, reason: str) -> None:
            request = threading.Thread(target=sessions.start_alone, args=(id, 7, LIMIT, 1.0), daemon=True)
            request.start()
            request.join(0.2)
            super().__setitem__(id, reason)

    sessions.endings = Endings()
    sessions.start_alone("s", 7, LIMIT, 1.0)
    sessions.end("s", None)
    sessions.advance()
    assert list(sessions.endings) == ["s"]
    assert not sessions.waiting


@pytest.mark.parametrize(
    ("new", "reason"), [([{"role": "system", "content": "x"}], "template"), ([user("on")], "audio_token")]
)
def test_tool_calls_that_cannot_be_gone_on_with_are_refused_with_the_reason(new: list[Any], reason: str) -> None:
    desk = Table()
    desk.open("s")

    def take(request: Request) -> Completion:
        written = write(request)
        ids = [*map(ord, '<tool_call>{"name": "add", "arguments": {}}</tool_call>'), END]
        if reason == "audio_token":
            ids.insert(0, AUDIO)
        tokens = np.array([*written.tokens[: written.prompt_length], *ids])
        logprobs = np.full(len(ids), -0.5, np.float32)
        return replace(written, tokens=tokens, logprobs=logprobs, spans=((3, len(ids)),))

    with dealing(desk.sessions, take):
        answer = desk.say("s", user("hello"), tools=[TOOL])
        status, body = desk.ask("s", user("hello"), answer, *new, tools=[TOOL])
    assert (status, body["error"]["code"]) == (400, "calls")
    assert f"in a conversation that begins here ({reason}): " in body["error"]["message"]
    desk.sessions.close("over")
    desk.endpoint.close()
