from __future__ import annotations

from collections.abc import Callable

import pytest
from worlds import World


@pytest.fixture(scope="session")
def worlds(ray_session: None) -> Callable[[int], World]:
    """The world of that many ranks; made once."""
    made: dict[int, World] = {}

    def world(ranks: int) -> World:
        if ranks not in made:
            made[ranks] = World(ranks)
        return made[ranks]

    return world
