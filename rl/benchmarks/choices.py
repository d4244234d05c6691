"""Sets of multiple-choice questions on sound: MMAU, MMAR, MMSU, DCASE 2025's and MMAU-Pro."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import cast

from rl.benchmarks.benchmark import (
    NO_GROUP,
    Benchmark,
    Item,
    Row,
    after,
    before,
    group,
    lettered_lines,
    need,
    text_of,
    texts,
)
from rl.benchmarks.judged import MMAR_RUBRICS, OPEN_ANSWER
from rl.benchmarks.rules import closed_word_sets, outer_letter, word_sets

R1_CHOICE = (
    "Please choose the answer from the following options, do not provide any additional explanations or content: "
)
"""Request for an option, as in Step-Audio-R1's public examples."""
MMSU_TASK = (
    "Choose the most suitable answer from options A, B, C, and D to respond the question in next line, **you should only "
    "choose A or B or C or D.** Do not provide any additional explanations or content."
)
"""Request for an option, as in MMSU's first inference script (MMSU_Bench); the one of 2026 asks for the letter in fewer words."""
LETTER_ONLY = "Answer with the letter of one option."


def ask_as_r1(item: Item) -> str:
    """Return question and options as Step-Audio-R1's examples ask them, the sound after them."""
    return after(f"{item.question}\n{R1_CHOICE}\n{lettered_lines(item.options)}\n", item)


def ask_plainly(item: Item) -> str:
    """Return the sound, the question and a line for each option: where no official wording is public."""
    return before(f"{item.question}\n{lettered_lines(item.options)}\n{LETTER_ONLY}", item)


def ask_as_mmsu(item: Item) -> str:
    """Return question and options as MMSU's first script asks them."""
    four = [*item.options, *[""] * (4 - len(item.options))]  # it lists empty options too
    return before(f"{MMSU_TASK}\n\nQuestion: {item.question}\n\n{lettered_lines(four)}", item)


def ask_as_dcase(item: Item) -> str:
    """Return question and options with letters in brackets, as DCASE 2025 writes them."""
    return before(f"{item.question}\n{lettered_lines(item.options, '({letter}) {option}')}\n{LETTER_ONLY}", item)


def _answer_among(row: Row, options: tuple[str, ...], *names: str) -> str:
    """Return the gold's text: as it is, or the option whose letter, or whose lettered form, it is. Raises ValueError."""
    answer = need(row, *names)
    if answer in options:
        return answer
    letter = answer.strip("(). ").upper()
    if len(letter) == 1 and 0 <= ord(letter) - ord("A") < len(options):
        return options[ord(letter) - ord("A")]
    raise ValueError(f"the answer {answer!r:.60} is none of its {len(options)} options; correct the row")


def _options(row: Row, *names: str) -> tuple[str, ...]:
    options = next((texts(row.get(name)) for name in names if texts(row.get(name))), ())
    if not 2 <= len(options) <= 26:
        raise ValueError(f"'{names[0]}' holds {len(options)} options, not 2 to 26; correct the row")
    return options


def _audio(row: Row, *names: str) -> object:
    audio = next((row[name] for name in names if row.get(name)), None)
    if audio is None:
        raise ValueError(f"no sound in column '{names[0]}'; complete the row or remove it")
    return audio


def _read_mmau(row: Row) -> Item:
    options = _options(row, "choices", "options")
    return Item(
        text_of(row, "id"),
        need(row, "question"),
        _answer_among(row, options, "answer"),
        options,
        _audio(row, "audio_id", "audio_path", "audio"),
        {
            "task": group(row, "task"),
            "difficulty": group(row, "difficulty"),
            "category": group(row, "category"),
            "sub-category": group(row, "sub-category"),
        },
    )


def _read_mmar(row: Row) -> Item:
    options = _options(row, "choices")
    return Item(
        text_of(row, "id"),
        need(row, "question"),
        _answer_among(row, options, "answer"),
        options,
        _audio(row, "audio_path", "audio"),
        {
            "modality": group(row, "modality"),
            "category": group(row, "category"),
            "sub-category": group(row, "sub-category"),
        },
        {"thinking": text_of(row, "thinking"), "rubric": row.get("rubric") or []},
    )


def _read_mmsu(row: Row) -> Item:
    four_texts = [text_of(row, f"choice_{letter}") for letter in "abcd"]
    options = tuple(option for option in four_texts if option)
    if len(options) < 2:
        raise ValueError("fewer than two of choice_a … choice_d hold a text; correct the row")
    # Letters go by place: behind a gap they would shift, and the gold's letter would name another text.
    gap = next((i for i, option in enumerate(four_texts) if not option), len(four_texts))
    if any(four_texts[gap:]):
        raise ValueError(f"choice_{'abcd'[gap]} is empty and a later one is not; correct the row")
    return Item(
        text_of(row, "id"),
        need(row, "question"),
        _answer_among(row, options, "answer_gt"),
        options,
        _audio(row, "audio", "audio_path"),
        {
            "category": group(row, "category"),
            "category and sub-category": f"{group(row, 'category')} · {group(row, 'sub-category')}",
            "sub-sub-category": group(row, "sub-sub-category"),
            "task": group(row, "task_name"),
            "linguistic discipline": group(row, "linguistics_sub_discipline"),
        },
    )


def _read_dcase(row: Row) -> Item:
    options = _options(row, "choices", "options", "multi_choice")
    bare = tuple(_without_letter(option, i) for i, option in enumerate(options))
    answer = need(row, "answer")
    if answer in options:
        answer = bare[options.index(answer)]
    audio = _audio(row, "audio_path", "audio_url", "audio", "audio_id", "filename")
    return Item(
        text_of(row, "id", "question_id"),
        need(row, "question", "question_text"),
        _answer_among({"answer": answer}, bare, "answer"),
        bare,
        audio,
        {"part": text_of(row, "part", "subset") or _part_of(row, audio)},
    )


def _without_letter(option: str, index: int) -> str:
    """Return an option without the letter that its place gives it: "(B) a dog" and "B. a dog" are "a dog"."""
    letter = chr(ord("A") + index)
    for head in (f"({letter})", f"{letter}.", f"{letter})", f"{letter}:"):
        if option.startswith(head):
            return option[len(head) :].strip() or option
    return option


def _part_of(row: Row, audio: object) -> str:
    """Return the part of an item by its file's name, as public projects tell it: no column of the set does. Sound within the
    row has its file's name beside it, or in another column; without any the part is not known."""
    clips = cast("list[object]", audio) if isinstance(audio, list) else [audio]
    first = clips[0] if clips else None
    path = cast(Row, first).get("path") if isinstance(first, Mapping) else first
    if not isinstance(path, str) or not path:
        path = text_of(row, "audio_path", "audio_url", "filename", "file_name", "audio_id")
    name = PurePath(path).name.lower()
    if not name:
        return NO_GROUP
    if name.startswith("fold"):
        return "Temporal Soundscapes QA"
    return "Complex QA" if name.startswith("audio") else "Bioacoustics QA"


def _read_mmau_pro(row: Row) -> Item:
    kind = group(row, "category")
    if "instruction following" in kind.casefold():
        raise ValueError("instruction following is scored by programs that are not read here; it is left out")
    options = texts(row.get("choices"))
    answer = need(row, "answer")
    return Item(
        text_of(row, "id", "unique_id"),
        need(row, "question"),
        _answer_among(row, options, "answer") if options else answer,
        options,
        _audio(row, "audio_path", "audio"),
        {"category": kind, "form": "closed" if options else "open"},
    )


def ask_mmau_pro(item: Item) -> str:
    """Return the sounds and the question, with options where it has some."""
    return ask_plainly(item) if item.options else before(item.question, item)


MMAU = Benchmark(
    "MMAU test-mini, v05.15.25",
    "Apache-2.0",
    "github.com/Sakshi113/MMAU (mmau-test-mini.json); audio: huggingface.co/datasets/gamma-lab-umd/MMAU-test-mini",
    1000,
    ("mmau-test-mini.json", "**/mmau-test-mini.json", "*.json"),
    _read_mmau,
    {"r1": ask_as_r1, "official": ask_plainly},
    "word sets: all words of the gold, none that only wrong options have",
    "choice",
    word_sets,
    tables=("task", "difficulty", "category", "sub-category"),
)
MMAR = Benchmark(
    "MMAR with MMAR-Rubrics",
    "no licence file",
    "github.com/ddlBoJack/MMAR (MMAR-meta.jsonl); audio: huggingface.co/datasets/BoJack/MMAR",
    1000,
    ("MMAR-meta.jsonl", "MMAR-meta.json", "**/MMAR-meta.json*"),
    _read_mmar,
    {"r1": ask_as_r1, "official": ask_plainly},
    "word sets, as MMAU's; with a judge also five rubric points for each right answer",
    "choice",
    word_sets,
    MMAR_RUBRICS,
    ("modality", "category", "sub-category"),
)
MMSU = Benchmark(
    "MMSU of Wang et al. (not VoiceBench's spoken MMLU)",
    "no licence file",
    "huggingface.co/datasets/ddwang2000/MMSU",
    5000,
    ("data/train-*.parquet", "**/*.parquet", "*.jsonl", "*.json"),
    _read_mmsu,
    {"r1": ask_as_r1, "official": ask_as_mmsu},
    "first character, else the last but one, in ABCD; other answers leave the mean",
    "choice",
    outer_letter,
    tables=("category", "category and sub-category", "sub-sub-category", "task", "linguistic discipline"),
)
DCASE = Benchmark(
    "DCASE 2025 Task 5, audio question answering",
    "MIT on the card; its sources' terms apart",
    "huggingface.co/datasets/PeacefulData/2025_DCASE_AudioQA_Official (gated)",
    0,
    ("*.jsonl", "**/*.jsonl", "**/*.json", "**/*.parquet"),
    _read_dcase,
    {"official": ask_as_dcase},
    "top-1 accuracy, mean of its three parts, under shuffled options (see `orders`); its matcher is not public: strict is a "
    "substitute",
    "choice",
    tables=("part",),
    mean_of="part",
    orders=4,
    is_substitute=True,
)
MMAU_PRO = Benchmark(
    "MMAU-Pro",
    "not stated here; see the card on the hub",
    "huggingface.co/datasets/gamma-lab-umd/MMAU-Pro",
    0,
    ("*.parquet", "**/*.parquet", "*.json", "*.jsonl"),
    _read_mmau_pro,
    {"official": ask_mmau_pro},
    "closed: word sets, a substitute for its embeddings (NV-Embed-v2); open: a judge, 1 to 5 on four criteria",
    "choice",
    closed_word_sets,
    OPEN_ANSWER,
    ("category", "form"),
    is_substitute=True,
)
