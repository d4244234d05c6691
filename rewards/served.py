"""Verifiers that ask a model: they wait, while those in the pool compute, so they live in the parent, on one event loop
in a thread of its own, with as many questions under way as they like. Their code is ours; what they ask may fail.

A module of `rewards.verifiers` is one when it defines `serve(args, served) -> Served` beside `verify`, and `Config`,
the dataclass of its arguments. `served` are the models that a run serves itself: name -> a function over a batch
(`RewardService(config, folder, served={…})`).
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar, cast

from rewards.contract import Case, failed, plain
from rl.config import ConfigError, did_you_mean
from rl.types import Rollout, Verdict

Model = Callable[[Sequence[Any]], Sequence[Any]]
"""One answer for each of a batch, in order. What a batch holds is for the verifier to say: rollouts, conversations."""
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Served(Protocol):
    """One part of the reward at work."""

    gold: Sequence[Case] | None

    async def judge(self, rollout: Rollout) -> Verdict:
        """May raise: that is an error of this sample."""
        ...

    def metrics(self) -> Mapping[str, float]:
        """What has been spent so far."""
        ...

    async def close(self) -> None: ...


def serve(verifier: str, args: Mapping[str, Any], served: Mapping[str, Model]) -> Served:
    """The verifier of that name with its arguments. Raises ConfigError."""
    return cast(Served, importlib.import_module(f"rewards.verifiers.{verifier}").serve(args, served))


def named(served: Mapping[str, Model], name: str, place: str) -> Model:
    """The model that the run serves under a name. Raises ConfigError."""
    if name not in served:
        known = did_you_mean(name, served) if served else "; this command serves none"
        raise ConfigError(f"{place}: no model is served as '{name}'{known}")
    return served[name]


class Loop:
    """An event loop in a daemon thread. `submit` may be called from any thread and never waits."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._tasks = set[asyncio.Task[None]]()
        self._thread = threading.Thread(target=self._loop.run_forever, name="served verifiers", daemon=True)
        self._thread.start()

    def submit(self, served: Served, rollout: Rollout, done: Callable[[Verdict], None]) -> None:
        """`done` is called in the loop's thread."""
        self._loop.call_soon_threadsafe(self._begin, _judge(served, rollout, done))

    def close(self, served: Iterable[Served]) -> None:
        """What is under way is dropped."""

        async def drop() -> None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.gather(*(one.close() for one in served), return_exceptions=True)

        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(drop(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _judge(served: Served, rollout: Rollout, done: Callable[[Verdict], None]) -> None:
    try:
        answer = plain(await served.judge(rollout))
    except Exception as error:  # isolation boundary: whatever goes wrong between us and a model
        answer = failed(f"{type(error).__name__}: {error}")
    done(Verdict(*answer))


class Batches(Generic[Item, Answer]):
    """A model's function over batches, asked for one item at a time: what comes together goes together, at most `size`
    at once, one call after the other. An item whose batch raises is asked again alone, so that it costs nobody else
    their answer; who waits longer than `deadline_s` for the call that holds it gets TimeoutError."""

    def __init__(self, model: Callable[[Sequence[Item]], Sequence[Answer]], size: int, deadline_s: float) -> None:
        self._model, self._size, self._deadline_s = model, size, deadline_s
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._inbox: SimpleQueue[tuple[Sequence[Item], asyncio.Future[Sequence[Answer]]]] = SimpleQueue()
        self._dealer: asyncio.Task[None] | None = None

    async def ask(self, item: Item) -> Answer:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((item, answer))
        if self._dealer is None or self._dealer.done():
            self._dealer = loop.create_task(self._deal())
        return await answer

    async def _deal(self) -> None:
        await asyncio.sleep(0.005)  # those that were submitted together
        while self._waiting:
            batch, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
            try:
                answers = await self._call([item for item, _ in batch])
            except Exception as error:  # isolation boundary: a model
                if len(batch) == 1 or isinstance(error, TimeoutError):
                    _settle(batch, [error] * len(batch))
                    continue
                answers = [await self._alone(item) for item, _ in batch]
            _settle(batch, answers)

    async def _alone(self, item: Item) -> Answer | Exception:
        try:
            return (await self._call([item]))[0]
        except Exception as error:  # isolation boundary: a model
            return error

    async def _call(self, items: Sequence[Item]) -> Sequence[Answer]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Sequence[Answer]] = loop.create_future()
        if not hasattr(self, "_thread"):
            self._thread = threading.Thread(target=self._work, args=(loop,), name="served model", daemon=True)
            self._thread.start()
        self._inbox.put((items, done))
        try:
            answers = await asyncio.wait_for(done, self._deadline_s)
        except TimeoutError:
            raise TimeoutError(f"the served model did not answer within {self._deadline_s:g} s") from None
        if len(answers) != len(items):
            raise ValueError(f"the served model gave {len(answers)} answers to {len(items)} questions")
        return answers

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """A thread of its own that nobody joins: a model that hangs must not keep the command from ending."""
        while True:
            items, done = self._inbox.get()
            if done.cancelled():
                continue
            try:
                result: Any = self._model(items)
            except Exception as error:  # isolation boundary: a model
                result = error
            if loop.is_closed():
                return
            loop.call_soon_threadsafe(_resolve, done, result)


def _settle(batch: Sequence[tuple[Any, asyncio.Future[Any]]], answers: Sequence[Any]) -> None:
    for (_, future), answer in zip(batch, answers, strict=True):
        _resolve(future, answer)


def _resolve(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
