"""Answers of Ray actors, with their errors."""

from __future__ import annotations

from typing import Any


def fetch(refs: Any) -> Any:
    """Return `ray.get(refs)`. A worker's own ValueError or OSError is raised as it is, in one line, for the user to read;
    anything else is raised as Ray reports it."""
    import ray
    from ray.exceptions import RayTaskError

    try:
        return ray.get(refs)
    except RayTaskError as error:
        if isinstance(error.cause, ValueError | OSError):
            raise error.cause from None
        raise
