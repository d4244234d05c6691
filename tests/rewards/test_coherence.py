from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.contract import Case
from rewards.grounding.parser import read_claims
from rewards.verifiers.coherence import find_contradiction, verify


def verdict(chain: str, answer: str, question: str = "", options: object = None, **args: float):
    fields = {} if options is None else {"options": options}
    rollout = Case(f"<think>\n{chain}\n</think>\n{answer}", None, question=question, fields=fields).rollout()
    return verify(rollout.prompt, rollout, **args)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "chain",
    [
        "The first is higher than the second. The second is higher than the first.",
        "The first is louder. The second is louder.",
        "The pitch is low. The pitch is high.",
        "The pitch is rising. The pitch is falling.",
        "The first is at 120 Hz. The first is at 180 Hz.",
        "The first is at 120 Hz, the second at 180 Hz. The first is higher.",
        "I hear three beats. I hear five beats.",
        "The pitch is low at the start. It starts high.",
        "The dog is loud. The dog is quiet.",
        "The first tone is the loudest. The third tone is the loudest.",
        "The first is louder than the second. The first is not louder than the second.",
    ],
)
def test_contradictions(chain: str):
    assert find_contradiction(read_claims(chain)) is not None
    assert verdict(chain, "first").score == 0


def test_a_loop_is_judged_in_one_pass():
    assert verdict("220Hz " * 5000, "first").parts["consistent"] == 1
    assert verdict(" ".join(f"{220 + i / 5000} Hz." for i in range(2000)), "first").parts["consistent"] == 1


def test_a_correction_is_no_contradiction():
    assert find_contradiction(read_claims("The pitch is low. Wait, the pitch is high.")) is None


@pytest.mark.parametrize(
    "chain",
    [
        "The first is higher than the second. The second is lower than the first.",
        "The first is at 120 Hz, about 120 Hz. The second is at 180 Hz.",
        "a 220Hz b 440Hz second higher",
        "The first is louder but the second is higher.",
        "110Hz 440Hz 110Hz",
        "The pitch rises, then falls.",
        "The pitch first rises and then falls. Later it rises.",
        "It starts low and ends high. So it is rising.",
        "It starts at 220 Hz and ends at 440 Hz.",
        "At first the pitch is about 120 Hz. Later the pitch is about 240 Hz.",
        "The pitch is high at the start. It is low at the end.",
        "The pitch goes from low to high.",
        "First I hear a low tone, then a high tone. The second is higher.",
        "The dog is loud. The cat is quiet. So the answer is dog.",
        "The drum has two beats. The bell has three beats.",
        "The man's pitch is low. The child's pitch is high.",
        "Is the first louder or the second? The second is louder.",
    ],
)
def test_what_agrees_is_no_contradiction(chain: str):
    assert find_contradiction(read_claims(chain)) is None


@pytest.mark.parametrize(
    ("chain", "right", "wrong", "question", "options"),
    [
        ("a -20dB b -30dB first louder", "first", "second", "which is louder?", None),
        ("a -20dB b -30dB first louder", "second", "first", "which is softer?", None),
        ("It ticks evenly, so the answer is a clock.", "B", "A", "", ["rain", "clock"]),
        ("It ticks evenly, so the answer is B.", "clock", "rain", "", {"A": "rain", "B": "clock"}),
        ("steady 220Hz tone", "tone", "noise", "", ["tone", "noise"]),
        ("4 plus 3 is 7. The answer is seven.", "7", "6", "", None),
        ("110Hz 220Hz rising", "rising", "falling", "", None),
    ],
)
def test_the_answer_is_what_the_chain_concludes(chain: str, right: str, wrong: str, question: str, options: object):
    assert verdict(chain, right, question, options).score == 1.0
    refused = verdict(chain, wrong, question, options)
    assert (refused.score, refused.parts["known"]) == (0.0, 1.0)


@pytest.mark.parametrize(
    "answer", ["dog", "a dog", "A dog.", "It is a dog.", "I hear a dog", "\\boxed{B}", "(b)", "B. dog"]
)
def test_an_answer_is_read_as_choice_reads_it(answer: str):
    assert verdict("It barks. So the answer is a dog.", answer, options=["cat", "dog"]).score == 1.0
    assert verdict("It meows. So the answer is a cat.", answer, options=["cat", "dog"]).score == 0.0


def test_a_chain_that_concludes_several_concludes_no_answer():
    assert verdict("So the answer is a dog or a cat.", "cat", options=["cat", "dog"]).score == 0.0
    assert verdict("The answer is not a cat but a dog.", "dog", options=["cat", "dog"]).score == 1.0


def test_numbers_are_compared_by_value():
    assert verdict("The answer is 0.5.", "1/2").score == 1.0
    assert verdict("The answer is 0.5.", "0.7").score == 0.0
    assert verdict("The answer is 7.", "\\boxed{7}").score == 1.0


def test_numbers_of_more_digits_than_python_reads_are_judged():
    assert verdict("The answer is " + "9" * 4500, "9" * 4499 + "8").score == 0.0
    assert verdict("1 " + "9" * 4500, "4").score == 1.0


def test_a_chain_that_concludes_nothing_gets_what_the_recipe_says():
    assert verdict("Some sound.", "B").score == 1.0
    assert verdict("Some sound.", "B", silent=0.25).score == 0.25


def test_steps():
    assert verdict("One step", "B", min_steps=4).score == 0.25
    assert verdict("It is low. It is quiet. It is short. It is dark.", "B", min_steps=4).score == 1.0


@given(st.text(max_size=300), st.text(max_size=50))
def test_any_text_is_judged(chain: str, answer: str):
    assert 0 <= verdict(chain, answer).score <= 1
