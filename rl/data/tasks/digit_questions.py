"""Plans questions on clips of several real spoken digits: which ones, what is the sum of two, and a transcript of
them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from random import Random

from rl.config import ConfigError
from rl.data.rows import Row
from rl.data.tasks.corpora import Collection, can_be_joined, joined_length_s
from rl.data.tasks.items import Item, Planner, draw_distinct
from rl.data.tasks.questions import Question
from rl.messages import AUDIO_PATCH, MORE
from rl.types import Prompt

LARGEST_SUM = 18
STRING_LENGTH = 3
"""Digits of a string."""
SUMMANDS = 3
"""Digits of a sum that is told in a sentence."""
THEN = " then "
"""Before each digit of a sum's chain but the first."""
SENTENCES = ("restated_sum", "sum_first")
"""Kinds whose replies are sentences on a sum."""
LONGEST_TRANSCRIPT = 5
"""Most digits of a clip that is to be written down."""


def plan_digit_pairs(kind: str) -> Planner:
    """Return the planner of clips of two spoken digits, of which the digits are asked for or, by `sum`, their sum. The chain
    names the words heard; every sum is right equally often."""

    def plan(collection: Collection, rows: Sequence[Row], size: int, random: Random) -> list[Item]:
        groups: dict[int, list[Row]] = defaultdict(list)
        for row in rows:
            if can_be_joined(collection, row):
                groups[int(row["digit"])].append(row)

        def draw(n: int) -> Item:
            total = n % (LARGEST_SUM + 1)
            # Between these bounds `total - first`, the second digit, is one from 0 to 9 as well.
            first = random.randint(max(0, total - 9), min(9, total))
            digits = first, total - first
            pair = [random.choice(groups[digit]) for digit in digits]
            ids = tuple(str(row["id"]) for row in pair)
            digit_text, words = f"{digits[0]} {digits[1]}", " ".join(collection.chain_name(row) for row in pair)
            question = Question(
                id=f"{kind}/{'/'.join(ids)}",
                kind=kind,
                text="which digits?" if kind == "digits" else "what is their sum?",
                answer=digit_text if kind == "digits" else str(total),
                chain=words if kind == "digits" else f"{words}, {digits[0]} + {digits[1]} = {total}",
                choices=tuple(map(str, range(LARGEST_SUM + 1))) if kind == "sum" else (),
                attributes=({"digits": digit_text},),
            )
            return Item(question, (ids,), joined_length_s(2))  # equally long for all: length tells nothing

        # Where nobody says one of the digits, some totals could not be drawn at all.
        return draw_distinct(size if len(groups) == 10 else 0, draw)

    return plan


def plan_strings(collection: Collection, rows: Sequence[Row], size: int, random: Random) -> list[Item]:
    """Plan clips of three digits that one speaker says, speakers in turn. The chain is the answer: what was heard."""
    voices: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if can_be_joined(collection, row):
            voices[str(row["speaker"])][str(row["digit"])].append(row)
    speakers = sorted(voices)

    def draw(n: int) -> Item:
        speaker = speakers[n % len(speakers)]
        digits = [random.choice(sorted(voices[speaker])) for _ in range(STRING_LENGTH)]
        ids = tuple(str(random.choice(voices[speaker][digit])["id"]) for digit in digits)
        answer = " ".join(digits)
        question = Question(
            id=f"string/{'/'.join(ids)}",
            kind="string",
            text="which digits?",
            answer=answer,
            chain=answer,
            choices=tuple(map(str, range(10))),
            attributes=({"digits": answer, "speaker": speaker},),
        )
        return Item(question, (ids,), joined_length_s(STRING_LENGTH))

    return draw_distinct(size if speakers else 0, draw)


def plan_transcripts(collection: Collection, rows: Sequence[Row], size: int, random: Random) -> list[Item]:
    """Plan clips of one to `LONGEST_TRANSCRIPT` spoken digits that are to be written down, in words and without a chain; each
    length comes equally often."""
    usable = [row for row in rows if can_be_joined(collection, row)]

    def draw(n: int) -> Item:
        spoken = [random.choice(usable) for _ in range(n % LONGEST_TRANSCRIPT + 1)]
        ids = tuple(str(row["id"]) for row in spoken)
        words = " ".join(collection.chain_name(row) for row in spoken)
        question = Question(
            id=f"transcript/{'/'.join(ids)}",
            kind="transcript",
            text="write it down.",
            answer=words,
            chain="",
            choices=(),
            attributes=({"digits": " ".join(str(row["digit"]) for row in spoken)},),
        )
        return Item(question, (ids,), joined_length_s(LONGEST_TRANSCRIPT))  # equally long for all: length tells nothing

    return draw_distinct(size if usable else 0, draw)


def plan_sentences(kind: str) -> Planner:
    """Return the planner of `restated_sum` or `sum_first`: three spoken digits, a chain that adds one after the other, and a reply
    that is a sentence. It opens with what was heard, or with the sum, which only the end of the chain tells (Mind-Paced
    Speaking, arXiv 2510.09592: there speaking early costs nothing, and here it does)."""

    def plan(collection: Collection, rows: Sequence[Row], size: int, random: Random) -> list[Item]:
        usable = [row for row in rows if can_be_joined(collection, row)]

        def draw(n: int) -> Item:
            spoken = [random.choice(usable) for _ in range(SUMMANDS)]
            ids = tuple(str(row["id"]) for row in spoken)
            digits = [int(row["digit"]) for row in spoken]
            sums = list(accumulate(digits))
            steps = [f"{THEN}{digit} makes {total}" for digit, total in zip(digits[1:], sums[1:], strict=True)]
            digit_words = " ".join(map(str, digits))
            restates = kind == "restated_sum"
            question = Question(
                id=f"{kind}/{'/'.join(ids)}",
                kind=kind,
                text="what do you hear, and the sum?" if restates else "the sum, and of what?",
                answer=f"i hear {digit_words} and the sum is {sums[-1]}"
                if restates
                else f"{sums[-1]} is the sum of {digit_words}",
                chain=f"{digits[0]}{''.join(steps)}",
                choices=(),
                attributes=({"digits": digit_words},),
            )
            return Item(question, (ids,), joined_length_s(SUMMANDS))

        return draw_distinct(size if usable else 0, draw)

    return plan


DIGIT_PLANNERS: dict[str, Planner] = {
    "digits": plan_digit_pairs("digits"),
    "sum": plan_digit_pairs("sum"),
    "string": plan_strings,
    "transcript": plan_transcripts,
    **{kind: plan_sentences(kind) for kind in SENTENCES},
}
"""Kinds of questions on several spoken digits."""


def check_arriving(arriving: bool, kinds: Sequence[str] | None) -> None:
    """Raise ConfigError where questions are to arrive whose chains cannot wait."""
    # Without `kinds` come those that are not on request, whose chains wait for nothing: "" stands for them.
    if arriving and not set(kinds or [""]) <= set(SENTENCES):
        raise ConfigError(f"recordings.arriving: only of the kinds {', '.join(SENTENCES)}; name these alone in `kinds`")


def hear_in_turn(prompt: Prompt) -> Prompt:
    """Return a prompt on a sum of which only the first digit is heard at once; its demonstration waits for each of the others
    before it adds it, and `rollouts.environments.arriving:step` puts them into the chain."""
    (question,), told = prompt.messages, prompt.demonstration
    assert told is not None
    return replace(
        prompt,
        messages=(replace(question, content=AUDIO_PATCH + question.content.replace(AUDIO_PATCH, "")),),
        clips=prompt.clips[:1],
        later=prompt.clips[1:],
        demonstration=replace(told, reasoning=told.reasoning.replace(THEN, MORE + THEN)),
    )
