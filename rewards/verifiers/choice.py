"""Multiple choice: the letter or the text of one option; several at once, or none, is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal

from rewards.answers.texts import answer_text, normalise_text
from rewards.choices.options import chosen_letter, read_options
from rewards.contract import Case
from rl.config import ConfigError, did_you_mean
from rl.types import Prompt, Rollout, Verdict

_GOLD = re.compile(r"\(?([A-Za-z])(?:[).:,](?:\s.*)?)?", re.DOTALL)
_BARE = re.compile(r"\(?([A-Za-z])[).]?")


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
    gold, answer = find_gold_letter(prompt, options), answer_text(rollout.response)
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


def find_gold_letter(prompt: Prompt, options: Mapping[str, str]) -> str | None:
    """Return the letter of the gold option; None where there are no options and the gold is a text. Raises ValueError where it
    is none of the options."""
    answer = (prompt.answer or "").strip()
    texts = {normalise_text(text): letter for letter, text in options.items() if text}
    # An option's text comes before letters and indices: of the options 2, 3 and 5 the gold 2 is the first.
    if normalise_text(answer) in texts:
        return texts[normalise_text(answer)]
    if answer.upper() in options:
        return answer.upper()
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
    Case("I would choose 'd'.", "D", args=_FREE),
    Case("答案是B", "B", args=_FREE),
    Case("Maybe Answer: A? Let me see. Final answer: B", "B", args=_FREE),
    Case("\\boxed{E = mc^2}. **Answer: D**", "D", args=_FREE),
    Case("A, B, C, D", "D", equal=False, args=_FREE),
    Case("The answer is A or B", "A", equal=False, args=_FREE),
    Case("London or Paris", "Paris", equal=False, fields=_CITIES, args=_FREE),
    Case("A dog barks at a cat", "A", equal=False, args=_FREE),
    Case("The answer is a dog", "A", equal=False, args=_FREE),
    Case("B. Paris; C. New York", "Paris", equal=False, fields=_CITIES, args=_FREE),
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
