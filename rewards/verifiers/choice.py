"""Multiple choice: the letter or the text of one option; several at once, or none, is wrong."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, cast

from rewards.answers import BOXED, TAGGED, boxes, listed, standing
from rewards.contract import Case
from rewards.verifiers.text import answer_text, normalised
from rl.config import ConfigError, did_you_mean
from rl.types import Prompt, Rollout, Verdict

_MARKUP = re.compile(r"\\(?:text|mathrm|textbf|mathbf)\s*\{([^{}]*)\}|[*$`]")
_GOLD = re.compile(r"\(?([A-Za-z])(?:[).:,](?:\s.*)?)?", re.DOTALL)
_STATED = re.compile(
    r"(?:answer|option|choice|réponse|antwort|respuesta)\b(?:\s*(?:is|est|ist|es|:|=))*\s*(\S.*)", re.I
)
_LETTER = re.compile(r"(?<![\w'’])\(?([A-Z])(?![\w'’])\)?")
_SMALL = re.compile(r"\(?[a-z][).:]*")
_BARE = re.compile(r"\(?([A-Za-z])[).]?")
_WORD = r"[AI]\s(?!(?:is|or|and|nor)\b)[a-z]"  # "A is right" names an option, "A dog barks" and "I think" do not
_ARTICLE = re.compile(_WORD)
_OR = re.compile(r"[\s).:]*(?:(?:,|/|&|;|\b(?:n?or|and|oder|ou)\b)\s*)*")
_OFFERS = re.compile(r"[/&]|\b(?:n?or|and)\b")
_MORE = re.compile(r"[\s).:]*(?:[^\W\d_]{2,}\s+){1,4}?(?:or|/)\s+")  # "(D) a dog or (C)"
_LONGEST = 1000  # characters of an option's text


def verify(prompt: Prompt, rollout: Rollout, *, rule: Literal["free", "strict", "mmau", "mmsu"] = "free") -> Verdict:
    """1.0 where the response chooses the gold option. `prompt.fields['options']` (or `choices`: a list, or letters to
    texts) says what there is to choose; without it the letters A to Z. The gold is a letter, an option's text, or,
    where no option reads so, an option's index counted from 0; without options it may be any text. Rules: `free`
    (`chosen_letter`), `strict` (nothing but the letter or the text), `mmau` (also MMAR's: word sets) and `mmsu`, as the
    benchmarks' own code has them. Reads the letter chosen; with `mmau`, which compares with the gold alone, nothing. Raises ConfigError for another rule, ValueError for a gold that is no option."""
    if rule not in RULES:
        raise ConfigError(f"choice: unknown rule '{rule}'{did_you_mean(rule, RULES)}")
    options = options_of(prompt.fields.get("options", prompt.fields.get("choices")))
    gold, said = _gold(prompt, options), answer_text(rollout.response)
    if gold is None:
        return Verdict(score=float(normalised(said) == normalised(prompt.answer or "")))
    chosen = RULES[rule](said, options, gold)
    reason = "" if chosen == gold else f"chose {chosen or 'nothing'}"
    return Verdict(score=float(chosen == gold), reason=reason, read=(chosen or "") if rule != "mmau" else "")


def _strict(answer: str, options: Mapping[str, str], gold: str) -> str | None:
    letter = _BARE.fullmatch(answer)
    if letter and letter[1].upper() in options:
        return letter[1].upper()
    return next((k for k, text in options.items() if text and text.strip().casefold() == answer.casefold()), None)


def _mmau(answer: str, options: Mapping[str, str], gold: str) -> str | None:
    """MMAU's and MMAR's `string_match`: every word of the right option, and none that only a wrong one has."""
    said, right = _word_set(answer), _word_set(options[gold])
    if not right:
        raise ValueError("choice: the rule mmau compares with the options' texts; give them as the prompt's options")
    others = [_word_set(text) - right for letter, text in options.items() if letter != gold]
    return gold if said and right <= said and not any(said & other for other in others) else None


def _mmsu(answer: str, options: Mapping[str, str], gold: str) -> str | None:
    """MMSU's: the first character, or else the last but one, if it is one of ABCD. What is neither MMSU leaves out of
    its mean; here it is wrong."""
    line = answer.replace("\n", "")
    for letter in (line[:1], line[-2:-1]):
        if letter and letter in "ABCD":
            return letter
    return None


def _word_set(text: str) -> set[str]:
    return set(re.findall(r"\b\w+\b", text.lower()))


def chosen_letter(answer: str, options: Mapping[str, str]) -> str | None:
    """The one option that an answer chooses: by a stated letter ("the answer is C"), by an option's text, or by the
    last letter that stands alone. None where it chooses several or nothing; what it denies or takes back is not its
    answer (`rewards.answers`)."""
    if listed(answer):
        return None
    answer = standing(answer, _atom(tuple(options.values())))
    boxed = boxes(answer)
    answer = _MARKUP.sub(lambda match: match[1] or "", " or ".join(boxed) if boxed else answer).strip()
    if _SMALL.fullmatch(answer):
        answer = answer.upper()
    stated = _STATED.findall(answer)
    for part in (stated[-1], answer) if stated else (answer,):
        leading = _LETTER.match(part)
        if leading and leading[1] in options and not _ARTICLE.match(part):
            return leading[1] if _alone(part[leading.end() :], leading[1], options) else None
        by_text = _by_text(part, options)
        if by_text:
            return by_text
    letters = [m for m in _LETTER.finditer(answer) if m[1] in options and not _ARTICLE.match(answer, m.start(1))]
    if not letters or any(not _alone(answer[m.end() :], m[1], options) for m in letters[-2:]):
        return None
    return letters[-1][1]


@lru_cache(maxsize=256)
def _atom(texts: tuple[str, ...]) -> str:
    """What an answer looks like: an option's letter, its text, or both."""
    known = "|".join(r"\s+".join(map(re.escape, text.split())) for text in sorted(texts, key=len, reverse=True) if text)
    named = rf"(?<!\w)(?i:{known})(?!\w)" if known else r"(?!)"
    letter = rf"(?<![\w'’])(?!{_WORD})\(?[A-Z](?![\w'’])\)?"
    return rf"{BOXED}|{TAGGED}|{letter}(?:[.:]?\s+(?:{named}))?|{named}"


def _alone(rest: str, letter: str, options: Mapping[str, str]) -> bool:
    """Whether no second option is offered right after the first: "B or C", "A, B, C", "A B", "B or a cat"."""
    for joint in (_OR.match(rest), _MORE.match(rest)):
        if joint is None:
            continue
        other = _LETTER.match(rest, joint.end())
        if other and other[1] in options and other[1] != letter and not _ARTICLE.match(rest, other.start(1)):
            return False
        said = f"{normalised(rest[joint.end() :][:_LONGEST])} " if _OFFERS.search(joint[0]) else ""
        if any(said.startswith(f"{normalised(text)} ") for key, text in options.items() if text and key != letter):
            return False
    return True


def _by_text(answer: str, options: Mapping[str, str]) -> str | None:
    """The one option whose text the answer is, or else contains; of texts within one another the longest counts."""
    said = f" {normalised(answer)} "
    texts = {letter: normalised(text) for letter, text in options.items() if text}
    exact = [letter for letter, text in texts.items() if said.strip() == text]
    found = exact or [letter for letter, text in texts.items() if f" {text} " in said]
    longest = [a for a in found if not any(a != b and f" {texts[a]} " in f" {texts[b]} " for b in found)]
    return longest[0] if len(longest) == 1 else None


def options_of(options: Any) -> dict[str, str]:
    """Letter -> text of what there is to choose: a list, or letters to texts; without any the letters alone."""
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


RULES: dict[str, Callable[[str, Mapping[str, str], str], str | None]] = {
    "free": lambda answer, options, gold: chosen_letter(answer, options),
    "strict": _strict,
    "mmau": _mmau,
    "mmsu": _mmsu,
}
"""Each says which option an answer chooses; one of the benchmarks' own looks at the gold for that."""

_FREE = {"rule": "free"}
_CITIES = {"options": ["London", "Paris", "New York", "York"]}
GOLD = [
    Case("C", "C", args=_FREE),
    Case("(b)", "B", args=_FREE),
    Case("B.", "B", args=_FREE),
    Case("<think>B?</think>The answer is C.", "C", args=_FREE),
    Case("The correct answer is **(C)** because it rains.", "C", args=_FREE),
    Case("\\boxed{\\text{D}}", "(D) Alina", args=_FREE),
    Case("we ruled out A, then B, settled on C", "C", args=_FREE),
    Case("Definitely Paris.", "B", fields=_CITIES, args=_FREE),
    Case("It is New York", "New York", fields=_CITIES, args=_FREE),
    Case("Answer: C", "2", fields=_CITIES, args=_FREE),
    Case("A, B, C, D", "D", equal=False, args=_FREE),
    Case("The answer is A or B", "A", equal=False, args=_FREE),
    Case("London or Paris", "Paris", equal=False, fields=_CITIES, args=_FREE),
    Case("A dog barks at a cat", "A", equal=False, args=_FREE),
    Case("<think>The answer is C", "C", equal=False, args=_FREE),
    Case("(C)", "C", args={"rule": "strict"}),
    Case("New York", "C", fields=_CITIES, args={"rule": "strict"}),
    Case("The answer is C.", "C", equal=False, args={"rule": "strict"}),
    Case("It is Paris, I think.", "Paris", fields=_CITIES, args={"rule": "mmau"}),
    Case("New York is not York", "York", equal=False, fields=_CITIES, args={"rule": "mmau"}),
    Case("B", "Paris", equal=False, fields=_CITIES, args={"rule": "mmau"}),
    Case("B", "Paris", fields=_CITIES, args={"rule": "mmsu"}),
    Case("The answer is B.", "Paris", fields=_CITIES, args={"rule": "mmsu"}),
    Case("Any of them: B.", "Paris", equal=False, fields=_CITIES, args={"rule": "mmsu"}),
    Case("paris", "Paris", equal=False, fields=_CITIES, args={"rule": "mmsu"}),
]
