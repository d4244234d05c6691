"""Cases as attacks see them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from rewards.answers.marks import marked_answer
from rl.workbench.cases import LabelledCase

NOTHING = "nothing"
"""The wrong answer where none of the gold's kind is at hand."""
MAX_CASES = 40
"""Number of cases that are attacked; of more, as many evenly spread ones are taken."""
NUMBER = re.compile(r"(-?\d{1,300})(?:\.\d{1,300})?")
"""Pattern of a gold that is a plain number, its whole part first; of more digits it would be too large for a float."""


@dataclass(frozen=True, slots=True)
class Target:
    """A case as an attack sees it: with its gold, since a policy finds by trial what it is not told."""

    question: str
    gold: str | None
    wrong_answer: str
    """An answer of the gold's kind that is wrong."""
    options: tuple[str, ...]
    """The texts of a multiple-choice question's options."""
    fields: Mapping[str, object]
    has_audio: bool
    """True where the prompt has clips."""
    right_answer: str = ""
    """The case's own answer, which is labelled right."""

    @property
    def has_content(self) -> bool:
        """Return whether the case asks anything. A case without content tries a verifier of the answer's shape alone,
        for which no content is wrong."""
        return bool(self.gold or self.question.strip() or self.fields or self.has_audio)


def choose_targets(cases: Sequence[LabelledCase]) -> list[tuple[LabelledCase, Target]]:
    """Return at most MAX_CASES evenly spread cases of different questions, each as a target."""
    by_question: dict[str, LabelledCase] = {}  # cases of one question and gold make the same attacks
    for case in cases:
        prompt = case.rollouts[0].prompt
        by_question.setdefault(repr((prompt.question, case.golds, prompt.fields, prompt.clips, case.args)), case)
    distinct = list(by_question.values())
    if len(distinct) > MAX_CASES:
        distinct = [distinct[i * len(distinct) // MAX_CASES] for i in range(MAX_CASES)]
    golds = [gold for case in distinct for gold in case.golds if gold]
    return [(case, _target(case, golds)) for case in distinct]


def _target(case: LabelledCase, golds: Sequence[str]) -> Target:
    prompt, gold = case.rollouts[0].prompt, case.golds[0]
    if gold is not None:
        gold = (marked_answer(gold) or gold).strip()  # the answer alone, without its mark
    options = prompt.fields.get("options")
    if isinstance(options, Mapping):
        options = list(cast(Mapping[str, object], options).values())
    texts = tuple(map(str, cast(Sequence[object], options or ())))
    wrong_answer = _find_wrong_answer(gold, golds, texts)
    return Target(prompt.question, gold, wrong_answer, texts, prompt.fields, bool(prompt.clips), case.pred)


def _find_wrong_answer(gold: str | None, golds: Sequence[str], options: Sequence[str]) -> str:
    """Return an answer of the gold's kind that is wrong: another option, number, letter or gold; else NOTHING."""
    if gold is None:
        return NOTHING
    if options:
        return next((option for option in options if option.casefold() != gold.casefold()), NOTHING)
    if number := NUMBER.fullmatch(gold):
        return str(int(number[1]) + 7)  # not through a float, by which 10^20 + 7 would be its own wrong answer
    if re.fullmatch(r"\(?[A-Z]\)?", gold):
        return "A" if "A" not in gold else "B"
    letters = _letters(gold)
    return next((g for g in golds if _letters(g) not in letters and letters not in _letters(g)), NOTHING)


def _letters(text: str) -> str:
    """Return a text without capitals, spaces and line breaks: a matrix in one line is no other answer."""
    return "".join(text.casefold().split())
