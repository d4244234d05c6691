"""Small downloads of every public set, in its own format, made by hand."""

from __future__ import annotations

import io
import json
import wave
from pathlib import Path
from typing import Any


def sound(level: int = 0) -> bytes:
    """A tenth of a second of WAV."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes(bytes([level, 0]) * 1600)
    return file.getvalue()


MMAU = {
    "id": "m1",
    "audio_id": "./test-mini-audios/m1.wav",
    "question": "Who speaks?",
    "choices": ["a man", "a woman"],
    "answer": "a woman",
    "task": "speech",
    "category": "Reasoning",
    "sub-category": "Speaker",
    "difficulty": "easy",
}
MMAR = {
    "id": "r1",
    "audio_path": "./audio/r1.wav",
    "question": "Which comes first?",
    "choices": ["rain", "thunder"],
    "answer": "rain",
    "modality": "sound",
    "category": "Signal Layer",
    "sub-category": "Order",
    "thinking": "Drops are heard, then a clap.",
    "cue": ["drops"],
    "rubric": [{"name": f"point {i}", "scoring_point": f"says {i}", "choices": [0, 1]} for i in range(5)],
}
MMSU = {
    "id": "u1",
    "task_name": "tone",
    "question": "How many?",
    "choice_a": 3,
    "choice_b": "4",
    "choice_c": "",
    "choice_d": "",
    "answer_gt": "4",
    "category": "Perception",
    "sub-category": "Phonology",
    "sub-sub-category": "Count",
    "linguistics_sub_discipline": "Phonetics",
}
BIG_BENCH = {"category": "navigate", "official_answer": "Yes", "id": 0, "file_name": "data/question_0.mp3"}
SPOKEN_MQA = {
    "context_transcript": "What is three plus four?",
    "instruction": {"text": "Solve it."},
    "answer": {"text": "7"},
}
WILD = {
    "user_query": "Tell me about otters.",
    "taskType": "prosodical",
    "additional_info": "some stuttering here",
    "checklist": "- names their food",
    "conversation_hash": "w1",
    "modification_type": "human_noise",
}
CAPTION = {
    "test_id": "c1",
    "audio": "c1.wav",
    "is_multi_speakers": False,
    "speakers": [{"gender": "女", "emotion": "无法判断", "pitch": "high", "timbre": None}],
}
SPQA = {
    "id": "q1",
    "audio_path": "q1.wav",
    "task_type": "gender",
    "task_name": "gender",
    "label": "女性",
    "reference_answer": "女",
    "question": "",
    "legacy_question": "Who speaks?",
}
DIALOGUE = {
    "id": "d1",
    "audio_path": "audio/d1.wav",
    "input_question_text": "How do I sound?",
    "recording_requirement_or_qa_category": "tired / sleepy: slow speech",
    "primary_dimension": "state",
    "secondary_dimension": "fatigue",
}
DCASE = {
    "id": "t1",
    "audio_url": "audio/fold1_a.wav",
    "question": "What is first?",
    "choices": ["(A) a dog", "(B) a cat"],
    "answer": "(B) a cat",
}
MMAU_PRO = {
    "id": "p1",
    "audio_path": ["a.wav", "b.wav"],
    "question": "Are they alike?",
    "choices": ["yes", "no"],
    "answer": "no",
    "category": "multi-audio",
}
GSM8K = {"question": "2 + 2?", "answer": "Two and two are <<2+2=4>>4.\n#### 4"}
MATH = {
    "problem": "1/2 of 1?",
    "answer": "\\frac{1}{2}",
    "subject": "Algebra",
    "level": 1,
    "unique_id": "test/a/1.json",
}
AIME = {"ID": "2024-I-1", "Problem": "How many?", "Answer": 204, "Year": 2024}
BBH = {"id": "n-1", "category": "navigate", "question": "Do you return?", "answer_final": "Yes"}


def write_json(path: Path, rows: list[Any], lines: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)) + "\n" if lines else json.dumps(rows))


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)


def write_set(folder: Path, name: str) -> Path:
    """Write one item of a set where a download has it; return the folder."""
    clip = {"bytes": sound(), "path": "x.wav"}
    heard = {
        "mmau": ("test-mini-audios/m1.wav",),
        "mmar": ("audio/r1.wav",),
        "big_bench_audio": ("data/question_0.mp3",),
        "step_caption": ("audio/c1.wav",),
        "step_spqa": ("audio/q1.wav",),
        "step_dialogue": ("audio/d1.wav",),
        "dcase2025": ("audio/fold1_a.wav",),
        "mmau_pro": ("a.wav", "b.wav"),
    }
    for file in heard.get(name, ()):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(sound())
    json_files: dict[str, tuple[str, Any, bool]] = {
        "mmau": ("mmau-test-mini.json", MMAU, False),
        "mmar": ("MMAR-meta.jsonl", MMAR, True),
        "big_bench_audio": ("data/metadata.jsonl", BIG_BENCH, True),
        "step_caption": ("metadata.jsonl", CAPTION, True),
        "step_spqa": ("metadata.jsonl", SPQA, True),
        "step_dialogue": ("metadata.jsonl", DIALOGUE, True),
        "mmau_pro": ("test.json", MMAU_PRO, False),
        "gsm8k": ("test.jsonl", GSM8K, True),
        "math500": ("test.jsonl", MATH, True),
        "aime": ("aime.jsonl", AIME, True),
        "bbh": ("test.jsonl", BBH, True),
    }
    if name in json_files:
        file, row, lines = json_files[name]
        write_json(folder / file, [row], lines)
    elif name == "dcase2025":  # a file for each question
        (folder / "qa").mkdir()
        (folder / "qa" / "t1.json").write_text(json.dumps({**DCASE, "audio_url": "audio/fold1_a.wav"}))
    elif name == "mmsu":
        write_parquet(folder / "data/train-00000-of-00001.parquet", [{**MMSU, "choice_a": "3", "audio": clip}])
    elif name == "spoken_mqa":
        for split in ("short_digit", "multi_step_reasoning"):
            write_parquet(folder / f"data/{split}-00000-of-00001.parquet", [{**SPOKEN_MQA, "context": clip}])
    elif name == "wildspeech":
        write_parquet(folder / "data/train-00000-of-00001.parquet", [{**WILD, "audio": clip}])
    return folder
