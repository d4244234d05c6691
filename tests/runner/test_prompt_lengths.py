from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.tokenizer import byte_tokenizer
from rl.data.chat import Chat
from rl.data.tasks.sounds import sounds
from rl.recipe import load
from rl.runner import run
from rl.runner.prompt_lengths import check
from rl.types import Demonstration, Message, Prompt

READS = Chat(byte_tokenizer())
LISTENS = Chat(byte_tokenizer(), count_audio_tokens=lambda clip: 10)
AROUND = len(READS.prompt([Message("user", "")]))
"""Tokens of the template."""
SHORT = Prompt("row/3", (Message("user", "drow"),))
SHOWN = replace(SHORT, demonstration=Demonstration("d-r-o-w", "word"))
TURN = len(READS.demonstration(Demonstration("d-r-o-w", "word")))
HEARD = next(p for p in sounds("train", kinds=["longer"], size=20) if len(p.clips) == 2)


def test_a_prompt_must_leave_a_token() -> None:
    check(SHORT, READS, AROUND + 4 + 1)
    with pytest.raises(ValueError, match=f"^{AROUND + 4} tokens leave no room for a response; raise max_sequence_tok"):
        check(SHORT, READS, AROUND + 4)


def test_what_is_imitated_must_fit_whole() -> None:
    check(SHOWN, READS, AROUND + 4 + 1)
    check(SHOWN, READS, AROUND + 4 + TURN, with_demonstration=True)
    with pytest.raises(ValueError, match=f"^{AROUND + 4 + TURN} tokens with its demonstration; raise max_sequence"):
        check(SHOWN, READS, AROUND + 4 + TURN - 1, with_demonstration=True)


def test_clips_count_as_the_model_hears_them() -> None:
    whole = len(LISTENS.prompt(HEARD.messages, HEARD.clips, expand=True))
    check(HEARD, LISTENS, whole + 1)
    with pytest.raises(ValueError, match=f"^{whole} tokens leave no room"):
        check(HEARD, LISTENS, whole)
    with pytest.raises(ValueError, match="the model reads text only"):
        check(HEARD, READS, 10240)


@pytest.mark.parametrize(("stage", "place"), [("sft", "sft"), ("rlvr", "rlvr.eval")])
def test_a_run_does_not_start(tmp_path: Path, stage: str, place: str) -> None:
    words = {"source": "reasoning_gym", "args": {"dataset": "spell_backward", "size": 60}}
    settings = {
        "sft": {"data": "words", "max_sequence_tokens": 20},
        "rlvr": {
            "data": "words",
            "prompts_per_step": 4,
            "max_sequence_tokens": 64,
            "eval_every": 2,
            "eval": {"data": "words", "max_sequence_tokens": 20},
        },
    }
    recipe = {
        "name": "tight",
        "model": {"build": {"hidden_size": 64, "heads": 2, "layers": 1}},
        "data": {"words": words},
    }
    recipe |= {"reward": {"parts": [{"verifier": "text"}]}, "stages": [{stage: settings[stage]}]}
    with pytest.raises(
        ValueError, match=rf"^stages\[0\]\.{place}: prompt '\S+': \d+ tokens .*raise max_sequence_tokens \(20\)"
    ):
        run(load(recipe), tmp_path / "run", say=lambda _: None)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
