"""Weights that change while an engine writes: which version wrote what, what was computed by the old ones, and replays."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.heads import LogprobModel
from models.load import build
from models.settings import BuildConfig
from models.tokenizer import byte_tokenizer
from rl.data.chat import Chat
from rl.types import Message, Prompt, Rollout, Spans
from rollouts.arrival import Receipt
from rollouts.probe import Probe
from rollouts.remote import CONTROL, engine_actor
from rollouts.requests import Completion, Request
from rollouts.sampler import Sampler
from rollouts.serving import ENVIRONMENT, ServingConfig
from rollouts.worker import EngineWorker

CHAT = Chat(byte_tokenizer())
PROMPT = (257, 263, *b"spell it", 258, 257, 264, 262, 10)
LIMITS = {"max_num_seqs": 4}
"""Fewer than what is in flight: some wait in vLLM's queue."""
STEPS_AT_A_TIME = 9
"""Steps of the engine between two versions; a sample has up to 40 tokens."""


def requests(count: int, max_tokens: int) -> list[Request]:
    """Prompts of unequal lengths."""
    return [Request((i, 0), PROMPT + (65 + i,) * (i % 7), 1000 + i, max_tokens, 1.0) for i in range(count)]


class SteppedEngine(EngineWorker):
    """The engine, advanced by a number of steps rather than by time, and with what its steps were counted for."""

    steps = steps_at_end = steps_before_load = steps_of_load = 0

    def _step(self) -> list[Any]:
        self.steps += 1
        return super()._step()

    def end_period(self, period: int) -> None:
        super().end_period(period)
        self.steps_at_end = self.steps

    def load(self, version: int, buckets: Sequence[Any], probe: Probe | None = None) -> Receipt:
        self.steps_before_load, before = self.steps - self.steps_at_end, self.steps
        receipt = super().load(version, buckets, probe)
        self.steps_of_load = self.steps - before
        return receipt

    def look(self, name: str) -> int:
        return getattr(self, name)

    def running(self) -> int:
        return len(self.in_flight._scheduler.running)

    def step_through(self, version: int, fresh: list[Request], steps: int) -> list[Completion]:
        done = self.advance(version, fresh, 0.0)
        for _ in range(steps - 1):
            done += self.advance(version, [], 0.0) if not self.in_flight.idle else []
        return done


@pytest.fixture(scope="module")
def models(tied: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three versions, unrelated to one another."""
    config = BuildConfig(hidden_size=64, layers=2, heads=2, tied=True)
    folder = tmp_path_factory.mktemp("versions")
    return [tied, build(config, folder / "second", seed=11), build(config, folder / "third", seed=12)]


@pytest.fixture(scope="module", params=["recompute", "keep"])
def engine(request: pytest.FixtureRequest, ray_session: None, models: list[Path]) -> Iterator[tuple[str, Any]]:
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's processes do not find this file
    kind: Any = engine_actor(SteppedEngine).options(num_cpus=0, runtime_env={"env_vars": ENVIRONMENT})
    actor = kind.remote(
        str(models[0]), "float32", 512, ServingConfig(kv_cache_mb=64, vllm=LIMITS), False, 0, request.param == "keep"
    )
    yield request.param, actor
    ray.kill(actor)


def write(engine: Any, models: list[Path], asked: list[Request], company: int = 0) -> dict[tuple[int, int], Completion]:
    """Completions of requests that three versions write, each for some steps; `company`: other requests beside them."""
    import ray

    others = [replace(r, key=(100 + i, 0), seed=5000 + i) for i, r in enumerate(requests(company, 30))]
    done: list[Completion] = []
    for version, model in enumerate(models, start=1):
        ray.get(engine.load.remote(version, [{"folder": str(model)}]))
        fresh = [*others, *asked] if version == 1 else []
        done += ray.get(engine.step_through.remote(version, fresh, STEPS_AT_A_TIME))
    done += ray.get(engine.settle.remote())
    assert len(done) == len(asked) + company, "nothing is lost"
    return {c.key: c for c in done if c.key[0] < 100}


def gaps(done: dict[tuple[int, int], Completion], models: list[Path], only_first: bool = False) -> float:
    """Largest difference between the logprobs of each token and those of the version that is said to have written it."""
    by_version = {version: LogprobModel(model, "float32") for version, model in enumerate(models, start=1)}
    largest = 0.0
    for c in done.values():
        mask_T = torch.arange(len(c.tokens)) >= c.prompt_length
        start = 0
        for version, count in c.spans[:1] if only_first else c.spans:
            with torch.no_grad():
                logprobs_A, _ = by_version[version](torch.tensor(c.tokens), torch.tensor([len(c.tokens)]), mask_T, 1.0)
            part = slice(start, start + count)
            largest = max(largest, float(np.abs(logprobs_A.numpy()[part] - c.logprobs[part]).max()))
            start += count
        assert sum(count for _, count in c.spans) == len(c.logprobs), "each token has a version"
    return largest


def test_each_token_is_of_the_version_that_is_said_to_have_written_it(
    engine: tuple[str, Any], models: list[Path]
) -> None:
    cache, actor = engine
    done = write(actor, models, requests(6, max_tokens=40))
    assert {len(c.spans) for c in done.values()} >= {3}, "some samples outlive two changes"
    assert gaps(done, models, only_first=True) <= 1e-5
    # Keys and values of the old weights change what the new ones say; recomputed, nothing is left of the old ones.
    assert gaps(done, models) <= 1e-5 if cache == "recompute" else gaps(done, models) > 1e-3
    fresh = write(actor, models[:1], [replace(r, seed=r.seed + 100) for r in requests(6, max_tokens=8)])
    assert gaps(fresh, models[:1]) <= 1e-5, "prefixes of earlier versions serve nobody"


def test_the_cuts_decide_the_tokens_whoever_runs_beside(engine: tuple[str, Any], models: list[Path]) -> None:
    import ray

    cache, actor = engine
    if cache == "keep":
        return  # of what was kept depends on when it was computed
    first = write(actor, models, requests(6, max_tokens=40), company=4)
    told = [replace(r, cuts=first[r.key].spans) for r in requests(6, max_tokens=40)]
    again: list[Completion] = []
    for version, model in enumerate(models, start=1):
        # Without a limit of steps: each version is held back where the other run was cut.
        again += ray.get(actor.settle.remote()) if version > 1 else []
        ray.get(actor.load.remote(version, [{"folder": str(model)}]))
        again += ray.get(actor.advance.remote(version, told if version == 1 else [], 0.0))
    again += ray.get(actor.settle.remote())
    assert {c.key for c in again} == first.keys()
    for c in again:
        assert c.spans == first[c.key].spans
        assert np.array_equal(c.tokens, first[c.key].tokens)
        assert np.array_equal(c.logprobs, first[c.key].logprobs)


def test_samples_of_a_replay_go_on_where_all_have_waited_for_the_next_weights(
    engine: tuple[str, Any], models: list[Path]
) -> None:
    cache, actor = engine
    if cache == "keep":
        return  # what was kept cannot be repeated
    sampler = Sampler([actor], lambda i: actor, CHAT)
    sampler.load(models[0], version=1)
    ended: list[Rollout] = []
    cuts: dict[tuple[str, int], Spans] = {("p", 0): ((1, 5), (2, 100))}
    limits: dict[str, Any] = {"temperature": 1.0, "max_sequence_tokens": 100, "seed": 3}
    sampler.start([Prompt("p", (Message("user", "ab"),))], samples=1, receive=ended.extend, cuts=cuts, **limits)
    sampler.load(models[1], version=2)
    while not ended:
        sampler.advance()
    first, (version, _) = ended[0].spans
    assert (first, version) == ((1, 5), 2)


def test_new_weights_wait_for_one_step_of_the_engine(engine: tuple[str, Any], models: list[Path]) -> None:
    import ray

    _, actor = engine
    sampler = Sampler([actor], lambda i: actor, CHAT)
    sampler.load(models[0], version=1)
    prompts = [Prompt(f"p{i}", (Message("user", "ab" * i),)) for i in range(8)]
    ended: list[Rollout] = []
    sampler.start(prompts, samples=2, receive=ended.extend, temperature=1.0, max_sequence_tokens=400, seed=3)
    look = actor.look.options(concurrency_group=CONTROL)
    for version in (2, 3):
        begun = ray.get(look.remote("steps"))
        sampler.run_on()
        while ray.get(look.remote("steps")) < begun + 3:  # a slice is under way, and another call waits behind it
            pass
        sampler.load(models[version - 1], version)
        assert ray.get(look.remote("steps_before_load")) <= 1, "and not for the two slices that were asked for"
        assert len(ended) < 16, "samples are in flight"
    while len(ended) < 16:
        sampler.advance()
    assert len({(r.prompt.id, r.sample) for r in ended}) == 16, "nothing is lost"


def test_the_probe_goes_before_all_that_waits_and_alone(engine: tuple[str, Any], models: list[Path]) -> None:
    """What was preempted for the new weights is computed anew after it: the trainer waits for the probe."""
    import ray

    cache, actor = engine
    ray.get(actor.load.remote(1, [{"folder": str(models[0])}]))
    done = ray.get(actor.step_through.remote(1, requests(9, max_tokens=40), 3))
    receipt = ray.get(actor.load.remote(2, [{"folder": str(models[1])}], Probe(PROMPT, PROMPT, 1)))
    assert ray.get(actor.look.remote("steps_of_load")) == 1
    assert ray.get(actor.running.remote()) == (0 if cache == "recompute" else LIMITS["max_num_seqs"] - 1)
    mask_T = torch.arange(len(PROMPT)) >= 1
    with torch.no_grad():
        logprobs_A, _ = LogprobModel(models[1], "float32")(
            torch.tensor(PROMPT), torch.tensor([len(PROMPT)]), mask_T, 1.0
        )
    assert np.abs(logprobs_A.numpy() - receipt.score).max() <= 1e-5
    done += ray.get(actor.settle.remote())
    assert len(done) == 9, "nothing is lost"


def test_what_is_dropped_is_gone(engine: tuple[str, Any], models: list[Path]) -> None:
    import ray

    _, actor = engine
    ray.get(actor.load.remote(1, [{"folder": str(models[0])}]))
    asked = requests(4, max_tokens=40)
    done = ray.get(actor.step_through.remote(1, asked, 3))
    ray.get(actor.abort.remote([asked[0].key, asked[1].key]))
    done += ray.get(actor.settle.remote())
    assert {c.key for c in done} >= {asked[2].key, asked[3].key}
    assert len(done) <= 4
    assert not ray.get(actor.settle.remote())


def test_a_sampler_writes_on_while_its_caller_does_something_else(
    models: list[Path], start_engine: Callable[[Path], Any]
) -> None:
    import time

    engines = [start_engine(models[0]), start_engine(models[0])]
    sampler = Sampler(engines, lambda i: engines[i], CHAT)
    sampler.load(models[0], version=1)
    prompts = [Prompt(f"p{i}", (Message("user", "ab" * (i % 5)),)) for i in range(12)]
    ended: list[Rollout] = []
    limits: dict[str, Any] = {"temperature": 1.0, "max_sequence_tokens": 200, "seed": 3}
    sampler.start(prompts, samples=3, receive=ended.extend, **limits)
    sampler.run_on()
    time.sleep(0.2)
    sampler.load(models[1], version=2)
    # Others that are asked for meanwhile come whole, and the first ones go on beside them.
    between = [r for batch in sampler.generate(prompts[:4], samples=2, **limits) for r in batch]
    assert {(r.prompt.id, r.sample) for r in between} == {(p.id, s) for p in prompts[:4] for s in range(2)}
    assert {r.version for r in between} == {2}
    while len(ended) < 36:
        sampler.advance()
    assert {(r.prompt.id, r.sample) for r in ended} == {(p.id, s) for p in prompts for s in range(3)}
    assert not sampler.generations, "nothing is kept of what has ended"
    for rollout in ended:
        written = sum(count for _, count in rollout.spans) if rollout.spans else len(rollout.logprobs)
        assert written == len(rollout.logprobs)
    assert {v for r in ended for v, _ in (r.spans or ((r.version, 0),))} == {1, 2}


def test_what_fails_beside_its_caller_is_raised_where_it_waits(
    models: list[Path], start_engine: Callable[[Path], Any]
) -> None:
    import ray

    engine = start_engine(models[0])
    sampler = Sampler([engine], lambda i: engine, CHAT)
    sampler.load(models[0], version=1)

    def fail(_: list[Rollout]) -> None:
        raise ValueError("nobody takes this")

    prompt = Prompt("p", (Message("user", "a"),))
    sampler.start([prompt], samples=2, temperature=1.0, max_sequence_tokens=60, seed=3, receive=fail)
    sampler.run_on()

    def wait() -> None:
        while True:
            sampler.advance()

    with pytest.raises(ValueError, match="nobody takes this"):
        wait()
    ray.kill(engine)
