"""Proof that the engines hold the weights of the version that was loaded last, and use them.

That they hold them is shown by checksums, tensor by tensor; that they use them by the probe, whose logprobs are compared
with the trainer's. How far these two may differ is for the stage to judge, which knows the dtype; here an engine is refused
that computes as before although what it was sent, and what the trainer makes of it, has changed.

Suffix: A, the scored tokens of the probe.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from rollouts.arrival import ArrivalError, Checksums, Receipt, describe_difference
from rollouts.weights import Weights

LEAST_CHANGE = {"float32": 1e-4}
"""Nats, in the mean over the probe, by which the trainer must have moved before an engine must have moved too."""
LEAST_ROUNDED_CHANGE = 0.01
"""The same for other types: where only some weights change in their last bit, rounding hides what moves the trainer by
less."""
STALE_SHARE = 0.1
"""An engine that has moved by less than this share of what the trainer has moved by computes as before: those that
use what they are sent move by 0.6 to 1.3 times as much, also where all of it is rounding."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """The last load at which an engine is known to have moved."""

    checksums: Checksums
    trainer_A: np.ndarray
    engine_A: np.ndarray


class Proof:
    """Checks of the last load of weights, engine by engine."""

    def __init__(self) -> None:
        self.version = -1
        self.weights = Weights([], {})
        self.checksums: Checksums = {}  # what each engine must have received
        self.trainer_A: np.ndarray | None = None  # logprobs of the probe under these weights
        self.engines_A: dict[int, np.ndarray] = {}  # the same, by engine
        self.anchors: dict[int, Anchor] = {}  # by engine
        self.waited_s = self.slowest_engine_s = 0.0

    def begin(self, version: int, weights: Weights) -> None:
        """Take note of weights that engines are about to load."""
        self.version, self.weights, self.checksums, self.trainer_A = version, weights, weights.checksums, None
        self.engines_A.clear()
        self.waited_s = self.slowest_engine_s = 0.0
        if weights.score is None:  # nobody says how far an engine should move
            self.anchors.clear()

    def note_sent(self, weights: Weights) -> None:
        """Take note of what a stream has sent, at its end."""
        self.weights, self.checksums = weights, weights.checksums

    def wait_for_trainer(self) -> None:
        """Wait until the trainer has scored the probe, which it began before the engines loaded."""
        if self.weights.score is not None:
            start = time.monotonic()
            self.trainer_A = self.weights.score()
            self.waited_s = time.monotonic() - start

    def check(self, i: int, receipt: Receipt) -> None:
        """Take the answer of engine `i`. Raises ArrivalError when it does not hold the weights, or does not use them."""
        place = f"engine {i}, version {self.version}"
        if receipt.version != self.version:
            raise ArrivalError(f"{place}: it answers that it holds version {receipt.version}")
        for worker, received in enumerate(receipt.received):
            if problem := describe_difference(self.checksums, received):
                where = f"{place}, tensor-parallel worker {worker}" if len(receipt.received) > 1 else place
                raise ArrivalError(f"{where}: {problem}")
            # Engines read a folder by themselves: what its headers leave open is whatever the first one has read.
            self.checksums = received
        self.slowest_engine_s = max(self.slowest_engine_s, receipt.seconds)
        if self.trainer_A is not None and receipt.score is not None:
            self.engines_A[i] = receipt.score
            self._check_use(i, Anchor(self.weights.checksums, self.trainer_A, receipt.score), place)

    def _check_use(self, i: int, new: Anchor, place: str) -> None:
        """Raise ArrivalError when the engine still computes with weights from before."""
        old = self.anchors.setdefault(i, new)
        trainer_change = float(np.abs(new.trainer_A - old.trainer_A).mean())
        engine_change = float(np.abs(new.engine_A - old.engine_A).mean())
        if engine_change >= STALE_SHARE * trainer_change:
            self.anchors[i] = new
            return
        # From the anchor on, not from the version before: many steps, each too small to tell, add up.
        changed = [name for name, sum in new.checksums.items() if old.checksums.get(name) != sum]
        if changed and trainer_change > max(
            LEAST_CHANGE.get(new.checksums[n].dtype, LEAST_ROUNDED_CHANGE) for n in changed
        ):
            raise ArrivalError(
                f"{place}: {changed[0]} arrived and is not used ({len(changed)} of {len(new.checksums)} tensors changed): "
                f"logprobs of the probe moved by {trainer_change:.2g} in the trainer and by {engine_change:.2g} in the engine"
            )

    def forget(self, i: int) -> None:
        """Forget what engine `i` has shown: another process has taken its place."""
        self.engines_A.pop(i, None)
        self.anchors.pop(i, None)

    @property
    def seconds(self) -> float:
        """Time that the proof of the last load took: checksums and scoring in the slowest engine, checksums in the trainer,
        and what the engines' load left to wait for of the trainer's scoring."""
        return self.weights.seconds + self.slowest_engine_s + self.waited_s

    def metrics(self) -> dict[str, float]:
        """Return how far the logprobs of the probe are from the trainer's, in nats, of the engine that is farthest; nothing
        where no trainer has scored it."""
        if self.trainer_A is None or not self.engines_A:
            return {}
        gaps = [np.abs(engine_A - self.trainer_A) for engine_A in self.engines_A.values()]
        return {
            # numpy's maximum, which is NaN where one of them is
            "probe_gap/mean": float(np.max([gap_A.mean() for gap_A in gaps])),
            "probe_gap/max": float(np.max([gap_A.max() for gap_A in gaps])),
        }
