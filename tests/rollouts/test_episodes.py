"""Samples of several turns, with a script in the place of the engine: ends, limits, seeds, versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from models.tokenizer import byte_tokenizer
from rl.audio import encode
from rl.data.chat import Chat
from rl.types import AUDIO_PATCH, Clip, Message, Prompt, Reply, Rollout, Spans
from rollouts.environments.config import EnvironmentConfig
from rollouts.environments.contract import Pause
from rollouts.environments.metrics import exchange_metrics
from rollouts.environments.toolbox import Toolbox, stop_texts, toolbox_args
from rollouts.episodes import Answer, Episodes, Key
from rollouts.requests import Completion, Request
from rollouts.seeds import seed_of

CHAT = Chat(byte_tokenizer(), think=False)
LISTENS = Chat(byte_tokenizer(), think=False, count_audio_tokens=lambda clip: 3)
PROMPT = Prompt("p", (Message("user", "?"),))


class Script:
    """An environment that answers at once, by a function of the rollout."""

    def __init__(self, step: Callable[[Rollout], Reply | None], max_turns: int = 8, max_turn_tokens: int | None = None):
        self.step, self.max_turns, self.max_turn_tokens = step, max_turns, max_turn_tokens
        self.stop: Sequence[str] = ("</calc>",)
        self.tools: Sequence[Mapping[str, object]] = ()
        self.answers: list[tuple[Key, Answer]] = []

    @property
    def pending(self) -> int:
        return len(self.answers)

    def submit(self, key: Key, rollout: Rollout, state: bytes | None) -> None:
        self.answers.append((key, Answer(self.step(rollout), b"kept")))

    def take_answers(self, timeout_s: float) -> list[tuple[Key, Answer]]:
        answers, self.answers = self.answers, []
        return answers


def play(
    script: Script,
    *written: str,
    chat: Chat = CHAT,
    prompt: Prompt = PROMPT,
    limit: int = 400,
    spans: Spans = (),
    requests: list[Request] | None = None,
) -> Rollout:
    """Return the rollout in which the policy writes these pieces; `.` at the end of one ends its turn."""
    episodes = Episodes(chat, script)
    ids = chat.prompt(prompt.messages, prompt.clips)
    first = Request((0, 0), tuple(ids), seed_of(7, prompt.id, 0), limit - len(ids), 1.0, prompt.clips, cuts=spans)
    request = episodes.begin(prompt, first, 7, limit)
    before = chat.prompt(prompt.messages, prompt.clips, expand=True)
    for turn, text in enumerate(written):
        if requests is not None:
            requests.append(request)
        piece = [*chat.controls.encode(text.removesuffix(".")), *([chat.end] if text.endswith(".") else [])]
        tokens = np.array([*before, *piece])
        logprobs = np.full(len(piece), -0.1, np.float32)
        finished = episodes.add(
            Completion((0, 0), tokens, len(before), logprobs, "stop", ((turn // 2, len(piece)),)), 3
        )
        if finished is None:
            (requested, done) = episodes.advance()
            finished = done.get((0, 0))
            if requested:
                (request,) = requested
                reply = episodes.open[0, 0].exchanges[-1].reply
                before = [*tokens.tolist(), *chat.reply(reply.messages, piece[-1], reply.clips, expand=True)]
        if finished is not None:
            assert not episodes.open
            return finished
    raise AssertionError("it goes on")


def test_a_conversation_is_continued_and_not_encoded_again() -> None:
    requests: list[Request] = []
    script = Script(lambda r: None if r.exchanges else Reply((Message("user", "sure?"),), reward=0.5))
    rollout = play(script, "four.", "yes.", requests=requests)
    turns = [*PROMPT.messages, Message("assistant", "four"), Message("user", "sure?"), Message("assistant", "yes")]
    assert rollout.tokens.tolist() == CHAT.prompt(turns)[: len(rollout.tokens)]
    assert (rollout.text, rollout.finish_reason, rollout.exchanges[0].text) == ("yes", "stop", "four")
    written = CHAT.controls.tokenizer.decode(rollout.tokens[rollout.action_mask])
    assert written.startswith("four")
    assert "sure" not in written
    first, second = requests
    assert second.tokens == tuple(rollout.tokens[: rollout.exchanges[0].end])
    assert (first.seed, second.seed) == (seed_of(7, "p", 0), seed_of(7, "p", 0, 1))
    assert (first.stop, second.stop, second.engine) == (("</calc>",), ("</calc>",), 3)
    assert second.max_tokens == 400 - len(second.tokens)


def test_the_most_turns() -> None:
    script = Script(lambda r: Reply((Message("user", "again"),), reward=0.25, note="again"), max_turns=2)
    rollout = play(script, "a.", "b.", "c.")
    assert (rollout.finish_reason, rollout.truncated, rollout.text) == ("turns", False, "b")
    assert [(e.reply.reward, e.reply.last) for e in rollout.exchanges] == [(0.25, False), (0.25, True)]
    assert rollout.exchanges[1].start == rollout.exchanges[1].end == len(rollout.tokens)


def test_no_room_for_a_reply() -> None:
    rollout = play(Script(lambda r: Reply((Message("user", "x" * 300),), note="long")), "a.", limit=200)
    assert (rollout.finish_reason, rollout.truncated) == ("length", True)
    assert len(rollout.tokens) < 200


def test_limits_of_a_turn() -> None:
    requests: list[Request] = []
    script = Script(lambda r: None if r.exchanges else Reply((Message("user", "?"),)), max_turn_tokens=9)
    play(script, "a.", "b.", requests=requests)
    assert [request.max_tokens for request in requests] == [9, 9]


@pytest.mark.parametrize(
    ("reply", "finish", "error"),
    [
        (Reply((Message("assistant", "more"),)), "stop", "environment: the policy has ended its turn"),
        (Reply(), "stop", None),  # nothing to go on from
        (Reply(reward=1.0, last=True), "stop", None),
        (Reply((Message("user", AUDIO_PATCH),), (Clip(data=b"x"),)), "stop", "the model reads text only"),
    ],
)
def test_replies_behind_which_nothing_can_follow(reply: Reply, finish: str, error: str | None) -> None:
    rollout = play(Script(lambda r: reply), "a.")
    assert rollout.finish_reason == finish
    assert (error is None and rollout.error is None) or error in str(rollout.error)
    assert [e.reply.reward for e in rollout.exchanges] == ([1.0] if reply.reward else [])


def test_a_pause_goes_on_within_the_turn() -> None:
    replies = iter([Reply((Message("assistant", "<result>5</result>"),)), Reply(note="malformed"), None])
    rollout = play(Script(lambda r: next(replies)), "so <calc>2+3</calc>", " x</calc>", " 5.")
    assert rollout.text == "so <calc>2+3</calc><result>5</result> x</calc> 5"
    assert [e.text for e in rollout.exchanges] == ["so <calc>2+3</calc>", " x</calc>"]
    start, end = rollout.exchanges[0].start, rollout.exchanges[0].end
    assert CHAT.controls.tokenizer.decode(rollout.tokens[start:end]) == "<result>5</result>"
    assert rollout.exchanges[1].start == rollout.exchanges[1].end


def test_sound_behind_a_tag() -> None:
    requests: list[Request] = []
    prompt = Prompt("p", (Message("user", AUDIO_PATCH),), clips=(Clip(data=b"one"),))
    replies = iter([Reply((Message("assistant", AUDIO_PATCH),), (Clip(data=b"two"),)), None])
    rollout = play(Script(lambda r: next(replies)), "a</calc>", "b.", chat=LISTENS, prompt=prompt, requests=requests)
    assert [clip.data for clip in rollout.clips] == [b"one", b"two"]
    patch = LISTENS.audio_token
    assert requests[1].tokens.count(patch) == 2, "an engine expands them"
    assert (rollout.tokens == patch).sum() == 6
    assert requests[1].clips == rollout.clips
    assert rollout.text == f"a</calc>{AUDIO_PATCH}b"


def test_a_model_that_writes_the_token_of_sound_ends_there() -> None:
    prompt = Prompt("p", (Message("user", AUDIO_PATCH),), clips=(Clip(data=b"one"),))
    script = Script(lambda r: Reply((Message("user", "?"),), note="asked"))
    rollout = play(script, f"a{AUDIO_PATCH}b.", chat=LISTENS, prompt=prompt)
    assert (rollout.finish_reason, rollout.error) == ("audio_token", None)
    assert not rollout.exchanges


def test_an_environment_is_not_asked_about_a_token_of_sound() -> None:
    """Nothing that it could answer, an error least of all, would keep the sample from what it earns."""

    def fail(rollout: Rollout) -> Reply | None:
        raise AssertionError("asked")

    prompt = Prompt("p", (Message("user", AUDIO_PATCH),), clips=(Clip(data=b"one"),))
    rollout = play(Script(fail), f"<calc>2+{AUDIO_PATCH}</calc>", chat=LISTENS, prompt=prompt)
    assert (rollout.finish_reason, rollout.error) == ("audio_token", None)
    assert play(Script(lambda r: None), f"a{AUDIO_PATCH}b.").finish_reason == "stop", (
        "it is text to one that cannot hear"
    )


def test_versions_over_turns_and_the_cuts_of_a_replay() -> None:
    requests: list[Request] = []
    script = Script(lambda r: None if len(r.exchanges) == 2 else Reply((Message("user", "?"),)))
    rollout = play(script, "ab.", "cd.", "ef.", spans=((0, 4), (1, 9)), requests=requests)
    assert rollout.spans == ((0, 6), (1, 3))
    assert rollout.version == 0
    assert [request.cuts for request in requests] == [((0, 4), (1, 9)), ((0, 1), (1, 9)), ((1, 7),)]


def test_an_answer_that_nobody_waits_for() -> None:
    script = Script(lambda r: Reply((Message("user", "?"),)))
    episodes = Episodes(CHAT, script)
    request = episodes.begin(PROMPT, Request((0, 0), (1, 2), 0, 9, 1.0), 7, 400)
    episodes.add(Completion(request.key, np.array([1, 2, 65]), 2, np.zeros(1, np.float32), "stop", ((0, 1),)))
    assert episodes.waiting
    episodes.drop({(0, 0)})
    assert episodes.advance() == ([], {})


def test_tags_that_cannot_be_heard_put_nothing_in_and_the_ninth_turn_is_not_answered() -> None:
    config = EnvironmentConfig(tools=["listen"])
    toolbox = Toolbox.load(toolbox_args(config), None)
    script = Script(lambda rollout: toolbox.reply(Pause(rollout, None), {})[0], max_turns=config.max_turns)
    script.stop = stop_texts(config)
    clip = Clip(data=encode(np.zeros(32_000, np.float32)))
    prompt = Prompt("p", (Message("user", f"{AUDIO_PATCH}?"),), clips=(clip,))
    tags = ["1, 0.5", "0, 0.1", "1, 9", "one, two", "0, 1, 2", "0, 1", "-1, 1", "1, 2"]
    rollout = play(script, *(f"a <seg>{tag}</seg>" for tag in tags), chat=LISTENS, prompt=prompt)
    assert rollout.finish_reason == "turns"
    assert rollout.text.count(AUDIO_PATCH) == len(rollout.clips) - 1 == 1, "one of them was heard"
    for exchange in rollout.exchanges:
        assert (exchange.end > exchange.start) == bool(exchange.reply.clips)
        assert not rollout.action_mask[exchange.start : exchange.end].any()
    metrics = exchange_metrics([rollout])
    notes = {name.rpartition("/")[2]: value for name, value in metrics.items() if "/note/" in name}
    # the last one is noted and not heard: the turns are over
    assert notes == {"reversed": 1, "too_short": 1, "out_of_clip": 2, "malformed": 1, "no_clip": 1, "listen": 2}
    assert (metrics["environment/sounds"], metrics["environment/ended/turns"], metrics["environment/errors"]) == (
        1,
        1,
        0,
    )
