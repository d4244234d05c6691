"""Proof that the engines hold the weights of the version that was loaded last, and use them.

That they hold them is shown by checksums, tensor by tensor; that they use them by the probe, whose logprobs are compared
with the trainer's. How far these two may differ is for the stage to judge, which knows the dtype; here only an engine is
refused that goes on as before although what it was sent, and what the trainer makes of it, has changed.
"""

from __future__ import annotations

import time

import numpy as np

from rl.units import many
from rollouts.arrival import ArrivalError, Checksums, Receipt, describe_difference
from rollouts.weights import Weights

LEAST_CHANGE = 0.02
"""Nats. The trainer's logprobs of the probe must have moved by so much, at the token that moved most, before an engine must
have moved too: rounding to bfloat16 may hide less."""
STALE_SHARE = 0.1
"""An engine that has moved by less than this share of what the trainer has moved by goes on as before."""


class Proof:
    """What the last load has shown, engine by engine."""

    def __init__(self) -> None:
        self.version = -1
        self.weights = Weights([], {})
        self.score: np.ndarray | None = None  # [A] the trainer's logprobs of the probe under these weights
        self.scores: dict[int, np.ndarray] = {}  # [A] the engines', by engine
        # The same of the version before.
        self.old_checksums: Checksums = {}
        self.old_score: np.ndarray | None = None
        self.old_scores: dict[int, np.ndarray] = {}
        self.slowest_engine_s = self.waited_s = 0.0

    def begin(self, version: int, weights: Weights) -> None:
        """Take note of a version that engines are about to load."""
        self.old_checksums, self.old_score, self.old_scores = self.weights.checksums, self.score, self.scores
        self.version, self.weights, self.score, self.scores = version, weights, None, {}
        self.slowest_engine_s = self.waited_s = 0.0

    def check(self, i: int, receipt: Receipt) -> None:
        """Take the answer of engine `i`. Raises ArrivalError when it does not hold the weights, or does not use them."""
        place = f"engine {i}, version {self.version}"
        for worker, received in enumerate(receipt.received):
            if problem := describe_difference(self.weights.checksums, received):
                where = f"{place}, tensor-parallel worker {worker}" if len(receipt.received) > 1 else place
                raise ArrivalError(f"{where}: {problem}")
        self.slowest_engine_s = max(self.slowest_engine_s, receipt.seconds)
        if self.weights.score is None or receipt.score is None:
            return
        if self.score is None:
            start = time.monotonic()
            self.score = self.weights.score()
            self.waited_s = time.monotonic() - start
        self.scores[i] = receipt.score
        self._check_use(i, place)

    def _check_use(self, i: int, place: str) -> None:
        """Raise ArrivalError when the engine's score is still that of the weights before."""
        changed = [name for name, sum in self.weights.checksums.items() if self.old_checksums.get(name) != sum]
        if not changed or self.score is None or self.old_score is None or i not in self.old_scores:
            return
        expected, moved = _largest(self.score - self.old_score), _largest(self.scores[i] - self.old_scores[i])
        if expected > LEAST_CHANGE and moved < STALE_SHARE * expected:
            raise ArrivalError(
                f"{place}: {many(len(changed), 'tensor')} changed ({changed[0]} first) and the engine computes as before: "
                f"logprobs of the probe moved by {moved:.3g} there and by {expected:.3g} in the trainer"
            )

    def forget(self, i: int) -> None:
        """Forget what engine `i` has shown: another process has taken its place."""
        self.scores.pop(i, None)
        self.old_scores.pop(i, None)

    @property
    def seconds(self) -> float:
        """Time that the proof of the last load took: the trainer's checksums, those of the slowest engine and its scoring,
        and the wait for the trainer's scoring, which begins while engines load."""
        return self.weights.seconds + self.slowest_engine_s + self.waited_s

    def gaps(self) -> dict[int, np.ndarray]:
        """Return, for each engine that has scored the probe, how far its logprobs are from the trainer's, [A] in nats."""
        return {} if self.score is None else {i: np.abs(score - self.score) for i, score in self.scores.items()}


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values).max(initial=0.0))
