"""Estimates of a load of weights: the goals of 1.5B, 7B and 33B, and what each number stands for."""

from __future__ import annotations

import pytest

from rl.planning.transfer import Transfer, estimate
from rl.workers.placement import Role, bundles

SIZES = {"1.5B": 2 * 1.54e9, "7B": 2 * 7.6e9, "33B": 2 * 32.8e9}


@pytest.mark.parametrize(
    ("model", "ranks", "workers", "one_node", "goal"),
    [("1.5B", 1, 1, True, 0.1), ("1.5B", 8, 1, True, 0.1), ("7B", 8, 1, True, 0.5), ("33B", 64, 8, False, 5.0)],
)
@pytest.mark.parametrize("transport", ["ipc", "nccl"])
def test_the_goals_are_met_at_published_rates(
    model: str, ranks: int, workers: int, one_node: bool, goal: float, transport: str
) -> None:
    transfer = estimate(SIZES[model], transport, ranks, workers, ranks > 1, one_node)  # type: ignore[arg-type]
    assert 0 < transfer.seconds <= goal, transfer.formula


def test_through_the_host_a_7b_takes_seconds() -> None:
    assert estimate(SIZES["7B"], "object_store", 8, 1, True, True).seconds > 2


def test_the_formula_adds_up() -> None:
    transfer = estimate(64e9, "nccl", 64, 8, True, False)
    parts = [float(part.rpartition("= ")[2].removesuffix(" s")) for part in transfer.formula.split(" + ")]
    assert len(parts) == 4
    assert sum(parts) == pytest.approx(transfer.seconds, rel=0.03)
    assert estimate(64e9, "nccl", 64, 8, False, False).seconds < transfer.seconds
    assert isinstance(transfer, Transfer)


def test_seats_are_those_of_the_bundles() -> None:
    from rl.planning.routes import seats
    from rollouts.transport import choose_transport

    together = bundles({"engine": Role(1, 1, 2), "policy": Role(2, 1, 1)}, "colocated")
    assert seats(together, "engine") == [[(0, "0"), (0, "1")]]
    assert choose_transport("auto", seats(together, "policy"), seats(together, "engine")) == "ipc"
    apart = bundles({"engine": Role(2, 1, 1), "policy": Role(2, 1, 1)}, "split")
    assert choose_transport("auto", seats(apart, "policy"), seats(apart, "engine")) == "nccl"
