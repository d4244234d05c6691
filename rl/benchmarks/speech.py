"""Sets of spoken questions, and of questions about who speaks and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from rl.benchmarks.benchmark import SHIPPED_PROMPT, Benchmark, Item, Row, after, before, group, need, text_of, texts
from rl.benchmarks.judged import CAPTION, DIALOGUE, SHORT_ANSWER, SPQA, WILD_SPEECH
from rl.benchmarks.rules import same_text, short_answer, spoken_number

R1_MATH = "Solve the given math question step by step."
R1_BIG_BENCH = '仅用 "valid" 或 "invalid"，"yes" 或 "no"，或者数字来直接回答上面的问题，不要添加任何其他描述。'
"""Request for a short answer, as in Step-Audio-R1's public examples: only valid or invalid, yes or no, or a number."""
SHORT = "Answer the question with valid or invalid, yes or no, or a number, and nothing else."
CAPTION_TASK = (
    "Describe who speaks in one paragraph: whether it is one speaker or several, and of each language, gender, age, speech "
    "rate, rhythm, pitch, clarity, background sound, timbre, style, paralinguistic features, emotion, dialect or accent, "
    "formality and the overall impression."
)
"""Ours, for a folder without the set's own prompt, which is a file of its download."""


def _ask_by_sound(item: Item) -> str:
    return before("", item)


def _ask_as_spoken_mqa(item: Item) -> str:
    """Return the row's own instruction after the sound, as AudioBench hands it to a model; without one what R1 asks."""
    instruction = str(item.extra.get("instruction") or "")
    return before(instruction, item) if instruction else after(R1_MATH, item)


def _sound(row: Row, *names: str) -> object:
    sound = next((row[name] for name in names if row.get(name)), None)
    if sound is None:
        raise ValueError(f"no sound in column '{names[0]}'; complete the row or remove it")
    return sound


def _in_audio_folder(path: str) -> str:
    return path if "/" in path else f"audio/{path}"


def _read_big_bench(row: Row) -> Item:
    return Item(
        text_of(row, "id"),
        "",
        need(row, "official_answer"),
        audio=_sound(row, "audio", "file_name"),
        groups={"category": group(row, "category")},
    )


def _text_within(row: Row, name: str) -> object:
    """Return the `text` of a column that holds a record, else what the column holds."""
    value = row.get(name)
    return cast("Mapping[str, object]", value).get("text") if isinstance(value, Mapping) else value


def _read_spoken_mqa(row: Row) -> Item:
    answer = _text_within(row, "answer")
    if isinstance(answer, list):  # [as written] or [as written, as a number]
        answer = next(iter(cast("list[object]", answer)), None)
    split = group(row, "split")
    return Item(
        text_of(row, "id"),
        text_of(row, "context_transcript"),
        need({"answer": answer}, "answer"),
        audio=_sound(row, "context", "audio"),
        groups={"split": split, "kind": "reasoning" if "reasoning" in split else "arithmetic"},
        extra={
            "is_raw_reference": "digit" in split,
            "instruction": text_of({"instruction": _text_within(row, "instruction")}, "instruction"),
        },
    )


def _read_wild_speech(row: Row) -> Item:
    task, detail = group(row, "taskType"), text_of(row, "additional_info")
    if task == "prosodical":
        task = f"prosodical · {'stuttering' if 'stuttering' in detail else detail or '(none)'}"
    noise = group(row, "modification_type")
    return Item(
        text_of(row, "conversation_hash", "id"),
        need(row, "user_query"),
        "",
        audio=_sound(row, "audio"),
        groups={"task type": task, "noise": noise if noise in ("natural_noise", "human_noise") else "clean"},
        extra={"checklist": text_of(row, "checklist") or "\n".join(texts(row.get("checklist")))},
    )


def _read_caption(row: Row) -> Item:
    speakers = row.get("speakers")
    if not isinstance(speakers, list) or not speakers:
        raise ValueError("no list in column 'speakers'; complete the row or remove it")
    several = str(row.get("is_multi_speakers")).casefold() in ("true", "1", "yes")
    return Item(
        text_of(row, "test_id", "id"),
        text_of(row, SHIPPED_PROMPT) or CAPTION_TASK,
        "",
        audio=_in_audio_folder(str(_sound(row, "audio", "audio_path"))),
        groups={"speakers": "several" if several else "one"},
        extra={"speakers": cast("list[object]", speakers), "is_multi_speakers": several},
    )


def _read_spqa(row: Row) -> Item:
    return Item(
        text_of(row, "id", "audio_id"),
        text_of(row, "legacy_question", "question"),
        need(row, "reference_answer", "label"),
        audio=_in_audio_folder(str(_sound(row, "audio_path", "audio"))),
        groups={"task": group(row, "task_type", "task_name")},
        extra={"label": text_of(row, "label"), "task_type": group(row, "task_type")},
    )


def _read_dialogue(row: Row) -> Item:
    return Item(
        text_of(row, "id"),
        need(row, "input_question_text"),
        # the column of the reference is named for something else
        need(row, "recording_requirement_or_qa_category"),
        audio=_in_audio_folder(str(_sound(row, "audio_path", "audio"))),
        groups={"primary": group(row, "primary_dimension"), "secondary": group(row, "secondary_dimension")},
    )


_STEP = "github.com/stepfun-ai/Step-Audio-R1, benchmarks/Step-Audio-R1.5/"

BIG_BENCH_AUDIO = Benchmark(
    "Big Bench Audio",
    "MIT",
    "huggingface.co/datasets/ArtificialAnalysis/big_bench_audio",
    1000,
    ("data/metadata.jsonl", "metadata.jsonl", "**/*.parquet", "*.jsonl"),
    _read_big_bench,
    {"r1": lambda item: before(R1_BIG_BENCH, item), "official": lambda item: before(SHORT, item)},
    "a judge compares with the official answer; without one a substitute: equal once yes/no, valid/invalid and number words are "
    "plain",
    "text",
    short_answer,
    SHORT_ANSWER,
    ("category",),
    is_substitute=True,
)
SPOKEN_MQA = Benchmark(
    "Spoken-MQA",
    "not found",
    "huggingface.co/datasets/amao0o0/spoken-mqa",
    0,
    ("data/*.parquet", "**/*.parquet", "*.jsonl"),
    _read_spoken_mqa,
    {"r1": lambda item: after(R1_MATH, item), "official": _ask_as_spoken_mqa},
    "the first number after 'the answer is' or ####, else the last, written as the reference",
    "numeric",
    spoken_number,
    tables=("split", "kind"),
)
WILD_SPEECH_BENCH = Benchmark(
    "WildSpeech-Bench",
    "CC BY 4.0 except third parties",
    "huggingface.co/datasets/tencent/WildSpeech-Bench",
    1100,
    ("data/*.parquet", "**/*.parquet", "*.jsonl"),
    _read_wild_speech,
    {"r1": _ask_by_sound, "official": _ask_by_sound},
    "a judge, 1 to 10 by the item's checklist, mean of three ratings; an answer that is not English gets 1",
    "text",
    judging=WILD_SPEECH,
    tables=("task type", "noise"),
)
STEP_CAPTION = Benchmark(
    "step_caption",
    "Apache-2.0; the audio's rights are unclear",
    f"{_STEP}step_caption",
    905,
    ("metadata.jsonl", "**/step_caption/metadata.jsonl", "*.jsonl"),
    _read_caption,
    {"official": lambda item: before(item.question, item)},
    "a judge: 0 where one speaker is taken for several, else fields of each speaker from 0 to 1",
    "text",
    judging=CAPTION,
    tables=("speakers",),
    prompt_file="prompts/model_user_prompt.txt",
)
STEP_SPQA = Benchmark(
    "step_spqa",
    "Apache-2.0; the audio's rights are unclear",
    f"{_STEP}step_spqa",
    550,
    ("metadata.jsonl", "**/step_spqa/metadata.jsonl", "*.jsonl"),
    _read_spqa,
    {"official": _ask_by_sound},
    "equal to the reference or the label, else a judge says yes or no by the task's tolerance",
    "text",
    same_text,
    SPQA,
    ("task",),
)
STEP_DIALOGUE = Benchmark(
    "step_dialogue_understanding",
    "Apache-2.0; the audio's rights are unclear",
    f"{_STEP}step_dialogue_understanding",
    87,
    ("metadata.jsonl", "**/step_dialogue_understanding/metadata.jsonl", "*.jsonl"),
    _read_dialogue,
    {"official": lambda item: before(item.question, item)},
    "a judge, 0 to 1, by the reference's own signs (: / ;)",
    "text",
    judging=DIALOGUE,
    tables=("primary", "secondary"),
)
