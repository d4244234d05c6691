from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.verifiers.self_cognition import find_denial, read_phrasings


def test_the_written_set():
    """The issue's figure: at least 99 % of at least 300 phrasings, half of them traps."""
    rows = read_phrasings()
    wrong = [row["text"] for row in rows if (find_denial(row["text"]) is not None) != row["denies"]]
    assert len(rows) >= 300
    assert Counter(row["denies"] for row in rows) == {True: len(rows) / 2, False: len(rows) / 2}
    assert len(wrong) <= 0.01 * len(rows), wrong


@pytest.mark.parametrize("wrapped", ["{}", "Let me think. {} Anyway.", "The pitch is low.\n{}\n</think>\nB"])
def test_a_denial_is_found_wherever_it_stands(wrapped: str):
    assert find_denial(wrapped.format("I can’t listen to audio.")) is not None
    assert find_denial(wrapped.format("I can't hear a second voice.")) is None


@pytest.mark.parametrize(
    "text",
    [
        "I cannot\nhear audio.",
        "<think>\nI can't listen\nto audio\n</think>\nB",
        "Since audio is not available, I guess B.",
        "The clip did not load.",
        "The audio failed to load, so I guess B.",
        "No way for me to know what it sounds like.",
        "I cannot hear any sound, only text.",
        "Nothing reaches me but the question.",
        "Please describe the sound: what is it like?",
    ],
)
def test_denials_of_a_review(text: str):
    assert find_denial(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "I cannot hear any voices in the clip, only rain.",
        "Nothing reaches me but rain.",
        "I need a description of the timbre: bright, metallic.",
        "Please describe the sound: it is a dog bark.",
        "The first sound is not available in the second clip.",
        "The clip did not play the bell again.",
    ],
)
def test_who_says_what_it_hears_denies_nothing(text: str):
    assert find_denial(text) is None


def test_what_is_quoted_or_reported_is_no_denial():
    assert find_denial('The man says "I am a text model and cannot hear audio".') is None
    assert find_denial("The caller says she cannot hear the recording.") is None


@given(st.text(max_size=400))
def test_any_text_is_read(text: str):
    find_denial(text)
