"""Mathematical equality of the last answer: LaTeX or plain numbers, fractions, percent, sets, intervals, equations."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import cast

import math_verify

from rewards.answers import (
    BOX_ATOM,
    NUMBER_ATOM,
    TAG_ATOM,
    drop_retracted,
    is_enumeration,
    marked_answer,
    stated_answer,
)
from rewards.contract import Case
from rewards.verifiers.text import normalise_text
from rl.types import Prompt, Rollout, Verdict

# SIGALRM stays unused (timeouts None): the pool's deadline governs, also where a signal cannot interrupt.
_parse_expressions = cast(Callable[..., list[object]], math_verify.parse)
_expressions_equal = cast(Callable[..., bool], math_verify.verify)
_TEXT_FORMS = (math_verify.LatexExtractionConfig(), math_verify.ExprExtractionConfig())
_BARE_FORMS = _TEXT_FORMS[:1]  # an expression that does not parse must not be read as the first number in it
for _name in ("math_verify.parser", "math_verify.grader"):  # each would warn once that its timeouts are off
    logging.getLogger(_name).setLevel(logging.ERROR)

_LONGEST = 4000  # characters of an answer: the regular expressions that search it take up to quadratic time

# Patterns that find an answer in a text
_CJK = r"[\u3040-\u9fff\uac00-\ud7a3]"
_PROSE = re.compile(
    r"[^\W\d_]{2,}[\s,;:]+(?:[^\W\d_]+[\s,;:]+)*[^\W\d_]{2,}|[.!?;:]\s|\n|\*\*"
    r"|\b(?:is|so|not)\b|['’]s\b|" + _CJK
)
_LABEL = re.compile(r"\b(?:r[ée]ponse|respuesta|risposta|antwort|resposta)\b|答案|答え|정답", re.IGNORECASE)
_CJK_THEN_NUMBER = re.compile(f"(?<={_CJK})(?=[-\\d])")
_SEVERAL = re.compile(r"(?:[-+.\d]+[,;\s]+)+[-+.\d]+|.*[\d$*%})],?\s+or\s+[-$*\s]*\d\S*(?:\s\w+)?\W*", re.DOTALL)

_FORMULA = r"\$[^$\n]{1,200}\$|\\\([^\n]{1,200}?\\\)|[-+−]?\\(?:[dt]?frac|sqrt)(?:\{[^{}]*\}){1,2}"
_ATOM = rf"{BOX_ATOM}|{TAG_ATOM}|{_FORMULA}|{NUMBER_ATOM}"

# Patterns of what an answer is made of
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:(?:,|\{,\}|\\,|\s)\d{3})+|\d+)?(?:\.\d+)?")
_GAPS = re.compile(r"[,{}\\\s]")
_DECIMAL_COMMA = re.compile(r"-?\d+,\d\d")
_DOLLAR = re.compile(r"(?<!\\)\$")
_CURRENCY = re.compile(r"\\\$|[€£¥]|\\!")
_PERCENT = re.compile(r"\s*(?:\\?%|\bpercent(?:age)?\b|\bpct\b)\.?$", re.IGNORECASE)
_SIGN = re.compile(r"(?<![^\s$(\[{,;:=])\+(?=\.?\d)")  # the + of +7, which would make a sum of the words before it
_UPRIGHT = re.compile(r"\\(?:mathrm|text)\{\s*([ei])\s*\}")  # taken for a unit and dropped: 1 - 1/e would equal 1
_FRACTION = re.compile(r"(-?)(?:\\[dt]?frac\{?)?(-?\d{1,300})(?:\}\{?|\{|/)(\d{1,300})\}?")
_WORD = re.compile(r"\\(?:text|mathrm|textbf|mbox|operatorname)\{\s*([^{}\\]*[^\W\d_]{2}[^{}\\]*)\}|([^\W\d_]{4,})")


def verify(prompt: Prompt, rollout: Rollout) -> Verdict:
    """Score 1.0 where the last answer of the response equals the gold (math-verify 0.9: exact, or to 6 decimals where one
    side is a decimal fraction), else 0.0; an answer that is denied or taken back does not count. The gold may carry
    commas, `#### 42` or `\\boxed{…}`."""
    if not (prompt.answer or "").strip():
        raise ValueError(f"prompt '{prompt.id}' has no answer to compare with")
    pred, gold = extract_answer(rollout.response), last_answer(cast(str, prompt.answer))
    equal = same_answer(pred, gold)
    return Verdict(score=float(equal), reason="" if equal else f"read '{pred[-100:]}'", read=_reading(pred, gold))


def extract_answer(response: str) -> str:
    """Return the last answer that a response neither denies ("not 42") nor takes back ("no, wait: …")."""
    return last_answer(drop_retracted(response, _ATOM))


def last_answer(text: str) -> str:
    """Return the answer that stands last in a text: in `\\boxed{}` (neighbours joined by commas), `<answer>` tags or after
    `####`; the end of the text where none of them marks it."""
    answer = marked_answer(text)
    return (text if answer is None else answer)[-_LONGEST:].strip()


def same_answer(pred: str, gold: str) -> bool:
    """Return whether two answers, bare or at the end of some text, are equal. Tries the cheap rules first: sympy behind
    math-verify takes from milliseconds to seconds."""
    if pred == gold or not pred:
        return bool(pred)
    pred_value, gold_value = _plain_number(pred), _plain_number(gold)
    if pred_value is not None and gold_value is not None:
        return pred_value == gold_value
    if gold_value is not None and _SEVERAL.fullmatch(pred):
        return False  # several guesses, of which the last would count
    if is_enumeration(pred):
        return False  # it would be parsed as one set for many seconds
    if pred_value is not None and _DECIMAL_COMMA.fullmatch(gold):
        return pred_value == Fraction(gold.replace(",", "."))
    word = _word(gold)
    if word is not None:  # letters are not a product of variables: 'silent' is not 'listen'
        return _as_word(pred) == normalise_text(word)
    return _expressions_equal(_parse(gold), _parse(pred), timeout_seconds=None)


def _reading(pred: str, gold: str) -> str:
    """Return an answer in one form however it is written, for votes: 0.5, `\\frac{1}{2}` and "it is 1/2" are all 1/2.
    Answers that only algebra finds equal stay different. The gold decides nothing but whether the answer is read as a word,
    as in `same_answer`."""
    value = _plain_number(pred)
    if value is not None:
        return str(value)
    if _word(gold) is not None:
        return _as_word(pred)
    no_single_answer = not pred or is_enumeration(pred) or _SEVERAL.fullmatch(pred)
    expressions = [] if no_single_answer else _parse(pred)
    # The last item is the text that was read, the others are expressions: printed, 5000! has more digits than Python prints.
    text = "".join(str(expressions[-1]).split()).rstrip(".") if expressions else normalise_text(pred)
    value, ratio = _plain_number(text), _FRACTION.fullmatch(text)
    if ratio and int(ratio[3]):
        value = Fraction(int(ratio[2]), int(ratio[3])) * (-1 if ratio[1] else 1)
    return text if value is None else str(value)


@lru_cache(maxsize=256)  # a group's samples share their gold and often their answers
def _parse(answer: str) -> list[object]:
    """Return what math-verify reads in an answer: expressions, then the text that it read them from."""
    answer = _UPRIGHT.sub(r"{\1}", _SIGN.sub("", _CURRENCY.sub("", answer)))
    if "$" in answer or "\\[" in answer or "\\(" in answer or _PROSE.search(answer):
        # Prose: math-verify knows English labels alone and wants a space before a number.
        text = _CJK_THEN_NUMBER.sub(" ", _LABEL.sub("answer", answer))
        return _parse_expressions(text, _TEXT_FORMS, parsing_timeout=None)
    return _parse_expressions(f"${_PERCENT.sub('', answer)}$", _BARE_FORMS, parsing_timeout=None)


def _plain_number(answer: str) -> Fraction | None:
    """Return the value of a number in digits, perhaps with thousands separators, currency or percent sign; None for
    anything else."""
    digits = _PERCENT.sub("", _CURRENCY.sub("", answer).strip().strip("$")).removesuffix(".").strip()
    if not any(c.isdigit() for c in digits) or len(digits) > 1000 or not _NUMBER.fullmatch(digits):
        return None
    return Fraction(_GAPS.sub("", digits))


def _as_word(answer: str) -> str:
    answer = (stated_answer(answer) or answer).strip(" $.")
    return normalise_text(_word(answer) or answer)


def _word(answer: str) -> str | None:
    """Return the word that an answer consists of, bare or in `\\text{}`; None where it is something else."""
    match = _WORD.fullmatch(answer.strip().strip("$").strip())
    return (match[1] or match[2]) if match else None


GOLD = [
    Case("<think>6 times 7</think>The answer is 42.", "42"),
    Case("\\boxed{42}", "#### 42"),
    Case("#### 1,234", "1234"),
    Case("so it is $\\boxed{\\frac{1}{2}}$", "0.5"),
    Case("$x^2+2x+1$", "(x+1)^2"),
    Case("\\boxed{-2} and \\boxed{1}", "\\{1,-2\\}"),
    Case("First 30, no: 45", "45"),
    Case("Tuesday", "\\text{Tuesday}"),
    Case("The answer is Tuesday.", "\\text{Tuesday}"),
    Case("\\boxed{28\\%}", "28\\%"),
    Case("<think>It is 42</think>", "42", equal=False),
    Case("\\boxed{41} but \\boxed{43}", "41", equal=False),
    Case("1, 2, 3, 4", "4", equal=False),
    Case("silent", "listen", equal=False),
    Case("(0,1]", "(0,1)", equal=False),
]
