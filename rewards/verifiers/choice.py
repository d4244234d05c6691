"""Multiple choice: the letter or the text of one option; several at once, or none, is wrong."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Literal, cast

from rewards.answers.marks import BOX_ATOM, TAG_ATOM, is_enumeration, last_boxes
from rewards.answers.retractions import drop_retracted
from rewards.contract import Case
from rewards.verifiers.text import answer_text, normalise_text
from rl.config import ConfigError, did_you_mean
from rl.types import Prompt, Rollout, Verdict

_MARKUP = re.compile(r"\\(?:text|mathrm|textbf|mathbf)\s*\{([^{}]*)\}|[*$`]")
_GOLD = re.compile(r"\(?([A-Za-z])(?:[).:,](?:\s.*)?)?", re.DOTALL)
_STATEMENT = re.compile(
    r"(?:answer|option|choice|réponse|antwort|respuesta)\b(?:\s*(?:is|est|ist|es|:|=))*\s*(\S.*)", re.I
)
_LETTER = re.compile(r"(?<![\w'’])\(?([A-Z])(?![\w'’])\)?")
_SMALL = re.compile(r"\(?[a-z][).:]*")
_BARE = re.compile(r"\(?([A-Za-z])[).]?")
_ARTICLE_OR_I = (
    r"[AI]\s(?!(?:is|or|and|nor)\b)[a-z]"  # "A is right" names an option, "A dog barks" and "I think" do not
)
_ARTICLE = re.compile(_ARTICLE_OR_I)
# between two letters that are offered together: "B or C", "A, B"
_OR = re.compile(r"[\s).:]*(?:(?:,|/|&|;|\b(?:n?or|and|oder|ou)\b)\s*)*")
_OFFERS = re.compile(r"[/&]|\b(?:n?or|and)\b")
_TEXT_THEN_OR = re.compile(r"[\s).:]*(?:[^\W\d_]{2,}\s+){1,4}?(?:or|/)\s+")  # "(D) a dog or (C)"
_LONGEST = 1000  # characters of an option's text


def verify(prompt: Prompt, rollout: Rollout, *, rule: Literal["free", "strict", "mmau", "mmsu"] = "free") -> Verdict:
    """Score 1.0 where the response chooses the gold option, else 0.0.

    The options are `prompt.fields['options']` (or `choices`): a list, or a mapping from letters to texts; without them the
    letters A to Z. The gold is a letter, an option's text, or, where no option reads like it, an option's index counted
    from 0; without options it may be any text. Rules: `free` (`chosen_letter`), `strict` (nothing but the letter or the
    text), `mmau` (also MMAR's: word sets) and `mmsu`, as these benchmarks' own code has them. The verdict's reading is the
    chosen letter; with `mmau`, which compares with the gold alone, it is empty. Raises ConfigError for another rule,
    ValueError for a gold that is no option.
    """
    if rule not in RULES:
        raise ConfigError(f"choice: unknown rule '{rule}'{did_you_mean(rule, RULES)}")
    options = read_options(prompt.fields.get("options", prompt.fields.get("choices")))
    gold, answer = _gold_letter(prompt, options), answer_text(rollout.response)
    if gold is None:  # no options to choose from: the texts are compared
        return Verdict(score=float(normalise_text(answer) == normalise_text(prompt.answer or "")))
    choice = RULES[rule](answer, options, gold)
    reason = "" if choice == gold else f"chose {choice or 'nothing'}"
    return Verdict(score=float(choice == gold), reason=reason, read=(choice or "") if rule != "mmau" else "")


def _strict(answer: str, options: Mapping[str, str], gold: str) -> str | None:
    letter = _BARE.fullmatch(answer)
    if letter and letter[1].upper() in options:
        return letter[1].upper()
    return next((k for k, text in options.items() if text and text.strip().casefold() == answer.casefold()), None)


def _mmau(answer: str, options: Mapping[str, str], gold: str) -> str | None:
    """Return the gold where the answer has every word of its text and none that only a wrong option has, as MMAU's and
    MMAR's `string_match` does; else None."""
    words, right = _word_set(answer), _word_set(options[gold])
    if not right:
        raise ValueError("choice: the rule mmau compares with the options' texts; give them as the prompt's options")
    wrong = [_word_set(text) - right for letter, text in options.items() if letter != gold]
    return gold if words and right <= words and not any(words & wrong_words for wrong_words in wrong) else None


def _mmsu(answer: str, options: Mapping[str, str], gold: str) -> str | None:
    """Return the first character, or else the last but one, where it is one of ABCD, as MMSU's code does. An answer with
    neither MMSU leaves out of its mean; here it is wrong."""
    line = answer.replace("\n", "")
    for letter in (line[:1], line[-2:-1]):
        if letter and letter in "ABCD":
            return letter
    return None


def _word_set(text: str) -> set[str]:
    return set(re.findall(r"\b\w+\b", text.lower()))


def chosen_letter(answer: str, options: Mapping[str, str]) -> str | None:
    """Return the letter of the one option that an answer chooses: by a stated letter ("the answer is C"), by an option's
    text, or by the last letter that stands alone. None where it chooses several or nothing; an option that it denies or
    takes back is not chosen (`rewards.answers`)."""
    if is_enumeration(answer):
        return None
    answer = drop_retracted(answer, _atom(tuple(options.values())))
    boxes = last_boxes(answer)
    if boxes:
        answer = " or ".join(boxes)  # several boxes are several choices
    answer = _MARKUP.sub(lambda match: match[1] or "", answer).strip()
    if _SMALL.fullmatch(answer):  # a small letter names an option only where it is the whole answer
        answer = answer.upper()
    statements = _STATEMENT.findall(answer)
    for part in [*statements[-1:], answer]:
        leading = _LETTER.match(part)
        if leading and leading[1] in options and not _ARTICLE.match(part):
            return leading[1] if _alone(part[leading.end() :], leading[1], options) else None
        letter = _by_text(part, options)
        if letter:
            return letter
    # Neither begins with a letter nor holds an option's text: the last letter counts, unless it is one of several.
    letters = [m for m in _LETTER.finditer(answer) if m[1] in options and not _ARTICLE.match(answer, m.start(1))]
    if not letters or any(not _alone(answer[m.end() :], m[1], options) for m in letters[-2:]):
        return None
    return letters[-1][1]


@lru_cache(maxsize=256)
def _atom(texts: tuple[str, ...]) -> str:
    """Return the atom of `rewards.answers`: an option's letter, its text, or both."""
    longest_first = sorted(filter(None, texts), key=len, reverse=True)  # "New York" before "York"
    words = "|".join(r"\s+".join(map(re.escape, text.split())) for text in longest_first)
    option_text = rf"(?<!\w)(?i:{words})(?!\w)" if words else r"(?!)"  # `(?!)` matches nothing
    letter = rf"(?<![\w'’])(?!{_ARTICLE_OR_I})\(?[A-Z](?![\w'’])\)?"
    return rf"{BOX_ATOM}|{TAG_ATOM}|{letter}(?:[.:]?\s+(?:{option_text}))?|{option_text}"


def _alone(rest: str, letter: str, options: Mapping[str, str]) -> bool:
    """Return whether no second option stands right behind the letter: "B or C", "A, B, C", "A B", "B or a cat"."""
    for joint in (_OR.match(rest), _TEXT_THEN_OR.match(rest)):
        if joint is None:
            continue
        second = _LETTER.match(rest, joint.end())
        if second and second[1] in options and second[1] != letter and not _ARTICLE.match(rest, second.start(1)):
            return False
        if not _OFFERS.search(joint[0]):  # "B, a cat": after a comma alone the text explains the letter
            continue
        following = f"{normalise_text(rest[joint.end() :][:_LONGEST])} "
        other_texts = [text for key, text in options.items() if text and key != letter]
        if any(following.startswith(f"{normalise_text(text)} ") for text in other_texts):
            return False
    return True


def _by_text(answer: str, options: Mapping[str, str]) -> str | None:
    """Return the letter of the one option whose text the answer is, or else contains; where one text contains another, the
    longer counts. None where there are several or none."""
    words = f" {normalise_text(answer)} "  # spaces around, so that whole words match alone
    texts = {letter: normalise_text(text) for letter, text in options.items() if text}
    exact = [letter for letter, text in texts.items() if words.strip() == text]
    matches = exact or [letter for letter, text in texts.items() if f" {text} " in words]
    longest = [a for a in matches if not any(a != b and f" {texts[a]} " in f" {texts[b]} " for b in matches)]
    return longest[0] if len(longest) == 1 else None


def read_options(options: object) -> dict[str, str]:
    """Return letter -> text of the options: from a list, or from a mapping of letters to texts; for None every letter of
    the alphabet with an empty text."""
    if options is None:
        return dict.fromkeys(string.ascii_uppercase, "")
    if isinstance(options, Mapping):
        return {str(k).upper(): str(v) for k, v in cast(Mapping[object, object], options).items()}
    return dict(zip(string.ascii_uppercase, map(str, cast(Sequence[object], options)), strict=False))


def _gold_letter(prompt: Prompt, options: Mapping[str, str]) -> str | None:
    """Return the letter of the gold option; None where there are no options and the gold is a text. Raises ValueError."""
    answer = (prompt.answer or "").strip()
    texts = {normalise_text(text): letter for letter, text in options.items() if text}
    if normalise_text(answer) in texts:
        return texts[normalise_text(answer)]
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
"""Rule -> function (answer, options, gold letter) -> the letter that the answer chooses. Only `mmau` looks at the gold."""

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
