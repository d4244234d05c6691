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
"""What may have dropped a prompt, beside a control."""
Row = dict[str, Any]
"""A row of a difficulty file: id, correct, k, keep, verdicts, fingerprint, dropped_by (difficulty, least or a control; empty where the
prompt is kept), and for each control how many answers are right without the sound (`silenced`) of how many (`silenced_k`)."""


@dataclass
class FilterConfig(SamplingConfig):
    """Settings of a filter of prompts."""

    keep: tuple[int, int] = (3, 6)
    """Fewest and most right answers of `samples`."""
    least: dict[str, float] = field(default_factory=dict[str, float])
    """Least mean of parts of the verdict over a prompt's samples, such as `{grounding: 0.3}`."""
    controls: dict[str, ControlTest] = field(default_factory=dict[str, ControlTest])
    """Drop prompts that are right more often than by chance with their sound taken away: `{silenced: {}}`. Asked of those
    alone that the rest of the filter keeps; prompts without sound pass."""

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
    """Return one row a prompt. A prompt with errored samples has fewer than `samples` verdicts and is not kept: its difficulty is not known."""
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
        empty_counts = {column: None for name in config.controls for column in (name, f"{name}_k")}
        rows.append({**row, "fingerprint": fingerprint, "dropped_by": dropped_by, **empty_counts})
    return rows


def is_medium(correct: int, k: int, config: FilterConfig) -> bool:
    """Return whether all samples of a prompt were judged, and as many are right as `keep` says."""
    return k == config.samples and config.keep[0] <= correct <= config.keep[1]


def _mean_part(group: Sequence[Scored], part: str) -> float:
    """Return the mean of a part of the verdict; a sample without it counts 0."""
    return sum(sample.verdict.parts.get(part, 0.0) for sample in group) / len(group)


def drop_right_by_text(
    name: str, rows: Sequence[Row], right: Mapping[str, Sequence[bool]], chances: Mapping[str, float], level: float
) -> None:
    """Write into the rows how many answers were right under the control `name`, and drop those whose count chance explains in
    at most `level` of cases."""
    for row in rows:
        if row["id"] not in right:
            continue
        verdicts = right[row["id"]]
        row[name], row[f"{name}_k"] = sum(verdicts), len(verdicts)
        if verdicts and tail(sum(verdicts), len(verdicts), chances[row["id"]]) <= level:
            row["keep"], row["dropped_by"] = False, name


def funnel(rows: Sequence[Row], config: FilterConfig) -> dict[str, int]:
    """Return how many prompts are left after each step of a filter that has more than the difficulty."""
    left, steps = len(rows), dict[str, int]()
    names = [DIFFICULTY, *([LEAST] if config.least else []), *config.controls]
    if len(names) == 1:
        return {}
    titles = {DIFFICULTY: "medium", LEAST: f"enough {', '.join(config.least)}"}
    for name in names:
        left -= sum(row.get("dropped_by") == name for row in rows)
        steps[titles.get(name, f"not right {name}")] = left
    return steps


def control_metrics(rows: Sequence[Row], config: FilterConfig) -> dict[str, float]:
    """Return for each control the accuracy without the sound, and how many prompts it dropped."""
    metrics: dict[str, float] = {}
    for name in config.controls:
        rows_with_control = [row for row in rows if row.get(f"{name}_k")]
        answers = sum(row[f"{name}_k"] for row in rows_with_control)
        metrics[f"dropped_{name}"] = float(sum(row["dropped_by"] == name for row in rows))
        if answers:
            metrics[f"accuracy_{name}"] = sum(row[name] for row in rows_with_control) / answers
    return metrics


def describe_drops(rows: Sequence[Row], config: FilterConfig) -> str:
    """Return what the later steps of the filter dropped: `; dropped 3 by least, 12 right silenced`."""
    words = [f"{sum(row.get('dropped_by') == LEAST for row in rows)} by least"] if config.least else []
    words += [f"{sum(row.get('dropped_by') == name for row in rows)} right {name}" for name in config.controls]
    return f"; dropped {', '.join(words)}" if words else ""
