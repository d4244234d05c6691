"""Multiple choice: the letter or the text of one option; several at once, or none, is wrong."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any, cast

from rewards.verifiers import Case
from rewards.verifiers.text import answer_text, normalised
from rl.types import Prompt, Rollout, Verdict

_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_MARKUP = re.compile(r"\\(?:text|mathrm|textbf|mathbf)\s*\{([^{}]*)\}|[*$`]")
_GOLD = re.compile(r"\(?([A-Za-z])(?:[).:,](?:\s.*)?)?", re.DOTALL)
_STATED = re.compile(
    r"(?:answer|option|choice|réponse|antwort|respuesta)\b(?:\s*(?:is|est|ist|es|:|=))*\s*(\S.*)", re.I
)
_LETTER = re.compile(r"(?<![\w'’])\(?([A-Z])(?![\w'’])")
_SMALL = re.compile(r"\(?[a-z][).:]*")
_ARTICLE = re.compile(r"A (?!is\b)[a-z]")  # "A is right" names an option, "A dog barks" does not


def verify(prompt: Prompt, rollout: Rollout) -> Verdict:
    """1.0 where the response chooses the gold option. `prompt.fields['options']` (a list, or letters to texts) says
    what there is to choose; without it the letters A to Z. The gold is a letter, an option's text, or, where no
    option reads so, an option's index counted from 0; without options it may be any text."""
    options = _options(prompt.fields.get("options"))
    gold, said = _gold(prompt, options), answer_text(rollout.response)
    if gold is None:
        return Verdict(score=float(normalised(said) == normalised(prompt.answer or "")))
    chosen = chosen_letter(said, options)
    return Verdict(score=float(chosen == gold), reason="" if chosen == gold else f"chose {chosen or 'nothing'}")


def chosen_letter(answer: str, options: Mapping[str, str]) -> str | None:
    """The one option that an answer chooses: by a stated letter ("the answer is C"), by an option's text, or by the
    last letter that stands alone. None where it chooses several or nothing."""
    boxes = _BOXED.findall(answer)
    answer = _MARKUP.sub(lambda match: match[1] or "", boxes[-1] if boxes else answer).strip()
    if _SMALL.fullmatch(answer):
        answer = answer.upper()
    stated = _STATED.findall(answer)
    for part in (stated[-1], answer) if stated else (answer,):
        leading = _LETTER.match(part)
        if leading and leading[1] in options and not _ARTICLE.match(part):
            return leading[1] if _alone(part[leading.end() :], options) else None
        by_text = _by_text(part, options)
        if by_text:
            return by_text
    letters = [m[1] for m in _LETTER.finditer(answer) if m[1] in options and not _ARTICLE.match(answer, m.start(1))]
    listed = len(set(letters)) > 1 and not re.search(r"[^\W\d_]{3}", answer)
    return letters[-1] if letters and not listed else None


def _alone(rest: str, options: Mapping[str, str]) -> bool:
    """Whether no second letter is offered right after the first: "B or C", "A, B, C", "A B"."""
    joined = re.match(r"[\s).:]*(?:(?:,|/|&|;|\bor\b|\band\b|\boder\b|\bou\b)\s*)*\(?([A-Z])(?![\w'’])", rest)
    return not (joined and joined[1] in options)


def _by_text(answer: str, options: Mapping[str, str]) -> str | None:
    """The one option whose text the answer is, or else contains; of texts within one another the longest counts."""
    said = f" {normalised(answer)} "
    texts = {letter: normalised(text) for letter, text in options.items() if text}
    exact = [letter for letter, text in texts.items() if said.strip() == text]
    found = exact or [letter for letter, text in texts.items() if f" {text} " in said]
    longest = [a for a in found if not any(a != b and f" {texts[a]} " in f" {texts[b]} " for b in found)]
    return longest[0] if len(longest) == 1 else None


def _options(options: Any) -> dict[str, str]:
    if options is None:
        return dict.fromkeys(string.ascii_uppercase, "")
    if isinstance(options, Mapping):
        return {str(k).upper(): str(v) for k, v in cast(Mapping[Any, Any], options).items()}
    return dict(zip(string.ascii_uppercase, map(str, cast(Sequence[Any], options)), strict=False))


def _gold(prompt: Prompt, options: Mapping[str, str]) -> str | None:
    answer = (prompt.answer or "").strip()
    texts = {normalised(text): letter for letter, text in options.items() if text}
    if normalised(answer) in texts:
        return texts[normalised(answer)]
    letter = _GOLD.fullmatch(answer)
    if letter and letter[1].upper() in options:
        return letter[1].upper()
    if answer.isdigit() and texts and int(answer) < len(options):
        return list(options)[int(answer)]
    if answer and not texts:
        return None
    raise ValueError(f"prompt '{prompt.id}': the answer {answer!r} is none of the options {', '.join(options)}")


_CITIES = {"options": ["London", "Paris", "New York", "York"]}
GOLD = [
    Case("C", "C"),
    Case("(b)", "B"),
    Case("B.", "B"),
    Case("<think>B?</think>The answer is C.", "C"),
    Case("The correct answer is **(C)** because it rains.", "C"),
    Case("\\boxed{\\text{D}}", "(D) Alina"),
    Case("we ruled out A, then B, settled on C", "C"),
    Case("Definitely Paris.", "B", fields=_CITIES),
    Case("It is New York", "New York", fields=_CITIES),
    Case("Answer: C", "2", fields=_CITIES),
    Case("A, B, C, D", "D", equal=False),
    Case("The answer is A or B", "A", equal=False),
    Case("London or Paris", "Paris", equal=False, fields=_CITIES),
    Case("A dog barks at a cat", "A", equal=False),
    Case("<think>The answer is C", "C", equal=False),
]
