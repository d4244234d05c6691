"""Scores a stream of rollouts while it still flows, and measures scored samples."""

from __future__ import annotations

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rewards.contract import OVER_DEADLINE
from rl.audio import fingerprint
from rl.types import Prompt, Rollout, Scored

if TYPE_CHECKING:
    from rewards.service import RewardService


Receive = Callable[[Scored], None]
MOST_SOURCES = 12
"""Sources up to which their rewards are told one by one."""


class Scorer:
    """Hands each sample to the verifiers the moment it ends, so that judging overlaps generation."""

    def __init__(self, rewards: RewardService) -> None:
        self.rewards = rewards
        # By the rollout's identity, with the rollout, whose identity would be another's once it is gone.
        self._receivers: dict[int, tuple[Rollout, Receive]] = {}
        self.seconds: dict[str, float] = defaultdict(float)
        """Seconds since it was last cleared: `generate` until streams ended, `verify` waiting for verdicts after that."""

    def collect(self, stream: Iterable[list[Rollout]]) -> list[Scored]:
        """Return all samples of the stream, scored, samples of a prompt together in their order: nothing in the result
        depends on who finished first. Raises ValueError when too many verifiers err."""
        scored = [sample for batch in self.stream(stream) for sample in batch]
        self.rewards.check_errors()
        return sorted(scored, key=lambda s: (s.rollout.prompt.id, s.rollout.sample))

    def submit(self, rollouts: Sequence[Rollout], receive: Receive) -> None:
        """Have samples judged in the background; `receive` is given each by a later `deliver`."""
        for rollout in rollouts:
            self._receivers[id(rollout)] = rollout, receive
            self.rewards.submit(rollout)

    def deliver(self, timeout_s: float = 0.0) -> None:
        """Hand the samples that are judged to their receivers; wait up to `timeout_s` for one if there is none."""
        for scored in self.rewards.take_finished(timeout_s):
            _, receive = self._receivers.pop(id(scored.rollout))
            receive(scored)

    def stream(self, rollouts: Iterable[list[Rollout]]) -> Iterator[list[Scored]]:
        """Yield the samples of the stream as they are judged. Samples that somebody else waits for are judged on meanwhile."""
        start, pending, judged = time.monotonic(), 0, list[Scored]()
        for group in rollouts:
            self.submit(group, judged.append)
            pending += len(group)
            self.deliver()
            if judged:
                # Emptied in place: `append` of this very list is what the other samples' verdicts go to.
                batch, judged[:] = list(judged), []
                pending -= len(batch)
                yield batch
        end_of_generation = time.monotonic()
        while pending:
            self.deliver(1.0)
            if judged:
                batch, judged[:] = list(judged), []
                pending -= len(batch)
                yield batch
        self.seconds["generate"] += end_of_generation - start
        self.seconds["verify"] += time.monotonic() - end_of_generation


def digest(prompt: Prompt) -> str:
    """Return a digest of what is asked and what is right: messages, sound and answer, whatever the prompt's id."""
    turns = [[message.role, message.content] for message in prompt.messages]
    question = json.dumps([turns, [fingerprint(clip) for clip in (*prompt.clips, *prompt.later)], prompt.answer])
    return hashlib.sha256(question.encode()).hexdigest()[:16]


def is_correct(scored: Scored) -> bool:
    """Return whether the sample got its answer right, whatever else its score rewards."""
    from rewards.combine import correct

    return correct(scored.verdict)


def by_prompt(scored: Sequence[Scored]) -> dict[str, list[Scored]]:
    """Return {prompt id: its samples with a verdict}; a prompt whose samples all erred has an empty list."""
    groups: dict[str, list[Scored]] = {s.rollout.prompt.id: [] for s in scored}
    for s in scored:
        if s.verdict.error is None:
            groups[s.rollout.prompt.id].append(s)
    return groups


def sample_metrics(*draws: Sequence[Scored]) -> dict[str, float]:
    """Return reward, parts (without second opinions), lengths and failures over the samples of all draws; a prompt drawn
    twice is two groups. Errored samples have no score; they are counted, as are those that were too slow to judge and
    scored 0."""
    from rewards.combine import is_over_deadline
    from rewards.watch import WATCH
    from rollouts.environments.metrics import exchange_metrics

    scored = [s for draw in draws for s in draw]
    with_verdict = [s for s in scored if s.verdict.error is None]
    lengths = np.array([s.rollout.action_mask.sum() for s in scored])
    parts: dict[str, list[float]] = defaultdict(list)
    for s in with_verdict:
        for name, value in s.verdict.parts.items():
            # those over a deadline are counted below: the part is there only where it is 1
            if not name.endswith(f"/{OVER_DEADLINE}") and not name.startswith(f"{WATCH}/"):
                parts[name].append(value)
    groups = [[s.verdict.score for s in group] for draw in draws for group in by_prompt(draw).values() if group]
    return {
        # NaN and not 0 where nothing could be judged: the tracker leaves it out of the step's record.
        "reward": float(np.mean([s.verdict.score for s in with_verdict])) if with_verdict else float("nan"),
        **{f"part/{name}": float(np.mean(values)) for name, values in sorted(parts.items())},
        "length/mean": float(lengths.mean()),
        "length/max": float(lengths.max()),
        "truncation_rate": float(np.mean([s.rollout.truncated for s in scored])),
        "zero_variance_groups": float(np.mean([len(set(scores)) == 1 for scores in groups])) if groups else 0.0,
        "verifier_errors": float(len(scored) - len(with_verdict)),
        "verifier_timeouts": float(sum(is_over_deadline(s.verdict) for s in scored)),
        **exchange_metrics([s.rollout for s in scored]),
    }


def source_metrics(scored: Sequence[Scored]) -> dict[str, float]:
    """Return for each source of a mixture how many of its samples have a verdict (`samples/SOURCE`) and their mean reward
    (`reward/SOURCE`). Nothing for a single source, or for more than MOST_SOURCES."""
    # Every source from the start, so that one whose samples all erred is told of, with 0 samples.
    rewards: dict[str, list[float]] = {s.rollout.prompt.source: [] for s in scored}
    if not 1 < len(rewards) <= MOST_SOURCES:
        return {}
    for s in scored:
        if s.verdict.error is None:
            rewards[s.rollout.prompt.source].append(s.verdict.score)
    metrics: dict[str, float] = {}
    for source, scores in sorted(rewards.items()):
        metrics[f"samples/{source}"] = float(len(scores))
        if scores:
            metrics[f"reward/{source}"] = float(np.mean(scores))
    return metrics


def part_metrics(scored: Sequence[Scored]) -> dict[str, float]:
    """Return the mean over prompts of every part of the verdict but `accuracy`, as `part/NAME`, with intervals; over the samples
    that it judges, whatever it weighs."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for s in scored:
        for name, value in s.verdict.parts.items():
            # Without inner scores, which need not lie between 0 and 1, and without second opinions (`watch/NAME`).
            if s.verdict.error is None and "/" not in name and name != "accuracy":
                values[name][s.rollout.prompt.id].append(value)
    metrics: dict[str, float] = {}
    for name, of_prompt in sorted(values.items()):
        metrics |= with_interval(f"part/{name}", [float(np.mean(numbers)) for numbers in of_prompt.values()])
    return metrics


def chain_metrics(scored: Sequence[Scored]) -> dict[str, float]:
    """Return what chains rest on, with intervals, where parts of the verdict are named after the verifiers that judge it:
    `grounding`; `claims_true`, of the claims that could be checked; `surrogate_rate`, of the chains those that reason
    from a text; and of all answers the `denial_rate` of those that claim not to hear."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for s in scored:
        parts, prompt = s.verdict.parts, s.rollout.prompt.id
        if s.verdict.error is None and "grounding/checked" in parts:
            values["grounding"][prompt].append(parts["grounding"])
            # A chain without a claim that could be checked has no share of true ones; 0 would call it false.
            if count := parts["grounding/checked"]:
                values["claims_true"][prompt].append(parts["grounding/true"] / count)
            if s.rollout.reasoning:
                values["surrogate_rate"][prompt].append(float(parts["grounding/surrogates"] > 0))
        if s.verdict.error is None and "self_cognition" in parts:
            values["denial_rate"][prompt].append(float(parts["self_cognition"] < 1))
    metrics: dict[str, float] = {}
    for name, of_prompt in values.items():
        metrics |= with_interval(name, [float(np.mean(numbers)) for numbers in of_prompt.values()])
    return metrics


def with_interval(name: str, per_prompt: Sequence[float]) -> dict[str, float]:
    """Return the mean over prompts as `name`, its 95 % bootstrap interval as `name/low` and `name/high`."""
    from rl.run.metrics import bootstrap_interval

    mean, low, high = bootstrap_interval(np.asarray(per_prompt, dtype=float))
    return {name: mean, f"{name}/low": low, f"{name}/high": high}
