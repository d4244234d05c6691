"""Turns of trainers that share GPUs: policy, critic and reference work one after the other there.

Side by side they would not be faster, since one GPU's arithmetic is shared and a collective that waits burns its slice of it;
and their activations would add up. Where roles have GPUs of their own they work at the same time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rollouts.remote import await_all

if TYPE_CHECKING:
    from ray import ObjectRef

Gpu = tuple[int, str]
"""(bundle of the reservation, name of the GPU on its node)."""


class Turns:
    """Calls that the roles of a cluster have begun, by GPU."""

    def __init__(self) -> None:
        self.begun: dict[Gpu, tuple[object, Sequence[ObjectRef[Any]]]] = {}

    def wait(self, role: object, gpus: Collection[Gpu]) -> None:
        """Wait until no other role works on one of these GPUs. What it has failed at is raised where its answer is read."""
        refs: dict[ObjectRef[Any], None] = {}
        for gpu in gpus:
            other, begun = self.begun.get(gpu, (role, ()))
            if other is not role:  # its own calls queue up in its ranks
                refs |= dict.fromkeys(begun)
        # The first failure ends the wait: the other ranks may wait for the one that has failed.
        with suppress(Exception):
            await_all([*refs])

    def note(self, role: object, gpus: Collection[Gpu], refs: Sequence[ObjectRef[Any]]) -> None:
        """Note what the role has begun on these GPUs."""
        self.begun |= dict.fromkeys(gpus, (role, refs))
