"""The rules of public sets, as their own code or pages have them, quirks included.

Each takes the prompt (gold in `answer`, options and the rest in `fields`) and what the model says after its chain.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

from rewards.answers.words import with_digits
from rl.benchmarks.benchmark import Mark
from rl.types import Prompt

_WORD = re.compile(r"\b\w+\b")
_LEAD = re.compile(r"^(?:so |therefore,? |thus,? )?(?:the )?(?:final |correct )?answer(?: is|:)?:?\s*", re.I)
_EDGES = " \t\n.,;:!?\"'*_`()[]{}“”‘’$\\"
_SEVERAL = re.compile(r"\s*-?(?:0|[1-9]\d*)(?:\.\d*)?(?:,-?(?:0|[1-9]\d*)(?:\.\d*)?)+\s*")
_GSM8K = re.compile(r"#### (-?[0-9.,]+)")


def options_of(prompt: Prompt) -> Sequence[str]:
    """Return the texts of a prompt's options."""
    return cast(Sequence[str], prompt.fields.get("options", ()))


def word_sets(prompt: Prompt, answer: str) -> Mark:
    """Mark as MMAU's and MMAR's `string_match` does: the answer has every word of the gold and none that only wrong options
    have. Words, not their order: a wrong option of the same words passes."""
    words, right = _words(answer), _words(prompt.answer or "")
    option_words = [_words(option) for option in options_of(prompt)]
    wrong = {word for option in option_words if option != right for word in option - right}
    return Mark(float(bool(words) and right <= words and not words & wrong))


def closed_word_sets(prompt: Prompt, answer: str) -> Mark:
    """Mark as `word_sets` does where the prompt has options; without them the answer is left out of the mean: word sets say
    nothing of a free answer, which may hold every word of the gold and deny it."""
    return word_sets(prompt, answer) if options_of(prompt) else Mark(0.0, is_counted=False)


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def outer_letter(prompt: Prompt, answer: str) -> Mark:
    """Mark as MMSU's code does: by the first character, or else by the last but one, where it is one of ABCD. An answer with
    neither is left out of the mean; an empty one, or 'None', is wrong."""
    line, options = answer.strip().replace("\n", ""), options_of(prompt)
    if line in ("", "None"):
        return Mark(0.0)
    letter = line[0]
    if letter not in "ABCD":
        letter = line[-2] if len(line) > 1 else ""
        if letter == "" or letter not in "ABCD":
            return Mark(0.0, is_counted=False)
    index = ord(letter) - ord("A")
    return Mark(float(index < len(options) and options[index] == prompt.answer))


def short_answer(prompt: Prompt, answer: str) -> Mark:
    """Mark a yes or no, valid or invalid, or a number: equal to the gold once marks, a lead-in and number words are gone. A
    sentence counts by its first word ("Yes, he does"), unless the opposite stands in it too."""
    gold = _plain(prompt.answer or "")
    reading = _plain(answer)
    if reading == gold != "":
        return Mark(1.0)
    opposites = ({"yes", "no"}, {"valid", "invalid"}, {"true", "false"})
    pair = next((pair for pair in opposites if gold in pair), None)
    words = [word.strip(_EDGES) for word in re.split(r"[\s,;:.]+", reading)]
    return Mark(float(pair is not None and words[0] == gold and not (pair - {gold}) & {*words}))


def _plain(text: str) -> str:
    bare = _LEAD.sub("", re.sub(r"\\boxed\{([^{}]*)\}", r"\1", text).strip(_EDGES)).strip(_EDGES).casefold()
    return with_digits(bare).replace(",", "") if bare else bare


def spoken_number(prompt: Prompt, answer: str) -> Mark:
    """Mark as AudioBench does for Spoken-MQA: the first number after "the answer is" or ####, else the last of all, must be
    written as the reference is. The digits splits compare with the raw reference: there "1,200" never matches."""
    reference = prompt.answer or ""
    if not prompt.fields.get("is_raw_reference"):
        if "####" in reference:
            reference = _shortest(reference.split("#### ")[-1].replace(",", ""))
        # its code evaluates the reference, and 1,200 is then two numbers, which it takes for none
        reference = "" if _SEVERAL.fullmatch(reference) else _shortest(reference)
    reading = _last_number(answer) or "empty"
    return Mark(float(reading[:100].lower() == (reference or "empty").lower()))


_TRIGGERS = ("The answer is:", "The answer is", "the answer is", "####")


def _last_number(answer: str) -> str:
    """Return the number that AudioBench reads in an answer, or an empty text."""
    text = answer.strip("\n")
    if any(text.count(trigger) > 1 for trigger in _TRIGGERS):  # taken for further examples that the model makes up
        text = text.split("\n\n")[0]
    pieces = re.split("|".join(_TRIGGERS), text)
    last = pieces[-1].strip("\n").rstrip(".").rstrip("/").strip(" ").replace(",", "")
    numbers = [_shortest(number) for number in re.findall(r"-?\d+/?\.?\d*", last)]
    if not numbers:
        return ""
    return (numbers[0] if len(pieces) > 1 else numbers[-1]).rstrip(".").rstrip("/")


def _shortest(number: str) -> str:
    """Return a number without zeros that say nothing: 5.0 is 5, 3/4 is 0.75; what is no number stays."""
    # as Python reads numbers: whole ones without zeros before them
    fraction = re.fullmatch(r"(-?(?:0+|[1-9]\d*))/(0+|[1-9]\d*|\d+\.\d*|\.\d+)", number)
    try:
        value = int(fraction[1]) / float(fraction[2]) if fraction else float(number)
        digits = str(value).rstrip("0")
        return str(int(digits.rstrip("."))) if digits.endswith(".") else str(float(digits))
    except (ValueError, ZeroDivisionError, OverflowError):
        return number


def hash_mark(prompt: Prompt, answer: str) -> Mark:
    """Mark as GSM8K's code does: the first number after `#### ` is the gold's, digit for digit without commas. An answer
    without the mark is wrong."""
    match = _GSM8K.search(answer)
    gold = (prompt.answer or "").replace(",", "")
    return Mark(float(match is not None and match[1].replace(",", "") == gold))


def answer_is(prompt: Prompt, answer: str) -> Mark:
    """Mark as BIG-Bench Hard does: what follows "answer is", without its full stop, is the gold, letter for letter."""
    _, mark, rest = answer.partition("answer is ")
    reading = (rest if mark else answer).strip()
    reading = reading.split("answer is ")[0].strip().removesuffix(".")
    return Mark(float(reading == (prompt.answer or "")))


def whole_number(prompt: Prompt, answer: str) -> Mark:
    """Mark an AIME answer: the last box, or else the last number, is the gold, a whole number of 0 to 999."""
    boxes = re.findall(r"\\boxed\{\s*\$?\s*(-?[\d,]+)\s*\$?\s*\}", answer)
    # A box without a whole number is the answer all the same: no other number stands in for it. Outside of boxes, the
    # digits before and behind the point of a decimal are no whole numbers.
    numbers = boxes or ([] if "\\boxed" in answer else re.findall(r"(?<![\d.])-?\d[\d,]*(?![\d]|\.\d)", answer))
    reading = numbers[-1].replace(",", "") if numbers else ""
    gold = (prompt.answer or "").lstrip("0") or "0"
    return Mark(float(bool(reading) and (reading.lstrip("0") or "0") == gold))


def same_text(prompt: Prompt, answer: str) -> Mark:
    """Mark a short label: equal to the reference or to the label, case, spaces and marks at its edges aside."""
    reading = " ".join(answer.strip(_EDGES + "。，！？：；").casefold().split())
    golds = [prompt.answer or "", str(prompt.fields.get("label") or "")]
    plain = {" ".join(gold.strip(_EDGES + "。，！？：；").casefold().split()) for gold in golds} - {""}
    return Mark(float(reading in plain))
