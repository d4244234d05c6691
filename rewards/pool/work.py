"""Defines the work of a pool's processes: load what a recipe names, and answer about one sample at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Call:
    """A verifier, or another function of a recipe, with its arguments."""

    verifier: str
    """Its name in the recipe: `name`, `file.py:fn` or `pkg.mod:fn`."""
    args: Mapping[str, Any]  # Any: the arguments of a user's function
    """Keyword arguments beside the prompt and the rollout."""


class Work(Protocol):
    """The work of a pool. It is pickled and travels into the workers, where `load` and `answer` are called; `parse` and
    `failure` are called in the parent, which trusts nothing that a worker has written."""

    noun: str
    """Name of the pool's calls in messages: `verifier`."""
    longest_answer: int
    """Most bytes of an answer as JSON; a worker that writes more is replaced."""
    may_repeat: bool
    """True if a sample may be begun again after its worker was lost through no fault of the sample; false if a sample
    leaves traces elsewhere, which a second attempt would meet."""

    def modules(self, calls: Sequence[Call]) -> Sequence[str]:
        """Return the modules that are imported before workers are forked."""
        ...

    def load(self, call: Call, folder: Path | None) -> object:
        """Return what the call names, imported and ready, from the recipe's folder."""
        ...

    def describe(self, loaded: Sequence[Any]) -> object:
        """Return what the parent is told of all that was loaded, for JSON."""
        ...

    def prompt_id(self, loaded: Any, sample: Any) -> str:
        """Return the id of the sample's prompt."""
        ...

    def answer(self, loaded: Any, args: Mapping[str, Any], sample: Any) -> object:
        """Return the answer about a sample, for JSON. Whatever it raises is the sample's error."""
        ...

    def refuse(self, error: str) -> object:
        """Return the answer, for JSON, about a sample on which `answer` failed."""
        ...

    def parse(self, answer: object) -> object | None:
        """Return an answer from its JSON, or None where it is no valid one."""
        ...

    def failure(self, error: str) -> object:
        """Return the answer about a sample that cost its worker."""
        ...
