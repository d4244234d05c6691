"""Sets of texts, read from jsonl: GSM8K, MATH-500, AIME, BIG-Bench Hard."""

from __future__ import annotations

from rl.benchmarks.benchmark import Benchmark, Item, Row, group, need, text_of
from rl.benchmarks.latex import last_box
from rl.benchmarks.rules import answer_is, hash_mark, whole_number

IN_A_BOX = "Please reason step by step, and put your final answer within \\boxed{}."
LAST_LINE = 'Solve the problem step by step. End with a line "#### " and the number.'
ANSWER_IS = 'Let\'s think step by step, and end with "So the answer is " and the answer.'


def _read_gsm8k(row: Row) -> Item:
    # OpenAI's files have the solution in `answer`, its number after ####.
    answer = need(row, "answer_final", "answer").rpartition("####")[2].strip().replace(",", "")
    return Item(text_of(row, "id"), need(row, "question"), answer)


def _read_math(row: Row) -> Item:
    level = text_of(row, "level").removeprefix("Level ")
    return Item(
        text_of(row, "unique_id", "id"),
        need(row, "problem", "question"),
        need(row, "answer", "answer_final"),
        groups={"subject": group(row, "subject", "type"), "level": level or "(none)"},
    )


def _read_aime(row: Row) -> Item:
    return Item(
        text_of(row, "id", "ID"),
        need(row, "problem", "Problem", "question"),
        need(row, "answer", "Answer", "answer_final"),
        groups={"year": group(row, "year", "Year")},
    )


def _read_bbh(row: Row) -> Item:
    return Item(
        text_of(row, "id"),
        need(row, "input", "question"),
        need(row, "target", "answer_final", "answer"),
        groups={"task": group(row, "task", "category")},
    )


GSM8K = Benchmark(
    "GSM8K, test",
    "MIT",
    "github.com/openai/grade-school-math",
    1319,
    ("test.jsonl", "**/test.jsonl", "*.jsonl", "**/test-*.parquet"),
    _read_gsm8k,
    {"official": lambda item: f"{item.question}\n{LAST_LINE}"},
    "the first number after ####, digit for digit; an answer without the mark is wrong",
    "numeric",
    hash_mark,
    is_heard=False,
)
MATH500 = Benchmark(
    "MATH-500",
    "MIT",
    "huggingface.co/datasets/HuggingFaceH4/MATH-500 (test.jsonl)",
    500,
    ("test.jsonl", "*.jsonl", "**/*.jsonl"),
    _read_math,
    {"official": lambda item: f"{item.question}\n{IN_A_BOX}"},
    "the last box, letter for letter in MATH's plain writing",
    "math",
    last_box,
    tables=("subject", "level"),
    is_heard=False,
)
AIME = Benchmark(
    "AIME",
    "questions (c) MAA",
    "any jsonl of problems and answers, such as huggingface.co/datasets/Maxwell-Jia/AIME_2024",
    0,
    ("*.jsonl", "**/*.jsonl", "*.parquet", "**/*.parquet"),
    _read_aime,
    {"official": lambda item: f"{item.question}\n{IN_A_BOX}"},
    "a substitute, as there is no official code: the whole number in the last box, else the last number",
    "math",
    whole_number,
    tables=("year",),
    is_heard=False,
    is_substitute=True,
)
BBH = Benchmark(
    "BIG-Bench Hard (its four tasks in bbh_bba4 are the text side of Big Bench Audio)",
    "MIT",
    "github.com/suzgunmirac/BIG-Bench-Hard (bbh/*.json), or jsonl of question and answer",
    0,
    ("test.jsonl", "*.jsonl", "bbh/*.json", "*.json", "**/*.jsonl"),
    _read_bbh,
    {"official": lambda item: f"Q: {item.question}\nA: {ANSWER_IS}"},
    "what follows 'answer is', letter for letter",
    "text",
    answer_is,
    tables=("task",),
    is_heard=False,
)
