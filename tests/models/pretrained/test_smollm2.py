"""SmolLM2 as `scripts/pretrained` writes it: it answers, its turns begin and end as it was trained, on a real engine too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretrained_models import pretrained_model

from models.folder import declared_ends
from models.heads import LogprobModel
from models.load import load_tokenizer
from models.shape import folder_shape
from rl.data.chat import Chat
from rl.types import Message
from rollouts.requests import Request

QUESTION = [Message("user", "What is the capital of France?")]


@pytest.fixture(scope="module")
def folder() -> Path:
    return pretrained_model("smollm2-135m-instruct-q4")


@pytest.fixture(scope="module")
def chat(folder: Path) -> Chat:
    return Chat(load_tokenizer(folder), think=False, end_ids=declared_ends(folder))


def test_turns_are_those_of_its_own_files(folder: Path, chat: Chat) -> None:
    tokenizer = load_tokenizer(folder)
    system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    text = f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n7 + 35 = <|im_end|>\n<|im_start|>assistant\n"
    ids = chat.prompt([Message("user", "7 + 35 = ")])
    assert tokenizer.decode(ids) == text
    assert ids == tokenizer(text)["input_ids"]  # nothing is put before or after the text
    assert "35" not in tokenizer.get_vocab()  # digits stand alone
    (end,) = tokenizer.convert_tokens_to_ids(["<|im_end|>"])
    assert (chat.end, chat.ends, declared_ends(folder)) == (end, [end], [end])
    assert tokenizer.bos_token == "<|im_start|>"
    brief = chat.prompt([Message("system", "Be brief."), *QUESTION])
    assert tokenizer.decode(brief).startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is the")


def test_the_card_says_what_it_is_not(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    for words in (
        "4 bits",
        "float32",
        "Apache-2.0",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "**not**",
        "license: apache",
    ):
        assert words in card
    shape = folder_shape(folder, "model")
    assert shape is not None
    assert 134e6 < shape.parameters < 135e6


def test_an_engine_answers_and_stops_where_its_turn_ends(
    folder: Path, chat: Chat, start_engine: Callable[[Path], Any]
) -> None:
    import ray

    engine = start_engine(folder)
    ray.get(engine.load.remote(1, [{"folder": str(folder)}]))
    asked = Request((0, 0), tuple(chat.prompt(QUESTION)), 1, 32, 0.0, ends=tuple(chat.ends))
    begun = Request((1, 0), tuple(chat.tokenizer("The capital of France is")["input_ids"]), 1, 1, 0.0)
    completions = {c.key: c for c in ray.get(engine.advance.remote(1, [asked, begun], 300.0))}
    ray.kill(engine)
    assert chat.tokenizer.decode(completions[1, 0].tokens) == "The capital of France is Paris"
    completion = completions[0, 0]
    response = completion.tokens[completion.prompt_length :]
    assert chat.turn(response) == "The capital of France is Paris."
    assert (completion.finish_reason, response[-1]) == ("stop", chat.end)
    model = LogprobModel(folder, "float32")
    tokens_T, written_T = (
        torch.tensor(completion.tokens),
        torch.arange(len(completion.tokens)) >= completion.prompt_length,
    )
    with torch.no_grad():
        logprobs_A, _ = model(tokens_T, torch.tensor([len(tokens_T)]), written_T, 1e-6)
    # Greedy: each token is the trainer's most likely one too.
    assert np.abs(logprobs_A.numpy()).max() < 1e-3
