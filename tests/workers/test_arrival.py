"""Weights of a real trainer in real engines: what is planted in one of them stops the load in one line that names the
engine, the version and the tensor; and nothing fires where nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
from faulty_engine import LOST, MISNAMED, FaultyEngine
from worlds import Seat

from models.hearing import clip_counter
from models.load import build, load_tokenizer
from models.lora import LoraConfig
from models.settings import AudioConfig, BuildConfig, ModelConfig
from models.shape import folder_shape
from rl.algorithms.objective import Objective
from rl.data.chat import Chat
from rl.data.collate import collate_demonstrations
from rl.stages.rlvr.gaps import PROBE, Gaps, choose_bounds
from rl.types import Demonstration, Message, Prompt, Rollout
from rl.workers.group import PolicyGroup
from rl.workers.optimizer import OptimizerConfig
from rl.workers.probe import draw_probe
from rl.workers.trainer_config import TrainerConfig
from rl.workers.weight_stream import Route, WeightStream
from rollouts.arrival import ArrivalError
from rollouts.remote import engine_actor
from rollouts.sampler import Sampler
from rollouts.serving import ENVIRONMENT, ServingConfig

PROMPTS = [
    Prompt(f"p{i}", (Message("user", f"Say {i}"),), demonstration=Demonstration("", f"{i}{i}")) for i in range(4)
]
DTYPES = ("float32", "bfloat16")


def chat_of(model: Path) -> Chat:
    return Chat(load_tokenizer(model), False, clip_counter(model))


def respawn(i: int) -> Any:
    raise AssertionError("no engine died")


class Loop:
    """Trainer and engines of one model, as the loop of rlvr has them."""

    def __init__(
        self,
        seats: Sequence[Seat],
        engines: Sequence[Any],
        model: Path,
        dtype: Any,
        stage: Any = 0,
        lora: LoraConfig | None = None,
    ) -> None:
        self.chat, self.engines = chat_of(model), engines
        shape = folder_shape(model, "")
        assert shape is not None
        probe = draw_probe(self.chat, shape.vocabulary, 100, seed=5)
        self.policy = PolicyGroup(seats, TrainerConfig(ranks=len(seats), zero_stage=stage), None, probe)
        self.policy.load(model, ModelConfig(path=str(model), dtype=dtype, lora=lora), OptimizerConfig())
        self.sampler = Sampler(engines, respawn, self.chat)
        self.batch = collate_demonstrations(PROMPTS, self.chat, 100)
        self.gaps = Gaps("rlvr", choose_bounds(dtype, None))
        self.version, self.warnings = 0, list[str]()
        self.load()

    def load(self) -> dict[str, float]:
        self.sampler.load(self.policy.weights(), version=self.version)
        metrics = self.sampler.proof.metrics()
        self.gaps.check(self.version, metrics)
        self.warnings += self.gaps.observe(self.version, metrics)
        assert self.sampler.version == self.version
        return metrics

    def learn_often(self, rate: float, steps: int) -> None:
        for _ in range(steps):
            self.learn(rate)

    def learn(self, rate: float) -> dict[str, float]:
        """One step of the loop, samples apart."""
        rows = [range(len(self.batch))]
        self.policy.update(self.batch, rows, [rate], Objective(policy_loss="nll"), 100).get()
        self.version += 1
        return self.load()

    def plant(self, fault: str) -> None:
        ray.get(self.engines[-1].plant.remote(fault))


@pytest.fixture(scope="module", params=DTYPES)
def dtype(request: pytest.FixtureRequest) -> str:
    return request.param


def start_engines(model: Path, dtype: str, count: int, adapter_rank: int = 0) -> list[Any]:
    kind = engine_actor(FaultyEngine).options(num_cpus=0, runtime_env={"env_vars": ENVIRONMENT})
    config = ServingConfig(kv_cache_mb=32)
    return [kind.remote(str(model), dtype, 128, config, adapter_rank=adapter_rank) for _ in range(count)]


@pytest.fixture(scope="module")
def engines(ray_session: None, tied: Path, dtype: str) -> Iterator[list[Any]]:
    """Two engines of that dtype; the second is the one that faults are planted in."""
    actors = start_engines(tied, dtype, 2)
    yield actors
    for actor in actors:
        ray.kill(actor)


@pytest.fixture
def loop(worlds: Callable[[int], Any], engines: list[Any], tied: Path, dtype: str) -> Iterator[Loop]:
    made = Loop([Seat(actor, "policy") for actor in worlds(1).actors], engines, tied, dtype)
    yield made
    made.plant("")


FAULTS = {
    "lost": rf"{LOST} was sent and did not arrive \(1 of 26 tensors\)",
    "altered": rf"{LOST} arrived with other values than were sent",
    "misnamed": rf"vLLM does not take {MISNAMED}: There is no module or parameter named '[\w.]+' in \w+$",
    "swapped": r"model\.layers\.\d\.self_attn\.k_proj\.weight arrived ",
    "never arrives": r".* arrived with other values than were sent",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_weights_that_do_not_arrive_whole_stop_the_load(loop: Loop, fault: str) -> None:
    loop.learn(1e-4)
    loop.plant(fault)
    with pytest.raises(ArrivalError, match=rf"^engine 1, version 2: {FAULTS[fault]}") as error:
        loop.learn(1e-4)
    assert "\n" not in str(error.value)
    assert loop.sampler.version == -1, "nothing is sampled with it"
    loop.plant("")
    loop.load()


@pytest.mark.parametrize("rate", [1e-4, 1e-2])
def test_weights_that_are_received_and_not_used_stop_the_run(loop: Loop, rate: float) -> None:
    """At a rate at which the gap is less than rounding in bfloat16, it takes some steps."""
    loop.learn(rate)
    loop.plant("received and left aside")
    message = (
        r"engine 1, version \d+: .* arrived and is not used \(\d+ of 26 tensors changed\): logprobs of the probe moved"
    )
    with pytest.raises(ValueError, match=rf"^{message}"):
        loop.learn_often(rate, 40)
    assert loop.version <= (3 if rate == 1e-2 else 40)


def test_an_adapter_that_is_received_and_left_aside_stops_the_run(
    worlds: Callable[[int], Any], tied: Path, dtype: str
) -> None:
    lora = LoraConfig(rank=4, alpha=8, engines="adapter")
    actors = start_engines(tied, dtype, 1, lora.engine_rank(dtype))
    loop = Loop([Seat(actor, "policy") for actor in worlds(1).actors], actors, tied, dtype, lora=lora)
    assert loop.learn(1e-2)[PROBE] < {"float32": 1e-5, "bfloat16": 0.02}[dtype]
    loop.plant("adapter left aside")
    message = (
        r"engine 0, version \d+: .*\.lora_[AB]\.weight arrived and is not used|engine and trainer logprobs of the probe"
    )
    with pytest.raises(ValueError, match=message):
        loop.learn_often(1e-2, 4)
    ray.kill(actors[0])


def test_a_head_that_is_not_packed_anew_stops_the_run(loop: Loop) -> None:
    """Half of what the tied matrix does is of the old weights."""
    loop.learn(1e-3)
    loop.plant("head not packed")
    message = "engine and trainer logprobs of the probe .*max_logprob_gap|arrived and is not used"
    with pytest.raises(ValueError, match=message):
        loop.learn_often(3e-2, 8)


# --- streams ----------------------------------------------------------------------------------------------------------


def replacement(engines: list[Any], model: Path, dtype: str) -> Callable[[int], Any]:
    """Return a function that starts a new engine in the place of a dead one."""

    def start(i: int) -> Any:
        engines[i] = start_engines(model, dtype, 1)[0]
        return engines[i]

    return start


# Each transport and each type once.
@pytest.mark.parametrize(
    ("dtype", "transport"), [("float32", "gloo"), ("bfloat16", "shared_memory")], indirect=["dtype"], scope="module"
)
def test_a_stream_brings_what_the_object_store_brings(
    worlds: Callable[[int], Any], engines: list[Any], tied: Path, dtype: str, transport: Any
) -> None:
    """From two ranks under ZeRO-3, in buckets smaller than the largest tensor, to two engines that sleep between loads;
    what is wrong with it is found as elsewhere, and the next load is right again."""
    seats = [Seat(actor, "policy") for actor in worlds(2).actors]
    loop = Loop(seats, engines, tied, dtype, 3)
    expected = loop.policy.weights().checksums
    loop.policy.stream = WeightStream(seats, Route(transport), bucket_bytes=20_000)
    try:
        for engine in engines:
            ray.get(engine.__ray_call__.remote(lambda self: setattr(self.memory, "sleeps", True)))
        for level in (2, 1, 2):
            ray.get([engine.rest.remote(level) for engine in engines])
            loop.load()
            assert loop.sampler.pool.weights is not None
            assert loop.sampler.pool.weights.checksums == expected
        assert loop.learn(1e-3)[PROBE] < {"float32": 1e-5, "bfloat16": 0.02}[dtype]
        for fault in ("lost", "misnamed", "altered"):
            loop.plant(fault)
            with pytest.raises(ArrivalError, match=rf"^engine 1, version 1: {FAULTS[fault]}"):
                loop.load()
            assert loop.sampler.version == -1
            loop.plant("")
            loop.load()
    finally:
        for engine in engines:
            ray.get(engine.__ray_call__.remote(lambda self: setattr(self.memory, "sleeps", False)))


@pytest.mark.parametrize(
    ("dtype", "transport", "fault"),
    [
        ("float32", "gloo", "dies"),
        ("float32", "gloo", "dies in the stream"),
        ("float32", "shared_memory", "dies in the stream"),
        ("float32", "shared_memory", "killed before it"),
    ],
    indirect=["dtype"],
    scope="module",
)
def test_an_engine_that_dies_in_a_stream_is_replaced(
    worlds: Callable[[int], Any], engines: list[Any], tied: Path, dtype: str, transport: Any, fault: str
) -> None:
    """The stream ends for the other engine and for the trainer, and begins anew for all; what was being written meanwhile is
    written on, or anew."""
    seats = [Seat(actor, "policy") for actor in worlds(1).actors]
    loop = Loop(seats, engines, tied, dtype)
    loop.policy.stream = WeightStream(seats, Route(transport), bucket_bytes=20_000)
    loop.learn(1e-3)
    loop.sampler.pool.respawn = replacement(engines, tied, dtype)
    loop.plant(fault)
    ended: list[Rollout] = []
    loop.policy.update(loop.batch, [range(len(loop.batch))], [1e-3], Objective(policy_loss="nll"), 100).get()
    loop.sampler.start(PROMPTS, samples=8, temperature=1.0, max_sequence_tokens=100, seed=3, receive=ended.extend)
    loop.sampler.run_on()
    if fault == "killed before it":  # the thread that deals finds it dead, and may not ask the trainer for weights
        ray.kill(engines[1])
    loop.version += 1
    assert loop.load()[PROBE] < 1e-5
    assert loop.sampler.pool.deaths == 1
    while len(ended) < 32:
        loop.sampler.advance()
    assert {(r.prompt.id, r.sample) for r in ended} == {(p.id, s) for p in PROMPTS for s in range(8)}
    assert loop.sampler.dispatcher.reissued_requests > 0
    assert max(version for r in ended for version, _ in (r.spans or ((r.version, 0),))) == loop.version
    loop.learn(1e-3)


@pytest.mark.parametrize(("dtype", "transport"), [("float32", "gloo")], indirect=["dtype"], scope="module")
def test_an_engine_that_dies_while_it_writes_is_replaced(
    worlds: Callable[[int], Any], engines: list[Any], tied: Path, dtype: str, transport: Any
) -> None:
    """No stream has failed, and the next ones must reach the new engine over connections of its own."""
    seats = [Seat(actor, "policy") for actor in worlds(1).actors]
    loop = Loop(seats, engines, tied, dtype)
    loop.policy.stream = WeightStream(seats, Route(transport), bucket_bytes=20_000)
    loop.learn(1e-3)
    loop.sampler.pool.respawn = replacement(engines, tied, dtype)
    ended: list[Rollout] = []
    loop.sampler.start(PROMPTS, samples=8, temperature=1.0, max_sequence_tokens=100, seed=3, receive=ended.extend)
    ray.kill(engines[1])
    while len(ended) < 32:
        loop.sampler.advance()
    assert {(r.prompt.id, r.sample) for r in ended} == {(p.id, s) for p in PROMPTS for s in range(8)}
    assert loop.sampler.pool.replaced == 1
    for _ in range(2):
        assert loop.learn(1e-3)[PROBE] < 1e-5


# --- no false alarm ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_nothing_fires_where_nothing_is_wrong(
    worlds: Callable[[int], Any], engines: list[Any], tied: Path, dtype: str, stage: int, tmp_path: Path
) -> None:
    """Over two ranks: while the policy waits for its critic, at no rate, at rates that change few weights in bfloat16 or
    none, at one that breaks the model; after an evaluation of another model, and after a resume."""
    seats = [Seat(actor, "policy") for actor in worlds(2).actors]
    loop = Loop(seats, engines, tied, dtype, stage)
    loop.load()
    gaps = [loop.learn(rate)[PROBE] for rate in (0.0, 1e-8, 1e-8, 1e-6, 1e-5, 1e-5, 1e-3, 1e-2)]
    assert max(gaps) < {"float32": 1e-5, "bfloat16": 0.02}[dtype]
    loop.sampler.load(tied, version=0)
    assert loop.sampler.proof.metrics() == {}
    loop.learn(1e-3)
    loop.policy.save(tmp_path)
    loop.policy.load(tmp_path, ModelConfig(path=str(tmp_path), dtype=dtype), OptimizerConfig())  # type: ignore[arg-type]
    loop.policy.restore_optimizer(tmp_path)
    loop.load()
    loop.learn(1e-3)
    assert loop.warnings == []


def test_a_model_that_listens_is_probed_with_a_clip(worlds: Callable[[int], Any], tmp_path: Path) -> None:
    """Its adapter learns, its encoder is frozen: checked when it was sent, and remembered."""
    audio = AudioConfig(mel_bins=16, hidden_size=32, layers=1)
    model = build(BuildConfig(hidden_size=64, layers=2, heads=2, audio=audio), tmp_path / "listener", seed=3)
    actors = start_engines(model, "float32", 1)
    loop = Loop([Seat(actor, "policy") for actor in worlds(1).actors], actors, model, "float32")
    assert loop.policy.probe is not None
    assert loop.policy.probe.clips
    assert max(loop.learn(rate)[PROBE] for rate in (0.0, 1e-5, 1e-3)) < 1e-5
    assert loop.warnings == []
    names = loop.policy.weights().checksums.keys()
    assert any(name.startswith("encoder.") for name in names)
    (received,) = ray.get(actors[0].__ray_call__.remote(lambda self: self.receipt)).received
    assert received.keys() == names, "the encoder's checksums are remembered"
    loop.plant("lost")
    with pytest.raises(ArrivalError, match=r"^engine 0, version 4: .*layers\.1\.self_attn\.k_proj.* did not arrive"):
        loop.learn(1e-4)
    ray.kill(actors[0])


# --- the probe ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [9, 47, 100])
def test_a_probe_is_of_ordinary_tokens(tied: Path, most: int) -> None:
    chat = chat_of(tied)
    probe, again, other = (draw_probe(chat, 270, most, seed) for seed in (1, 1, 2))
    assert probe is not None
    assert probe == again != other
    assert len(probe.tokens) == min(most, 64)
    assert not {*probe.tokens} & {*chat.controls.ids.values()}
    assert probe.sent == probe.tokens
    smaller = draw_probe(chat, 100, most, 1)
    assert smaller is not None
    assert max(smaller.tokens) < 100, "a tokenizer may have more than the model"
    assert draw_probe(chat, 270, 8, 1) is None, "too short to tell anything"
