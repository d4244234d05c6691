"""Which way weights take by where engines and trainer sit, and the order in which an engine's memory comes and goes."""

from __future__ import annotations

from typing import Any

import pytest

from rl.config import ConfigError
from rl.workers.weight_stream import Route
from rollouts.memory import Memory
from rollouts.transport import choose_transport

ONE, OTHER = [(0, "0")], [(1, "0")]  # the same name on two nodes is two GPUs
PAIR, NEXT_PAIR = [(0, "0"), (0, "1")], [(1, "0"), (1, "1")]


@pytest.mark.parametrize(
    ("trainers", "engines", "transport"),
    [
        ([], [], "object_store"),
        ([ONE], [ONE], "ipc"),
        ([ONE, OTHER], [ONE, OTHER], "ipc"),
        ([ONE, OTHER], [ONE], "ipc"),  # fewer engines than ranks
        ([[gpu] for gpu in PAIR], [PAIR], "ipc"),  # tensor parallel over two ranks' GPUs
        ([ONE], [OTHER], "nccl"),
        ([[gpu] for gpu in PAIR], [NEXT_PAIR], "nccl"),
        ([ONE], [ONE, OTHER], "object_store"),  # one engine beside the rank, one elsewhere
        ([ONE], [PAIR], "object_store"),
    ],
)
def test_the_transport_follows_the_devices(trainers: Any, engines: Any, transport: str) -> None:
    assert choose_transport("auto", trainers, engines) == transport
    assert choose_transport("object_store", trainers, engines) == "object_store"
    assert choose_transport("auto", trainers, engines, adapters=True) == "object_store"


@pytest.mark.parametrize(
    ("setting", "trainers", "engines", "says"),
    [
        ("ipc", [], [], "there are no GPUs; set shared_memory"),
        ("nccl", [ONE], [ONE], "engines and policy must sit on different GPUs"),
        ("ipc", [ONE], [OTHER], "every engine must sit on GPUs of the policy"),
        ("gloo", [ONE], [ONE], "on GPUs set nccl"),
        ("shared_memory", [ONE], [OTHER], "on GPUs set ipc"),
    ],
)
def test_a_transport_that_cannot_work_is_refused(setting: Any, trainers: Any, engines: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=rf"^engines\.transport: {setting} does not work here: .*{says}"):
        choose_transport(setting, trainers, engines)


def test_on_a_cpu_the_twins_may_be_chosen() -> None:
    assert choose_transport("gloo", [], []) == "gloo"
    assert choose_transport("shared_memory", [], []) == "shared_memory"
    with pytest.raises(ConfigError, match="adapter goes by the object store"):
        choose_transport("gloo", [], [], adapters=True)


def test_each_rank_serves_the_workers_on_its_gpu() -> None:
    route = Route("ipc", 2, [[gpu] for gpu in (*PAIR, *NEXT_PAIR)], [PAIR, NEXT_PAIR])
    assert [route.receivers(rank, [0, 1]) for rank in range(4)] == [1, 1, 1, 1]
    assert [route.receivers(rank, [1]) for rank in range(4)] == [0, 0, 1, 1]
    assert Route("shared_memory").receivers(0, [0, 1]) == 2
    assert Route("nccl", 2, [ONE], [NEXT_PAIR]).receivers(0, [0]) == 0


def test_a_step_sleeps_once() -> None:
    """Weights wake, load, the cache wakes, samples are written, all sleeps; nothing else."""
    memory = Memory(sleeps=True)
    assert memory.rest(1) == [("sleep", (1,))]
    for level in (2, 2):
        calls = [*memory.begin_load(), *memory.end_load(), *memory.begin_generation(), *memory.begin_generation()]
        assert calls == [("wake_up", (["weights"],)), ("wake_up", (["kv_cache"],))]
        assert memory.rest(level) == [("sleep", (level,))]  # type: ignore[arg-type]
        assert memory.rest(level) == []  # type: ignore[arg-type]


def test_weights_that_were_dropped_must_come_anew() -> None:
    memory = Memory(sleeps=True)
    memory.rest(2)
    with pytest.raises(RuntimeError, match="load them first"):
        memory.begin_generation()
    memory.rest(1)
    memory.begin_load()
    with pytest.raises(RuntimeError, match="load them first"):  # a load that failed half-way
        memory.begin_generation()
    assert memory.begin_load() == []
    assert memory.end_load() == [("wake_up", (["kv_cache"],))]
    assert memory.begin_generation() == []
    memory.rest(1)
    assert memory.begin_generation() == [("wake_up", (["kv_cache", "weights"],))]


def test_an_engine_that_is_half_awake_can_sleep() -> None:
    """vLLM itself would take the call for one on an engine that sleeps already, and keep the weights on the GPU."""
    memory = Memory(sleeps=True)
    memory.rest(2)
    memory.begin_load()
    assert memory.rest(2) == [("wake_up", (["kv_cache"],)), ("sleep", (2,))]


def test_an_engine_with_devices_of_its_own_stays_awake() -> None:
    memory = Memory(sleeps=False)
    assert [*memory.rest(2), *memory.begin_load(), *memory.end_load(), *memory.begin_generation()] == []
