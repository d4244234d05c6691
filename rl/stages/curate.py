"""`curate`: finds the prompts that are neither too easy nor too hard for this model (Step-Audio-R1: 3 to 6 of 8 right).

Writes `difficulty.parquet`, one row a prompt with all it was judged by, under the model's fingerprint: a second run with
the same model, prompts and settings reads it instead of sampling again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl.audio import fingerprint
from rl.config import ConfigError
from rl.data.arrow import read_columns
from rl.stages.context import Context, Outcome
from rl.stages.kind import Kind
from rl.stages.settings import SamplingConfig
from rl.stages.workload import StagePlan, Work, rollouts_in_words, temperature_in_words

if TYPE_CHECKING:
    from rl.types import Prompt, Scored

FILE = "difficulty.parquet"
Row = dict[str, Any]
"""A row of that file: id, correct, k, keep, verdicts, fingerprint."""


@dataclass
class Config(SamplingConfig):
    """Settings of `curate`."""

    keep: tuple[int, int] = (3, 6)
    """Fewest and most right answers of `samples`."""
    reuse: str | None = None
    """A difficulty file to read if it was made with the same model, prompts and settings; written there too."""

    def validate(self, place: str) -> None:
        if self.temperature is not None and not self.temperature > 0:
            raise ConfigError(f"{place}.temperature: must be above 0, or all samples are the same")
        super().validate(place)
        if self.reuse is not None:
            check_reuse(Path(self.reuse), f"{place}.reuse")
        low, high = self.keep
        if not 0 <= low <= high <= self.samples:
            raise ConfigError(f"{place}.keep: [{low}, {high}] must lie within 0 and samples ({self.samples})")


def check_reuse(path: Path, place: str) -> None:
    """Raise ConfigError where no file can be written at `path`: this is said before anything is sampled."""
    if os.path.isdir(path):
        raise ConfigError(f"{place}: {path} is a folder; name a file, such as {FILE} in it")
    nearest = next((parent for parent in path.absolute().parents if os.path.exists(parent)), None)
    if nearest is not None and not nearest.is_dir():
        raise ConfigError(f"{place}: {nearest} is no folder; name a file in one")


def plan(config: Config, work: Work) -> StagePlan:
    """Return the plan of `curate`."""
    rollouts = (work.rows or 0) * config.samples
    low, high = config.keep
    summary = (
        f"{work.prompts} × {config.samples} samples{temperature_in_words(config.temperature)}"
        f"{rollouts_in_words(rollouts, config.max_sequence_tokens)}; keeps prompts with {low} to {high} right"
    )
    return work.plan(summary, rollouts, config.max_sequence_tokens, rollouts=rollouts)


def run(config: Config, context: Context) -> Outcome:
    """Leave the difficulty file. Raises ValueError with the histogram when no prompt would be kept."""
    prompts = context.prompts(config.data, config.split, config.limit)
    path = context.folder / FILE
    conditions = {"think": context.cluster.chat.think, "reward": asdict(context.rewards.config), "seed": context.seed}
    if environment := context.environment:
        conditions["environment"] = repr(environment)
    key = fingerprint_of(config, context.model, prompts, conditions)
    rows = _read_cached(Path(config.reuse) if config.reuse else path, key, context.say)
    is_reused = rows is not None
    if rows is None:
        rows = _difficulty(_sample(config, context, prompts), config, key)
    for target in {path, *([Path(config.reuse)] if config.reuse else [])}:
        write_difficulty(target, rows)
    histogram = [
        sum(row["correct"] == c and row["k"] == config.samples for row in rows) for c in range(config.samples + 1)
    ]
    kept_count = sum(row["keep"] for row in rows)
    right_counts = " ".join(f"{c}:{n}" for c, n in enumerate(histogram))
    if not kept_count:
        raise ValueError(
            f"curate '{context.name}': none of {len(rows)} prompts has {config.keep[0]} to {config.keep[1]} of "
            f"{config.samples} right (right:prompts {right_counts}); widen keep, or train the model first"
        )
    context.say(f"{context.name}: kept {kept_count} of {len(rows)} prompts (right:prompts {right_counts})")
    metrics = {"prompts": float(len(rows)), "kept": float(kept_count), "reused": float(is_reused)}
    metrics |= {"accuracy": sum(row["correct"] for row in rows) / max(1, sum(row["k"] for row in rows))}
    context.tracker.rewind(0)
    context.tracker.record(1, metrics)
    verdict_count = sum(row["k"] for row in rows)
    counts = {"asked": len(rows), "sampled": len(rows) * config.samples, "judged": verdict_count, "kept": kept_count}
    return Outcome(metrics, {"difficulty": str(path)}, counts, {"reused": is_reused})


def kept_ids(path: Path) -> set[str]:
    """Return the ids of the prompts that a difficulty file keeps. Raises ValueError for another file."""
    try:
        rows = read_columns(path, {"id": "text", "keep": "flag"})
    except ValueError as error:
        raise ValueError(f"{path}: no difficulty file ({error}); make one with a curate stage") from error
    return {row["id"] for row in rows if row["keep"]}


def fingerprint_of(config: Config, model: Path, prompts: Sequence[Prompt], conditions: Mapping[str, object]) -> str:
    """Return a digest of everything the difficulties depend on: weights, tokenizer and chat template, prompts with all that
    verifiers see of them, the stage's settings, and what else of the recipe counts (`conditions`)."""
    digest = hashlib.sha256()
    for file in sorted(path for path in model.iterdir() if path.suffix in (".safetensors", ".json", ".jinja", ".txt")):
        digest.update(file.read_bytes())
    settings = {key: value for key, value in asdict(config).items() if key not in ("keep", "reuse", "model", "limit")}
    questions = [(p.id, [asdict(m) for m in p.messages], p.answer, p.source, dict(p.fields)) for p in prompts]
    sounds = [fingerprint(clip) for prompt in prompts for clip in prompt.clips]
    digest.update(json.dumps([settings, conditions, questions, sounds], default=str).encode())
    return digest.hexdigest()[:16]


def write_difficulty(path: Path, rows: Sequence[Row]) -> None:
    """Write the difficulty file, whole or not at all."""
    import pyarrow as pa
    from pyarrow import parquet

    from rl.run.files import replacing

    with replacing(path) as temporary:
        parquet.write_table(pa.Table.from_pylist(list(rows)), temporary)


def _sample(config: Config, context: Context, prompts: Sequence[Prompt]) -> list[Scored]:
    from rl.stages.scoring import Scorer

    sampler = context.cluster.sampler
    sampler.load(context.model)
    return Scorer(context.rewards).collect(
        sampler.generate(
            prompts,
            samples=config.samples,
            temperature=config.settled_temperature,
            max_sequence_tokens=config.max_sequence_tokens,
            seed=context.seed,
        )
    )


def _difficulty(scored: Sequence[Scored], config: Config, fingerprint: str) -> list[Row]:
    """Return one row a prompt. A prompt with errored samples has fewer than `samples` verdicts and is not kept: its difficulty is not known."""
    from rl.stages.scoring import by_prompt, is_correct

    rows = []
    for id, group in by_prompt(scored).items():
        verdicts = [is_correct(s) for s in group]
        is_known = len(verdicts) == config.samples
        keep = is_known and config.keep[0] <= sum(verdicts) <= config.keep[1]
        row = {"id": id, "correct": sum(verdicts), "k": len(verdicts), "keep": keep, "verdicts": verdicts}
        rows.append({**row, "fingerprint": fingerprint})
    return rows


def _read_cached(path: Path, fingerprint: str, say: Callable[[str], None]) -> list[Row] | None:
    if not os.path.lexists(path):
        return None
    kinds = {"id": "text", "correct": "whole", "k": "whole", "keep": "flag", "verdicts": "list", "fingerprint": "text"}
    try:
        rows = read_columns(path, kinds)
    except ValueError as error:
        say(f"warning: {error}; its prompts are judged anew")
        return None
    return rows if rows and rows[0]["fingerprint"] == fingerprint else None


def metric_names(config: Config) -> list[str]:
    """Return the beginnings of the names of its metrics."""
    return ["prompts", "kept", "reused", "accuracy"]


KIND = Kind(
    Config,
    run,
    plan,
    makes=("difficulty",),
    filters=True,
    metric_names=metric_names,
)
