"""Simulates reinforcement learning that runs ahead, by discrete events: engines that write samples, a trainer that
learns from them step by step, and verifiers between the two.

The rule is that of `rlvr.max_lag`. Groups are drawn, and trained on, in one order. While step s (from 1) is waited for or
trained on, at most (s + max_lag) × prompts_per_step groups have been drawn. Nothing is dropped. After the update the engines
take the new weights between two of their steps, and read again what their running samples have written so far.

Between two events all engines step alike, so the time of many steps is one formula: a run of thousands of samples takes less than
a second.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Lengths = Callable[[int], Sequence[int]]
"""Number of a group, from 0 -> the tokens that each of its samples will have."""


@dataclass(frozen=True)
class EngineTimes:
    """Seconds of one engine. A step writes one token of every running sample."""

    step_s: float
    """Seconds of a step, whatever runs."""
    sample_s: float = 0.0
    """Additional seconds of a step for each running sample."""
    token_s: float = 0.0
    """Additional seconds of a step for each token in the cache of the running samples."""
    read_s: float = 0.0
    """Seconds to read a token of a prompt, or of a running sample whose cache was discarded."""
    swap_s: float = 0.0
    """Seconds to take new weights."""
    slots: int = 256
    """Most samples at once."""

    def of(self, steps: int, samples: int, tokens: int) -> float:
        """Return the seconds of so many steps of `samples` samples, which have `tokens` tokens before the first."""
        # Each step adds a token to each sample: the cache grows by `samples` a step.
        cached = steps * tokens + samples * steps * (steps - 1) / 2
        return steps * (self.step_s + self.sample_s * samples) + self.token_s * cached


@dataclass(frozen=True)
class Setting:
    """Engines, trainers and samples of a simulated stage."""

    engines: int
    engine: EngineTimes
    train_s: Callable[[Sequence[int]], float]
    """Function from the tokens of each sample of a step, without prompts, to the seconds of its logprobs and
    updates."""
    transfer_s: float
    """Seconds from the end of an update until the engines may take the weights."""
    prompts_per_step: int
    samples_per_prompt: int
    lengths: Lengths
    prompt_tokens: int = 0
    max_lag: int = 0
    shared: bool = False
    """True if engines and trainer have the same devices and work in turns."""
    verify_s: float = 0.0
    """Seconds of judging a sample."""
    verifiers: int = 1_000_000
    """Number of samples that are judged at once."""


@dataclass(frozen=True)
class Result:
    """Times of a simulated run, over its steps after the warm-up."""

    samples_per_s: float
    training: float
    """Share of the time in which the trainer works."""
    transferring: float
    """Share of the time in which new weights are on their way."""
    waiting: float
    """Share of the time in which the trainer waits for samples."""
    queueing: float
    """Share of the time in which it waits while samples wait for a free place in an engine."""
    occupancy: float
    """Mean number of samples that run, as a share of all engines' slots."""
    staleness: float
    """Mean over samples of the versions between the weights that began a sample and those that it trained."""
    most_stale: int
    ends: tuple[float, ...] = field(repr=False)
    """Seconds at which each step ended, from the first on."""


@dataclass(slots=True)
class _Engine:
    """State of an engine: what runs, up to the step that it has just finished."""

    clock: float = 0.0
    steps: int = 0
    tokens: int = 0
    """Number of tokens in the cache."""
    running: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Heap of (step after which it ends, sample)."""
    stamp: int = 0
    """Stamp of its next event; events with an older stamp are void."""


def simulate(setting: Setting, steps: int, warmup: int = 0) -> Result:
    """Return what `steps` steps take after `warmup` others."""
    return _Simulation(setting, warmup).run(warmup + steps)


class _Simulation:
    """The state of a run. Samples are numbered in draw order, and so belong to groups and steps by division."""

    def __init__(self, setting: Setting, warmup: int) -> None:
        self.setting, self.warmup = setting, warmup
        self.engines = [_Engine() for _ in range(setting.engines)]
        self.queue: deque[int] = deque()
        self.lengths: list[int] = []
        self.version_of: list[int] = []
        self.events: list[tuple[float, int, int, int]] = []
        """(seconds, kind, number, stamp)"""
        self.per_step = setting.prompts_per_step * setting.samples_per_prompt
        self.missing: dict[int, int] = {}
        """Samples of a step that are not yet judged."""
        self.judging: list[float] = []
        """Times at which each busy verifier is free again, as a heap."""
        self.step = 1
        self.version = 0
        self.ends: list[float] = []
        self.shares = {"training": 0.0, "transferring": 0.0, "waiting": 0.0, "queueing": 0.0, "occupied": 0.0}
        self.train_s = 0.0
        self.wait_began = 0.0
        self.queueing_since: float | None = None
        self.queued_s = 0.0

    # The run

    ENGINE, JUDGED, TRAINED = range(3)

    def run(self, steps: int) -> Result:
        start = 0.0
        self.draw(0.0)
        while len(self.ends) < steps:
            seconds, kind, number, stamp = heapq.heappop(self.events)
            if kind == self.ENGINE and self.engines[number].stamp == stamp:
                self.finish_samples(number, seconds)
            elif kind == self.JUDGED:
                self.judge(number, seconds)
            elif kind == self.TRAINED:
                self.publish(seconds)
                if len(self.ends) == self.warmup:
                    start, self.shares = seconds, dict.fromkeys(self.shares, 0.0)
        return self.result(start)

    def result(self, start: float) -> Result:
        elapsed, setting = self.ends[-1] - start, self.setting
        counted = range(self.warmup * self.per_step, len(self.ends) * self.per_step)
        stale = [sample // self.per_step - self.version_of[sample] for sample in counted]
        return Result(
            len(counted) / elapsed,
            **{name: self.shares[name] / elapsed for name in ("training", "transferring", "waiting", "queueing")},
            occupancy=self.shares["occupied"] / (elapsed * setting.engines * setting.engine.slots),
            staleness=sum(stale) / len(stale),
            most_stale=max(stale),
            ends=tuple(self.ends),
        )

    def draw(self, now: float) -> None:
        """Draw what the rule allows, and give it to the engines."""
        setting = self.setting
        most = (self.step + setting.max_lag) * self.per_step
        while len(self.lengths) < most:
            group = self.setting.lengths(len(self.lengths) // setting.samples_per_prompt)
            self.queue.extend(range(len(self.lengths), len(self.lengths) + len(group)))
            self.lengths += group
            self.version_of += [self.version] * len(group)
        self.missing.setdefault(self.step, self.per_step)
        for later in range(self.step, self.step + setting.max_lag + 1):
            self.missing.setdefault(later, self.per_step)
        self.feed(now)

    # Engines

    def feed(self, now: float) -> None:
        """Give waiting samples, in draw order, to the engines that run the fewest."""
        changed: set[int] = set()
        places = [(len(engine.running), i) for i, engine in enumerate(self.engines)]
        heapq.heapify(places)
        while self.queue and places[0][0] < self.setting.engine.slots:
            count, i = places[0]
            if i not in changed:
                self.advance(self.engines[i], now)
                changed.add(i)
            self.begin(self.engines[i], self.queue.popleft())
            heapq.heapreplace(places, (count + 1, i))
        self.watch_queue(now)
        for i in changed:
            self.schedule(i)

    def begin(self, engine: _Engine, sample: int) -> None:
        engine.clock += self.setting.prompt_tokens * self.setting.engine.read_s
        engine.tokens += self.setting.prompt_tokens
        self.version_of[sample] = self.version  # a sample that waited in the queue begins with the newest weights
        heapq.heappush(engine.running, (engine.steps + self.lengths[sample], sample))

    def advance(self, engine: _Engine, now: float) -> None:
        """Step the engine until `now` or later: to the end of the step that is under way then."""
        if not engine.running:
            engine.clock = max(engine.clock, now)
            return
        times, count = self.setting.engine, len(engine.running)
        most = engine.running[0][0] - engine.steps
        steps = 0
        if engine.clock < now:
            low, high = 0, most  # the fewest steps that reach `now`
            while low < high:
                middle = (low + high) // 2
                if engine.clock + times.of(middle, count, engine.tokens) < now:
                    low = middle + 1
                else:
                    high = middle
            steps = low
        self.take_steps(engine, steps)

    def take_steps(self, engine: _Engine, steps: int) -> None:
        count = len(engine.running)
        seconds = self.setting.engine.of(steps, count, engine.tokens)
        self.shares["occupied"] += count * seconds
        engine.clock += seconds
        engine.steps += steps
        engine.tokens += count * steps

    def schedule(self, i: int) -> None:
        """Add an event for the end of the engine's next sample; its earlier event becomes void."""
        engine = self.engines[i]
        engine.stamp += 1
        if engine.running:
            steps = engine.running[0][0] - engine.steps
            ends = engine.clock + self.setting.engine.of(steps, len(engine.running), engine.tokens)
            heapq.heappush(self.events, (ends, self.ENGINE, i, engine.stamp))

    def finish_samples(self, i: int, now: float) -> None:
        """End the samples whose last token is written, and begin waiting ones in their places."""
        engine = self.engines[i]
        self.take_steps(engine, engine.running[0][0] - engine.steps)
        while engine.running and engine.running[0][0] <= engine.steps:
            _, sample = heapq.heappop(engine.running)
            engine.tokens -= self.lengths[sample] + self.setting.prompt_tokens
            self.hand_in(sample, now)
            if self.queue:
                self.begin(engine, self.queue.popleft())
        self.watch_queue(now)
        self.schedule(i)

    # Verifiers

    def hand_in(self, sample: int, now: float) -> None:
        """Let the first free verifier judge the sample."""
        free = heapq.heappop(self.judging) if len(self.judging) >= self.setting.verifiers else now
        judged = max(free, now) + self.setting.verify_s
        if self.setting.verify_s:
            heapq.heappush(self.judging, judged)
        heapq.heappush(self.events, (judged, self.JUDGED, sample, 0))

    def judge(self, sample: int, now: float) -> None:
        step = sample // self.per_step + 1
        self.missing[step] -= 1
        if step == self.step and not self.missing[step]:
            self.train(now)

    # The trainer

    def train(self, now: float) -> None:
        """Train on the step's samples, whose last has just been judged."""
        self.close_wait(now)
        first = (self.step - 1) * self.per_step
        train_s = self.setting.train_s(self.lengths[first : first + self.per_step])
        begins = now
        if self.setting.shared:
            for engine in self.engines:
                self.advance(engine, now)
                engine.stamp += 1
            begins = max([now, *(engine.clock for engine in self.engines if engine.running)])
        self.train_s = train_s
        heapq.heappush(self.events, (begins + train_s + self.setting.transfer_s, self.TRAINED, self.step, 0))

    def publish(self, now: float) -> None:
        """End the step: the engines take its weights, and more groups are drawn."""
        times = self.setting.engine
        self.ends.append(now)
        self.shares["training"] += self.train_s
        self.shares["transferring"] += self.setting.transfer_s
        del self.missing[self.step]
        self.version, self.step = self.step, self.step + 1
        for i, engine in enumerate(self.engines):
            if self.setting.shared:
                engine.clock = max(engine.clock, now)
            else:
                self.advance(engine, now)
            engine.clock += times.swap_s + engine.tokens * times.read_s
            self.schedule(i)
        self.wait_began = now
        self.queued_s, self.queueing_since = 0.0, now if self.queue else None
        self.draw(now)
        if not self.missing[self.step]:
            self.train(now)

    # What is counted

    def watch_queue(self, now: float) -> None:
        """Count the time in which samples wait for a place."""
        if self.queue and self.queueing_since is None:
            self.queueing_since = now
        elif not self.queue and self.queueing_since is not None:
            self.queued_s += now - self.queueing_since
            self.queueing_since = None

    def close_wait(self, now: float) -> None:
        if self.queueing_since is not None:
            self.queued_s += now - self.queueing_since
            self.queueing_since = None
        self.shares["waiting"] += now - self.wait_began
        self.shares["queueing"] += self.queued_s
        self.queued_s = 0.0


def even_share(lengths: Sequence[int], parts: int) -> int:
    """Return the most that one part holds where each length, the longest first, goes to the part that holds the least."""
    loads = [0] * min(parts, max(1, len(lengths)))
    for length in sorted(lengths, reverse=True):
        heapq.heapreplace(loads, loads[0] + length)
    return max(loads)


def quantiles(mean: float, spread: float, longest: int, count: int) -> list[int]:
    """Return lengths of a lognormal distribution at `count` even quantiles: `spread` is the deviation of the logarithm, what is
    longer than `longest` is cut there, and the mean after that is `mean`."""
    from statistics import NormalDist

    scores = [NormalDist().inv_cdf((i + 0.5) / count) for i in range(count)]
    low, high = 0.0, math.log(longest) + 4 * spread
    for _ in range(60):  # the mean grows with the location
        middle = (low + high) / 2
        average = sum(min(math.exp(middle + spread * z), longest) for z in scores) / count
        low, high = (middle, high) if average < mean else (low, middle)
    return [max(1, round(min(math.exp(low + spread * z), longest))) for z in scores]
