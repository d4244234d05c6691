"""Trainers as the loop sees them: one object per role, whose methods hide its ranks and their micro-batches.

A method that computes starts its work at once and returns a `Future`; `gather` waits for several, so that policy and
critic work side by side: where they share GPUs, in turns. The types that a loop is written against, and the object in
place of an absent role, are in `rl.workers.roles`. Suffixes as in `rl.types`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from rl.algorithms.importance import add_sample_size
from rl.run.files import replacing_folder
from rl.types import Batch, Clip
from rl.workers.answers import in_order, mean_of_steps, sum_over_ranks
from rl.workers.audio_features import AudioFeatures
from rl.workers.batch_share import FORWARD_DUMMY, cut_batch, rows_of
from rl.workers.optimiser_step import OptimiserStep
from rl.workers.optimizer import OptimizerConfig
from rl.workers.packing import plan_forward, plan_steps
from rl.workers.probe import probe_batch
from rl.workers.roles import Absent, Future, Report
from rl.workers.storage import Storage
from rl.workers.trainer_config import TrainerConfig
from rl.workers.turns import Gpu, Turns
from rl.workers.weight_stream import WeightStream
from rollouts.remote import Actor, await_all
from rollouts.weights import WeightBucket, Weights

if TYPE_CHECKING:
    from ray import ObjectRef
    from torch import Tensor

    from models.augment import AugmentConfig
    from models.lora import LoraConfig
    from models.settings import ModelConfig
    from rl.algorithms.objective import Objective
    from rl.algorithms.preference_losses import Preference
    from rl.workers.roles import Policy, Reference, Trainee
    from rollouts.probe import Probe


class TrainerGroup:
    """The ranks of one role. Batches with audio go to them with features in place of their clips."""

    lora: LoraConfig | None = None
    """Adapter that trains in place of all weights."""
    make_room: Callable[[], None] = staticmethod(lambda: None)
    """Function called before the ranks work: it has engines on the same GPUs give their memory back."""
    trains_encoder: bool = False
    """True if batches go to the ranks as they are, clips included, since the encoder learns from them."""
    storage: Storage = Storage()
    """Storage on which the ranks read and write their files."""
    turns: Turns
    gpus: frozenset[Gpu] = frozenset()
    """GPUs on which the role takes `turns` with others; empty on a CPU, where all work side by side."""

    def __init__(
        self, actors: Sequence[Actor], config: TrainerConfig, audio_features: AudioFeatures | None = None
    ) -> None:
        self.actors, self.config = list(actors), config
        self.audio_features = audio_features or AudioFeatures(actors)
        self.turns = Turns()
        # The process group outlives every model: `load` builds engines within it.
        host, port = ray.get(self.actors[0].address.remote())
        self._call_all("connect", host, port).get()

    def load(
        self, path: str | Path, model: ModelConfig, optimizer: OptimizerConfig, base: str | Path | None = None
    ) -> None:
        """Build every rank anew, with a fresh optimizer, around the model at `path`, or the adapter there and its `base`."""
        self.lora = model.lora
        self.storage.deliver(path, base or "")
        self._call_all("load", str(path), model, self.config, optimizer, str(base or "")).get()

    def save(self, folder: Path) -> None:
        """Write model and optimizer, from which a killed run goes on."""
        folder.mkdir(parents=True, exist_ok=True)
        with self.storage.collecting(folder):
            self._call_all("save_model", str(folder)).get()
            self._call_all("save_optimizer", str(folder)).get()

    def export(self, folder: Path) -> None:
        """Write the model alone, whole or not at all. Raises DiskFull."""
        with replacing_folder(folder) as temporary, self.storage.collecting(temporary):
            self._call_all("export", str(temporary)).get()

    def restore_optimizer(self, folder: Path) -> None:
        """Read the optimizer back from what `save` wrote, with any ranks and ZeRO stage. Raises ValueError where it is not whole."""
        self.storage.deliver(folder)
        self._call_all("load_optimizer", str(folder)).get()

    def _call_all(self, method: str, *arguments: object) -> Future[list[Any]]:
        """Call the same method on every rank: most are collective, and a rank that is not called blocks the others."""
        self.make_room()
        self.turns.wait(self, self.gpus)
        refs = [getattr(actor, method).remote(*arguments) for actor in self.actors]
        self.turns.note(self, self.gpus, refs)
        return Future(refs, lambda answers: answers)

    def _call_each(
        self, method: str, plans: Sequence[object], rows: Sequence[set[int]], batch: Batch, *arguments: object
    ) -> list[ObjectRef[Any]]:
        """Call a method on every rank with its rows of the batch and its plan, which says when it computes which of them."""
        self.make_room()
        if not self.trains_encoder:
            # Before the cut: a clip is encoded once, however many ranks compute samples of it.
            batch = self.audio_features.replace_clips(batch)
        shares = cut_batch(batch, rows)
        # Put once where ranks share sequences: as a plain argument it would be copied for each.
        handles = {id(share): ray.put(share) for share in shares}
        self.turns.wait(self, self.gpus)
        refs = [
            getattr(actor, method).remote(handles[id(share)], plan, *arguments)
            for actor, share, plan in zip(self.actors, shares, plans, strict=True)
        ]
        self.turns.note(self, self.gpus, refs)
        return refs

    def _forward(self, method: str, batch: Batch, *arguments: object) -> Future[Tensor]:
        plans = plan_forward(batch, self.config, len(self.actors))
        rows = [rows_of(plan, FORWARD_DUMMY) for plan in plans]
        return Future(self._call_each(method, plans, rows, batch, *arguments), in_order)

    def _call_steps(
        self, method: str, plans: Sequence[Sequence[OptimiserStep]], batch: Batch, *arguments: object
    ) -> list[ObjectRef[Any]]:
        """Call a method that takes optimiser steps, as `plan_steps` plans them."""
        rows = [{row for step in plan for row in rows_of(step.micro_batches, step.dummy)} for plan in plans]
        return self._call_each(method, plans, rows, batch, *arguments)


class PolicyGroup(TrainerGroup):
    """The ranks of a policy or of a frozen reference."""

    temperature: float = 1.0
    """The sampling temperature: logprobs are those of the distribution at it. `load` sets it back to 1."""

    def __init__(
        self,
        actors: Sequence[Actor],
        config: TrainerConfig,
        audio_features: AudioFeatures | None = None,
        probe: Probe | None = None,
        shares_gpus: bool = False,
    ) -> None:
        """`probe` is scored beside the engines that get the weights; before them where they share the ranks' GPUs."""
        super().__init__(actors, config, audio_features)
        self.handles: list[WeightBucket] = []
        self.stream: WeightStream | None = None
        """Stream by which engines get the weights; None where they go through the object store."""
        self.probe, self.shares_gpus = probe, shares_gpus

    def load(
        self,
        path: str | Path,
        model: ModelConfig,
        optimizer: OptimizerConfig,
        base: str | Path | None = None,
        adapter_only: bool = False,
    ) -> None:
        """Build every rank anew as `TrainerGroup.load` does; with `adapter_only` all but the audio adapter is frozen."""
        self.handles.clear()
        self.lora = None if adapter_only else model.lora
        self.storage.deliver(path, base or "")
        self._call_all("load", str(path), model, self.config, optimizer, str(base or ""), adapter_only).get()
        # An encoder that trains wants the clips themselves: features of theirs would be constants to autograd.
        self.temperature, self.trains_encoder = 1.0, model.train_encoder
        if self.audio_features.actors == self.actors:  # not for a reference that reads the policy's features
            self.audio_features.use_encoder(self._call_all("encoder_digest").get()[0])

    def export(self, folder: Path) -> None:
        """Write the model, whole or not at all, an adapter merged into it, and the adapter beside it. Raises DiskFull."""
        super().export(folder)
        if self.lora:
            with replacing_folder(folder.with_name("adapter")) as temporary, self.storage.collecting(temporary):
                self._call_all("export_adapter", str(temporary)).get()

    def load_encoder(
        self, path: str | Path, model: ModelConfig, optimizer: OptimizerConfig, classes: Sequence[int]
    ) -> None:
        """Build every rank anew around the model's audio encoder and a linear head for each label, of so many `classes`."""
        self.lora = None  # the encoder's own weights train
        self.audio_features.use_encoder("")  # an encoder that trains gives no features that last
        self.storage.deliver(path)
        self._call_all("load_encoder", str(path), model, self.config, optimizer, classes).get()

    def fit_encoder(
        self,
        clips: Sequence[Clip],
        targets: Sequence[Sequence[int]],
        rate: float,
        augment: AugmentConfig | None = None,
        seed: int = 0,
    ) -> Future[Report]:
        """Take one optimiser step on the labels of `clips` (-1: absent); `seed` draws how each clip is changed."""
        # The loss is a mean over the step's (clip, label) pairs: counted here, since a rank sees only its own.
        ranks, pairs = len(self.actors), max(1, sum(target >= 0 for row in targets for target in row))
        calls = [
            actor.fit_encoder.remote(
                # A rank without clips takes the first one with absent labels: the step is collective.
                clips[rank::ranks] or clips[:1],
                targets[rank::ranks] or [[-1] * len(targets[0])],
                pairs,
                rate,
                augment,
                # By the clip's place in the step, so that the number of ranks changes nothing.
                [(seed, i) for i in range(rank, max(len(clips), rank + 1), ranks)],
            )
            for rank, actor in enumerate(self.actors)
        ]
        return Future(calls, sum_over_ranks)

    def classify(self, clips: Sequence[Clip], targets: Sequence[Sequence[int]]) -> Future[list[list[bool]]]:
        """Return, for each clip and label [N][L], whether the likeliest class is the target."""
        return Future([actor.classify.remote(clips, targets) for actor in self.actors], lambda answers: answers[0])

    def logprobs(self, batch: Batch) -> Future[Tensor]:
        """Compute logprobs [A], in the order of the batch."""
        return self._forward("logprobs", batch, self.temperature)

    def start_logprobs(self, batch: Batch, temperature: float) -> Future[Tensor]:
        """Compute logprobs [A] under the model without its adapter."""
        return self._forward("start_logprobs", batch, temperature)

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
        engines' logprobs are further than `max_gap` from the trainer's."""
        plans = plan_steps(batch, steps, rates, self.config, len(self.actors))
        return self._learn(self._call_steps("update", plans, batch, objective, self.temperature, max_tokens, max_gap))

    def update_pairs(
        self, batch: Batch, steps: Sequence[Sequence[int]], rates: Sequence[float], preference: Preference
    ) -> Future[Report]:
        """Take steps as `update` does, on chosen and rejected answers by turns; a pair stays in one micro-batch."""
        plans = plan_steps(batch, steps, rates, self.config, len(self.actors), in_pairs=True)
        return self._learn(self._call_steps("update_pairs", plans, batch, preference, self.temperature))

    def _learn(self, calls: Sequence[ObjectRef[Any]]) -> Future[Report]:
        def finish(answers: list[list[Report]]) -> Report:
            if self.trains_encoder:
                # Not before the update is over: the critic, beside it, still reads the features of the step's start.
                self.audio_features.forget_encoder()
            return add_sample_size(mean_of_steps(answers))

        return Future(calls, finish)

    def weights(self) -> Weights:
        """Return handles of the weights, with what engines are to prove; the tensors go from worker to engine, not
        through here. Handles returned earlier become void."""
        # The list is emptied, not only dropped: the sampler holds it too, and Ray frees what nobody refers to. So its
        # store holds one version of the weights and not two.
        self.handles.clear()
        if self.stream is None or self.lora:
            # Of the first rank's answer: the others have nothing to hand over.
            self.handles, checksums, seconds = self._call_all("weights").get()[0]
            weights = Weights(self.handles, checksums, seconds)
        else:
            weights = Weights([], {}, source=self.stream)
        if self.probe is None:
            return weights
        # Begun here and waited for by the sampler: the trainer scores the probe while the engines load. At temperature 1,
        # at which engines score a prompt.
        scoring = self._forward("logprobs", probe_batch(self.probe), 1.0)
        if self.shares_gpus or self.stream:  # engines that load take the memory; and the ranks send when they are free
            with suppress(Exception):  # raised where the score is read
                await_all(scoring.refs)
        return replace(weights, probe=self.probe, score=lambda: scoring.get().numpy())


if TYPE_CHECKING:
    # pyright refuses the line where a class lacks what the loop asks of the role.
    _POLICIES: tuple[type[Policy]] = (PolicyGroup,)
    _REFERENCES: tuple[type[Reference], type[Reference]] = (PolicyGroup, Absent)
    _TRAINEES: tuple[type[Trainee], type[Trainee]] = (PolicyGroup, Absent)
