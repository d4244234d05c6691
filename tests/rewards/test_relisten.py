"""Hearing again is paid where it happened and the answer is right; a sentence goes on behind what was heard."""

from __future__ import annotations

from typing import Any

import pytest

from rewards.contract import Case
from rewards.verifiers import consistency, relisten
from rl.messages import AUDIO_PATCH, Clip, Exchange, Message, Reply

TAG = "<seg>1.0, 2.0</seg>"
SOUND = Reply((Message("assistant", AUDIO_PATCH),), (Clip(path="x.flac"),), note="listen")
AS_TURN = Reply((Message("tool", AUDIO_PATCH),), (Clip(path="x.flac"),), note="listen")


def pay(pred: str, *replies: Reply, gold: str = "dog", **args: Any) -> float:
    exchanges = tuple(Exchange(f"<think>{TAG}", reply, 3, 9) for reply in replies)
    rollout = Case(pred, gold, exchanges=exchanges).rollout()
    return relisten.verify(rollout.prompt, rollout, **args).score


@pytest.mark.parametrize("reply", [SOUND, AS_TURN])
def test_a_sound_that_was_heard_and_a_right_answer_are_paid_once(reply: Reply) -> None:
    right = f"<think>{TAG}{AUDIO_PATCH} a dog</think>dog"
    assert pay(right, reply) == pay(right, reply, SOUND) == pay(right, Reply(note="reversed"), reply) == 1
    assert pay("<think>a cat</think>cat", reply) == pay("<think>dog", reply) == pay("", reply) == 0


@pytest.mark.parametrize(
    "replies",
    [
        (),  # no environment at all: inference code that skips every cut
        *((Reply(note=reason),) for reason in ("too_short", "reversed", "out_of_clip", "malformed", "no_clip")),
        (Reply((Message("assistant", "<result>error: reversed</result>"),), note="reversed"),),
        (Reply((Message("tool", "4"),), note="calculator"),),
        (Reply((Message("assistant", AUDIO_PATCH),), (Clip(path="x.flac"),), last=True),),
        (Reply(reward=1.0, note="turns", last=True),),
    ],
)
@pytest.mark.parametrize(
    "pred", [f"<think>{TAG} a dog</think>dog", f"<think>{TAG}{AUDIO_PATCH}</think>dog", f"{TAG * 9}dog"]
)
def test_a_tag_that_was_only_written_earns_nothing(pred: str, replies: tuple[Reply, ...]) -> None:
    """The flaw of Echo's released code, which counts tags."""
    assert pay(pred, *replies) == 0


def test_what_is_right_is_said_by_another_verifier() -> None:
    assert pay("<think>x</think>42.0", SOUND, gold="42", accuracy="numeric") == 1
    assert pay("<think>x</think>$\\frac{84}{2}$", SOUND, gold="42", accuracy="math") == 1
    assert pay("<think>x</think>41", SOUND, gold="42", accuracy="math") == 0
    rollout = Case("dog", None, exchanges=(Exchange("", SOUND, 3, 9),)).rollout()
    with pytest.raises(ValueError, match="no answer to compare"):
        relisten.verify(rollout.prompt, rollout)


@pytest.mark.parametrize(
    ("rest", "broken"),
    [
        ("The dog", True), (" The dog", True), ("\nThe", True), ("\u200bThe", True), (f"{AUDIO_PATCH}The", True), (f"{AUDIO_PATCH} The", True),
        ("</think>", True), (" <answer>", True), (f"{AUDIO_PATCH}</think>", True), ("Ärger", True), ("Что", True), ("“The", True), ("*The*", True),
        ("IT is", True), (f"{TAG} a dog", True),
        (" the dog", False), (", a dog", False), (" – a dog", False), (" I hear", False), (" I'd say", False), ("是狗", False), ("الكلب", False),
        ("犬です", False), (" 3 beats", False), ("", False), ("   ", False), (" “the", False), (f"{AUDIO_PATCH} ein Hund", False), (".", False),
    ],
)  # fmt: skip
def test_a_sentence_goes_on_behind_what_is_heard(rest: str, broken: bool) -> None:
    rollout = Case(f"<think>in {TAG}{rest}", None).rollout()
    assert consistency.verify(rollout.prompt, rollout).parts["broken"] == broken


def test_each_broken_sentence_costs_a_fifth_and_only_whole_tags_count() -> None:
    def score(text: str, **args: Any) -> float:
        rollout = Case(text, None).rollout()
        return consistency.verify(rollout.prompt, rollout, **args).score

    assert [score(f"{TAG} The " * n) for n in (0, 1, 2, 5, 6)] == pytest.approx([1, 0.8, 0.6, 0, 0])
    assert score("<seg>1.0, 2.0 The</seg The <seg> The") == 1
    assert score("<hear>1, 2</hear> The") == 1
    assert score("<hear>1, 2</hear> The", tag="hear") == pytest.approx(0.8)
    assert score("<a.b>1</a.b> The <aXb>1</aXb> The", tag="a.b") == pytest.approx(0.8)
