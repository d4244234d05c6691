from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.grounding.parser import Claim, read_claims


def short(claim: Claim) -> str:
    words = [claim.kind, claim.quantity, {1: "+", -1: "-"}.get(claim.sign, "")]
    words += [] if claim.values is None else [f"{claim.values[0]:g}..{claim.values[1]:g}"]
    words += [] if claim.bound == "about" else [claim.bound]
    words += [] if claim.subject is None else [f"of {claim.subject}"]
    words += [] if claim.reference is None else [f"than {claim.reference}"]
    words += [f"at {claim.moment or claim.place}"] if claim.moment or claim.place else []
    words += ["denied"] if claim.denied else []
    return " ".join(filter(None, words))


@pytest.mark.parametrize(
    ("chain", "claims"),
    [
        # the compact notation of the listening tasks
        ("a 220Hz b 440Hz second higher", ["value pitch 220..220 of 0", "value pitch 440..440 of 1", "compare pitch + of 1"]),
        ("a 220 b 440 b higher", ["compare pitch + of 1", "value pitch 220..220 of 0", "value pitch 440..440 of 1"]),
        ("a -22dB b -28dB second softer", ["value loudness -22..-22 of 0", "value loudness -28..-28 of 1", "compare loudness - of 1"]),
        ("a 1.2k b 0.4k first brighter", ["value brightness 1200..1200 of 0", "value brightness 400..400 of 1", "compare brightness + of 0"]),
        ("a 3/s b 5/s second faster", ["value rate 3..3 of 0", "value rate 5..5 of 1", "compare rate + of 1"]),
        ("110Hz low", ["value pitch 110..110", "level pitch -"]),
        ("1 2 3", ["count beats 3..3"]),
        ("no pitch noise", ["unpitched pitch"]),
        ("110Hz to 440Hz sweep", ["ends pitch 110..440"]),
        ("first 0.4s second 0.9s", ["value duration 0.4..0.4 of 0", "value duration 0.9..0.9 of 1"]),
        ("It starts low, then it is high.", ["level pitch - at start", "level pitch + at (1, 2)"]),
        ("First 220 Hz, then 330 Hz.", ["value pitch 220..220 at (0, 2)", "value pitch 330..330 at (1, 2)"]),
        ("In the second half it is high.", ["level pitch + at late"]),
        ("Within the first 0.1 s it is loud.", ["level loudness + at early"]),
        # prose
        ("The pitch is low, about 120 Hz, and it rises.", ["level pitch -", "value pitch 120..120", "trend pitch +"]),
        ("The second clip is clearly higher in pitch than the first.", ["compare pitch + of 1 than 0"]),
        ("Compared with the first, the second sounds brighter.", ["compare brightness + of 1 than 0"]),
        ("The louder second tone lasts 1.2 s.", ["compare loudness + of 1", "value duration 1.2..1.2 of 1"]),
        ("It is 0.4 s long.", ["value duration 0.4..0.4"]),
        ("I hear three beats at 150 bpm.", ["count beats 3..3", "value rate 2.5..2.5"]),
        ("The third tone is the loudest.", ["extreme loudness + of 2"]),
        ("The pitch rises from the first to the second.", ["compare pitch + of 1 than 0"]),
        ("It falls from 200 to 150 Hz.", ["trend pitch -", "ends pitch 200..150"]),
        ("A pitch between 100 and 120 Hz.", ["value pitch 100..120"]),
        ("The level is below -30 dB.", ["value loudness -30..-30 below"]),
        ("Clip 2 is not louder than clip 1.", ["compare loudness + of 1 than 0 denied"]),
        ("The second isn't as loud as the first.", ["compare loudness - of 1 than 0"]),
        ("The second is less bright than the first.", ["compare brightness - of 1 than 0"]),
        ("Both have the same pitch.", ["same pitch"]),
        ("It gets louder.", ["trend loudness +"]),
        ("The second is louder by about 5 dB.", ["compare loudness + of 1"]),
        ("The second is higher by 220 Hz.", ["compare pitch + of 1"]),
        ("The second is higher, 440 Hz versus 220 Hz.", ["compare pitch + of 1", "value pitch 440..440 of 1"]),
        ("It is higher, compared to the first at 220 Hz.", ["compare pitch + than 0", "value pitch 220..220 of 0"]),
        ("The first is the least loud.", ["extreme loudness - of 0"]),
        ("No more than four beats.", ["count beats 4..4 below"]),
        ("220 and 330 Hz", ["value pitch 220..220 at (0, 2)", "value pitch 330..330 at (1, 2)"]),
        ("Clip A is louder than clip B.", ["compare loudness + of 0 than 1"]),
        ("The spectral centroid is near 2,100 Hz.", ["value brightness 2100..2100"]),
    ],
)  # fmt: skip
def test_claims_that_are_read(chain: str, claims: list[str]):
    assert [short(claim) for claim in read_claims(chain)] == claims


@pytest.mark.parametrize(
    "chain",
    [
        "Which clip is louder?",
        "I need to decide whether the second is higher or lower.",
        "Let me compare which of them is longer.",
        "Options: louder, softer.",
        'The speaker says "the pitch is high".',
        "It could be higher than usual.",
        "It is sampled at 16 kHz, a sampling rate of 16000 Hz.",
        "The click comes at 0.5 s.",
        "The answer is B.",
        "With high confidence, after a long pause.",
        "First, I listen.",
        "They sound a bit alike.",
        pytest.param("1 " + "9" * 4500, id="a number of more digits than Python reads"),
    ],
)
def test_what_claims_nothing(chain: str):
    assert read_claims(chain) == []


def test_a_claim_counts_once_however_often_it_is_made():
    assert len(read_claims("The pitch is low. The pitch is low. Again, the pitch is low.")) == 1


def test_a_loop_is_read_in_one_pass():
    claims = read_claims("220Hz " * 5000)
    assert [claim.place for claim in claims] == [(i, 5000) for i in range(5000)]


@given(st.text(max_size=400))
def test_any_text_is_read(text: str):
    read_claims(text)


WORDS = "the first second is not louder higher pitch 120 Hz than a b . , and 3 beats rising to from sound clip"


@given(st.lists(st.sampled_from(WORDS.split()), max_size=40))
def test_any_words_are_read(words: list[str]):
    read_claims(" ".join(words))
