"""Types of what a training loop asks of its models: policy, critic and reference, and the work they have begun.

A loop is written against these types. `rl.workers.group` has the real ones (`PolicyGroup`, `CriticGroup`), here is
`Absent`, which stands in for a critic or reference that an algorithm does without. Nothing here imports Ray or torch.
Suffixes as in `rl.types`: A, the tokens of a batch that the policy wrote, end to end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

from rollouts.remote import fetch

if TYPE_CHECKING:
    from ray import ObjectRef
    from torch import Tensor

    from models.settings import ModelConfig
    from rl.algorithms.objective import Objective
    from rl.types import Batch
    from rl.workers.optimizer import OptimizerConfig
    from rollouts.weights import Weights

Result = TypeVar("Result", covariant=True)
First = TypeVar("First")
Second = TypeVar("Second")
Third = TypeVar("Third")
Fourth = TypeVar("Fourth")
Report = dict[str, float]
"""Metrics of an update, averaged over its optimiser steps."""


@dataclass(frozen=True, slots=True)
class Future(Generic[Result]):
    """Work that some ranks have begun. `finish` turns their answers, in the order of the ranks, into one result."""

    refs: Sequence[ObjectRef[Any]]
    finish: Callable[[list[Any]], Result]

    def get(self) -> Result:
        """Wait for the ranks and return the result. Raises what `rollouts.remote.fetch` raises."""
        return self.finish(fetch(list(self.refs)))


# By number of arguments: Python's types have no "the same tuple without Future".
@overload
def gather(first: Future[First], second: Future[Second], /) -> tuple[First, Second]: ...
@overload
def gather(first: Future[First], second: Future[Second], third: Future[Third], /) -> tuple[First, Second, Third]: ...
@overload
def gather(
    first: Future[First], second: Future[Second], third: Future[Third], fourth: Future[Fourth], /
) -> tuple[First, Second, Third, Fourth]: ...
def gather(*futures: Future[Any]) -> tuple[Any, ...]:
    """Wait for work that runs side by side and return the results, in order."""
    return tuple(future.get() for future in futures)


class Reference(Protocol):
    """A model that gives logprobs and does not learn: the frozen reference, a teacher, or the policy before an update.
    `Absent` gives None."""

    temperature: float
    """The sampling temperature: logprobs are those of the distribution at it."""

    def load(
        self, path: str | Path, model: ModelConfig, optimizer: OptimizerConfig, base: str | Path | None = None
    ) -> None:
        """Load the model at `path` into every rank. `base` is the model that an adapter at `path` belongs to."""
        ...

    def logprobs(self, batch: Batch) -> Future[Tensor | None]:
        """Compute logprobs [A], in the order of the batch."""
        ...


class Trainee(Protocol):
    """A policy that takes optimiser steps. `Absent`, in its place while the critic warms up, takes none and reports
    no metric."""

    def update(
        self,
        batch: Batch,
        steps: Sequence[Sequence[int]],
        rates: Sequence[float],
        objective: Objective,
        max_tokens: int,
        max_gap: float = math.inf,
    ) -> Future[Report]:
        """Take one optimiser step on each entry of `steps` (rows of the batch), at the learning rate beside it; none where the
        engines' logprobs are further than `max_gap` from the trainer's, in nats in the mean."""
        ...


class Policy(Reference, Trainee, Protocol):
    """The model that learns: it gives logprobs, takes optimiser steps, and hands its weights to engines and files."""

    def logprobs(self, batch: Batch) -> Future[Tensor]:
        """Compute logprobs [A], in the order of the batch."""
        ...

    def weights(self) -> Weights:
        """Return handles of the weights for `rollouts.sampler.Sampler.load`; earlier handles become void."""
        ...

    def save(self, folder: Path) -> None:
        """Write model and optimizer, from which a killed run goes on."""
        ...

    def export(self, folder: Path) -> None:
        """Write the model alone, as a Hugging Face folder, whole or not at all."""
        ...

    def restore_optimizer(self, folder: Path) -> None:
        """Read the optimizer back from what `save` wrote."""
        ...


class Critic(Protocol):
    """A model of the value of each state. `Absent` gives None for values and reports no metric."""

    def load(
        self, path: str | Path, model: ModelConfig, optimizer: OptimizerConfig, base: str | Path | None = None
    ) -> None:
        """Load the trunk of the model at `path`, or an earlier critic, into every rank. `base` is the one that an adapter at
        `path` belongs to."""
        ...

    def values(self, batch: Batch) -> Future[Tensor | None]:
        """Compute values [A] of the states before each action, in the order of the batch."""
        ...

    def update(
        self, batch: Batch, steps: Sequence[Sequence[int]], rates: Sequence[float], value_clip: float | None
    ) -> Future[Report]:
        """Take one optimiser step towards `batch.returns_A` on each entry of `steps`, at the learning rate beside it."""
        ...

    def save(self, folder: Path) -> None:
        """Write weights and optimizer, from which a killed run goes on."""
        ...

    def restore_optimizer(self, folder: Path) -> None:
        """Read the optimizer back from what `save` wrote."""
        ...


class Absent:
    """The critic of an algorithm without one, the reference of a loss without KL, the policy while it does not learn:
    every verb is answered with nothing, so that the loop needs no `if`."""

    temperature: float = 1.0

    def load(self, *_: object, **__: object) -> None:
        """Load nothing."""

    def values(self, batch: Batch) -> Future[None]:
        """Return None in place of values."""
        return Future([], lambda _: None)

    def logprobs(self, batch: Batch) -> Future[None]:
        """Return None in place of logprobs."""
        return Future([], lambda _: None)

    def update(self, *_: object, **__: object) -> Future[Report]:
        """Return no metric."""
        return Future([], lambda _: {})

    def save(self, folder: Path) -> None:
        """Write nothing."""

    def restore_optimizer(self, folder: Path) -> None:
        """Read nothing."""
