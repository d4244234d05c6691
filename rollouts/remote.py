"""Answers of actors."""

from __future__ import annotations

from typing import Any


def fetch(refs: Any) -> Any:
    """`ray.get`, but a worker's ValueError or OSError is raised as it is, in one line; anything else as Ray reports it."""
    import ray

    try:
        return ray.get(refs)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ValueError | OSError):
            raise error.cause from None
        raise
