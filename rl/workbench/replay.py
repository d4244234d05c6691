"""A finished run's rollouts, judged again with another reward: what would have been different, without a model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from rewards.combine import RewardConfig
from rewards.service import RewardService
from rl.config import ConfigError, build, read_yaml, resolve
from rl.run.tracker import rollout_files
from rl.types import Message, Prompt, Rollout, Verdict

Group = list["Replayed"]


@dataclass(frozen=True, slots=True)
class Replayed:
    """One recorded sample: what it scored in the run (None where it erred) and what it scores now."""

    stage: str
    step: int
    rollout: Rollout
    before: float | None
    parts_before: dict[str, float]
    now: Verdict

    @property
    def after(self) -> float | None:
        return None if self.now.error is not None else self.now.score

    @property
    def change(self) -> float:
        return 0.0 if self.before is None or self.after is None else round(self.after - self.before, 9)


def reward_of(spec: str) -> tuple[RewardConfig, Path]:
    """The reward that `--with` names, and the folder that its verifiers are looked up in: a verifier, or a YAML file that
    is a reward or a recipe with one. Raises ConfigError."""
    if not spec.endswith((".yaml", ".yml")):
        return build(RewardConfig, {"parts": [{"verifier": spec}]}, "reward"), Path.cwd()
    path = Path(spec)
    if not path.is_file():
        raise ConfigError(f"--with: no such file: {path}; correct the path")
    values = resolve(read_yaml(path), str(path))
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
    say: Callable[[str], None] = print,
) -> list[Replayed]:
    """Every recorded sample of the run, of one stage or of each stage's last `steps` files alone, judged anew. Raises
    ValueError for a directory without rollouts and where too many samples cannot be judged."""
    files = _files(run_dir, stage, steps)
    prompts = _prompts(run_dir, {name for name, _, _ in files}, say)
    rows = [(name, step, row) for name, step, path in files for row in _read(path)]
    missing = sum(row["id"] not in prompts for _, _, row in rows)
    if missing:
        say(f"{missing} of {len(rows)} samples: their data is not at hand; judged without audio and further fields")
    rollouts = [_rollout(row, prompts) for _, _, row in rows]
    with RewardService(config, folder) as service:
        for warning in service.check_verifiers():
            say(f"warning: {warning}")
        scored = service.score(rollouts)
    found: list[Replayed] = []
    for (name, step, row), after in zip(rows, scored, strict=True):
        parts = {n.removeprefix("part/"): v for n, v in row.items() if n.startswith("part/") and v is not None}
        found.append(Replayed(name, step, after.rollout, row["score"], parts, after.verdict))
    return found


def means(replayed: Sequence[Replayed]) -> dict[str, tuple[float | None, float | None]]:
    """(before, after) of the score and of each part, over the samples that have it, and how many erred."""
    before: dict[str, list[float]] = defaultdict(list)
    after: dict[str, list[float]] = defaultdict(list)
    for sample in replayed:
        if sample.before is not None:
            before["score"].append(sample.before)
        if sample.after is not None:
            after["score"].append(sample.after)
        for name, value in sample.parts_before.items():
            before[f"part/{name}"].append(value)
        for name, value in sample.now.parts.items():
            after[f"part/{name}"].append(value)
    names = ["score", *sorted({*before, *after} - {"score"})]
    table = {name: (_mean(before.get(name)), _mean(after.get(name))) for name in names}
    errors = (float(sum(s.before is None for s in replayed)), float(sum(s.after is None for s in replayed)))
    return {**table, "errors": errors}


def group_changes(replayed: Sequence[Replayed]) -> dict[str, float]:
    """What the change does to the groups that an advantage is taken over, samples that erred left out: how many groups
    have no spread (they teach nothing), in how many another sample is best, and the share of pairs whose order turns,
    and of pairs that a tie is made of or broken in."""
    groups: dict[tuple[str, int, str], Group] = defaultdict(list)
    for sample in replayed:
        if sample.before is not None and sample.after is not None:
            groups[sample.stage, sample.step, sample.rollout.prompt.id].append(sample)
    several = [group for group in groups.values() if len(group) > 1]
    pairs = [_signs(a, b) for group in several for a, b in combinations(group, 2)]
    return {
        "groups": len(several),
        "without_spread_before": sum(len({s.before for s in group}) == 1 for group in several),
        "without_spread_after": sum(len({s.after for s in group}) == 1 for group in several),
        "other_best": sum(_best(group, "before").isdisjoint(_best(group, "after")) for group in several),
        "pairs_turned": _mean([float(a * b < 0) for a, b in pairs]) or 0.0,
        "pairs_tied_or_untied": _mean([float((a == 0) != (b == 0)) for a, b in pairs]) or 0.0,
    }


def flips(replayed: Sequence[Replayed], most: int) -> list[Replayed]:
    """The samples whose score changes most, one of each prompt."""
    distinct: dict[str, Replayed] = {}
    for sample in sorted((s for s in replayed if s.change), key=lambda s: -abs(s.change)):
        distinct.setdefault(sample.rollout.prompt.id, sample)
    return list(distinct.values())[:most]


def _files(run_dir: Path, stage: str | None, steps: int | None) -> list[tuple[str, int, Path]]:
    files = rollout_files(run_dir)
    if not files:
        raise ConfigError(f"{run_dir}: holds no rollouts; name the directory of a run that has sampled")
    if stage is not None and stage not in {name for name, _, _ in files}:
        raise ConfigError(
            f"--stage: '{stage}' left no rollouts; {', '.join(dict.fromkeys(n for n, _, _ in files))} did"
        )
    kept: dict[str, list[tuple[str, int, Path]]] = defaultdict(list)
    for file in files:
        if stage in (None, file[0]):
            kept[file[0]].append(file)
    return [file for of_stage in kept.values() for file in of_stage[-steps if steps else 0 :]]


def _prompts(run_dir: Path, stages: set[str], say: Callable[[str], None]) -> dict[str, Prompt]:
    """The prompts that the stages have drawn, by id, read again as the run's recipe says: clips and further fields are
    in no rollout file."""
    from rl.data.sources import DataConfig, load

    saved = run_dir / "recipe.yaml"
    recipe: dict[str, Any] = resolve(read_yaml(saved), str(saved)) if saved.is_file() else {}
    wanted: dict[tuple[str, str | None, int | None], None] = {}
    for entry in recipe.get("stages", ()):
        ((_, stage),) = entry.items()
        if stage.get("name") in stages:
            wanted[stage["data"], stage.get("split"), stage.get("limit")] = None
    prompts: dict[str, Prompt] = {}
    for name, split, limit in wanted:
        try:
            config = build(DataConfig, recipe["data"][name], f"data.{name}")
            prompts |= {prompt.id: prompt for prompt in load(config, split, limit, f"data.{name}", say)}
        except (ValueError, OSError) as error:
            say(f"warning: {error}")
    return prompts


def _read(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path).to_pylist()


def _rollout(row: dict[str, Any], prompts: dict[str, Prompt]) -> Rollout:
    import numpy as np

    recorded = Prompt(row["id"], (Message("user", row["prompt"]),), row["answer"], row["source"])
    tokens = np.asarray(row["token_ids"], dtype=np.int64)
    written = np.arange(len(tokens)) >= len(tokens) - row["tokens"]  # exact where the policy spoke once
    logprobs = np.full(row["tokens"], row["logprob_mean"] or 0.0, dtype=np.float32)
    prompt = prompts.get(row["id"], recorded)
    ending = (row["finish_reason"], row["version"], row["text"])
    return Rollout(prompt, row["sample"], tokens, written, logprobs, *ending)


def _mean(values: Sequence[float] | None) -> float | None:
    return fmean(values) if values else None


def _signs(a: Replayed, b: Replayed) -> tuple[int, int]:
    """Which of two samples is better, before and after: -1, 0 or 1."""
    return _sign(a.before, b.before), _sign(a.after, b.after)


def _sign(a: float | None, b: float | None) -> int:
    assert a is not None
    assert b is not None
    return (a > b) - (a < b)


def _best(group: Group, when: str) -> set[int]:
    best = max(getattr(s, when) for s in group)
    return {s.rollout.sample for s in group if getattr(s, when) == best}
