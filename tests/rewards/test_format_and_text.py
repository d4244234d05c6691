"""What is blank to a reader is empty to a verifier, and a gold that a column of floats wrote means its number."""

from __future__ import annotations

import importlib
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.contract import Case
from rl.think import drop_invisible, is_blank, split_think


def score(verifier: str, pred: str, gold: str | None = None, fields: Any = None, **args: Any) -> float:
    rollout = Case(pred, gold, fields=fields or {}).rollout()
    return importlib.import_module(f"rewards.verifiers.{verifier}").verify(rollout.prompt, rollout, **args).score


BLANK = [
    "",
    " \n\t\r\x0b\x0c",
    "\u00a0\u2003\u3000",  # spaces of other widths
    "\u200b",  # zero-width space
    "\ufeff",  # byte order mark
    "\u2060\u2061\u2064",  # word joiner, invisible operators
    "\u00ad",  # soft hyphen
    "\u200c\u200d",  # joiners
    "\u200e\u202a\u202c\u2066\u2069",  # marks of direction
    "\u2028\u2029",  # separators
    "\u2800",  # braille cell without dots
    "\u3164\uffa0\u115f\u1160",  # Hangul fillers
    "\ufe0f\ufe00\U000e0101",  # variation selectors
    "\U000e0041\U000e007f",  # tags
    "\x00\x07\x1b\x7f\x85",  # controls
    "\u034f\u180e\u17b4",
    "\U0001d159",  # a note without a head
    " \u200b\n\u2800 \u00ad",
]
SEEN = ["4", "é", "好", ".", "❤\ufe0f", "\u200b4\u200b", "\u0600", "\u0301", "<b>", "&nbsp;", "\ufffd", "👨\u200d👩"]


@pytest.mark.parametrize("part", BLANK)
def test_a_part_that_nobody_sees_is_empty(part: str):
    assert is_blank(part)
    for turn in (f"<think>{part}</think>b", f"<think>a</think>{part}", f"<think>{part}</think>{part}"):
        assert score("format", turn) == 0.0
        assert score("format", turn, graded=True) <= 0.75
    assert split_think(f"<think>{part}</think>{part}") == ("", "")
    assert score("coherence", f"<think>{part}</think>4") == 0.0
    assert score("text", f"<think>a</think>{part}", "4") == 0.0
    assert score("format", f"{part}<think>a</think>b") == 1.0  # such as a byte order mark
    assert score("text", f"{part}<think>4", "4") == 0.0


@pytest.mark.parametrize("part", SEEN)
def test_a_part_that_is_seen_is_none(part: str):
    assert not is_blank(part)
    assert score("format", f"<think>{part}</think>{part}") == 1.0
    assert split_think(f"<think>\n{part}\n</think>\n{part}") == (part, part)
    assert score("format", f"{part}<think>a</think>b") == 0.0


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_what_is_dropped_is_blank(text: str):
    rest = drop_invisible(text)
    assert is_blank(rest) == is_blank(text)
    assert drop_invisible(rest) == rest
    assert [c for c in rest if unicodedata.category(c)[0] in "LN"] == [
        c for c in text if unicodedata.category(c)[0] in "LN" and not is_blank(c)
    ]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from("".join(BLANK)), max_size=5), st.text(max_size=5))
def test_a_turn_is_in_form_when_both_parts_are_seen(blank: list[str], part: str):
    filler = "".join(blank)
    in_form = not is_blank(part) and "<think>" not in part and "</think>" not in part
    assert score("format", f"<think>{filler}{part}</think>{part}{filler}") == float(in_form)
    assert score("format", f"<think>{filler}</think>{part}") == 0.0


@pytest.mark.parametrize(
    ("pred", "gold", "equal"),
    [
        ("42", "42.0", True),
        ("42.0", "42.0", True),
        ("42.", "42.0", True),
        ("The 42", "42.0", True),
        ("<think>6 * 7</think><answer>42</answer>", "42.0", True),
        ("-7", "-7.0", True),
        ("0", "0.0", True),
        ("0", "-0.0", True),
        ("2024", "2024.0", True),
        ("１２", "12.0", True),
        ("9007199254740992", "9007199254740992.0", True),
        ("0.00001", "1e-05", True),
        ("1e-5", "1e-05", True),
        ("300000000000000000000", "3e+20", True),
        ("3e20", "3e+20", True),
        ("0.00000015", "1.5e-07", True),
        ("3.5", "3.5", True),
        ("1.10", "1.10", True),
        ("42.0", "42", False),  # the gold is text that somebody wrote, and so is the answer
        ("420", "42.0", False),
        ("-42", "42.0", False),
        ("42 apples", "42.0", False),
        ("042", "42.0", False),
        ("4.2", "42.0", False),
        ("42", "42.00", False),
        ("35", "3.5", False),
        ("3.50", "3.5", False),
        ("1.1", "1.10", False),
        ("1", "1.0.0", False),
        ("5", "1e-05", False),
        ("1e999", "1e+22", False),
        ("", "0.0", False),
        (".", "0.0", False),
        ("e", "0.0", False),
    ],
)
def test_a_gold_of_a_float_column_means_its_number(pred: str, gold: str, equal: bool):
    assert score("text", pred, gold) == float(equal)
    assert score("text", pred, fields={"answers": ["no", gold]}) == float(equal)


@pytest.mark.parametrize(
    ("answers", "right", "wrong"),
    [
        ("paris", "Paris", "p"),
        (["paris", None], "Paris", "None"),
        (("paris",), "Paris", "p"),
        ({"text": ["Paris", "the city"], "answer_start": [3, 9]}, "the city", "text"),
        ({"text": "Paris"}, "Paris", "p"),
        (42, "42", "4"),
        (None, "the gold", "None"),
    ],
)
def test_right_answers_may_come_in_any_form(answers: object, right: str, wrong: str):
    assert score("text", right, "the gold", fields={"answers": answers}) == 1.0
    assert score("text", wrong, "the gold", fields={"answers": answers}) == 0.0


def test_answers_that_are_no_answers_are_an_error():
    with pytest.raises(ValueError, match=r"answers is a mapping of a, b; give a list of texts or \{text: \[…\]\}"):
        score("text", "a", "a", fields={"answers": {"a": 1, "b": 2}})
    with pytest.raises(ValueError, match="has no answer to compare with"):
        score("text", "a", fields={"answers": None})


def test_without_normalise_every_character_counts():
    assert score("text", "42", "42.0", normalise=False) == 0.0
    assert score("text", "42.0", "42.0", normalise=False) == 1.0


def test_f1_sees_the_number_too():
    assert score("text", "42", "42.0", f1=True) == 1.0
    assert score("text", "about 42", "42.0", f1=True) == pytest.approx(2 / 3)


@given(st.integers(-(10**15), 10**15), st.sampled_from(["{}", " {}.", "<think>?</think>{}"]))
def test_any_whole_number_of_a_float_column(number: int, dress: str):
    assert score("text", dress.format(number), str(float(number))) == 1.0
    assert score("text", dress.format(number + 1), str(float(number))) == 0.0
