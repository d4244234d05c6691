"""Samples of several turns on a real engine: an environment replies, and the engine goes on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.load import build
from models.settings import BuildConfig
from models.tokenizer import byte_tokenizer
from rl.data.chat import Chat
from rl.types import Message, Prompt, Rollout, Spans
from rollouts.environments.config import EnvironmentConfig
from rollouts.environments.service import EnvironmentService
from rollouts.sampler import Sampler

CHAT = Chat(byte_tokenizer())
PROMPTS = [Prompt(f"p{i}", (Message("user", "ab" * (i % 5)),)) for i in range(6)]
LIMIT = 150
GAME = """
from rl.types import Message, Reply

def step(prompt, rollout):
    if prompt.id == "p5":
        raise KeyError("a bug of the environment")
    turn = len(rollout.exchanges)
    if turn == 3:
        return None
    text = f"turn {turn} of {prompt.id}"
    return Reply((Message("user", text),), reward=0.5 * turn, note="said")
"""


def respawn(i: int) -> Any:
    raise AssertionError("no engine died")


def play(engine: Any, model: Path, folder: Path, samples: int = 2) -> dict[tuple[str, int], Rollout]:
    (folder / "game.py").write_text(GAME)
    sampler = Sampler([engine], respawn, CHAT)
    sampler.load(model, version=3)
    # A few tokens a turn would end each sample as truncated: an unrelated model seldom ends its turn, so it pauses at letters.
    config = EnvironmentConfig(step="game.py:step", stop=["a", "e", "i", "o", "u", " "], max_turns=3)
    with EnvironmentService(config, folder) as environment:
        environment.start()
        sampler.episodes.environment = environment
        stream = sampler.generate(PROMPTS, samples=samples, temperature=1.0, max_sequence_tokens=LIMIT, seed=7)
        rollouts = [rollout for batch in stream for rollout in batch]
    assert len({(r.prompt.id, r.sample) for r in rollouts}) == len(rollouts) == samples * len(PROMPTS)
    return {(r.prompt.id, r.sample): r for r in rollouts}


@pytest.fixture(scope="module")
def played(engine: Any, tied: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Rollout]:
    return play(engine, tied, tmp_path_factory.mktemp("game"))


def test_what_was_written_stays_and_replies_are_no_actions(played: dict[tuple[str, int], Rollout]) -> None:
    several = [r for r in played.values() if r.exchanges]
    assert several
    for r in several:
        assert len(r.logprobs) == r.action_mask.sum()
        for turn, exchange in enumerate(r.exchanges):
            assert exchange.reply.note == "said"
            if exchange.reply.last:
                continue
            assert not r.action_mask[exchange.start : exchange.end].any()
            assert r.action_mask[exchange.start - 1]
            shown = CHAT.controls.tokenizer.decode(r.tokens[exchange.start : exchange.end])
            assert f"turn {turn} of {r.prompt.id}" in shown
            assert exchange.reply.reward == 0.5 * turn
        assert r.action_mask[r.exchanges[-1].end :].all()
        assert r.finish_reason in ("turns", "length", "stop")


def test_an_environments_error_is_no_score_and_costs_its_sample(played: dict[tuple[str, int], Rollout]) -> None:
    for (prompt, _), r in played.items():
        failed = prompt == "p5" and r.finish_reason != "length"
        assert (r.error is not None) == failed
        if failed:
            assert r.error == "environment: KeyError: 'a bug of the environment'"


def test_the_same_seed_gives_the_same_turns(
    engine: Any, tied: Path, tmp_path: Path, played: dict[tuple[str, int], Rollout]
) -> None:
    again = play(engine, tied, tmp_path, samples=1)
    for key, r in again.items():
        assert np.array_equal(r.tokens, played[key].tokens)
        assert np.array_equal(r.logprobs, played[key].logprobs)
        assert [e.reply.messages for e in r.exchanges] == [e.reply.messages for e in played[key].exchanges]


def write_over_versions(
    engine: Any, models: list[Path], folder: Path, cuts: dict[tuple[str, int], Spans]
) -> dict[tuple[str, int], Rollout]:
    """Rollouts of several turns that the models write, one after the other, while nobody waits for them."""
    sampler = Sampler([engine], respawn, CHAT)
    sampler.load(models[0], version=1)
    config = EnvironmentConfig(step="game.py:step", stop=["a", "e", "i", "o", "u", " "], max_turns=4)
    ended: list[Rollout] = []
    with EnvironmentService(config, folder) as environment:
        environment.start()
        sampler.episodes.environment = environment
        limits: dict[str, Any] = {"temperature": 1.0, "max_sequence_tokens": 400, "seed": 7}
        sampler.start(PROMPTS[:5], samples=6, receive=ended.extend, cuts=cuts, **limits)
        for version, model in enumerate(models[1:], start=2):
            sampler.run_on()
            if not cuts:  # a run that is repeated hurries: its engines still write when the weights come
                time.sleep(0.3)
            sampler.load(model, version=version)
        while len(ended) < 30:
            sampler.advance()
        sampler.dispatcher.drain()
    return {(r.prompt.id, r.sample): r for r in ended}


def test_a_run_is_repeated_turn_by_turn(engine: Any, tied: Path, tmp_path: Path) -> None:
    """A sample that pauses just before the weights change is answered and written on by those that wrote it."""
    (tmp_path / "game.py").write_text(GAME)
    config = BuildConfig(hidden_size=64, layers=2, heads=2)
    models = [tied, *(build(config, tmp_path / f"model-{seed}", seed=seed) for seed in (11, 12))]
    first = write_over_versions(engine, models, tmp_path, {})
    cuts = {key: r.spans or ((r.version, len(r.logprobs)),) for key, r in first.items()}
    assert any(len(spans) > 1 and len(first[key].exchanges) > 1 for key, spans in cuts.items())
    again = write_over_versions(engine, models, tmp_path, cuts)
    assert again.keys() == first.keys()
    for key, r in again.items():
        assert np.array_equal(r.tokens, first[key].tokens)
        assert np.array_equal(r.logprobs, first[key].logprobs)
        assert (r.version, r.spans, r.finish_reason) == (
            first[key].version,
            first[key].spans,
            first[key].finish_reason,
        )
        assert r.exchanges == first[key].exchanges
