"""Measures how likely a model is to guess a prompt's answer, from what it says to others of its kind without their sound.

One over the number of options is the chance of a guesser without habits. Models have them: one that says "A" whenever it hears
nothing is right in silence on every prompt whose answer is A, and nothing in those prompts gives it away. So the chance of a
prompt is also how often the model gives the prompt's answer to prompts that have another one and that it must guess too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from rewards.answers.texts import normalise_text
from rewards.choices.options import chosen_letter, read_options
from rl.stages.audio_contribution import ControlTest, count_options, tail
from rl.types import Prompt

FEWEST_OTHERS = 8
"""Prompts with another answer that it takes to tell a habit."""
Views = tuple[str, ...]
"""An answer as it can be compared: its text; where there are options, the letter and the option's text, for a model may favour
either."""


@dataclass(frozen=True, slots=True)
class SilentAnswers:
    """Answers of a model to one prompt without its sound."""

    prompt: Prompt
    answers: Sequence[str]
    """One for each sample that could be judged, as the verifier read it."""
    right: int
    """Number of them that are right."""


def guess_chances(silent: Sequence[SilentAnswers], test: ControlTest) -> dict[str, float]:
    """Return {prompt id: chance of a right answer by guessing}: that of its options, or, where it is more, the share of its
    answer among what the model says to others that it must guess."""
    habits: defaultdict[tuple[str, ...], _Habits] = defaultdict(_Habits)
    for each in silent:
        chance, samples = test.chance(each.prompt), len(each.answers)
        # One that is right more often than its options explain may be known: what is said to it tells nothing of guessing.
        is_guessed = bool(samples) and tail(each.right, samples, chance) > test.level
        answers = [_views(each.prompt, answer) for answer in each.answers] if is_guessed else []
        for group in _groups(each.prompt):
            habits[group].add(_views(each.prompt, each.prompt.answer or ""), answers)
    chances: dict[str, float] = {}
    for each in silent:
        gold = _views(each.prompt, each.prompt.answer or "")
        shares = (habits[group].share(gold) for group in _groups(each.prompt))
        # The narrowest group that can tell: the same words favour the same answer.
        share = next((share for share in shares if share is not None), 0.0)
        chances[each.prompt.id] = max(test.chance(each.prompt), share)
    return chances


def _groups(prompt: Prompt) -> list[tuple[str, ...]]:
    """Return the groups in which a prompt is compared, the narrowest first: the same words, the same source."""
    return [("words", prompt.question), ("source", prompt.source, str(count_options(prompt)))]


class _Habits:
    """Answers of a model to those prompts of a group that it must guess."""

    def __init__(self) -> None:
        # Keys are (view, text), so that letters and the options' texts are counted beside each other.
        self._prompts, self._answers = 0, 0
        self._prompts_where: Counter[tuple[int, str]] = Counter()  # by what is right
        self._answers_where: Counter[tuple[int, str]] = Counter()
        self._said: Counter[tuple[int, str]] = Counter()
        self._said_where_right: Counter[tuple[int, str]] = Counter()

    def add(self, gold: Views, answers: Sequence[Views]) -> None:
        """Count one more prompt, and its answers where they are guesses."""
        said = Counter(view for answer in answers for view in enumerate(answer))
        self._prompts += 1
        self._answers += len(answers)
        self._said += said
        for right in enumerate(gold):
            self._prompts_where[right] += 1
            self._answers_where[right] += len(answers)
            self._said_where_right[right] += said[right]

    def share(self, gold: Views) -> float | None:
        """Return how often `gold` is said where another answer is right, None where too few prompts have another one."""
        shares = [
            (self._said[right] - self._said_where_right[right]) / max(1, self._answers - self._answers_where[right])
            for right in enumerate(gold)
            if right[1] and self._prompts - self._prompts_where[right] >= FEWEST_OTHERS
        ]
        return max(shares, default=None)


def _views(prompt: Prompt, answer: str) -> Views:
    if not count_options(prompt):
        return (normalise_text(answer),)
    options = read_options(prompt.fields.get("options", prompt.fields.get("choices")))
    # A reading is a letter already; a right answer may be the option's text, and a verifier may read none.
    letter = answer if answer in options else chosen_letter(answer, options) or ""
    return letter, normalise_text(options.get(letter, ""))
