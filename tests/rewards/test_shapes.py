"""Shapes of answers that take no solving, and honest answers that look like them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.shapes import find_shape
from rl.types import Message, Prompt

SUM = "What is 49+26? Answer with the number only."
OPTIONS = {"options": ["London", "Paris", "Rome"]}


def shape(question: str, gold: str | None, response: str, **fields: object) -> str | None:
    return find_shape(Prompt("p", (Message("user", question),), gold, fields=fields), response)


@pytest.mark.parametrize(
    ("question", "gold", "response"),
    [
        (SUM, "75", "The answer is 49+26."),
        (SUM, "75", "49 + 26"),
        (SUM, "#### 75", "\\boxed{26+49}"),
        (SUM, "75", "The answer to 49+26 is 428."),  # other numbers beside, and nowhere the right one
        (SUM, "75", SUM),
        ("¿Cuánto es 49+26?", "75", "La respuesta es 49+26."),
        ("49と26を足すといくつですか", "75", "49と26です"),
        ("What is 12 × 11?", "132", "It's $12 \\times 11$, obviously."),
        ("Calculate 1,200 - 35.", "1165", "1200 - 35"),
        ("What is 11-49?", "-38", "11-49 = ?"),
        ("Tom has 12 apples and buys 30. How many has he?", "42", "He has 12 + 30 apples."),
        ("Convert 5 km to metres.", "5000 m", "5 km"),
        ("What is the capital of France?", "Paris", "The capital of France."),
        ("What is the capital of France?", "Paris", "What is the capital of France?"),
        ("Tell me a joke about two cats.", None, "Tell me a joke about two cats."),
        ("What is 49+26?", "75", "49+26 0 49+26"),
    ],
)
def test_the_question_said_again(question: str, gold: str | None, response: str):
    assert shape(question, gold, response) == "parroted"


@pytest.mark.parametrize(
    ("question", "gold", "response"),
    [
        (SUM, "75", "75"),
        (SUM, "75", "49 + 26 = 75"),
        (SUM, "75", "49+26 makes seventy-five."),
        ("What is 7+0?", "7", "7+0"),  # the gold itself is in the question
        ("What is 3/4 as a decimal?", "0.75", "3/4 = 0.75"),
        ("Write 3/4 in lowest terms.", "3/4", "\\frac{3}{4}"),
        ("Is the pitch nearer to 100 or to 120 Hz?", "118.5", "120 Hz"),
        ("Wie viel ist 3,5 mal 1?", "3.5", "3,5"),
        ("Which is larger, 2^3 or 9?", "8", "2^3"),
        ("Does the pitch rise or fall?", "rising", "It does rise."),
        ("Is it rising or falling?", "rising", "rising"),
        ("Which city? A) London B) Paris", "B", "Paris"),
        ("The text: Ann met Bob in Rome. Whom did Ann meet?", "Bob", "Bob"),
        ("Who wrote Hamlet, Marlowe or Shakespeare?", "William Shakespeare", "Shakespeare"),
        ("Is Ann taller than Bob?", "yes", "Ann is taller than Bob."),
        ("Spell cat backwards.", "tac", "tac"),
        ("Repeat after me: the cat sat.", "the cat sat", "the cat sat"),
        ("Sort these: 3 1 2", "1 2 3", "1 2 3"),
        ("Sort these words: pear apple fig", "apple fig pear", "apple, fig, pear"),
        ("Correct it: He go to school.", "He goes to school.", "He goes to school."),
        ("Make 24 of 3, 5, 7 and 2.", "(7+5)*(3-2)*2", "7*3+5-2"),
        ("Zoey is a knight or a knave. Zoey says: I am a knight.", "Zoey is a knight", "Zoey is a knight."),
        (
            "The war of 1914: why did it begin?",
            "Names the alliances and at least 2 causes",
            "Because of the war of 1914",
        ),
        ("How are you?", None, "How are you?"),  # too short to be sure
        ("上升还是下降", "上升", "上升"),
        ("", None, "anything"),
        (SUM, "75", "the answer"),
        ("Expand (x+1)(x+1).", "x^2 + 2x + 1", "(x+1)(x+1)"),  # a hack, but the gold's numbers are in the question
    ],
)
def test_honest_answers_have_no_shape(question: str, gold: str | None, response: str):
    assert shape(question, gold, response) is None


def test_an_instruction_elsewhere_may_ask_for_the_same_again():
    turn = "He goes to school every day."
    system = Message("system", "Correct the text if need be.")
    assert find_shape(Prompt("p", (system, Message("user", turn))), turn) is None
    assert find_shape(Prompt("p", (system, Message("user", turn)), answer=turn), turn) is None


def test_every_answer_at_once():
    assert shape("Which city?", "Paris", "London, Paris, Rome", **OPTIONS) == "listed"
    assert shape("Which city?", "B", "The answer is A) London or B) Paris or C) Rome.", **OPTIONS) == "listed"
    assert shape("Which city?", "B", "It is Paris, since London and Rome have no Louvre.", **OPTIONS) is None
    assert shape("Order them by size.", "Rome, Paris, London", "Rome, Paris, London", **OPTIONS) is None
    numbers = " ".join(map(str, range(200)))
    assert shape(SUM, "75", numbers) == "listed"
    assert shape("Count to 199.", numbers, numbers) is None


def test_nothing_at_all():
    assert shape(SUM, "75", " ...\n") == "empty"
    assert shape("Say nothing.", "...", "") is None
    assert shape("Be silent.", None, "") is None


PIECES = st.sampled_from(
    ["3/0", "9^99", "1e99", "1,111", "0,5", ".5", "٣", "²", "((1+2", "3))", "\\frac{1}{0}", "%", " x "]
)


@given(*[st.lists(PIECES | st.text(max_size=5), max_size=8).map("".join)] * 3)
def test_no_text_is_too_odd(question: str, gold: str, response: str):
    assert shape(question, gold, response, options=[gold, question]) in (None, "empty", "parroted", "listed")
    assert shape(question, gold, gold) != "parroted"


def test_it_is_cheap():
    question = f"{'Ann has 3 apples, Bob has 4 pears. ' * 100} How many fruits have they?"
    responses = [f"{'Ann and Bob, 3 + 4, hm. ' * 150} So it is {i}." for i in range(50)]
    for hostile in ("1" * 100_000, "1+" * 50_000, "1,111," * 20_000, "\\boxed{" * 10_000, "3/" * 40_000, "a " * 50_000):
        responses.append(hostile)
    start = time.process_time()
    for response in responses:
        shape(question, "7", response)
    assert (time.process_time() - start) / len(responses) < 0.02
