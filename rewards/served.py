"""Runs verifiers that ask a model (an LLM judge, a reward model).

Others compute, but these mostly wait. So they run in the parent process, on one event loop in a thread of its own, with
any number of questions in flight. All of them come with the library (no user code runs here), but the model that they
ask may fail.

A module of `rewards.verifiers` is one of them when it defines `connect(args, models) -> ModelVerifier` beside `verify`,
and `Config`, the dataclass of its arguments. `models` are those that the run serves itself: name -> a function over a
batch (`RewardService(config, folder, models={…})`).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar, cast

from rewards.contract import Case, error_to_wire, to_wire
from rl.config import ConfigError, did_you_mean
from rl.types import RewardSpan, Rollout, Verdict

Model = Callable[[Sequence[Any]], Sequence[Any]]
"""A model that the run serves: a function from a batch of items to as many answers, in order. Each verifier decides what
an item is (`Any`): the judge sends conversations, the reward model rollouts."""
_CLOSE_S = 10.0  # to cancel what is in flight and to close the connections
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class ModelVerifier(Protocol):
    """One part of the reward that asks a model, with its connection to it."""

    @property
    def gold(self) -> Sequence[Case] | None:
        """Cases that it must judge right; None where it has none."""
        ...

    async def judge(self, rollout: Rollout) -> Verdict:
        """Return the verdict on one rollout. May raise: the sample then counts as an error."""
        ...

    def metrics(self) -> Mapping[str, float]:
        """Return totals since the start: requests, tokens, seconds, cost."""
        ...

    async def close(self) -> None:
        """Close the connection to the model."""
        ...


def ask_once(open_verifier: Callable[[], ModelVerifier], rollout: Rollout) -> Verdict:
    """Return the verdict of a verifier that is connected for this one rollout."""

    async def ask() -> Verdict:
        verifier = open_verifier()
        try:
            return await verifier.judge(rollout)
        finally:
            await verifier.close()

    return asyncio.run(ask())


def add_metrics(metrics: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the totals of several verifiers together. Means cannot be added up: of the latency the longest is told."""
    totals: dict[str, float] = {}
    for each in metrics:
        for name, value in each.items():
            previous = totals.get(name, 0.0)
            totals[name] = max(previous, value) if name.endswith("latency") else previous + value
    return totals


def connect(verifier: str, args: Mapping[str, object], models: Mapping[str, Model]) -> ModelVerifier:
    """Return the verifier of that name, connected to the model that its `args` name. Raises ConfigError."""
    return cast(ModelVerifier, importlib.import_module(f"rewards.verifiers.{verifier}").connect(args, models))


def find_model(models: Mapping[str, Model], name: str, place: str) -> Model:
    """Return the model that the run serves as `name`. Raises ConfigError."""
    if name not in models:
        hint = did_you_mean(name, models) if models else "; this command serves none"
        raise ConfigError(f"{place}: no model is served as '{name}'{hint}")
    return models[name]


class Loop:
    """An event loop in a daemon thread, on which all model verifiers of a service run."""

    def __init__(self, fail: Callable[[ValueError], None]) -> None:
        """Start the thread. If a callback of `submit` raises, `fail` is called with the error, in the loop's thread."""
        self._fail = fail
        self._loop = asyncio.new_event_loop()
        self._tasks = set[asyncio.Task[None]]()
        self._thread = threading.Thread(target=self._loop.run_forever, name="served verifiers", daemon=True)
        self._thread.start()

    def submit(self, verifier: ModelVerifier, rollout: Rollout, deliver: Callable[[Verdict], None]) -> None:
        """Let a verifier judge a rollout; `deliver` is called with the verdict, in the loop's thread. May be called from
        any thread and never waits."""
        self._loop.call_soon_threadsafe(self._begin, self._judge(verifier, rollout, deliver))

    def close(self, verifiers: Iterable[ModelVerifier]) -> None:
        """Cancel what is in flight, close the verifiers and end the thread. Idempotent."""

        async def drop() -> None:
            for task in self._tasks:
                task.cancel()
            # return_exceptions: a cancelled task or a broken connection must not keep the others from closing
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.gather(*(verifier.close() for verifier in verifiers), return_exceptions=True)

        if not self._loop.is_closed():
            # A connection that does not close must not keep the run from ending.
            with contextlib.suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(drop(), self._loop).result(_CLOSE_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)  # the loop itself holds tasks by weak references: unreferenced ones may vanish
        task.add_done_callback(self._tasks.discard)

    async def _judge(self, verifier: ModelVerifier, rollout: Rollout, deliver: Callable[[Verdict], None]) -> None:
        try:
            wire_verdict = to_wire(await verifier.judge(rollout))  # the same checks that a pool verdict passes
        except Exception as error:  # isolation boundary: whatever goes wrong between us and a model
            wire_verdict = error_to_wire(f"{type(error).__name__}: {error}")
        try:
            deliver(Verdict(*wire_verdict[:5], tuple(RewardSpan(*span) for span in wire_verdict[5])))
        # A fault of ours, which asyncio would keep to itself: callers must not wait for ever.
        except Exception as error:
            self._fail(ValueError(f"the reward's parts that ask a model failed: {type(error).__name__}: {error}"))
            raise


class Batches(Generic[Item, Answer]):
    """A function over batches that is asked for one item at a time. Items that arrive together are sent together, at most
    `size` at once, and one batch after the other.

    An item whose batch raises is asked again alone, so that one bad item spoils no other answer. An item whose call takes
    longer than `deadline_s` (seconds) gets TimeoutError, and so does one whose turn comes while the model has hung in
    an earlier call for two deadlines.
    """

    def __init__(self, model: Callable[[Sequence[Item]], Sequence[Answer]], size: int, deadline_s: float) -> None:
        self._model, self._size, self._deadline_s = model, size, deadline_s
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        # from the event loop to the model's thread, with the future that takes the answers back
        self._inbox: SimpleQueue[tuple[Sequence[Item], asyncio.Future[Sequence[Answer]]] | None] = SimpleQueue()
        self._sender: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None

    def close(self) -> None:
        """End the model's thread, once the call has ended that it may be in. Nothing is asked afterwards."""
        self._inbox.put(None)

    async def ask(self, item: Item) -> Answer:
        """Return the model's answer to one item. Raises what the model raises, ValueError or TimeoutError."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((item, answer))
        if self._sender is None or self._sender.done():
            self._sender = loop.create_task(self._send_batches())
        return await answer

    async def _send_batches(self) -> None:
        await asyncio.sleep(0.005)  # long enough for all items that are submitted together to join the batch
        while self._waiting:
            waiting = [pair for pair in self._waiting if not pair[1].done()]  # done: whoever asked has given up
            batch, self._waiting = waiting[: self._size], waiting[self._size :]
            if not batch:
                break
            try:
                answers = await self._call([item for item, _ in batch])
            except Exception as error:  # isolation boundary: a model
                # a hung model would hang again for each item: after a timeout no item is tried alone
                if len(batch) == 1 or isinstance(error, TimeoutError):
                    _settle(batch, [error] * len(batch))
                    continue
                for item, answer in batch:
                    if not answer.done():
                        _resolve(answer, await self._call_alone(item))
            else:
                _settle(batch, answers)

    async def _call_alone(self, item: Item) -> Answer | Exception:
        try:
            return (await self._call([item]))[0]
        except Exception as error:  # isolation boundary: a model
            return error

    async def _call(self, items: Sequence[Item]) -> Sequence[Answer]:
        if not self._inbox.empty():  # a whole deadline was too short for the thread to take the batch before this one
            raise TimeoutError("the served model did not answer: it still hangs in an earlier call")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Sequence[Answer]] = loop.create_future()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, args=(loop,), name="served model", daemon=True)
            self._thread.start()
        self._inbox.put((items, future))
        try:
            answers = await asyncio.wait_for(future, self._deadline_s)
        except TimeoutError:
            raise TimeoutError(f"the served model did not answer within {self._deadline_s:g} s") from None
        if len(answers) != len(items):
            raise ValueError(f"the served model gave {len(answers)} answers to {len(items)} questions")
        return answers

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        # A daemon thread, and no executor (whose threads are joined at exit): a model that hangs must not keep the
        # command from ending.
        while (question := self._inbox.get()) is not None:
            items, future = question
            if future.cancelled():  # its deadline passed while an earlier call hung
                continue
            result: Sequence[Answer] | Exception
            try:
                result = self._model(items)
            except Exception as error:  # isolation boundary: a model
                result = error
            if loop.is_closed():
                return
            loop.call_soon_threadsafe(_resolve, future, result)  # futures belong to the loop's thread


def _settle(batch: Sequence[tuple[Item, asyncio.Future[Answer]]], answers: Sequence[Answer | Exception]) -> None:
    for (_, future), answer in zip(batch, answers, strict=True):
        _resolve(future, answer)


def _resolve(future: asyncio.Future[Answer], result: Answer | Exception) -> None:
    if future.done():  # cancelled: its deadline passed, or the service was closed
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
