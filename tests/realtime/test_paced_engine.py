"""Paced answers by a real engine, many at once: token for token what an evaluation of the same model gives."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from letter_policy import CHAT, CLOSE

from rl.realtime.engine import Answering, PacedEngine
from rl.realtime.stream import End, Question, Thought, Word
from rl.stages.evaluate import Config
from rl.stages.paced_answer import Mode, Pace
from rl.stages.pacing import PaceConfig, Pacer, SampledThoughts
from rl.types import Message, Prompt, Scored, Verdict
from rollouts.requests import Piece, Request
from rollouts.sampler import Sampler

PROMPTS = [Prompt(f"p{i}", (Message("user", "ab" * (i % 5) + str(i)),)) for i in range(12)]
LIMIT, SEED = 72, 5


class ActorWriter:
    """The session's engine, which lives in a process of its own."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def begin_stream(self, name: str, request: Request) -> None:
        self._call(self.engine.begin_stream, name, request)

    def step_streams(self) -> list[Piece]:
        return self._call(self.engine.step_streams)

    def end_streams(self, names: Sequence[str]) -> None:
        self._call(self.engine.end_streams, list(names))

    def _call(self, method: Any, *arguments: object) -> Any:
        import ray

        return ray.get(method.remote(*arguments))


@pytest.fixture(scope="module")
def closing_model(tied: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tied model, which closes chains more often."""
    from safetensors.torch import load_file, save_file  # pyright: ignore[reportUnknownVariableType]

    folder = tmp_path_factory.mktemp("models") / "closing"
    shutil.copytree(tied, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][CLOSE] *= 4.0
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_what_is_served_is_what_was_evaluated(engine: Any, closing_model: Path, temperature: float) -> None:
    sampler = Sampler([engine], lambda i: engine, CHAT)
    sampler.load(closing_model, version=1)
    config = Config(data="", samples=1, temperature=temperature, max_sequence_tokens=LIMIT)
    settings: Any = {"samples": 1, "temperature": temperature, "max_sequence_tokens": LIMIT, "seed": SEED}
    samples = [r for batch in sampler.generate(PROMPTS, **settings) for r in batch]
    thoughts = {
        (r.prompt.id, 0): SampledThoughts.of(Scored(r, Verdict()), CHAT, LIMIT)
        # The first tag ends a chain that is read along; one that writes a second is read otherwise afterwards.
        for r in samples
        if int(np.sum(r.tokens[r.action_mask] == CLOSE)) <= 1
    }
    closed = sum(bool(t.whole) for t in thoughts.values())
    assert len(thoughts) > 3
    modes: tuple[Mode, ...] = ("think_first", "speak_first")
    evaluated = {}
    for mode in modes:
        pacer = Pacer(config, PaceConfig(mode, 6, 6), PROMPTS, sampler, SEED)
        evaluated[mode] = {key: speech.tokens for key, speech in pacer.speak(mode, thoughts).items()}
    for mode in modes:
        served = serve(engine, Pace(mode, 6, 6), temperature, {id for id, _ in thoughts})
        assert {key: words for key, (words, _) in served.items()} == evaluated[mode]
        for key, (words, chain) in served.items():
            assert chain == list(thoughts[key].chain[: len(chain)])
            assert words or thoughts[key].room <= len(thoughts[key].chain) + len(CHAT.closing)
    # At temperature 0 random weights repeat a letter; chains that close there are the policy of letters' (test_paced_stream.py).
    assert closed > 0 or temperature == 0.0, "some chains close, others leave no room"


def serve(
    engine: Any, pace: Pace, temperature: float, ids: set[str]
) -> dict[tuple[str, int], tuple[list[int], list[int]]]:
    """{(prompt id, 0): (the answer's tokens, those of its chain)}, all asked at once."""
    paced = PacedEngine(ActorWriter(engine), CHAT, pace)
    try:
        asked: dict[str, Answering] = {}
        for prompt in PROMPTS:
            if prompt.id in ids:
                tokens = tuple(CHAT.prompt(prompt.messages))
                room = LIMIT - len(tokens)
                asked[prompt.id] = paced.ask(Question(prompt.id, tokens, len(tokens), room, temperature, SEED))
        return {(id, 0): collect(answering) for id, answering in asked.items()}
    finally:
        paced.close()


def collect(answering: Answering) -> tuple[list[int], list[int]]:
    words, chain = list[int](), list[int]()
    while not isinstance(event := answering.events.get(timeout=60), End):
        assert isinstance(event, Thought | Word)
        (words if isinstance(event, Word) else chain).extend(event.tokens)
    return words, chain
