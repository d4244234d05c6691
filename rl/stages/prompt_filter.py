"""The filter of `curate`, step by step: prompts of medium difficulty, with chains that are good enough, that must be heard.

Each step only drops; a row of the difficulty file says which one dropped it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rl.config import ConfigError, did_you_mean
from rl.data.controls import CONTROLS
from rl.stages.audio_contribution import ControlTest, describe_power, tail
from rl.stages.settings import SamplingConfig, check_least

if TYPE_CHECKING:
    from rl.types import Scored

DIFFICULTY, LEAST = "difficulty", "least"
"""Reasons, beside a control, for which a prompt is dropped."""
UNKNOWN = "_unknown"
"""After a control's name: it had too few verdicts on the prompt to tell."""
Row = dict[str, Any]
"""A row of a difficulty file: id, correct, k, keep, verdicts, fingerprint, dropped_by (difficulty, least, a control, or
a control and `_unknown`; empty where the prompt is kept), and for each control how many answers are right without the
sound (`silenced`) of how many (`silenced_k`)."""


@dataclass
class FilterConfig(SamplingConfig):
    """Settings of a filter of prompts."""

    keep: tuple[int, int] = (3, 6)
    """Fewest and most right answers of `samples`."""
    least: dict[str, float] = field(default_factory=dict[str, float])
    """Least mean of parts of the verdict over a prompt's samples, such as `{grounding: 0.3}`."""
    controls: dict[str, ControlTest] = field(default_factory=dict[str, ControlTest])
    """Drop prompts that are right more often than by chance with their sound taken away: `{silenced: {}}`. Asked of those
    alone that the rest of the filter keeps; prompts without sound pass. Those on which it has too few verdicts are dropped
    too: answers that erred, or no other prompt to swap the sound with."""

    def validate(self, place: str) -> None:
        super().validate(place)
        check_least(self.least, f"{place}.least")
        for name in self.controls:
            if name not in CONTROLS:
                raise ConfigError(f"{place}.controls: no control '{name}'{did_you_mean(name, CONTROLS)}")
        low, high = self.keep
        if not 0 <= low <= high <= self.samples:
            raise ConfigError(f"{place}.keep: [{low}, {high}] must lie within 0 and samples ({self.samples})")

    @property
    def named_parts(self) -> Mapping[str, Sequence[str]]:
        return {"least": [*self.least]}

    def control_samples(self, name: str) -> int:
        """Return how many answers of each prompt a control takes."""
        return self.controls[name].samples or self.samples

    def notes(self, place: str, rows: int | None) -> list[str]:
        return [
            line
            for name, test in self.controls.items()
            for line in describe_power(test, self.control_samples(name), f"{place}.controls.{name}")
        ]


def judge_difficulty(scored: Sequence[Scored], config: FilterConfig, fingerprint: str) -> list[Row]:
    """Return one row a prompt. A prompt with errored samples has fewer than `samples` verdicts and is not kept: its
    difficulty is not known."""
    from rl.stages.scoring import by_prompt, is_correct

    rows: list[Row] = []
    for id, group in by_prompt(scored).items():
        verdicts = [is_correct(s) for s in group]
        correct, k = sum(verdicts), len(verdicts)
        dropped_by = ""
        if not is_medium(correct, k, config):
            dropped_by = DIFFICULTY
        elif not all(_mean_part(group, part) >= value for part, value in config.least.items()):
            dropped_by = LEAST
        row = {"id": id, "correct": correct, "k": k, "keep": not dropped_by, "verdicts": verdicts}
        # In every row, also those that no control will test: a table takes its columns from the first one.
        empty_counts = {column: None for name in config.controls for column in (name, f"{name}_k")}
        rows.append({**row, "fingerprint": fingerprint, "dropped_by": dropped_by, **empty_counts})
    return rows


def is_medium(correct: int, k: int, config: FilterConfig) -> bool:
    """Return whether all samples of a prompt were judged, and as many are right as `keep` says."""
    return k == config.samples and config.keep[0] <= correct <= config.keep[1]


def _mean_part(group: Sequence[Scored], part: str) -> float:
    """Return the mean of a part of the verdict; a sample without it counts 0."""
    return sum(sample.verdict.parts.get(part, 0.0) for sample in group) / len(group)


def apply_control(
    name: str,
    rows: Sequence[Row],
    right: Mapping[str, Sequence[bool]],
    chances: Mapping[str, float],
    level: float,
    samples: int,
) -> None:
    """Write into the rows of the prompts in `chances`, all that the control `name` has to test, how many answers were right
    under it, and drop those whose count chance explains in at most `level` of cases, and those with too few verdicts for
    the test: a prompt that was never tested is not known to need its sound."""
    for row in rows:
        if row["id"] not in chances:
            continue
        verdicts, chance = right.get(row["id"], ()), chances[row["id"]]
        if row["id"] in right:
            row[name], row[f"{name}_k"] = sum(verdicts), len(verdicts)
        # The test goes first: a few verdicts that are nearly all right suffice, though others have erred.
        if verdicts and tail(sum(verdicts), len(verdicts), chance) <= level:
            row["keep"], row["dropped_by"] = False, name
        elif len(verdicts) < verdicts_needed(samples, chance, level):
            row["keep"], row["dropped_by"] = False, f"{name}{UNKNOWN}"


def verdicts_needed(samples: int, chance: float, level: float) -> int:
    """Return the fewest verdicts by which a control of so many samples can drop a prompt; all of them where it never can."""
    # All n right is the strongest evidence that n verdicts can give; chance explains it with probability chance^n.
    return next((n for n in range(1, samples) if chance**n <= level), samples)


def funnel(rows: Sequence[Row], config: FilterConfig) -> dict[str, int]:
    """Return how many prompts are left after each step of a filter that has more than the difficulty; the step `tested` only
    where a control had too few verdicts on some."""
    left, steps = len(rows), dict[str, int]()
    if not (config.least or config.controls):
        return {}
    # In the order of the steps: a title's number is what is left behind its step.
    titles = {DIFFICULTY: "medium"} | ({LEAST: f"enough {', '.join(config.least)}"} if config.least else {})
    for name in config.controls:
        if count_dropped(rows, f"{name}{UNKNOWN}"):
            titles[f"{name}{UNKNOWN}"] = f"tested {name}"
        titles[name] = f"not right {name}"
    for name, title in titles.items():
        left -= count_dropped(rows, name)
        steps[title] = left
    return steps


def count_dropped(rows: Sequence[Row], name: str) -> int:
    """Return how many prompts a step of the filter dropped."""
    return sum(row.get("dropped_by") == name for row in rows)


def control_metrics(rows: Sequence[Row], config: FilterConfig) -> dict[str, float]:
    """Return for each control the accuracy without the sound, and how many prompts it dropped, found or not tested."""
    metrics: dict[str, float] = {}
    for name in config.controls:
        rows_with_control = [row for row in rows if row.get(f"{name}_k")]
        answers = sum(row[f"{name}_k"] for row in rows_with_control)
        for step in (name, f"{name}{UNKNOWN}"):
            metrics[f"dropped_{step}"] = float(count_dropped(rows, step))
        if answers:
            metrics[f"accuracy_{name}"] = sum(row[name] for row in rows_with_control) / answers
    return metrics


def describe_drops(rows: Sequence[Row], config: FilterConfig) -> str:
    """Return what the later steps of the filter dropped: `; dropped 3 by least, 12 right silenced`."""
    words = [f"{count_dropped(rows, LEAST)} by least"] if config.least else []
    for name in config.controls:
        words.append(f"{count_dropped(rows, name)} right {name}")
        if untested := count_dropped(rows, f"{name}{UNKNOWN}"):
            words.append(f"{untested} not tested {name}")
    return f"; dropped {', '.join(words)}" if words else ""
