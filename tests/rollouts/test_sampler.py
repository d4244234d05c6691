"""Streams of samples over engines that are alike, that die, and that are left early."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from models.tokenizer import byte_tokenizer
from rl.config import ConfigError, build
from rl.data.chat import Chat
from rl.types import Message, Prompt, Rollout
from rollouts.requests import Request
from rollouts.sampler import Sampler, seed_of
from rollouts.serving import EngineConfig

CHAT = Chat(byte_tokenizer())
PROMPTS = [Prompt(f"p{i}", (Message("user", "ab" * (i % 5)),)) for i in range(20)]
LIMIT = 60


def respawn(i: int) -> Any:
    raise AssertionError("no engine died")


def sampler(engines: list[Any], model: Path, respawn: Callable[[int], Any] = respawn) -> Sampler:
    source = Sampler(engines, respawn, CHAT)
    source.load(model, version=3)
    return source


def stream(sampler: Sampler, prompts: list[Prompt] = PROMPTS, limit: int = LIMIT, seed: int = 7) -> Any:
    return sampler.generate(prompts, samples=3, temperature=1.0, max_sequence_tokens=limit, seed=seed)


def by_key(batches: Iterable[list[Rollout]]) -> dict[tuple[str, int], Rollout]:
    rollouts = [r for batch in batches for r in batch]
    by_name = {(r.prompt.id, r.sample): r for r in rollouts}
    assert len(by_name) == len(rollouts), "no sample comes twice"
    return by_name


def same(one: dict[Any, Rollout], other: dict[Any, Rollout]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(r.tokens, other[k].tokens) and np.array_equal(r.logprobs, other[k].logprobs)
        for k, r in one.items()
    )


@pytest.fixture(scope="module")
def second(start_engine: Callable[[Path], Any], tied: Path, engine: Any) -> Any:
    return start_engine(tied)


@pytest.fixture(scope="module")
def alone(engine: Any, tied: Path, second: Any) -> dict[tuple[str, int], Rollout]:
    """What a single engine writes."""
    return by_key(stream(sampler([engine], tied)))


def test_every_sample_comes_once_and_whole(alone: dict[tuple[str, int], Rollout]) -> None:
    assert alone.keys() == {(p.id, s) for p in PROMPTS for s in range(3)}
    for r in alone.values():
        prompt = CHAT.prompt(r.prompt.messages)
        assert r.tokens[: len(prompt)].tolist() == prompt
        assert r.action_mask.tolist() == [False] * len(prompt) + [True] * (len(r.tokens) - len(prompt))
        assert len(r.logprobs) == r.action_mask.sum()
        assert r.logprobs.max() <= 0
        assert r.version == 3
        assert r.text == CHAT.turn(r.tokens[len(prompt) :].tolist())
        assert len(r.tokens) <= LIMIT
        assert r.truncated == (len(r.tokens) == LIMIT and r.tokens[-1] != CHAT.end)
    assert any(r.truncated for r in alone.values()), "the response gets what the prompt leaves"
    texts = {r.text for r in alone.values()}
    assert len(texts) == len(alone), "no two samples share a seed"


def test_two_engines_write_what_one_writes(
    engine: Any, second: Any, tied: Path, alone: dict[tuple[str, int], Rollout]
) -> None:
    source = sampler([engine, second], tied)
    assert same(by_key(stream(source)), alone)
    assert same(by_key(stream(source, PROMPTS[::-1])), alone)
    assert not same(by_key(stream(source, seed=8)), alone)
    assert source.dispatcher.reissued_requests == 0


def test_a_stream_that_is_left_early_leaves_nothing_behind(
    engine: Any, tied: Path, alone: dict[tuple[str, int], Rollout]
) -> None:
    source = sampler([engine], tied)
    unfinished = stream(source)
    next(unfinished)
    unfinished.close()
    source.load(tied, version=3)
    assert same(by_key(stream(source)), alone)


def test_a_prompt_that_leaves_no_room_is_one_line(engine: Any, tied: Path) -> None:
    long = Prompt("row/3", (Message("user", "x" * 100),))
    with pytest.raises(ValueError, match=r"^prompt 'row/3': 107 tokens leave no room for a response; raise max_seq"):
        next(stream(sampler([engine], tied), [PROMPTS[0], long]))


def test_an_opening_that_leaves_no_room_is_one_line(engine: Any, tied: Path) -> None:
    stream = sampler([engine], tied).generate(
        PROMPTS[:2], samples=1, temperature=1.0, max_sequence_tokens=LIMIT, seed=7, openings={("p1", 0): [65] * LIMIT}
    )
    with pytest.raises(ValueError, match=rf"^prompt 'p1': its \d+ tokens and {LIMIT} of thinking leave no room"):
        next(stream)


def test_what_a_dead_engine_lost_is_written_again(
    start_engine: Callable[[Path], Any], engine: Any, second: Any, tied: Path, alone: dict[tuple[str, int], Rollout]
) -> None:
    """Killed in mid-generation, then found dead by a load, then dead beyond replacing."""
    import ray

    source = sampler([engine, second], tied, lambda i: start_engine(tied))
    flowing = stream(source)
    early = [next(flowing)]
    ray.kill(second)
    assert same(by_key([*early, *flowing]), alone)
    assert 0 < source.dispatcher.reissued_requests < len(alone)
    assert source.pool.engines[1] is not second

    ray.kill(source.pool.engines[1])
    source.pool.respawn = lambda i: engine
    source.load(tied, version=4)
    source.pool.engines.pop()
    assert {r.version for r in by_key(stream(source)).values()} == {4}

    source.pool.engines, source.pool.respawn = [second], lambda i: engine
    with pytest.raises(ValueError, match=r"^the new weights lack ") as error:
        source.load(tied / "absent")
    assert "\n" not in str(error.value), "one line, and not Ray's traceback"

    source.pool.engines, source.pool.respawn = [second], lambda i: second
    with pytest.raises(ValueError, match=r"^4 engines died during one .*, the last was engine 0; is memory short\?"):
        source.load(tied)


def test_a_sample_kept_to_a_dead_engine_goes_on_at_another(
    start_engine: Callable[[Path], Any], engine: Any, tied: Path
) -> None:
    """The thread that deals replaces no engine: what was to go on there ends without waiting for its caller."""
    import ray

    source = sampler([engine, start_engine(tied)], tied)
    ended = Event()
    source.dispatcher.deliver = lambda i, completions: ended.set() if i == 0 else None
    ray.kill(source.pool.engines[1])
    source.dispatcher.add([Request((0, 0), (65, 66), seed=1, max_tokens=8, temperature=1.0, engine=1)])
    source.dispatcher.run_on()
    assert ended.wait(60)
    source.dispatcher.pause()


def test_seeds_are_far_apart() -> None:
    seeds = {seed_of(seed, f"p{p}", s) for seed in range(3) for p in range(100) for s in range(16)}
    assert len(seeds) == 3 * 100 * 16
    assert all(0 <= seed < 2**62 for seed in seeds)
    assert seed_of(0, "p", 1) == seed_of(0, "p", 1) != seed_of(0, "p1", "")


@pytest.mark.parametrize("key", ["count", "threads", "gpus", "kv_cache_mb"])
def test_engines_have_at_least_one_of_everything(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^engines.{key}: must be at least 1; got 0"):
        build(EngineConfig, {key: 0}, "engines")
