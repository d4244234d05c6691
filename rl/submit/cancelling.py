"""The cluster's side of `rl jobs stop` for a job that waits for a node: Ray's own stop reaches only what has begun."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, cast

MESSAGE = "stopped before it had begun"


def cancel(job: str) -> bool:
    """Mark a job that waits as stopped, and forget the process that it waits for; return False where it no longer waits. Runs on
    the cluster."""
    import ray
    from ray.dashboard.modules.job.common import (
        JOB_ACTOR_NAME_TEMPLATE,
        SUPERVISOR_ACTOR_RAY_NAMESPACE,
        JobInfoStorageClient,
        JobStatus,
    )

    from rl.workers.placement import ClusterConfig
    from rl.workers.ray_start import start_ray, stop_ray

    start_ray(ClusterConfig(), 0)
    try:
        client = JobInfoStorageClient(cast("Any", ray)._private.worker.global_worker.gcs_client)
        if asyncio.run(client.get_status(job)) != JobStatus.PENDING:
            return False
        asyncio.run(client.put_status(job, JobStatus.STOPPED, message=MESSAGE))  # first: Ray calls a killed one failed
        name = JOB_ACTOR_NAME_TEMPLATE.format(job_id=job)
        with suppress(ValueError):  # there is none yet: it will find the job stopped
            ray.kill(ray.get_actor(name, namespace=SUPERVISOR_ACTOR_RAY_NAMESPACE))
        return True
    finally:
        stop_ray()
