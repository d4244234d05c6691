"""Types the handles of Ray actors for the driver, and waits for their answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, overload

if TYPE_CHECKING:
    from ray import ObjectRef

Answer = TypeVar("Answer")
CONTROL = "control"
"""Thread of an engine's actor for calls that must not wait behind others (Ray calls it a concurrency group)."""


class RemoteMethod(Protocol):
    """A method of an actor in another process."""

    def options(self, *, concurrency_group: str) -> RemoteMethod:
        """Return the method, to be run in this thread of the actor."""
        ...

    def remote(self, *arguments: object) -> ObjectRef[Any]:
        """Start the call and return a reference to its answer, whose type Ray does not know."""
        ...


class Actor(Protocol):
    """Handle of a Ray actor: `actor.method.remote(…)`."""

    def __getattr__(self, method: str) -> RemoteMethod: ...


def engine_actor(kind: type[object]) -> Any:
    """Return Ray's class for actors of an engine."""
    import ray

    # Given to the decorator: among the other options of an actor Ray would silently ignore them.
    return cast("Any", ray.remote)(concurrency_groups={CONTROL: 1})(kind)


def await_all(refs: Sequence[ObjectRef[Any]]) -> None:
    """Wait for all answers. Raises the first failure at once, as Ray reports it: the other calls may wait for the one that
    has failed."""
    import ray

    wait: Any = cast(Any, ray).wait
    pending = [*refs]
    while pending:
        done, pending = wait(pending)
        ray.get(done)


@overload
def fetch(refs: ObjectRef[Answer]) -> Answer: ...
@overload
def fetch(refs: Sequence[ObjectRef[Answer]]) -> list[Answer]: ...
def fetch(refs: object) -> object:
    """Wait for one answer, or for several. A worker's own ValueError or OSError is raised as it is, in one line, for the
    user to read; anything else is raised as Ray reports it."""
    import ray
    from ray.exceptions import RayTaskError

    get: Any = ray.get  # Ray's own overloads do not take a union
    try:
        if isinstance(refs, Sequence):
            await_all(cast("Sequence[ObjectRef[Any]]", refs))
        return get(refs)
    except RayTaskError as error:
        if isinstance(error.cause, ValueError | OSError):
            raise error.cause from None
        raise


def last_line(error: Exception) -> str:
    """Return the last line of what Ray says of an actor that died: the cause."""
    return str(error).strip().splitlines()[-1].strip()
