"""Finds steps in which engines and trainer do not compute the same: on the step's samples, and on the probe of the weights
that the engines were sent after it (`rollouts.proof`).

A gap is the mean difference of logprobs, in nats. What rounding makes of it, and what faults make of it, is in
docs/stages.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from models.settings import Dtype


@dataclass(frozen=True, slots=True)
class Bounds:
    """Gaps on samples, in nats, above which a run warns and stops."""

    warn: float
    stop: float


BOUNDS: Mapping[Dtype, Bounds] = {"float32": Bounds(warn=1e-4, stop=0.01), "bfloat16": Bounds(warn=0.08, stop=0.2)}
"""Rounding makes gaps of 1e-7 to 1e-5 in float32. The bound to stop at is far from that, since engines on a GPU may
multiply float32 with fewer digits."""
SAMPLES, PROBE = "logprob_gap/mean", "probe_gap/mean"
FACTORS = {SAMPLES: 1.0, PROBE: 2.0}
"""Factors of the bounds: the probe's tokens are random, and the less likely a token, the larger its logit's rounding."""
NAMES = {SAMPLES: "the step's samples", PROBE: "the probe of the new weights"}
FIXES = {
    SAMPLES: "check dtype, temperature and engines.vllm",
    PROBE: "the engines do not use the weights that they were sent, or compute otherwise; check dtype and engines.vllm",
}


def choose_bounds(dtype: Dtype, stop: float | None) -> Bounds:
    """Return the bounds of a dtype, with the recipe's `max_logprob_gap` where it sets one."""
    bounds = BOUNDS[dtype]
    # Nothing is warned of that would stop the run first.
    return bounds if stop is None else Bounds(min(bounds.warn, stop), stop)


@dataclass
class Gaps:
    """The gaps that one stage has been warned of."""

    stage: str
    bounds: Bounds
    warned_kinds: set[str] = field(default_factory=set[str])
    """Metrics that a warning was given of."""

    def check(self, step: int, metrics: Mapping[str, float]) -> None:
        """Raise ValueError for a gap above the bound."""
        for name, factor in FACTORS.items():
            limit = factor * self.bounds.stop
            if not metrics.get(name, 0.0) <= limit:  # written so that NaN stops the run too
                times = "" if factor == 1 else f"{factor:g} × "
                bound = f"more than {times}max_logprob_gap ({self.bounds.stop:g})"
                raise ValueError(f"{self._describe(step, name, metrics[name])}, {bound}; {FIXES[name]}")

    def observe(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        """Return a warning for each kind of gap that is wide for the first time."""
        wide = [name for name, factor in FACTORS.items() if metrics.get(name, 0.0) > factor * self.bounds.warn]
        # Once: a drift goes on for hundreds of steps, and the metrics show how far.
        new = [name for name in wide if name not in self.warned_kinds]
        self.warned_kinds.update(new)
        return [f"{self._describe(step, name, metrics[name])}, more than rounding makes; {FIXES[name]}" for name in new]

    def _describe(self, step: int, name: str, gap: float) -> str:
        where = f"engine and trainer logprobs of {NAMES[name]} differ by {gap:.3g} in the mean"
        return f"rlvr '{self.stage}', step {step}: {where}"
