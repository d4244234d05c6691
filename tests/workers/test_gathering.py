"""Parameters are gathered in groups, in their order, none twice and none left out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rl.workers.zero_shards import parameter_groups


@pytest.mark.parametrize(("most", "sizes"), [(1, [1, 1, 1, 1]), (40, [1, 1, 1, 1]), (60, [2, 2]), (10_000, [4])])
def test_groups_hold_at_most_so_many_bytes(most: int, sizes: list[int]) -> None:
    named = [(f"p{i}", nn.Parameter(torch.zeros(n))) for i, n in enumerate((10, 5, 8, 7))]
    groups = list(parameter_groups(named, most))
    assert [len(group) for group in groups] == sizes
    assert [name for group in groups for name, _ in group] == ["p0", "p1", "p2", "p3"]
