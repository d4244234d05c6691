"""Mathematical equality of the last answer: numbers, units, sets, intervals, matrices, equations, dates, in any notation."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, cast

from rewards.answers.chains import single_number
from rewards.answers.equality import equal
from rewards.answers.grammar import read_plain
from rewards.answers.kinds import Answer, Number, Policy, Relation, Series, Words
from rewards.answers.marks import marked_answer
from rewards.answers.notation import plain, without_marks
from rewards.answers.prose import LONGEST, Span, find_answer
from rewards.answers.relations import asked_value, named_value
from rewards.answers.repeats import repeats_question, tokens
from rewards.answers.texts import normalise_text
from rewards.contract import Case
from rl.types import Prompt, Rollout, Verdict

_MOST_BITS = 4000  # of a number that is written out for votes: 1204 digits


def verify(
    prompt: Prompt,
    rollout: Rollout,
    *,
    unevaluated: Literal["refuse", "allow"] = "refuse",
    units: Literal["optional", "required"] = "optional",
    bases: Literal["written", "optional"] = "written",
    inequalities: Literal["intervals", "distinct"] = "intervals",
    order: Literal["free", "given"] = "free",
) -> Verdict:
    """Score 1.0 where the last answer of the response equals the gold, else 0.0; an answer that is denied, taken back or
    repeated from the question does not count.

    Where the gold is a number, an answer is a number in a final form: `3/4`, `\\sqrt{2}`, `2\\pi` and `1.2\\cdot 10^3` are,
    `49+26`, `2^5` and `5!` are not, unless the gold is written so or `unevaluated` is `allow`. Values are compared exactly,
    or to 5e-7 where one side is a decimal fraction and the other a root, a fraction, …. A missing unit is no fault, a
    unit that differs is converted (`units: required` wants one where the gold has one). A number base must be written as in
    the gold (`bases: optional` takes the digits alone). `x > 3` equals `(3, \\infty)` (`inequalities: distinct` keeps them
    apart). Lists and sets have no order (`order: given`: the gold's). The gold may carry commas, `#### 42` or `\\boxed{…}`.
    Raises ValueError for a prompt without an answer or an argument that is none of its choices.
    """
    if not (prompt.answer or "").strip():
        raise ValueError(f"prompt '{prompt.id}' has no answer to compare with")
    policy = _policy(unevaluated, units, bases, inequalities, order)
    gold = read_gold(cast(str, prompt.answer))
    span = find_answer(rollout.response)
    pred = _pred_of(span, gold, rollout.response)
    digits_may = isinstance(gold, Number) and gold.value.is_digits
    if policy.unevaluated == "refuse" and repeats_question(pred, gold.text, prompt.question, digits_may):
        return Verdict(reason=f"repeats the question: '{without_marks(pred.text)[-100:]}'", read=_reading(pred))
    question = plain(prompt.question[-LONGEST:])
    gold, pred = asked_value(gold, question), asked_value(pred, question)
    right = bool(pred.text) and equal(gold, pred, policy)
    return Verdict(
        float(right), reason="" if right else f"read '{without_marks(pred.text)[-100:]}'", read=_reading(pred)
    )


_CHOICES = {
    "unevaluated": ("refuse", "allow"),
    "units": ("optional", "required"),
    "bases": ("written", "optional"),
    "inequalities": ("intervals", "distinct"),
    "order": ("free", "given"),
}


def _policy(*values: str) -> Policy:
    for (name, choices), value in zip(_CHOICES.items(), values, strict=True):
        if value not in choices:
            raise ValueError(f"math: {name} is '{value}'; choose {' or '.join(choices)}")
    return Policy(*values)


def read_gold(gold: str) -> Answer:
    """Return what a gold is: the text itself, what it marks, or, where it is a worked solution, what that comes to."""
    marked = marked_answer(gold)
    answer = read_plain(plain((gold if marked is None else marked)[-LONGEST:]))
    if marked is None and isinstance(answer, Words) and len(answer.text.split()) > 12:
        span = find_answer(gold)
        return read_plain(span.text) if span.text else answer
    return answer


def _pred_of(span: Span, gold: Answer, response: str) -> Answer:
    """Return what a response answers, beside a gold of this kind: a gold in words is compared with words."""
    if isinstance(gold, Words):
        whole = span.statement if span.source in ("stated", "marked") else plain(response[-LONGEST:])
        return read_plain(whole)
    pred = read_plain(span.text)
    if not isinstance(gold, Number):
        return pred
    if isinstance(pred, Series):
        return single_number(pred) or pred
    if span.source == "prose" and isinstance(pred, Relation) and pred.operators[-1] in ("=", "\\approx"):
        return named_value(pred) or read_plain(pred.sides[-1])  # "so x + 2x = 15": prose ends with what it comes to
    return pred


def _reading(pred: Answer) -> str:
    """Return an answer in one form however it is written, for votes: 0.5, `\\frac{1}{2}` and "it is 1/2" are all 1/2.
    Answers that only algebra finds equal stay different."""
    real = pred.value.real if isinstance(pred, Number) and not pred.value.undone else None
    # By the value and not by the text: 1e5000 is short, and Python writes no integer of over 4300 digits.
    if isinstance(real, Fraction) and max(map(int.bit_length, real.as_integer_ratio())) <= _MOST_BITS:
        return str(real)
    if isinstance(pred, Words):
        return normalise_text(pred.text)
    return "".join(tokens(pred.text))


GOLD = [
    Case("<think>6 times 7</think>The answer is 42.", "42"),
    Case("\\boxed{42}", "#### 42"),
    Case("#### 1,234", "1234"),
    Case("so it is $\\boxed{\\frac{1}{2}}$", "0.5"),
    Case("$x^2+2x+1$", "(x+1)^2"),
    Case("\\boxed{-2} and \\boxed{1}", "\\{1,-2\\}", args={"order": "free"}),
    Case("First 30, no: 45", "45"),
    Case("Tuesday", "\\text{Tuesday}"),
    Case("The answer is Tuesday.", "\\text{Tuesday}"),
    Case("\\boxed{28\\%}", "28\\%"),
    Case("The answer is 4π.", "4\\pi"),
    Case("\\boxed{5 km/h}", "5"),
    Case("49 + 26 = 75", "75", question="What is 49 + 26?"),
    Case("The answer is 49+26.", "75", equal=False, question="What is 49 + 26?", args={"unevaluated": "refuse"}),
    Case("The answer is at least 7.", "7", equal=False),
    Case("\\boxed{9.11\\times 10^{-31}}", "1.6\\times 10^{-19}", equal=False),
    Case("<think>It is 42</think>", "42", equal=False),
    Case("\\boxed{41} but \\boxed{43}", "41", equal=False),
    Case("1, 2, 3, 4", "4", equal=False),
    Case("silent", "listen", equal=False),
    Case("(0,1]", "(0,1)", equal=False),
]
