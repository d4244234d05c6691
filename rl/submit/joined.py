"""Waits until all nodes of a job have joined its Ray."""

from __future__ import annotations

import time
from typing import Any, cast

from rl.config import ConfigError

POLL_S = 1.0


def await_nodes(count: int, hosts: list[str], timeout_s: float) -> float:
    """Wait until `count` nodes have joined the Ray at RAY_ADDRESS; return the seconds that took. Raises ConfigError, with
    those of `hosts` that have not."""
    import ray

    from rl.workers.placement import ClusterConfig
    from rl.workers.ray_start import start_ray, stop_ray

    start = time.monotonic()
    joined: list[str] = []
    while time.monotonic() - start < timeout_s:
        try:
            if not ray.is_initialized():
                start_ray(ClusterConfig(), 0)
            nodes = cast("list[dict[str, Any]]", ray.nodes())  # Ray leaves it untyped
            joined = [node["NodeManagerHostname"] for node in nodes if node["Alive"]]
        except (ConnectionError, RuntimeError, ValueError):  # the head does not listen yet
            joined = []
        if len(joined) >= count:
            stop_ray()
            return time.monotonic() - start
        time.sleep(POLL_S)
    short = {host.split(".")[0] for host in joined}
    absent = [host for host in hosts if host.split(".")[0] not in short]
    names = f" ({', '.join(absent)} have not)" if absent and joined else ""
    raise ConfigError(
        f"cluster: {len(joined)} of {count} nodes have joined within {timeout_s:.0f} s{names}; look whether each reaches the "
        "first one's ports, has the same versions of Python and Ray, and shows an error in the job's log"
    )
