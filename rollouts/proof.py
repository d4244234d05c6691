"""Proves that the engines hold the weights of the version that was loaded last, and use them.

Checksums of each tensor show that an engine holds them; the probe, whose logprobs are compared with the trainer's,
shows that it uses them. How far these two may differ is for the stage to judge, which knows the dtype. Here an engine
is refused if it computes as before although the weights that it was sent, and the trainer's logprobs, have changed.

Suffix: A, the scored tokens of the probe.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from rollouts.arrival import ArrivalError, Checksums, Receipt, describe_difference
from rollouts.weights import Weights

LEAST_CHANGE = {"float32": 1e-4}
"""Nats, by dtype: change of the trainer's logprobs, as a mean over the probe, from which an engine's must have changed
too."""
LEAST_ROUNDED_CHANGE = 0.01
"""The same for other dtypes: if only some weights change in their last bit, an engine's rounding hides smaller
changes."""
STALE_SHARE = 0.1
"""An engine whose logprobs change by less than this share of the trainer's change still computes with old weights.
Engines that use what they are sent change by 0.6 to 1.3 times as much, even if all of the change is rounding."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """The last load at which an engine's logprobs are known to have changed."""

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
        if weights.score is None:  # without a trainer's score nobody knows how far an engine should move
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
            # Checksums of a folder's headers have no digests. Engines read it by themselves, so what the first of them
            # has read is from now on the reference for the others.
            self.checksums = received
        self.slowest_engine_s = max(self.slowest_engine_s, receipt.seconds)
        if self.trainer_A is not None and receipt.score is not None:
            self.engines_A[i] = receipt.score
            self._check_use(i, Anchor(self.weights.checksums, self.trainer_A, receipt.score), place)

    def _check_use(self, i: int, new: Anchor, place: str) -> None:
        """Raise ArrivalError when the engine still computes with weights from before."""
        # The first time an engine is compared with itself: both changes are 0, and nothing is refused.
        old = self.anchors.setdefault(i, new)
        trainer_change = float(np.abs(new.trainer_A - old.trainer_A).mean())
        engine_change = float(np.abs(new.engine_A - old.engine_A).mean())
        if engine_change >= STALE_SHARE * trainer_change:
            self.anchors[i] = new
            return
        # Measured from the anchor, not from the version before: many steps that are each too small to tell add up.
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
        """Seconds that the proof of the last load took: checksums and scoring in the slowest engine, checksums in the
        trainer, and the wait for the trainer's scoring after the engines had loaded."""
        return self.weights.seconds + self.slowest_engine_s + self.waited_s

    def metrics(self) -> dict[str, float]:
        """Return the distance of the probe's logprobs from the trainer's, in nats, in the engine where it is largest;
        nothing if no trainer has scored it."""
        if self.trainer_A is None or not self.engines_A:
            return {}
        gaps = [np.abs(engine_A - self.trainer_A) for engine_A in self.engines_A.values()]
        return {
            # numpy's maximum is NaN if one of the values is; Python's may hide it
            "probe_gap/mean": float(np.max([gap_A.mean() for gap_A in gaps])),
            "probe_gap/max": float(np.max([gap_A.max() for gap_A in gaps])),
        }
