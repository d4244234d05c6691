"""Criteria and scales by which language models mark the answers of the sets that have no rule of their own.

The wording is ours throughout, and so none of these is the official judge. Scales, bands, number of ratings and parameters
are the official ones where these are public.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import cast

from rl.benchmarks.benchmark import Judging
from rl.benchmarks.rules import closed_word_sets, same_text, short_answer, word_sets
from rl.types import Prompt

NOT_OFFICIAL = "not the official judge"
"""Label of every figure that comes from these."""
UNKNOWN_GOLD = ("无法判断", "无法识别")
"""Golds of a speaker's field that cannot be judged; the field is skipped."""
FIELDS = [
    "language",
    "gender",
    "age_group",
    "speech_rate",
    "rhythm",
    "pitch",
    "clarity",
    "background_sound",
    "timbre",
    "language_style",
    "paralinguistic_features",
    "emotion",
    "overall_impression",
    "dialect_or_accent",
    "formality_level",
]
"""Fields of a speaker in step_caption."""
TENTHS = 10
"""Marks from 0 to 1 are asked for in tenths, as whole numbers."""
POINT = "rubric_{number}"


def _mean(marks: Mapping[str, int]) -> float:
    return sum(marks.values()) / len(marks)


def _answer_and_reference(prompt: Prompt, _: str, answer: str) -> Mapping[str, object]:
    return {"question": prompt.question, "reference": prompt.answer or "", "answer": answer}


# --- Big Bench Audio, MMAU-Pro's open questions ---------------------------------------------------------------------

SHORT_ANSWER = Judging(
    "You compare a model's final answer with the official one. It is right where it says the same, in whatever words; a "
    "hedged answer, or two answers, are wrong.",
    _answer_and_reference,
    lambda _: {"right": ("The answer says the same as the reference.", 0, 1)},
    lambda _, marks: float(marks["right"]),
    first=short_answer,
    model="Claude 3.5 Sonnet (not confirmed)",
)
OPEN_ANSWER = Judging(
    "You grade an open answer to a question about a recording, against a reference answer.",
    _answer_and_reference,
    lambda prompt: {
        "correctness": ("What it says is right by the reference.", 1, 5),
        "relevance": ("It answers the question that was asked.", 1, 5),
        "completeness": ("Nothing of the reference that matters is missing.", 1, 5),
        "clarity": ("It is clearly said.", 1, 5),
    },
    lambda _, marks: _mean(marks) / 5,
    closed=closed_word_sets,
    model="Qwen2.5-7B",
)

# --- MMAR-Rubrics ---------------------------------------------------------------------------------------------------


def _rubric(prompt: Prompt) -> Sequence[Mapping[str, object]]:
    points = cast("Sequence[object]", prompt.fields.get("rubric") or ())
    return [cast("Mapping[str, object]", point) for point in points if isinstance(point, Mapping)]


def _points(prompt: Prompt) -> dict[str, tuple[str, int, int]]:
    criteria = {
        POINT.format(number=i): (f"{point.get('name', '')}: {point.get('scoring_point', '')}", 0, 1)
        for i, point in enumerate(_rubric(prompt), 1)
    }
    return criteria or {"sound": ("The reasoning is that of the ideal one.", 0, 1)}


MMAR_RUBRICS = Judging(
    "You grade the reasoning behind a right answer to a question about a recording that you do not hear. Each point of the "
    "rubric is met (1) or not (0); the ideal reasoning shows what can be heard.",
    lambda prompt, chain, answer: {
        "question": prompt.question,
        "reference": prompt.answer or "",
        "ideal_reasoning": prompt.fields.get("thinking", ""),
        "reasoning": chain,
        "answer": answer,
    },
    _points,
    lambda _, marks: _mean(marks),
    ratings=5,
    is_trimmed=True,
    needs_right=word_sets,
    options={"temperature": 0.0, "seed": 42, "max_tokens": 2048},
    model="gpt-4o-2024-11-20",
)

# --- WildSpeech-Bench -----------------------------------------------------------------------------------------------

WILD_SPEECH = Judging(
    "You assess a spoken assistant's reply to a spoken request; both are shown as texts. First work out what the user wants, "
    "then the reply's strengths and weaknesses, then give a score of 1 to 10: 1-2 worthless or beside the point; 3-4 of some "
    "value, with several errors or serious flaws; 5-6 flawed, yet on the whole it serves; 7-8 it meets the request, no major "
    "flaw; 9-10 nothing to improve. The checklist guides you and is no standard answer. Not following the request, factual "
    "errors and much repetition are serious flaws.",
    lambda prompt, _, answer: {
        "request": prompt.fields.get("question", ""),
        "answer": answer,
        "checklist": prompt.fields.get("checklist", ""),
    },
    lambda _: {"score": ("How well the reply serves the user, by the bands.", 1, 10)},
    lambda _, marks: float(marks["score"]),
    (1.0, 10.0),
    ratings=3,
    language="en",
    options={"temperature": 0.5, "top_p": 0.95, "max_tokens": 1024},
    model="gpt-4o-mini",
)

# --- step_caption, step_spqa, step_dialogue_understanding -----------------------------------------------------------


def _known_fields(prompt: Prompt) -> list[tuple[str, int, str]]:
    """Return (name, number of the speaker, gold) of every field that can be judged."""
    known_fields: list[tuple[str, int, str]] = []
    for number, speaker in enumerate(cast("Sequence[object]", prompt.fields.get("speakers") or ()), 1):
        values: Mapping[str, object] = cast("Mapping[str, object]", speaker) if isinstance(speaker, Mapping) else {}
        for name in FIELDS:
            value = values.get(name)
            if isinstance(value, list):
                value = ", ".join(map(str, cast("list[object]", value)))
            if isinstance(value, str) and value.strip() and value.strip() not in UNKNOWN_GOLD:
                known_fields.append((name, number, value.strip()))
    return known_fields


def _caption_criteria(prompt: Prompt) -> dict[str, tuple[str, int, int]]:
    several = "several speakers" if prompt.fields.get("is_multi_speakers") else "one speaker"
    criteria = {"speakers": (f"1 where the description is of {several}, else 0.", 0, 1)}
    for name, number, gold in _known_fields(prompt):
        criteria[f"{name}_{number}"] = (f"Speaker {number}, {name}: as the reference, {gold!r}.", 0, TENTHS)
    return criteria


def _caption_figure(prompt: Prompt, marks: Mapping[str, int]) -> float:
    fields = [mark / TENTHS for name, mark in marks.items() if name != "speakers"]
    # Where no field can be judged, the number of speakers is all that there is to mark.
    return sum(fields) / len(fields) if marks["speakers"] and fields else float(marks["speakers"])


CAPTION = Judging(
    "You compare a description of who speaks in a recording with reference values, field by field. A field that the "
    "description does not mention gets 0.",
    lambda prompt, _, answer: {"answer": answer},
    _caption_criteria,
    _caption_figure,
)
SPQA_TASKS = (
    "age",
    "emotions",
    "event",
    "gender",
    "pitch",
    "rhythm",
    "scene",
    "speed",
    "vocalsound",
    "voice_styles",
    "voice_tone",
)
"""Values of `task_type` in step_spqa, 50 items each."""
TOLERANCES = {
    "age": "ages by their range: the same decade or life stage is right",
    "speed": "neighbouring degrees of speed are right",
    "emotions": "emotions of one group (glad and happy, sad and sorrowful) are the same",
    "event": "a sound and its kind, or its cause, are the same",
    "vocalsound": "a sound of the voice and its kind, or its cause, are the same",
    "scene": "a place and the kind of place that it is are the same",
}
"""Task of step_spqa -> what else than the reference is right; the others have no tolerance."""
SPQA = Judging(
    "You decide whether an answer to a question about a voice or a sound is right by the reference.",
    lambda prompt, _, answer: {
        "question": prompt.fields.get("question", ""),
        "task": prompt.fields.get("task_type", ""),
        "reference": prompt.answer or "",
        "label": prompt.fields.get("label", ""),
        "answer": answer,
    },
    lambda prompt: {
        "right": (
            f"1 where the answer is right ({TOLERANCES.get(str(prompt.fields.get('task_type')), 'it says the same')}), else 0.",
            0,
            1,
        )
    },
    lambda _, marks: float(marks["right"]),
    first=same_text,
)
DIALOGUE = Judging(
    "You grade an answer about a speaker's voice against a reference, mostly 0, 5 or 10 tenths. In the reference only what "
    "stands before a colon counts; of parts between slashes any one suffices; of parts between semicolons all are needed. "
    "What contradicts the reference lowers the mark.",
    _answer_and_reference,
    lambda prompt: {"score": (f"It says {_before_colon(prompt.answer or '')!r}.", 0, TENTHS)},
    lambda _, marks: marks["score"] / TENTHS,
)


def _before_colon(reference: str) -> str:
    return re.split("[:：]", reference)[0].strip()
