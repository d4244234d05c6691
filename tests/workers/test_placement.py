from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.workers.placement import Bundle, Role, bundles, shortage, total

ROLES = st.dictionaries(
    st.sampled_from(["engine", "policy", "critic", "reference"]),
    st.builds(Role, st.integers(1, 4), st.integers(1, 4), st.integers(0, 2)),
    min_size=1,
)


@given(ROLES, st.sampled_from(["colocated", "split"]))
def test_every_actor_has_a_seat_and_its_devices(roles: dict[str, Role], placement: str) -> None:
    placed = bundles(roles, placement)  # type: ignore[arg-type]
    seats = [seat for bundle in placed for seat in bundle.actors]
    assert sorted(seats) == sorted((name, i) for name, role in roles.items() for i in range(role.count))
    for bundle in placed:
        cpus, gpus = bundle.share()
        assert cpus * len(bundle.actors) == pytest.approx(bundle.cpus)
        assert gpus * len(bundle.actors) == pytest.approx(bundle.gpus)
        assert all(bundle.cpus >= roles[name].cpus and bundle.gpus >= roles[name].gpus for name, _ in bundle.actors)
    sizes = [len(bundle.actors) for bundle in placed]
    assert max(sizes) - min(sizes) <= 1


def test_colocated_roles_take_turns_and_split_ones_do_not() -> None:
    roles = {"engine": Role(2, 1, 0), "policy": Role(1, 1, 0), "critic": Role(1, 1, 0)}
    assert bundles(roles, "colocated") == [
        Bundle(1, 0, (("engine", 0), ("policy", 0))),
        Bundle(1, 0, (("engine", 1), ("critic", 0))),
    ]
    split = bundles(roles, "split")
    assert [bundle.actors for bundle in split] == [
        (("engine", 0),),
        (("engine", 1),),
        (("policy", 0),),
        (("critic", 0),),
    ]
    assert total(split) == (4, 0)
    assert shortage(split, cpus=4, gpus=0) is None


def test_a_shortage_names_what_is_asked_and_what_is_there() -> None:
    placed = bundles({"engine": Role(2, 2, 1), "policy": Role(1, 1, 1)}, "split")
    assert re.match(r"cluster: 5 CPUs asked for \(.*engine.*policy.*\), 4 present; ", shortage(placed, 4, 8) or "")
    assert re.match(r"cluster: 3 GPUs asked for \(.*engine.*policy.*\), 1 present; ", shortage(placed, 8, 1) or "")
