"""Two decoders and one answer, without an engine: what is asked of it, in which order, and what comes of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import get_args

import pytest
from letter_policy import CHAT, LetterEngine, next_token, write

from rl.realtime.stream import KEY, End, Orders, PacedStream, Question, Thought, Word
from rl.stages.paced_answer import Mode, Pace, Speech, Thinking, Thoughts
from rl.types import Message
from rollouts.requests import Request

MODES: tuple[Mode, ...] = get_args(Mode)
ROOM = 90


def question(number: int, room: int = ROOM) -> Question:
    ids = tuple(CHAT.prompt([Message("user", f"question {number}")]))
    return Question(f"q{number}", ids, len(ids), room, 0.0, seed=3)


def answer_offline(asked: Question, pace: Pace) -> tuple[list[int], Speech, Thoughts]:
    """The answer as an evaluation gives it: the sample that thinks before it speaks is there, and then it is paced."""
    sample = write(Request(KEY, asked.tokens, 0, asked.room, 0.0, ends=tuple(CHAT.ends)))
    thoughts = Thoughts.read(sample, CHAT, asked.room)
    speech = Speech(pace)
    while turn := speech.next_turn(thoughts, CHAT.closing):
        left = asked.room - len(turn.context)
        most = left if turn.most_tokens is None else min(left, turn.most_tokens)
        said = write(Request(KEY, (*asked.tokens, *turn.context), 0, most, 0.0, ends=tuple(CHAT.ends)))
        speech.add(said, said[-1] not in CHAT.ends)
    return speech.tokens, speech, thoughts


def answer_live(asked: Question, pace: Pace, tokens_a_step: int = 1) -> tuple[PacedStream, Orders, LetterEngine]:
    """The answer as it is served, with all that was ordered for it."""
    stream, engine, orders = (
        PacedStream("s", asked, pace, CHAT, 0.0),
        LetterEngine(tokens_a_step=tokens_a_step),
        Orders(),
    )

    def follow(new: Orders) -> None:
        for name, request in new.begin:
            engine.begin_stream(name, request)
        engine.end_streams(new.end)
        orders.events.extend(new.events)

    follow(stream.begin(0.0))
    for step in range(1000):
        if stream.is_over:
            break
        for piece in engine.step_streams():
            follow(stream.take(piece, float(step)))
    return stream, orders, engine


def tokens_of(events: Sequence[object], kind: type[Thought] | type[Word]) -> list[int]:
    return [token for event in events if isinstance(event, kind) for token in event.tokens]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tokens_a_step", [1, 3, 20])
def test_a_served_answer_is_the_evaluated_one(mode: Mode, tokens_a_step: int) -> None:
    chains: set[int] = set()
    for number in range(100):
        draw = random.Random(number)
        pace = Pace(mode, draw.choice((1, 4, 6, 200)), draw.choice((1, 3, 200)))
        asked = question(number)
        said, speech, thoughts = answer_offline(asked, pace)
        _, orders, engine = answer_live(asked, pace, tokens_a_step)
        assert tokens_of(orders.events, Word) == said
        assert isinstance(orders.events[-1], End)
        figures = orders.events[-1].figures
        assert (figures["prefill_tokens"], figures["turns"]) == (speech.prefill, speech.turns)
        assert not engine.streams, "both decoders have ended"
        if mode in ("tbs", "think_first") and said:
            assert figures["tokens_before"] == (
                len(thoughts.chain) if mode == "tbs" else min(pace.think, len(thoughts.chain))
            )
        thought = tokens_of(orders.events, Thought)
        assert thought == list(thoughts.chain[: len(thought)]), "what is said changes nothing that is thought"
        chains.add(len(thoughts.chain))
    assert min(chains) < 4, "chains shorter than a segment are among them"
    assert max(chains) > 60, "and chains that leave no room"


def test_each_turn_goes_on_from_the_segments_and_from_what_was_said() -> None:
    turns = 0
    for number in range(30):
        pace, asked = Pace("think_first", 5, 3), question(number)
        _, _, engine = answer_live(asked, pace)
        said: list[int] = []
        _, _, thoughts = answer_offline(asked, pace)
        speaking = [(name, request) for name, request in engine.asked if "/speak" in name]
        for n, (name, request) in enumerate(speaking, 1):
            front, _ = thoughts.context(n, 5, CHAT.closing)
            assert request.tokens == (*asked.tokens, *front, *said)
            said += engine.written[name]
        turns = max(turns, len(speaking))
    assert turns > 4


def test_no_thought_before_the_first_word_of_speak_first() -> None:
    _, orders, engine = answer_live(question(1), Pace("speak_first", 5, 3))
    assert [name for name, _ in engine.asked[:2]] == ["s/think", "s/speak0"]
    assert isinstance(orders.events[-1], End)
    assert orders.events[-1].figures["tokens_before"] == 0


def test_without_a_chain_nobody_thinks() -> None:
    _, orders, engine = answer_live(question(1), Pace("wo", 5, 3))
    assert [name for name, _ in engine.asked] == ["s/speak0"]
    assert not tokens_of(orders.events, Thought)


def test_what_comes_after_the_end_changes_nothing() -> None:
    stream, _, engine = answer_live(question(1), Pace("think_first", 5, 3))
    engine.begin_stream("s/speak99", engine.asked[-1][1])
    for piece in engine.step_streams():
        assert stream.take(piece, 1.0) == Orders()


@pytest.mark.parametrize("seed", range(40))
def test_half_a_tag_is_no_thought_yet(seed: int) -> None:
    """A tokenizer that writes the tag in pieces: what is passed on is never taken back."""
    pieces = ["a", "b<", "/th", "</think>", "x\n", "\n", "</", "think", ">\n", "hello"]
    draw = random.Random(seed)
    texts = [draw.choice(pieces) for _ in range(30)]
    chat = PieceChat(texts)
    thinking, settled = Thinking(chat, 99), list[int]()  # pyright: ignore[reportArgumentType]
    for id in range(len(texts)):
        thinking.add([id], id == len(texts) - 1)
        now = list(thinking.thoughts.chain)
        assert now[: len(settled)] == settled
        settled = now
        if thinking.is_over:
            break
    text = chat.written(thinking.written)
    before, tag, _ = text.partition("</think>")
    assert before.startswith(chat.written(settled)), "no part of a tag is among the thoughts"
    assert len(chat.written(settled)) > len(before) - len("hello"), "nor is a whole piece missing"
    whole = chat.written(thinking.thoughts.whole)
    assert whole.count("</think>") == (1 if tag else 0)


class PieceChat:
    """A chat format whose id i is the i-th of some texts."""

    closing, ends = (-1,), ()

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts

    def written(self, ids: Sequence[int]) -> str:
        return "".join("\n</think>\n" if id == -1 else self.texts[id] for id in ids)

    def chain_length(self, ids: Sequence[int]) -> int:
        close = self.written(ids).rfind("</think>")
        if close < 0:
            return len(ids)
        return max(n for n in range(len(ids)) if len(self.written(ids[:n])) <= close)


def test_the_policy_of_letters_writes_what_it_is_to_test() -> None:
    assert next_token([1, 2, 3]) == next_token([1, 2, 3])
    sample = write(Request(KEY, question(2).tokens, 0, 300, 0.0, ends=tuple(CHAT.ends)))
    assert sample[-1] == CHAT.end
