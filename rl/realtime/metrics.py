"""Counts and figures of a server's answers, as text for Prometheus."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from statistics import quantiles

from rl.realtime.stream import End, Failure

KEPT = 512
"""Answers whose figures the quantiles are of."""
MEASURED = (
    "first_token_s",
    "first_audio_s",
    "queue_s",
    "tokens_before",
    "thought_tokens",
    "answer_tokens",
    "prefill_tokens",
    "cached_tokens",
    "thought_tokens_per_s",
    "real_time_factor",
    "stall_s",
)
COUNTED = ("questions", "finished", "failed", "cancelled", "refused")


class Metrics:
    """Counts and figures of the answers of one server, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # With zeros: Prometheus sees no rise in a counter that first appears at 1.
        self._counts = Counter[str](dict.fromkeys(COUNTED, 0))
        self._sums = dict.fromkeys(MEASURED, 0.0)
        self._numbers = Counter[str]()
        self._newest: dict[str, deque[float]] = {name: deque(maxlen=KEPT) for name in MEASURED}

    def count(self, name: str) -> None:
        """Count one more of a kind."""
        with self._lock:
            self._counts[name] += 1

    def finish(self, event: End | Failure) -> None:
        """Count how an answer has ended, and record its figures."""
        self.count("finished" if isinstance(event, End) else "failed")
        if isinstance(event, End):
            for name, value in event.figures.items():
                self.measure(name, value)

    def measure(self, name: str, value: object) -> None:
        """Record a figure of one answer, unless it is no number or not among those that are measured."""
        if name in MEASURED and isinstance(value, int | float):
            with self._lock:
                self._sums[name] += value
                self._numbers[name] += 1
                self._newest[name].append(float(value))

    def render(self, gauges: Mapping[str, int]) -> str:
        """Return the metrics in Prometheus' form: counters, `gauges`, and a summary of each figure."""
        lines: list[str] = []
        with self._lock:
            for name, count in self._counts.items():
                lines += [f"# TYPE groundtone_{name}_total counter", f"groundtone_{name}_total {count}"]
            for name, value in gauges.items():
                lines += [f"# TYPE groundtone_{name} gauge", f"groundtone_{name} {value}"]
            for name in MEASURED:
                lines.append(f"# TYPE groundtone_{name} summary")
                values = [*self._newest[name]]
                # 19 cuts, 5 % apart: index 9 is the median, 18 the 95th percentile. It wants two values at least.
                cuts = quantiles(values, n=20) if len(values) > 1 else values * 19
                for share, place in ((0.5, 9), (0.95, 18)) if cuts else ():
                    lines.append(f'groundtone_{name}{{quantile="{share}"}} {cuts[place]:g}')
                lines.append(f"groundtone_{name}_sum {self._sums[name]:g}")
                lines.append(f"groundtone_{name}_count {self._numbers[name]}")
        return "\n".join(lines) + "\n"
