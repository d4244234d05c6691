"""Runs that want the same devices of one Ray."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import pytest
import ray
from ray.exceptions import ActorUnavailableError, RayActorError

from rl.workers.deaths import count_oom_kills, find_loss
from rl.workers.holders import read_holdings
from rl.workers.nodes import Node
from rl.workers.placement import ClusterConfig, Role, bundles
from rl.workers.reservation import live_nodes, reserve, vacate
from rl.workers.storage import RunSite
from rl.workers.waiting_line import Line


def want(cpus: int) -> Any:
    """Bundles of one CPU each."""
    return bundles({"policy": Role(cpus, 1, 0)}, "split")


def shared(wait_s: float) -> ClusterConfig:
    """A cluster on which other runs may be."""
    return ClusterConfig(address="auto", wait_s=wait_s)


def test_two_runs_that_want_the_same_devices(ray_session: None) -> None:
    first, _ = reserve(want(3), shared(60), 1, RunSite(Path("/runs/first")))
    held = r"waiting for 2 CPUs; free now: 1 CPU; /runs/first holds 3 CPUs"
    with pytest.raises(ValueError, match=rf"^cluster: waited 2 s in vain: {held}; end what .*cluster.wait_s") as caught:
        reserve(want(2), shared(2), 1, RunSite(Path("/runs/second")))
    assert "\n" not in str(caught.value)

    lines: list[str] = []
    got: list[list[Node]] = []
    heard = threading.Event()

    def say(line: str) -> None:
        lines.append(line)
        heard.set()

    def wait_in_line() -> None:
        group, nodes = reserve(want(2), shared(120), 1, RunSite(Path("/runs/second"), say=say))
        got.append(nodes)
        ray.util.remove_placement_group(group)

    second = threading.Thread(target=wait_in_line)
    second.start()
    assert heard.wait(60)
    assert lines[0] == "waiting for 2 CPUs; free now: 1 CPU; /runs/first holds 3 CPUs"
    # A small one that would fit does not overtake it.
    with pytest.raises(ValueError, match=r"free now: 1 CPU; /runs/first holds 3 CPUs"):
        reserve(want(1), shared(2), 1, RunSite(Path("/runs/third")))
    ray.util.remove_placement_group(first)
    second.join(60)
    assert len(got[0]) == 2


def test_a_line_that_cannot_start_ends_the_wait(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Line):  # here, so that Ray sends it whole: a worker finds no module of the tests
        """A line that fails as it starts."""

        def __init__(self) -> None:
            raise ModuleNotFoundError("No module named 'rl'")

    monkeypatch.setattr("rl.workers.waiting_line.Line", Broken)
    monkeypatch.setattr("rl.workers.waiting_line.ANSWER_S", 10.0)
    says = r"^cluster: the process in which runs line up does not answer for 10 s \(.+\); see that "
    with pytest.raises(ValueError, match=says) as caught:
        reserve(want(1), shared(0), 1, RunSite(Path("/runs/mine")))
    assert "\n" not in str(caught.value)


def test_a_jobs_own_process_counts(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds its devices for as long as the run waits: a run that needs them would wait for itself."""
    monkeypatch.setenv("GROUNDTONE_SUBMITTED", '{"job": "tiny-1", "cpus": 2, "gpus": null}')
    with pytest.raises(
        ValueError, match=r"^cluster: 3 CPUs asked for do not fit beside the job's own process, which holds 2 CPUs of 4"
    ):
        reserve(want(3), shared(0))
    group, _ = reserve(want(2), shared(60), 1, RunSite(Path("/runs/mine")))
    assert [held.holder for held in read_holdings()] == ["job tiny-1 (/runs/mine)"]
    ray.util.remove_placement_group(group)


def test_an_engine_that_is_lost_with_its_node_is_the_loss_of_the_cluster(ray_session: None) -> None:
    class Standing:  # here, so that Ray sends it whole: a worker finds no module of the tests
        """An actor that does nothing."""

    actor, other = (cast("Any", ray.remote(Standing)).options(num_cpus=0).remote() for _ in range(2))
    ray.get([actor.__ray_ready__.remote(), other.__ray_ready__.remote()])
    vacate(live_nodes()[0], other)  # it was out of reach for a moment alone: a new one is to have its devices
    with pytest.raises(RayActorError):
        _ask_until_dead(other)
    ray.kill(actor)
    vacate(live_nodes()[0], actor)  # its node lives: another engine takes its place
    with pytest.raises(RayActorError) as caught:
        vacate(Node("gone", 1, 0), actor)
    loss = find_loss(caught.value, {("engine", 0): actor}, 1, count_oom_kills())
    assert loss is not None
    assert loss.is_curable
    assert loss.text.startswith("engine 0 ")


def test_the_loss_is_an_actors_of_the_run_whoever_reports_it(ray_session: None) -> None:
    """A lost node is noticed first by the process that copies files there, or through a closed connection."""

    class Standing:
        """An actor that does nothing."""

    policy, living, courier = (cast("Any", ray.remote(Standing)).options(num_cpus=0).remote() for _ in range(3))
    ray.get([actor.__ray_ready__.remote() for actor in (policy, living, courier)])
    ray.kill(policy)
    ray.kill(courier)
    actors = {("engine", 0): living, ("policy", 0): policy}
    with pytest.raises(RayActorError) as caught:
        _ask_until_dead(courier)
    reset = ActorUnavailableError("RpcError: Connection reset by peer", policy._actor_id.binary())
    for error in (caught.value, reset):
        loss = find_loss(error, actors, 2, count_oom_kills())
        assert loss is not None
        assert loss.text.startswith("the policy's rank 0 "), loss.text
    assert find_loss(reset, {("engine", 0): living}, 2, count_oom_kills()) is None
    blip = ActorUnavailableError("RpcError: Connection reset by peer", living._actor_id.binary())
    loss = find_loss(blip, {("engine", 0): living}, 2, count_oom_kills())
    assert loss is not None
    assert (loss.text, loss.is_curable) == ("engine 0 could not be reached, and may have died", True)
    ray.kill(living)


def _ask_until_dead(actor: Any) -> None:
    while True:  # Ray carries a kill out later
        ray.get(actor.__ray_ready__.remote())
