"""Trainers as the loop sees them: one object per role, one verb per line, ranks and micro-batches behind it.

Every verb starts its work at once and answers with a `Future`; `gather` waits for several, so policy and critic work
side by side. An absent critic or reference is an object too (`Absent`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import ray

from rl.data.collate import pack
from rl.run.files import replacing_folder
from rl.types import Batch, Clip
from rl.workers.audio_features import Sounds
from rl.workers.optimizer import OptimizerConfig
from rl.workers.roles import Future, Report
from rl.workers.trainer import OptimiserStep, TrainerConfig

if TYPE_CHECKING:
    from torch import Tensor

    from models.augment import AugmentConfig
    from models.load import ModelConfig
    from rl.algorithms.objective import Objective
    from rl.algorithms.preference_losses import Preference
    from rl.workers.roles import Critic, Policy, Reference, Trainee
    from rollouts.worker import WeightBucket

First = TypeVar("First")
Second = TypeVar("Second")
Third = TypeVar("Third")


@overload
def gather(first: Future[First], second: Future[Second], /) -> tuple[First, Second]: ...
@overload
def gather(first: Future[First], second: Future[Second], third: Future[Third], /) -> tuple[First, Second, Third]: ...
def gather(*futures: Future[Any]) -> tuple[Any, ...]:
    """Wait for work that runs side by side and return the results, in order."""
    return tuple(future.get() for future in futures)


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


class TrainerGroup:
    """The ranks of one role. Batches with audio go to them through `sounds`, which all roles share."""

    trains_encoder: bool = False
    """Batches go to the ranks as they are."""

    def __init__(self, actors: Sequence[Any], config: TrainerConfig, sounds: Sounds | None = None) -> None:
        self.actors, self.config = list(actors), config
        self.sounds = sounds or Sounds(actors)
        host, port = ray.get(self.actors[0].address.remote())
        self._everyone("connect", host, port).get()

    def load(self, path: str | Path, model: ModelConfig, optimizer: OptimizerConfig) -> None:
        """Rebuilds every rank around the model at `path`, with a fresh optimizer."""
        self._everyone("load", str(path), model, self.config, optimizer).get()

    def _everyone(self, verb: str, *arguments: Any) -> Future[list[Any]]:
        return Future([getattr(a, verb).remote(*arguments) for a in self.actors], lambda answers: answers)

    def _shared(self, verb: str, shares: Sequence[Any], batch: Batch, *arguments: Any) -> list[Any]:
        stored = ray.put(batch if self.trains_encoder else self.sounds.listen(batch))
        return [
            getattr(a, verb).remote(stored, share, *arguments) for a, share in zip(self.actors, shares, strict=True)
        ]

    def _forward(self, verb: str, batch: Batch, *arguments: Any) -> Future[Tensor]:
        plan = pack(batch.lengths_N.tolist(), self.config.tokens_per_microbatch, len(self.actors))
        return Future(self._shared(verb, plan, batch, *arguments), _in_order)

    def _schedule(
        self, batch: Batch, steps: Sequence[Sequence[int]], rates: Sequence[float], together: int = 1
    ) -> list[list[OptimiserStep]]:
        """Rank → its share of each optimiser step; `steps` are the rows of each, of which so many in a row stay
        `together` in one micro-batch."""
        lengths = batch.lengths_N.tolist()
        shares: list[list[OptimiserStep]] = [[] for _ in self.actors]
        for rows, rate in zip(steps, rates, strict=True):
            if not len(rows):  # fewer sequences were left than steps to cut them into
                continue
            units = [rows[i : i + together] for i in range(0, len(rows), together)]
            sizes = [sum(lengths[i] for i in unit) for unit in units]
            for rank, plan in enumerate(pack(sizes, self.config.tokens_per_microbatch, len(self.actors))):
                micro_batches = [[i for unit in micro_batch for i in units[unit]] for micro_batch in plan]
                shares[rank].append(OptimiserStep(rows, micro_batches, rate))
        return shares


class PolicyGroup(TrainerGroup):
    """Policy or frozen reference. `temperature` is the sampling one: logprobs are those of the sampling distribution.
    A model that is loaded has 1 until another is set."""

    temperature: float = 1.0

    def __init__(self, actors: Sequence[Any], config: TrainerConfig, sounds: Sounds | None = None) -> None:
        super().__init__(actors, config, sounds)
        self.handles: list[WeightBucket] = []

    def load(self, path: str | Path, model: ModelConfig, optimizer: OptimizerConfig) -> None:
        self.handles.clear()
        super().load(path, model, optimizer)
        self.temperature, self.trains_encoder = 1.0, model.train_encoder
        if self.sounds.actors == self.actors:
            self.sounds.use(self._everyone("encoder").get()[0])

    def load_encoder(
        self, path: str | Path, model: ModelConfig, optimizer: OptimizerConfig, classes: Sequence[int]
    ) -> None:
        """Makes ready to teach the model's audio encoder labels, of so many `classes` each."""
        self.sounds.use("")  # what trains gives no features
        self._everyone("load_encoder", str(path), model.dtype, self.config, optimizer, classes).get()

    def fit_encoder(
        self,
        clips: Sequence[Clip],
        targets: Sequence[Sequence[int]],
        rate: float,
        augment: AugmentConfig | None = None,
        seed: int = 0,
    ) -> Future[Report]:
        """One optimiser step on the labels of `clips` (-1: absent); `seed` draws how each clip is changed."""
        ranks, pairs = len(self.actors), max(1, sum(target >= 0 for row in targets for target in row))
        calls = [
            actor.fit_encoder.remote(
                clips[rank::ranks] or clips[:1],
                targets[rank::ranks] or [[-1] * len(targets[0])],
                pairs,
                rate,
                augment,
                [(seed, i) for i in range(rank, max(len(clips), rank + 1), ranks)],
            )
            for rank, actor in enumerate(self.actors)
        ]
        return Future(calls, lambda shares: {name: sum(share[name] for share in shares) for name in shares[0]})

    def classify(self, clips: Sequence[Clip], targets: Sequence[Sequence[int]]) -> Future[list[list[bool]]]:
        """[N][L] is the likeliest class the right one?"""
        return Future([actor.classify.remote(clips, targets) for actor in self.actors], lambda answers: answers[0])

    def logprobs(self, batch: Batch) -> Future[Tensor]:
        """[A], in the order of the batch."""
        return self._forward("logprobs", batch, self.temperature)

    def update(
        self,
        batch: Batch,
        steps: Sequence[Sequence[int]],
        rates: Sequence[float],
        objective: Objective,
        max_tokens: int,
    ) -> Future[Report]:
        """One optimiser step for each entry of `steps` (rows) at the learning rate beside it."""
        shares = self._schedule(batch, steps, rates)
        return self._learn(self._shared("update", shares, batch, objective, self.temperature, max_tokens))

    def update_pairs(
        self, batch: Batch, steps: Sequence[Sequence[int]], rates: Sequence[float], preference: Preference
    ) -> Future[Report]:
        """Like `update`, for a batch of chosen and rejected answers by turns; a pair is never parted."""
        shares = self._schedule(batch, steps, rates, together=2)
        return self._learn(self._shared("update_pairs", shares, batch, preference, self.temperature))

    def _learn(self, calls: Sequence[Any]) -> Future[Report]:
        def finish(answers: list[list[Report]]) -> Report:
            if self.trains_encoder:
                self.sounds.forget()
            return _mean_of_steps(answers)

        return Future(calls, finish)

    def weights(self) -> list[WeightBucket]:
        """Handles of the weights; the tensors go from worker to engine, not through here. The handles given out before
        are void: their list is emptied, so that Ray's store holds one version and not two."""
        self.handles.clear()
        self.handles = self._everyone("weights").get()[0]
        return self.handles

    def save(self, folder: Path) -> None:
        """Model (Hugging Face layout) and optimizer."""
        folder.mkdir(parents=True, exist_ok=True)
        self._everyone("export", str(folder)).get()
        self._everyone("save_optimizer", str(folder)).get()

    def export(self, folder: Path) -> None:
        """The model alone, whole or not at all. Raises DiskFull."""
        with replacing_folder(folder) as temporary:
            self._everyone("export", str(temporary)).get()

    def restore_optimizer(self, folder: Path) -> None:
        self._everyone("load_optimizer", str(folder)).get()


class CriticGroup(TrainerGroup):
    def values(self, batch: Batch) -> Future[Tensor]:
        """[A], in the order of the batch."""
        return self._forward("values", batch)

    def update(
        self, batch: Batch, steps: Sequence[Sequence[int]], rates: Sequence[float], value_clip: float | None
    ) -> Future[Report]:
        return Future(self._shared("update", self._schedule(batch, steps, rates), batch, value_clip), _mean_of_steps)

    def update_pairs(self, batch: Batch, steps: Sequence[Sequence[int]], rates: Sequence[float]) -> Future[Report]:
        """For chosen and rejected answers by turns, one action each; a pair is never parted."""
        return Future(
            self._shared("update_pairs", self._schedule(batch, steps, rates, together=2), batch), _mean_of_steps
        )

    def export(self, folder: Path) -> None:
        """Trunk and head alone, whole or not at all. Raises DiskFull."""
        with replacing_folder(folder) as temporary:
            self._everyone("save_weights", str(temporary)).get()

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._everyone("save_weights", str(folder)).get()
        self._everyone("save_optimizer", str(folder)).get()

    def restore_optimizer(self, folder: Path) -> None:
        self._everyone("load_optimizer", str(folder)).get()


def _in_order(answers: list[dict[int, np.ndarray]]) -> Tensor:
    import torch

    rows: dict[int, np.ndarray] = {row: piece for answer in answers for row, piece in answer.items()}
    return torch.from_numpy(np.concatenate([rows[i] for i in range(len(rows))]))


def _mean_of_steps(answers: list[list[Report]]) -> Report:
    """Ranks add up to a step's metrics; steps are averaged."""
    steps = [{name: sum(rank[name] for rank in ranks) for name in ranks[0]} for ranks in zip(*answers, strict=True)]
    return {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}


if TYPE_CHECKING:
    # pyright refuses the line where a class lacks what the loop asks of the role.
    _POLICIES: tuple[type[Policy]] = (PolicyGroup,)
    _CRITICS: tuple[type[Critic], type[Critic]] = (CriticGroup, Absent)
    _REFERENCES: tuple[type[Reference], type[Reference]] = (PolicyGroup, Absent)
    _TRAINEES: tuple[type[Trainee], type[Trainee]] = (PolicyGroup, Absent)
