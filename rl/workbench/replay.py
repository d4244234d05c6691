"""Replay: judges a finished run's rollouts again with another reward and compares. No model is needed."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any  # Any: rows of parquet files and recipes, whose columns are read by name

from rewards.combine import RewardConfig
from rewards.service import RewardService
from rl import terminal
from rl.config import ConfigError, build, read_yaml, resolve
from rl.data.arrow import parquet_columns, read_columns
from rl.exchange.verl_dump import is_dump, replay_rows
from rl.messages import Exchange
from rl.report.samples import ROLLOUT_COLUMNS
from rl.run.exchanges import read_exchanges
from rl.run.tracker import rollout_files
from rl.types import Message, Prompt, Rollout, Verdict
from rl.workbench.recorded_prompts import read_prompts

Row = dict[str, Any]
"""A row of a rollout file."""

Score = float | None
"""Score of a sample; None where it could not be judged."""


@dataclass(frozen=True, slots=True)
class ReplayedSample:
    """One recorded sample with its score in the run and its verdict now."""

    stage: str
    step: int
    rollout: Rollout
    old_score: Score
    old_parts: dict[str, float]
    verdict: Verdict
    """The verdict of the new reward."""

    @property
    def new_score(self) -> Score:
        """Score by the new reward."""
        return None if self.verdict.error is not None else self.verdict.score

    @property
    def change(self) -> float:
        """New score less the old one; 0 where either is missing."""
        if self.old_score is None or self.new_score is None:
            return 0.0
        return round(self.new_score - self.old_score, 9)  # two roundings of one score are no change


def load_reward(spec: str) -> tuple[RewardConfig, Path]:
    """Return the reward that `--with` names (a verifier, or a YAML file that is a reward or a recipe with one) and the
    folder in which its verifiers are looked up. Raises ConfigError."""
    if not spec.endswith((".yaml", ".yml")):
        return build(RewardConfig, {"parts": [{"verifier": spec}]}, "reward"), Path.cwd()
    path = Path(spec)
    if not os.path.isfile(path):
        raise ConfigError(f"--with: no such file: {path}; correct the path")
    values = resolve(read_yaml(path), str(path))
    if not isinstance(values, dict):  # pyright: ignore[reportUnnecessaryIsInstance]  # a list or a text resolves to itself
        raise ConfigError(f"--with: {path} holds no reward; expected `parts:`, or a recipe with `reward:`")
    if "stages" in values or "extends" in values:
        from rl.recipe import load

        return load(path).header.reward, path.parent
    return build(RewardConfig, values.get("reward", values), "reward"), path.parent


def replay(
    run_dir: Path,
    config: RewardConfig,
    folder: Path,
    stage: str | None = None,
    steps: int | None = None,
    say: Callable[[str], None] = terminal.say,
) -> list[ReplayedSample]:
    """Judge the run's recorded samples again: all, or those of one `stage`, or of each stage's last `steps` steps. Raises
    ValueError for a directory without rollouts, and where the verifiers cannot be started or judge their own GOLD wrong."""
    rows, rollouts = recorded_samples(run_dir, stage, steps, say)
    with RewardService(config, folder) as service:
        for warning in service.check_verifiers():
            say(f"warning: {warning}")
        scored = service.score(rollouts)
    samples: list[ReplayedSample] = []
    for (name, step, row), new in zip(rows, scored, strict=True):
        parts = {
            column.removeprefix("part/"): v for column, v in row.items() if column.startswith("part/") and v is not None
        }
        samples.append(ReplayedSample(name, step, new.rollout, row["score"], parts, new.verdict))
    return samples


def recorded_samples(
    run_dir: Path, stage: str | None, steps: int | None, say: Callable[[str], None]
) -> tuple[list[tuple[str, int, Row]], list[Rollout]]:
    """Return ([(stage, step, row of the rollout file)], their rollouts), also of a folder of verl's samples. Raises ValueError
    for files that cannot be read."""
    if is_dump(run_dir):
        return replay_rows(run_dir, stage, steps)
    files = _files(run_dir, stage, steps)
    prompts = read_prompts(run_dir, {name for name, _, _ in files}, say)
    rows = [(name, step, row) for name, step, path in files for row in _read_rows(path, run_dir)]
    missing = sum(row["id"] not in prompts.get(name, {}) for name, _, row in rows)
    if missing:
        say(f"{missing} of {len(rows)} samples: their data cannot be read; judged without audio and further fields")
    return rows, [_rollout(row, prompts.get(name, {})) for name, _, row in rows]


def compare_means(samples: Sequence[ReplayedSample]) -> dict[str, tuple[Score, Score]]:
    """Return (old, new) means of the score and of each part, over the samples that have it; under `errors`, the (old, new)
    number of samples without a verdict."""
    old: dict[str, list[float]] = defaultdict(list)
    new: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        if sample.old_score is not None:
            old["score"].append(sample.old_score)
        if sample.new_score is not None:
            new["score"].append(sample.new_score)
        for name, value in sample.old_parts.items():
            old[f"part/{name}"].append(value)
        for name, value in sample.verdict.parts.items():
            new[f"part/{name}"].append(value)
    names = ["score", *sorted({*old, *new} - {"score"})]
    table = {name: (_mean(old.get(name)), _mean(new.get(name))) for name in names}
    errors = (float(sum(s.old_score is None for s in samples)), float(sum(s.new_score is None for s in samples)))
    return {**table, "errors": errors}


def compare_groups(samples: Sequence[ReplayedSample]) -> dict[str, float]:
    """Return what the new reward changes in the groups over which an advantage is taken; samples without a verdict are left
    out.

    `groups`: number of groups with more than one sample. `without_spread_before`, `without_spread_after`: groups whose
    scores are all equal, which teach nothing. `other_best`: groups in which no best sample stays a best one.
    `pairs_turned`: share of pairs whose order turns. `pairs_tied_or_untied`: share of pairs that become or leave a tie.
    """
    groups: dict[tuple[str, int, str], list[tuple[float, float]]] = defaultdict(list)
    for sample in samples:
        if sample.old_score is not None and sample.new_score is not None:
            scores = (sample.old_score, sample.new_score)
            groups[sample.stage, sample.step, sample.rollout.prompt.id].append(scores)
    several = [group for group in groups.values() if len(group) > 1]
    # the order of each pair, old and new: -1, 0 or 1
    pairs = [(_sign(a[0] - b[0]), _sign(a[1] - b[1])) for group in several for a, b in combinations(group, 2)]
    return {
        "groups": len(several),
        "without_spread_before": sum(len({old for old, _ in group}) == 1 for group in several),
        "without_spread_after": sum(len({new for _, new in group}) == 1 for group in several),
        "other_best": sum(_has_other_best(group) for group in several),
        "pairs_turned": _mean([float(old * new < 0) for old, new in pairs]) or 0.0,
        "pairs_tied_or_untied": _mean([float((old == 0) != (new == 0)) for old, new in pairs]) or 0.0,
    }


def largest_changes(samples: Sequence[ReplayedSample], limit: int) -> list[ReplayedSample]:
    """Return the samples whose score changes most, one of each prompt."""
    by_prompt: dict[str, ReplayedSample] = {}
    for sample in sorted((s for s in samples if s.change), key=lambda s: -abs(s.change)):
        by_prompt.setdefault(sample.rollout.prompt.id, sample)
    return list(by_prompt.values())[:limit]


def _files(run_dir: Path, stage: str | None, steps: int | None) -> list[tuple[str, int, Path]]:
    """Return (stage, step, file) of the rollouts to judge, in order. Raises ConfigError where there are none."""
    files = rollout_files(run_dir)
    if not files:
        raise ConfigError(f"{run_dir}: holds no rollouts; name the directory of a run that has sampled")
    if stage is not None and stage not in {name for name, _, _ in files}:
        raise ConfigError(
            f"--stage: '{stage}' left no rollouts; {', '.join(dict.fromkeys(n for n, _, _ in files))} did"
        )
    by_stage: dict[str, list[tuple[str, int, Path]]] = defaultdict(list)
    for file in files:
        if stage in (None, file[0]):
            by_stage[file[0]].append(file)
    return [file for stage_files in by_stage.values() for file in stage_files[-steps if steps else 0 :]]


def _read_rows(path: Path, run_dir: Path) -> list[Row]:
    """Return the rows of a rollout file, their exchanges read. Raises ValueError for a damaged one."""
    names = parquet_columns(path)
    kinds = {name: "number?" for name in names if name.startswith("part/")}
    if "exchanges" in names:
        kinds["exchanges"] = "text?"
    rows = read_columns(path, {**ROLLOUT_COLUMNS, "token_ids": "list", **kinds})
    for row in rows:
        try:
            row["exchanges"] = read_exchanges(row.get("exchanges"), run_dir, len(row["token_ids"]))
        except ValueError as error:
            raise ValueError(f"{path}: sample {row['sample']} of '{row['id']}' has {error}; write it again") from error
        if not 0 <= row["tokens"] <= len(row["token_ids"]) - _inserted(row["exchanges"]):
            raise ValueError(f"{path}: counts of tokens are out of range; write it again")
    return rows


def _inserted(exchanges: Sequence[Exchange]) -> int:
    """Return the number of tokens that an environment has put into a rollout."""
    return sum(exchange.end - exchange.start for exchange in exchanges)


def _rollout(row: Row, prompts: dict[str, Prompt]) -> Rollout:
    import numpy as np

    recorded_prompt = Prompt(row["id"], (Message("user", row["prompt"]),), row["answer"], row["source"])
    tokens = np.asarray(row["token_ids"], dtype=np.int64)
    exchanges: tuple[Exchange, ...] = row.get("exchanges", ())
    # All behind the prompt but what an environment has put in.
    action_mask = np.arange(len(tokens)) >= len(tokens) - row["tokens"] - _inserted(exchanges)
    for exchange in exchanges:
        action_mask[exchange.start : exchange.end] = False
    logprobs = np.full(row["tokens"], row["logprob_mean"] or 0.0, dtype=np.float32)  # only their mean is recorded
    prompt = prompts.get(row["id"], recorded_prompt)
    ending = (row["finish_reason"], row["version"], row["text"])
    return Rollout(prompt, row["sample"], tokens, action_mask, logprobs, *ending, exchanges=exchanges)


def _mean(values: Sequence[float] | None) -> float | None:
    return fmean(values) if values else None


def _sign(difference: float) -> int:
    return (difference > 0) - (difference < 0)


def _has_other_best(group: Sequence[tuple[float, float]]) -> bool:
    """Return whether none of the samples with the best old score has the best new one."""
    best_old, best_new = max(old for old, _ in group), max(new for _, new in group)
    return not any(old == best_old and new == best_new for old, new in group)
