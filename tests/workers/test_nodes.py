"""Arithmetic of bundles over nodes, and the line in which runs wait for devices."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.config import ConfigError, build
from rl.planning.expected import expect_overrides
from rl.planning.plan import Plan, plan
from rl.planning.table import as_json
from rl.recipe import load
from rl.workers.counts import fill
from rl.workers.holders import change_free, describe_holders, name_run, own_holding
from rl.workers.nodes import (
    Node,
    arrange,
    describe_divided,
    describe_fragments,
    describe_nodes,
    describe_placed,
    planned_nodes,
)
from rl.workers.placement import SUBMITTED, ClusterConfig, Devices, Role, bundles
from rl.workers.waiting_line import Holding, Line

NODES = [Node("a", 64, 8), Node("b", 64, 8)]
TRAINING = {"engine": Role(8, 1, 1), "policy": Role(8, 1, 1)}


def on(
    roles: dict[str, Role], nodes: list[Node], spread: list[str] | None = None, placement: str = "split", n: int = 1
) -> str:
    placed = bundles(roles, placement)  # type: ignore[arg-type]
    places = arrange(placed, nodes, spread or [], n)
    return "do not fit" if places is None else describe_nodes(placed, places, [node.id for node in nodes])


def test_a_role_fills_one_node_after_the_other_and_its_ranks_are_in_order() -> None:
    assert on(TRAINING, NODES) == "a: policy 0-7; b: engine 0-7"
    assert on({"policy": Role(12, 1, 1), "engine": Role(1, 1, 4)}, NODES) == "a: policy 0-7; b: policy 8-11, engine 0"
    assert on(TRAINING, NODES, placement="colocated") == "a: engine 0-7, policy 0-7"


def test_a_spread_role_goes_evenly_to_all_nodes() -> None:
    assert on(TRAINING, NODES, ["engine"]) == "a: policy 0-7; b: engine 0-7", "the trainers have filled the other node"
    small = {"engine": Role(4, 1, 1), "policy": Role(4, 1, 1)}
    assert on(small, NODES) == "a: engine 0-3, policy 0-3"
    assert on(small, NODES, ["engine"]) == "a: engine 0-1, policy 0-3; b: engine 2-3"
    assert on(small, NODES, ["engine"], "colocated") == "a: engine 0-1, policy 0-1; b: engine 2-3, policy 2-3"
    assert on({"judge one": Role(1, 1, 1), "policy": Role(1, 1, 1)}, NODES, ["judge"]) == "a: judge one, policy 0"


def test_a_role_that_one_node_holds_is_not_divided() -> None:
    roles = {"policy": Role(6, 1, 1), "critic": Role(6, 1, 1), "engine": Role(2, 1, 2)}
    assert on(roles, NODES) == "a: policy 0-5, engine 0; b: critic 0-5, engine 1"
    wider_second = [Node("a", 64, 2), Node("b", 64, 8)]
    assert on({"policy": Role(8, 1, 1)}, wider_second) == "b: policy 0-7"


def test_engines_of_several_gpus_find_whole_nodes_before_trainers_take_a_part() -> None:
    tight = [Node("a", 64, 4), Node("b", 64, 8), Node("c", 64, 4)]
    assert on({"engine": Role(1, 1, 8), "policy": Role(8, 1, 1)}, tight) == "a: policy 0-3; b: engine 0; c: policy 4-7"
    assert on({"engine": Role(2, 1, 4)}, [Node("a", 8, 6), Node("b", 8, 2)]) == "do not fit"


def test_ranks_that_share_a_micro_batch_are_on_one_node_where_that_goes() -> None:
    six = [Node(str(i), 64, 6) for i in range(3)]
    assert on({"policy": Role(8, 1, 1)}, six) == "0: policy 0-5; 1: policy 6-7"
    assert on({"policy": Role(8, 1, 1)}, six, n=4) == "0: policy 0-3; 1: policy 4-7"
    three = [Node(str(i), 64, 3) for i in range(3)]
    placed = bundles({"policy": Role(8, 1, 1)}, "split")
    places = arrange(placed, three, (), 4)
    assert places is not None
    line = describe_divided(placed, places, 4, ["one", "two", "three"])
    assert line is not None
    assert line.startswith("trainer.sequence_parallel: policy 0-3 share each micro-batch and are on nodes one and two,")
    assert describe_divided(placed, places, 1, []) is None
    assert describe_divided(placed[:1], [0], 2, ["one"]) is None, "2 do not divide 1, which is told elsewhere"


@given(
    st.dictionaries(
        st.sampled_from(["engine", "policy", "critic"]),
        st.builds(Role, st.integers(1, 6), st.integers(1, 3), st.integers(0, 4)),
        min_size=1,
    ),
    st.sampled_from(["colocated", "split"]),
    st.lists(st.builds(Node, st.just("n"), st.integers(0, 9), st.integers(0, 8)), min_size=1, max_size=4),
    st.sets(st.sampled_from(["engine", "policy"])),
    st.integers(1, 4),
)
def test_no_node_is_given_more_than_it_has(
    roles: dict[str, Role], placement: str, nodes: list[Node], spread: set[str], together: int
) -> None:
    placed = bundles(roles, placement)  # type: ignore[arg-type]
    places = arrange(placed, nodes, spread, together)
    if places is not None:
        for i, node in enumerate(nodes):
            here = [bundle for bundle, place in zip(placed, places, strict=True) if place == i]
            assert sum(bundle.cpus for bundle in here) <= node.cpus
            assert sum(bundle.gpus for bundle in here) <= node.gpus


def test_many_nodes_are_one_line() -> None:
    placed = bundles({"engine": Role(8, 8, 8), "policy": Role(64, 1, 1)}, "colocated")
    nodes = planned_nodes(Devices(8, 8, 64))
    places = arrange(placed, nodes)
    assert places is not None
    assert places == list(range(8))
    assert describe_nodes(placed, places, [node.id for node in nodes]) == (
        "1: engine 0, policy 0-7; 2: engine 1, policy 8-15; …; 8: engine 7, policy 56-63"
    )
    twins = [Node("aa11", 1, 0, "10.0.0.1"), Node("bb22", 1, 0, "10.0.0.1")]
    two = bundles({"policy": Role(2, 1, 0)}, "split")
    assert describe_placed(two, twins) == "10.0.0.1 aa11: policy 0; 10.0.0.1 bb22: policy 1"


def test_auto_counts_no_engine_that_finds_no_node() -> None:
    roles = {"engine": Role(1, 1, 3), "policy": Role(1, 1, 1)}
    engines, ranks = fill(roles, "split", Devices(2, 4, 64))
    sized = {"engine": Role(engines, 1, 3), "policy": Role(ranks, 1, 1)}
    assert (engines, ranks) == (1, 4)
    assert arrange(bundles(sized, "split"), planned_nodes(Devices(2, 4, 64))) is not None


def checked(on: str, *changes: str) -> Plan:
    return plan(load("quickstart", ["cluster.placement=split", *changes, *expect_overrides(on)]))


@pytest.mark.usefixtures("alone")
def test_check_shows_the_nodes_and_refuses_what_fits_into_none() -> None:
    shown = checked("3x8x80", "engines.count=8", "trainer.ranks=8")
    line = "1: policy 0-7; 2: critic 0-7; 3: engine 0-7"
    assert describe_nodes(shown.placed, shown.places, ["1", "2", "3"]) == line
    assert as_json(shown)["nodes"] == {0: 8, 1: 8, 2: 8}

    torn = checked("3x7x80", "engines.count=4", "engines.gpus=4", "trainer.ranks=2")
    (line,) = [line for line in torn.problems if line.startswith("cluster: ")]
    assert line == describe_fragments(torn.placed, planned_nodes(Devices(3, 7, 64)), "expected")
    assert "do not fit on 3 nodes of 7 GPUs and 64 CPUs expected" in line

    wide = checked("3x3x80", "engines.count=2", "engines.gpus=4", "trainer.ranks=1")
    assert any(line.startswith("engines.gpus: 4 GPUs on one node asked for") for line in wide.problems)
    assert not any("do not fit" in line for line in wide.problems)


def test_a_spread_role_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cluster\.spread: no role 'engines'; did you mean 'engine'\?"):
        build(ClusterConfig, {"spread": ["engines"]}, "cluster")
    with pytest.raises(ConfigError, match=r"cluster\.wait_s: must not be negative"):
        build(ClusterConfig, {"wait_s": -1}, "cluster")


NOTHING = Holding("", 0, 0)


def test_runs_wait_in_the_order_in_which_they_came() -> None:
    line = Line(silence_s=0.5)
    assert [line.ask(name, NOTHING).before for name in ("a", "b", "c", "a", "b")] == [0, 1, 2, 0, 1]
    assert not line.leave("a")
    assert [line.ask(name, NOTHING).before for name in ("c", "b")] == [1, 0]
    assert not line.leave("b")
    assert line.leave("c")


def test_the_last_run_in_line_that_holds_something_is_sent_away() -> None:
    """Two jobs whose own processes hold what the other one waits for would wait for ever."""
    line, job = Line(), Holding("the job's own process", 1, 0, "a")
    for name, holding in (("first", job), ("second", job), ("third", NOTHING)):
        line.ask(name, holding)
    assert line.holdings_behind("first") == [job], "neither its own, nor nothing"
    assert line.holdings_behind("second") == line.holdings_behind("unknown") == []
    line.send_last_away("second")
    assert not any(line.ask(name, job).is_sent_away for name in ("first", "second", "third")), (
        "nobody behind it holds anything"
    )
    line.send_last_away("first")
    assert [line.ask(name, job).is_sent_away for name in ("first", "second", "third")] == [False, True, False]
    freed = change_free([Node("a", 0, 0), Node("b", 1, 0)], line.holdings_behind("first"), 1)
    assert [node.cpus for node in freed] == [1, 1]


@pytest.mark.parametrize(
    ("holdings", "total", "free", "says"),
    [
        ([], {"CPU": 2}, {"CPU": 2}, "free now: 2 CPUs"),
        ([], {}, {}, "free now: 0 CPUs"),
        ([Holding("/runs/a", 2, 0)], {"CPU": 3}, {"CPU": 1}, "free now: 1 CPU; /runs/a holds 2 CPUs"),
        ([], {"CPU": 4}, {"CPU": 2.5}, "free now: 2.5 CPUs; other programs or jobs' own processes hold 1.5 CPUs (ray status)"),
        (
            [Holding("job a-1 (/runs/a)", 8, 8)], {"CPU": 64, "GPU": 16}, {"CPU": 52, "GPU": 7},
            "free now: 7 GPUs and 52 CPUs; job a-1 (/runs/a) holds 8 GPUs and 8 CPUs; other programs or jobs' own processes hold 1 GPU and 4 CPUs (ray status)",
        ),
        (
            [Holding(f"/runs/{i}", 1, 1) for i in range(5)], {"CPU": 5, "GPU": 5}, {},
            "free now: 0 CPUs; /runs/0 holds 1 GPU and 1 CPU; /runs/1 holds 1 GPU and 1 CPU; /runs/2 holds 1 GPU and 1 CPU; "
            "2 other runs hold 2 GPUs and 2 CPUs",
        ),
        # A reservation that a lost node takes along is counted on until Ray forgets it.
        ([Holding("/runs/a", 9, 0)], {"CPU": 3}, {"CPU": 1}, "free now: 1 CPU; /runs/a holds 9 CPUs"),
    ],
)  # fmt: skip
def test_who_holds_what_is_one_line(
    holdings: list[Holding], total: dict[str, float], free: dict[str, float], says: str
) -> None:
    assert describe_holders(holdings, total, free) == says


def test_a_run_reserves_under_the_name_of_its_job_and_directory() -> None:
    job = {SUBMITTED: '{"job": "tiny-3f2a1c", "cpus": 2.0, "gpus": null}'}
    assert name_run(Path("/runs/a"), {}) == "/runs/a"
    assert name_run(Path("/runs/a"), job) == "job tiny-3f2a1c (/runs/a)"
    assert own_holding("n", job) == Holding("the job's own process", 2.0, 0.0, "n")
    assert own_holding("n", {}) == Holding("the job's own process", 0.0, 0.0, "n")
