"""Runs harnesses in a pool of killable processes (`rewards.pool`): one session in, its verdict out."""

from __future__ import annotations

import asyncio
import inspect
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from rewards.contract import error_to_wire, to_wire
from rewards.pool.judging import Judging
from rewards.pool.work import Call
from rewards.resolve import import_module
from rl.types import Prompt, Verdict

Play = Callable[..., object]
"""`play(prompt, base_url, api_key, **args)`, plain or async."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """A session that a harness is to play."""

    prompt: Prompt
    base_url: str
    """Address of the session."""
    api_key: str


class Playing:
    """The work of harnesses."""

    noun = "harness"
    longest_answer = Judging.longest_answer
    may_repeat = False  # the session keeps what was asked: if it were played again, both plays would be learned from

    def modules(self, calls: Sequence[Call]) -> Sequence[str]:
        """Return what most harnesses need, so that each process need not import it anew."""
        return ["rl.audio", "soundfile", *(["openai"] if find_spec("openai") else [])]

    def load(self, call: Call, folder: Path | None) -> Play:
        """Return the user's function, imported. Raises ValueError where it is none."""
        module, _, name = call.verifier.rpartition(":")
        play: object = getattr(import_module(module, folder, self.noun), name, None)
        if not callable(play):
            raise ValueError(f"{module} has no function {name}; write def {name}(prompt, base_url, api_key)")
        return play

    def describe(self, loaded: Sequence[Play]) -> object:
        """Return nothing: a harness has no gold cases."""
        return []

    def prompt_id(self, loaded: Play, sample: Invitation) -> str:
        """Return the id of the session's prompt."""
        return sample.prompt.id

    def answer(self, loaded: Play, args: Mapping[str, object], sample: Invitation) -> object:
        """Play a session; return its verdict, None where the reward is to judge."""
        result = loaded(sample.prompt, sample.base_url, sample.api_key, **args)
        if inspect.isawaitable(result):
            result = asyncio.run(_wait(result))
        return None if result is None else to_wire(as_verdict(result), is_bounded=False)

    def refuse(self, error: str) -> object:
        """Return the answer about a session in which the harness failed."""
        return error_to_wire(error)

    def parse(self, answer: object) -> PlayResult | None:
        """Return what a process wrote, or None where it is nothing valid."""
        if answer is None:
            return PlayResult()
        verdict = Judging().parse(answer)
        return None if verdict is None else PlayResult(verdict)

    def failure(self, error: str) -> PlayResult:
        """Return the answer about a session that cost its process."""
        return PlayResult(Verdict(error=error))


@dataclass(frozen=True, slots=True)
class PlayResult:
    """A session that a harness has played."""

    verdict: Verdict | None = None
    """Judgement of the harness, or its error; None if the reward is to judge."""


async def _wait(result: object) -> object:
    # `asyncio.run` takes only coroutines, and a user's function may return any other awaitable.
    return await cast("asyncio.Future[object]", result)


def as_verdict(result: object) -> Verdict:
    """Return the verdict of what a harness has returned, a number or a Verdict. Without a part `accuracy` its score is taken for
    that: curation, evaluation and dynamic sampling read it. Raises ValueError for anything else."""
    if isinstance(result, numbers.Real):
        result = Verdict(score=float(result))
    if not isinstance(result, Verdict):
        raise ValueError(f"answered {type(result).__name__}, not a number, a Verdict of rl.types or None")
    if result.error is not None or "accuracy" in result.parts:
        return result
    return replace(result, parts={**result.parts, "accuracy": result.score})
