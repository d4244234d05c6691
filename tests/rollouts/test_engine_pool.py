"""Choice of the failure that is reported where a load has several."""

from __future__ import annotations

from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from rollouts.arrival import ArrivalError
from rollouts.errors import TransferError
from rollouts.pool import _root

ENDED = TransferError("the stream of weights was ended: another of its processes failed")
BROKEN = TransferError("the stream of weights broke: CUDA out of memory")
# As vLLM's executor tells of what one of its workers has raised.
WRAPPED = RuntimeError(f"Worker failed with error '{ENDED}', please check the stack trace above for the root cause")
FAULT = RuntimeError("Worker failed with error 'illegal memory access', please check the stack trace above for …")


def failure(cause: Exception) -> Exception:
    return cause if isinstance(cause, ValueError | ActorDiedError) else RayTaskError("f", "", cause)


@pytest.mark.parametrize(
    ("failures", "root"),
    [
        ({"sender": BROKEN, "engine 0": WRAPPED}, BROKEN),
        ({"sender": BROKEN, "engine 0": ENDED, "engine 1": ENDED}, BROKEN),
        ({"sender": ENDED, "engine 0": FAULT}, FAULT),
        ({"engine 0": WRAPPED, "engine 1": FAULT, "sender": ENDED}, FAULT),
    ],
)
def test_the_failure_that_caused_the_others_is_reported(failures: dict[str, Exception], root: Exception) -> None:
    calls: Any = {call: failure(cause) for call, cause in failures.items()}
    engines: Any = {call: int(call[-1]) for call in failures if call.startswith("engine")}
    reported = _root(calls, engines, 4)
    assert isinstance(reported, RayTaskError)
    assert reported.cause is root


def test_a_death_comes_before_all_and_an_engines_refusal_names_it() -> None:
    death, refusal = ActorDiedError(), ValueError("vLLM does not take x")
    calls: Any = {"sender": failure(ENDED), "engine 1": refusal, "engine 0": death}
    engines: Any = {"engine 0": 0, "engine 1": 1}
    assert _root(calls, engines, 4) is death
    del calls["engine 0"]
    reported = _root(calls, engines, 4)
    assert isinstance(reported, ArrivalError)
    assert str(reported) == "engine 1, version 4: vLLM does not take x"
