"""Ray actors as the driver sees them: the type of a handle, and waiting for answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, overload

if TYPE_CHECKING:
    from ray import ObjectRef

Answer = TypeVar("Answer")
CONTROL = "control"
"""Thread of an engine's actor in which calls run that wait for no other (Ray's word: concurrency group)."""


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

    # Given here and not with the other options, where Ray would drop them without a word.
    return cast("Any", ray.remote)(concurrency_groups={CONTROL: 1})(kind)


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
    wait: Any = cast(Any, ray).wait
    try:
        pending: list[Any] = [*refs] if isinstance(refs, Sequence) else []
        while pending:  # the first failure is raised at once: the others may wait for the one that has failed
            done, pending = wait(pending)
            get(done)
        return get(refs)
    except RayTaskError as error:
        if isinstance(error.cause, ValueError | OSError):
            raise error.cause from None
        raise
