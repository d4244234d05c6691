"""Mathematical equality of the last answer: LaTeX or plain numbers, fractions, percent, sets, intervals, equations."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any, cast

import math_verify

from rewards.answers import BOXED, NUMBER, TAGGED, listed, marked, said, standing
from rewards.contract import Case
from rewards.verifiers.text import normalised
from rl.types import Prompt, Rollout, Verdict

# SIGALRM stays unused (timeouts None): the pool's deadline governs, also where a signal cannot interrupt.
_parse = cast(Callable[..., list[Any]], math_verify.parse)
_same = cast(Callable[..., bool], math_verify.verify)
_READ_TEXT = (math_verify.LatexExtractionConfig(), math_verify.ExprExtractionConfig())
_READ_BARE = _READ_TEXT[:1]  # an expression that does not parse must not be read as the first number in it
for _name in ("math_verify.parser", "math_verify.grader"):  # each would warn once that its timeouts are off
    logging.getLogger(_name).setLevel(logging.ERROR)

_LONGEST = 4000  # characters of an answer: what searches it are regular expressions, some of them quadratic

# Where an answer stands
_CJK = r"[\u3040-\u9fff\uac00-\ud7a3]"
_PROSE = re.compile(
    r"[^\W\d_]{2,}[\s,;:]+(?:[^\W\d_]+[\s,;:]+)*[^\W\d_]{2,}|[.!?;:]\s|\n|\*\*"
    r"|\b(?:is|so|not)\b|['’]s\b|" + _CJK
)
_LABEL = re.compile(r"\b(?:r[ée]ponse|respuesta|risposta|antwort|resposta)\b|答案|答え|정답", re.IGNORECASE)
_GLUED = re.compile(f"(?<={_CJK})(?=[-\\d])")
_LISTED = re.compile(r"(?:[-+.\d]+[,;\s]+)+[-+.\d]+|.*[\d$*%})],?\s+or\s+[-$*\s]*\d\S*(?:\s\w+)?\W*", re.DOTALL)

_FORMULA = r"\$[^$\n]{1,200}\$|\\\([^\n]{1,200}?\\\)|[-+−]?\\(?:[dt]?frac|sqrt)(?:\{[^{}]*\}){1,2}"
_ATOM = rf"{BOXED}|{TAGGED}|{_FORMULA}|{NUMBER}"

# What it is made of
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
    """1.0 where the last answer of the response equals the gold (math-verify 0.9: exact, or to 6 decimals where one
    side is a decimal fraction), else 0.0; an answer that is denied or taken back does not count. The gold may carry
    commas, `#### 42` or `\\boxed{…}`."""
    if not (prompt.answer or "").strip():
        raise ValueError(f"prompt '{prompt.id}' has no answer to compare with")
    pred, gold = given(rollout.response), last_answer(cast(str, prompt.answer))
    equal = same_answer(pred, gold)
    return Verdict(score=float(equal), reason="" if equal else f"read '{pred[-100:]}'", read=_reading(pred, gold))


def given(response: str) -> str:
    """The last answer that a response gives and neither denies ("not 42") nor takes back ("no, wait: …")."""
    return last_answer(standing(response, _ATOM))


def last_answer(text: str) -> str:
    """The answer that stands last in a response: in `\\boxed{}` (neighbours joined by commas), `<answer>` tags or
    after `####`; the end of the text where none of them marks it."""
    mark = marked(text)
    return (text if mark is None else mark)[-_LONGEST:].strip()


def same_answer(pred: str, gold: str) -> bool:
    """Whether two answers, bare or at the end of some text, are equal."""
    if pred == gold or not pred:
        return bool(pred)
    pred_value, gold_value = _plain_number(pred), _plain_number(gold)
    if pred_value is not None and gold_value is not None:
        return pred_value == gold_value
    if gold_value is not None and _LISTED.fullmatch(pred):
        return False  # several guesses, of which the last would count
    if listed(pred):
        return False  # it would be parsed as one set for many seconds
    if pred_value is not None and _DECIMAL_COMMA.fullmatch(gold):
        return pred_value == Fraction(gold.replace(",", "."))
    word = _word(gold)
    if word is not None:  # letters are not a product of variables: 'silent' is not 'listen'
        return _as_word(pred) == normalised(word)
    return _same(_parsed(gold), _parsed(pred), timeout_seconds=None)


def _reading(pred: str, gold: str) -> str:
    """An answer in one form, however it is written: 0.5, `\\frac{1}{2}` and "it is 1/2" are 1/2. What only algebra finds
    equal stays apart. Of the gold it takes no more than whether it is a word, which is how `same_answer` reads."""
    value = _plain_number(pred)
    if value is not None:
        return str(value)
    if _word(gold) is not None:
        return _as_word(pred)
    found = [] if not pred or listed(pred) or _LISTED.fullmatch(pred) else _parsed(pred)
    # its text, not the expression: printed, 5000! is more digits than Python prints
    text = "".join(str(found[-1]).split()).rstrip(".") if found else normalised(pred)
    value, ratio = _plain_number(text), _FRACTION.fullmatch(text)
    if ratio and int(ratio[3]):
        value = Fraction(int(ratio[2]), int(ratio[3])) * (-1 if ratio[1] else 1)
    return text if value is None else str(value)


@lru_cache(maxsize=256)
def _parsed(answer: str) -> list[Any]:
    answer = _UPRIGHT.sub(r"{\1}", _SIGN.sub("", _CURRENCY.sub("", answer)))
    if "$" in answer or "\\[" in answer or "\\(" in answer or _PROSE.search(answer):
        return _parse(_GLUED.sub(" ", _LABEL.sub("answer", answer)), _READ_TEXT, parsing_timeout=None)
    return _parse(f"${_PERCENT.sub('', answer)}$", _READ_BARE, parsing_timeout=None)


def _plain_number(answer: str) -> Fraction | None:
    """The value of a number in digits, perhaps with signs of thousands or a currency; None for anything else."""
    digits = _PERCENT.sub("", _CURRENCY.sub("", answer).strip().strip("$")).removesuffix(".").strip()
    if not any(c.isdigit() for c in digits) or len(digits) > 1000 or not _NUMBER.fullmatch(digits):
        return None
    return Fraction(_GAPS.sub("", digits))


def _as_word(answer: str) -> str:
    answer = (said(answer) or answer).strip(" $.")
    return normalised(_word(answer) or answer)


def _word(answer: str) -> str | None:
    found = _WORD.fullmatch(answer.strip().strip("$").strip())
    return (found[1] or found[2]) if found else None


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
