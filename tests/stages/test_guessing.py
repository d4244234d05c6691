"""What a model would say without hearing anything: its habits give no question away."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from rl.stages.audio_contribution import ControlTest, fewest_to_drop, tail
from rl.stages.guessing import FEWEST_OTHERS, SilentAnswers, guess_chances
from rl.stages.prompt_filter import Row, apply_control
from rl.types import Message, Prompt

LETTERS = "ABCD"
WORDS = ("dog", "cat", "car", "bell")
Guess = Callable[[random.Random, list[str]], str]


def always(letter: str) -> Guess:
    return lambda rng, options: letter


def mostly(word: str) -> Guess:
    """Say the option with this text in nine of ten cases, whatever its letter."""
    return lambda rng, options: LETTERS[options.index(word)] if rng.random() < 0.9 else rng.choice(LETTERS)


def anything(rng: random.Random, options: list[str]) -> str:
    return rng.choice(LETTERS)


def judge_planted(guess: Guess, samples: int, as_words: bool, seed: int) -> tuple[float, float]:
    """Return (share of what must be heard that is dropped, share of what the text gives away that is): 2,000 questions, 30 %
    of which the text gives away."""
    rng, test = random.Random(seed), ControlTest()
    silent: list[SilentAnswers] = []
    planted = {str(n) for n in rng.sample(range(2000), 600)}
    for n in range(2000):
        options = rng.sample(WORDS, 4)
        gold = LETTERS[n % 4]
        says = [gold if str(n) in planted and rng.random() < 0.9 else guess(rng, options) for _ in range(samples)]
        text = options[LETTERS.index(gold)]
        prompt = Prompt(str(n), (Message("user", f"?{n}"),), text if as_words else gold, fields={"options": options})
        answers = [f"it is the {options[LETTERS.index(letter)]}" if as_words else letter for letter in says]
        silent.append(SilentAnswers(prompt, answers, says.count(gold)))
    rows: list[Row] = [{"id": s.prompt.id, "keep": True, "dropped_by": ""} for s in silent]
    right = {s.prompt.id: [i < s.right for i in range(samples)] for s in silent}
    apply_control("silenced", rows, right, guess_chances(silent, test), test.level, samples)
    dropped = [row["id"] in planted for row in rows if not row["keep"]]
    return dropped.count(False) / 1400, dropped.count(True) / 600


@pytest.mark.parametrize("as_words", [False, True])
@pytest.mark.parametrize("samples", [8, 16, 32])
@pytest.mark.parametrize("guess", [anything, always("A"), mostly("cat")])
def test_a_habit_drops_nothing_that_must_be_heard(guess: Guess, samples: int, as_words: bool) -> None:
    false_alarms, found = judge_planted(guess, samples, as_words, seed=samples)
    fewest = fewest_to_drop(samples, 0.25, 0.05)
    assert fewest is not None
    exact_level = tail(fewest, samples, 0.25)
    assert exact_level <= 0.05
    # a habit makes chance greater, never smaller; the rest is the chance of one sample of prompts
    assert false_alarms <= exact_level + 0.015
    assert found >= 0.65, "only those whose answer is the habit cannot be told from it"


def ask(id: str, question: str, gold: str, says: str, source: str = "s") -> SilentAnswers:
    prompt = Prompt(id, (Message("user", question),), gold, source=source)
    return SilentAnswers(prompt, [says] * 8, 8 * (says == gold))


def test_the_same_words_favour_the_same_answer() -> None:
    """ "In silence the answer to "which is higher?" is always "first", to "which is lower?" always "second"."""
    silent = [
        ask(f"{word}{n}", f"which is {word}?", ("first", "second")[n % 2], says)
        for word, says in (("higher", "first"), ("lower", "second"))
        for n in range(40)
    ]
    chances = guess_chances(silent, ControlTest(guess=0.5))
    assert {id: chance for id, chance in chances.items() if chance != 0.5} == {
        s.prompt.id: 1.0 for s in silent if s.right
    }


def test_words_with_a_single_answer_give_it_away() -> None:
    """Another answer is never right after "what does a dog do?": the habit is asked of others of the source."""
    given_away = [ask(f"dog{n}", "what does a dog do?", "bark", "bark") for n in range(40)]
    others = [ask(str(n), f"what is {n}?", ("bark", "hum", "ring")[n % 3], "hum") for n in range(60)]
    chances = guess_chances([*given_away, *others], ControlTest(guess=0.1))
    assert {chances[s.prompt.id] for s in given_away} == {0.1}
    assert {chances[s.prompt.id] for s in others} == {0.1, 1.0}


def test_few_prompts_tell_no_habit() -> None:
    silent = [ask(str(n), f"{n}?", "a" if n else "b", "b") for n in range(FEWEST_OTHERS)]
    assert {*guess_chances(silent, ControlTest(guess=0.2)).values()} == {0.2}


def test_answers_that_erred_tell_nothing() -> None:
    prompt = Prompt("x", (Message("user", "?"),), None)
    assert guess_chances([SilentAnswers(prompt, [], 0)], ControlTest(guess=0.2)) == {"x": 0.2}
