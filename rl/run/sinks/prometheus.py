"""Prometheus: the newest value of every metric, served on this machine's loopback address for a scraper.

`groundtone_reward{run="spell",stage="rlvr"} 0.71` is the stage's metric `reward`; `groundtone_step` is its step.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rl.run.sinks.base import RunFacts, Sink

ADDRESS = "127.0.0.1"
PREFIX = "groundtone_"


class Prometheus(Sink):
    """An HTTP endpoint `/metrics` at `port`, or at a free one (0)."""

    def __init__(self, run: RunFacts, port: int = 0) -> None:
        super().__init__(run)
        from prometheus_client import CollectorRegistry, start_http_server

        self._registry = CollectorRegistry()  # not the process's own, which Ray fills
        self._gauges: dict[str, Any] = {}
        self._server, self._thread = start_http_server(port, addr=ADDRESS, registry=self._registry)
        self.url = f"http://{ADDRESS}:{self._server.server_port}/metrics"
        run.remember(url=self.url)
        run.say(f"prometheus: {self.url}")

    def record(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        for name, number in {**metrics, "step": float(step)}.items():
            self._gauge(name).labels(run=self.run.name, stage=stage).set(number)

    def finish(self, status: str) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _gauge(self, name: str) -> Any:
        from prometheus_client import Gauge

        # Prometheus takes letters, digits, '_' and ':' in a name, and ours have '/' in them.
        safe = PREFIX + re.sub(r"\W+", "_", name, flags=re.ASCII)
        if safe not in self._gauges:
            self._gauges[safe] = Gauge(safe, name, ["run", "stage"], registry=self._registry)
        return self._gauges[safe]
