"""A chain of ordered sections: every section once, whole, in its order, and nothing beside them."""

from __future__ import annotations

import pytest

from rewards.contract import Case
from rewards.verifiers.format import verify

NAMES = ["PLANNING", "CAPTION", "REASONING", "SUMMARY"]
P, C, R, S = (f"<{name}>{name.lower()} text</{name}>" for name in NAMES)
ANSWER = "<RESPONSE>B</RESPONSE>"


def judge(text: str, answer: str | None = "RESPONSE", sections: list[str] | None = None, graded: bool = False):
    rollout = Case(text, None).rollout()
    names = NAMES if sections is None else sections
    return verify(rollout.prompt, rollout, sections=names, answer_section=answer, graded=graded)


def turn(*sections: str, answer: str = ANSWER) -> str:
    return f"<think>\n{chr(10).join(sections)}\n</think>\n{answer}"


@pytest.mark.parametrize(
    "text",
    [
        turn(P, C, R, S),
        turn(P.upper(), C.upper(), R.upper(), S.upper(), answer=ANSWER.upper()),
        turn(P, C, R, S).lower(),
        turn(P.title(), C.title(), R.title(), S.title(), answer=ANSWER.title()),
        f"\ufeff{turn(P, C, R, S)}\n",
        turn(P + C + R + S),
        turn("<PLANNING>\n计划\n</planning>", "\u200b", C, "<Reasoning>a < b > c, <b>bold</b></Reasoning>", S),
        turn(P.replace("text", "</PLANNINGS> <CAPTION > [CAPTION]"), C, R, S),  # like tags, and none of them one
    ],
)
def test_sections_in_order(text: str) -> None:
    verdict = judge(text)
    assert (verdict.score, verdict.reason) == (1.0, "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (turn(P, R, S), "<CAPTION> stands 0 times"),
        (turn(P, C, C, R, S), "<CAPTION> stands 2 times"),
        (turn(P, C, R, S, answer=ANSWER + ANSWER), "<RESPONSE> stands 2 times"),
        (turn(P, C, R, S, answer=f"{C}{ANSWER}"), "<CAPTION> stands 2 times"),  # one more after the chain
        (turn(P, C.replace("</CAPTION>", R + "</CAPTION>"), S), "<REASONING> stands where </CAPTION> belongs"),
        (turn(P, "<CAPTION>c<REASONING>r</CAPTION></REASONING>", S), "<REASONING> stands where </CAPTION> belongs"),
        (turn(C, P, R, S), "<CAPTION> stands where <PLANNING> belongs"),
        (turn(S, R, C, P), "<SUMMARY> stands where <PLANNING> belongs"),
        (turn(P, C, R.removesuffix("</REASONING>"), S), "</REASONING> stands 0 times"),
        (turn(P, C, R, S.replace("/", "")), "<SUMMARY> stands 2 times"),
        (turn(P, C, R, S).replace("</think>", ""), "</think> stands 0 times"),
        (turn(P, C, R, S).replace("<think>", ""), "<think> stands 0 times"),
        (turn(P, C, R).replace("</think>", f"</think>{S}"), "</think> stands where <SUMMARY> belongs"),
        (turn(P, "<CAPTION>\u200b \u2800</CAPTION>", R, S), "CAPTION is empty"),
        (turn(P, C, R, S, answer="<RESPONSE> </RESPONSE>"), "RESPONSE is empty"),
        (turn(P, C, "so", R, S), "'so' stands in no section"),
        (turn(P, C, R, S, answer=f"Well: {ANSWER}"), "'Well:' stands in no section"),
        (turn(P, C, R, S, answer=f"{ANSWER} or C"), "'or C' stands in no section"),
        ("Sure. " + turn(P, C, R, S), "'Sure.' stands in no section"),
        (turn(P, C, R, S, answer="B"), "<RESPONSE> stands 0 times"),
        (turn(P.replace("PLANNING", "PLANNıNG"), C, R, S), "<PLANNING> stands 0 times"),  # a dotless i is none of ours
        (turn(P.replace("<", "＜"), C, R, S), "<PLANNING> stands 0 times"),
        ("", "<think> stands 0 times"),
        ("B", "<think> stands 0 times"),
    ],
)
def test_what_is_wrong_is_named(text: str, reason: str) -> None:
    verdict = judge(text)
    assert (verdict.score, verdict.reason) == (0.0, reason)
    assert 0 <= judge(text, graded=True).score <= 0.75


@pytest.mark.parametrize(
    ("opening", "closing"),
    [("<THINK>", "</THINK>"), ("<Think>", "</Think>"), ("<think>", "</THINK>"), ("<THINK>", "</think>")],
)
def test_a_turn_in_form_has_a_chain_that_is_read(opening: str, closing: str) -> None:
    other = turn(P, C, R, S).replace("<think>", opening).replace("</think>", closing)
    assert judge(other).score == 0.0
    assert "think> stands 0 times" in judge(other).reason
    assert judge(other, graded=True).score < judge(turn(P, C, R, S), graded=True).score
    sample = Case(turn(P, C, R, S), None).rollout()
    assert (judge(sample.text).score, bool(sample.reasoning)) == (1.0, True)


def test_the_answer_may_stand_alone_and_the_chain_be_free() -> None:
    assert judge(turn(P, C, R, S, answer="B"), None).score == 1.0
    assert judge(turn(P, C, R, S, answer=" "), None).reason == "ANSWER is empty"
    assert judge(turn("as it comes"), sections=[]).score == 1.0
    assert judge(turn("\u200b"), sections=[]).reason == "THINK is empty"


def test_grades_rise_with_what_stands() -> None:
    scores = [judge(text, graded=True).score for text in ("", "B", turn(answer="B"), turn(P, answer="B"))]
    scores += [judge(text, graded=True).score for text in (turn(P, R), turn(P, C, R), turn(P, C, R, S))]
    assert scores == sorted(scores)
    assert scores[-1] == 1.0
    assert scores[-2] == pytest.approx(0.5 + 0.25 * 4 / 5)
    # a section out of order is none: the others count
    assert judge(turn(P, C, S, R), graded=True).score == pytest.approx(0.5 + 0.25 * 4 / 5)


@pytest.mark.parametrize(
    "names", [["a b"], [""], ["think"], ["THINK"], ["caption", "CAPTION"], ["<a>"], ["a|b"], ["é"]]
)
def test_a_section_has_a_name(names: list[str]) -> None:
    with pytest.raises(ValueError, match=r"format.sections: '.*' (names no section|comes twice)"):
        judge("x", sections=names)
    with pytest.raises(ValueError, match=r"comes twice"):
        judge("x", answer="caption")


def test_a_long_hostile_turn_is_judged_in_no_time() -> None:
    assert judge("<PLANNING>" * 200_000).score == 0.0
    assert judge("<" * 1_000_000, graded=True).score == 0.0
