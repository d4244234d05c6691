"""`curate`: finds the prompts that are neither too easy nor too hard for this model (Step-Audio-R1: 3 to 6 of 8 right).

It may also drop prompts whose chains are not grounded, and those that are right without their sound: one filter, one funnel.
Writes `difficulty.parquet`, one row a prompt with all it was judged by, under the model's fingerprint: a second run with
the same model, prompts and settings reads it instead of sampling again.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rewards.resolve import find_source
from rl.audio import fingerprint
from rl.config import ConfigError
from rl.data.arrow import read_columns
from rl.data.controls import CONTROLS
from rl.functions import parse_file
from rl.stages.context import Context, Outcome
from rl.stages.guessing import SilentAnswers, guess_chances
from rl.stages.kind import Kind
from rl.stages.prompt_filter import (
    UNKNOWN,
    FilterConfig,
    Row,
    apply_control,
    control_metrics,
    describe_drops,
    funnel,
    is_medium,
    judge_difficulty,
)
from rl.stages.workload import StagePlan, Work, rollouts_in_words, temperature_in_words

if TYPE_CHECKING:
    from rl.types import Prompt, Scored
    from rollouts.episodes import Environment

FILE = "difficulty.parquet"


@dataclass
class Config(FilterConfig):
    """Settings of `curate`."""

    reuse: str | None = None
    """A difficulty file to read if it was made with the same model, prompts and settings; written there too."""

    def validate(self, place: str) -> None:
        if self.temperature is not None and not self.temperature > 0:
            raise ConfigError(f"{place}.temperature: must be above 0, or all samples are the same")
        super().validate(place)
        if self.reuse is not None:
            check_reuse(Path(self.reuse), f"{place}.reuse")


def check_reuse(path: Path, place: str) -> None:
    """Raise ConfigError where no file can be written at `path`: this is said before anything is sampled."""
    if os.path.isdir(path):
        raise ConfigError(f"{place}: {path} is a folder; name a file, such as {FILE} in it")
    nearest = next((parent for parent in path.absolute().parents if os.path.exists(parent)), None)
    if nearest is not None and not nearest.is_dir():
        raise ConfigError(f"{place}: {nearest} is no folder; name a file in one")


def plan(config: Config, work: Work) -> StagePlan:
    """Return the plan of `curate`."""
    rollouts = (work.rows or 0) * (config.samples + sum(map(config.control_samples, config.controls)))
    low, high = config.keep
    samples = f"{config.samples} samples{temperature_in_words(config.temperature)}"
    if config.controls:
        samples = f"({samples}{''.join(f' + {config.control_samples(name)} {name}' for name in config.controls)})"
    summary = (
        f"{work.prompts} × {samples}"
        f"{rollouts_in_words(rollouts, config.max_sequence_tokens)}; keeps prompts with {low} to {high} right"
        f"{''.join(f', {part} at least {value:g}' for part, value in config.least.items())}"
        f"{''.join(f', not right by more than chance {name}' for name in config.controls)}"
    )
    return work.plan(summary, rollouts, config.max_sequence_tokens, rollouts=rollouts)


def run(config: Config, context: Context) -> Outcome:
    """Leave the difficulty file. Raises ValueError with the histogram when no prompt would be kept."""
    prompts = context.prompts(config.data, config.split, config.limit)
    if config.controls and not any(prompt.clips for prompt in prompts):
        raise ValueError(f"curate '{context.name}': controls need prompts with audio, and none has any; remove them")
    path = context.folder / FILE
    conditions: dict[str, object] = {
        "think": context.cluster.chat.think,
        "reward": asdict(context.rewards.config),
        "seed": context.seed,
    }
    specs = [part.verifier for part in context.rewards.config.judging]
    if environment := context.environment:
        conditions["environment"] = repr(environment)
        specs += functions_of(environment)
    if code := user_code(specs, context.rewards.folder):
        conditions["code"] = code
    key = fingerprint_of(config, context.model, prompts, conditions)
    rows = _read_cached(config, Path(config.reuse) if config.reuse else path, key, context.say)
    is_reused = rows is not None
    if rows is None:
        rows = judge_difficulty(_sample(config, context, prompts), config, key)
        for name in config.controls:
            ask_without_sound(name, rows, prompts, config, context)
    elif not (config.least or config.controls):  # the file may have been made with another `keep`
        rows = [{**row, "keep": is_medium(row["correct"], row["k"], config)} for row in rows]
    # In both places whichever they were read from: later stages look in the stage's folder, other runs at `reuse`.
    for target in {path, *([Path(config.reuse)] if config.reuse else [])}:
        write_difficulty(target, rows)
    # Without prompts of which a sample erred: how hard these are is not known.
    histogram = [
        sum(row["correct"] == c and row["k"] == config.samples for row in rows) for c in range(config.samples + 1)
    ]
    kept_count = sum(row["keep"] for row in rows)
    right_counts = " ".join(f"{c}:{n}" for c, n in enumerate(histogram))
    if not kept_count:
        raise ValueError(
            f"curate '{context.name}': none of {len(rows)} prompts has {config.keep[0]} to {config.keep[1]} of "
            f"{config.samples} right (right:prompts {right_counts}){describe_drops(rows, config)}; widen keep, or train the model "
            "first"
        )
    context.say(
        f"{context.name}: kept {kept_count} of {len(rows)} prompts (right:prompts {right_counts}){describe_drops(rows, config)}"
    )
    metrics = {"prompts": float(len(rows)), "kept": float(kept_count), "reused": float(is_reused)}
    metrics |= {"accuracy": sum(row["correct"] for row in rows) / max(1, sum(row["k"] for row in rows))}
    metrics |= control_metrics(rows, config)
    context.tracker.rewind(0)  # what a run that was killed within this stage has recorded is recorded anew
    context.tracker.record(1, metrics)
    verdict_count = sum(row["k"] for row in rows)
    counts = {"asked": len(rows), "sampled": len(rows) * config.samples, "judged": verdict_count}
    counts |= {**funnel(rows, config), "kept": kept_count}
    return Outcome(metrics, {"difficulty": str(path)}, counts, {"reused": is_reused})


def kept_ids(path: Path) -> set[str]:
    """Return the ids of the prompts that a difficulty file keeps. Raises ValueError for another file."""
    try:
        rows = read_columns(path, {"id": "text", "keep": "flag"})
    except ValueError as error:
        raise ValueError(f"{path}: no difficulty file ({error}); make one with a curate stage") from error
    return {row["id"] for row in rows if row["keep"]}


def functions_of(environment: Environment) -> list[str]:
    """Return the functions of an environment as the recipe names them."""
    from rollouts.environments.service import EnvironmentService

    if not isinstance(environment, EnvironmentService):
        return []
    config = environment.config
    return [name for name in (config.step, *(tool.tool for tool in config.tool_configs)) if name is not None]


def user_code(specs: Sequence[str], folder: Path | None) -> list[str]:
    """Return digests of the files behind `file.py:fn` and `pkg.mod:fn`, and of the modules beside them that they
    import: of an edited verifier the verdicts are others. Nothing is executed."""
    pending = [find_source(spec, "reuse", folder)[0] for spec in specs if ":" in spec]
    files: set[Path] = set()
    while pending:
        file = pending.pop()
        if file is None or file in files:  # None: a compiled module
            continue
        files.add(file)
        for node in ast.walk(parse_file(file)):
            names: list[str] = []
            if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.module):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            neighbours = [file.parent / f"{name.partition('.')[0]}.py" for name in names]
            pending += [neighbour for neighbour in neighbours if os.path.isfile(neighbour)]
    return sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)


def fingerprint_of(config: Config, model: Path, prompts: Sequence[Prompt], conditions: Mapping[str, object]) -> str:
    """Return a digest of everything the difficulties depend on: weights, tokenizer and chat template, prompts with all that
    verifiers see of them, the stage's settings, and what else of the recipe counts (`conditions`)."""
    digest = hashlib.sha256()
    for file in sorted(path for path in model.iterdir() if path.suffix in (".safetensors", ".json", ".jinja", ".txt")):
        digest.update(file.read_bytes())
    # Without further filters `run` applies `keep` anew to the counts that it reads, so that another range may reuse
    # them.
    later_filters = ("least", "controls") if config.least or config.controls else ()
    leaves_alone = ("reuse", "model", "limit", *(() if later_filters else ("keep", "least", "controls")))
    settings = {key: value for key, value in asdict(config).items() if key not in leaves_alone}
    questions = [(p.id, [asdict(m) for m in p.messages], p.answer, p.source, dict(p.fields)) for p in prompts]
    sounds = [fingerprint(clip) for prompt in prompts for clip in (*prompt.clips, *prompt.later)]
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


def ask_without_sound(
    name: str, rows: Sequence[Row], prompts: Sequence[Prompt], config: Config, context: Context
) -> None:
    """Ask the prompts that are kept so far without their sound, and drop those that are right more often than by chance, or
    that could not be tested."""
    from rl.stages.scoring import Scorer, by_prompt, is_correct

    # Looked up anew for each control: what one of them drops the next need not ask.
    test, ids_so_far = config.controls[name], {row["id"] for row in rows if row["keep"]}
    prompts_with_sound = [prompt for prompt in prompts if prompt.id in ids_so_far and prompt.clips]
    samples = config.control_samples(name)
    scored: list[Scored] = []
    if without_sound := CONTROLS[name](prompts_with_sound):
        scored = Scorer(context.rewards).collect(
            context.cluster.sampler.generate(
                without_sound,
                samples=samples,
                temperature=config.settled_temperature,
                max_sequence_tokens=config.max_sequence_tokens,
                seed=context.seed,
            )
        )
    groups = by_prompt(scored)
    right = {id: [is_correct(sample) for sample in group] for id, group in groups.items()}
    # Also prompts without an answer, such as one with no other to swap its sound with: `apply_control` drops what it
    # finds among the chances and not among the answers.
    silent = [
        SilentAnswers(
            prompt,
            # As the verifier read it, so that "B" and "(B)" count as one habit.
            [sample.verdict.read or sample.rollout.response for sample in groups.get(prompt.id, ())],
            sum(right.get(prompt.id, ())),
        )
        for prompt in prompts_with_sound
    ]
    apply_control(name, rows, right, guess_chances(silent, test), test.level, samples)


def _read_cached(config: Config, path: Path, fingerprint: str, say: Callable[[str], None]) -> list[Row] | None:
    if not os.path.lexists(path):
        return None
    kinds = {"id": "text", "correct": "whole", "k": "whole", "keep": "flag", "verdicts": "list", "fingerprint": "text"}
    if config.least or config.controls:
        kinds |= {"dropped_by": "text"}
        kinds |= {column: "whole?" for name in config.controls for column in (name, f"{name}_k")}
    try:
        rows = read_columns(path, kinds)
    except ValueError as error:
        say(f"warning: {error}; its prompts are judged anew")
        return None
    return rows if rows and rows[0]["fingerprint"] == fingerprint else None


def metric_names(config: Config) -> list[str]:
    """Return the beginnings of the names of its metrics."""
    words = ("dropped_{}", f"dropped_{{}}{UNKNOWN}", "accuracy_{}")
    return ["prompts", "kept", "reused", "accuracy", *(word.format(name) for name in config.controls for word in words)]


KIND = Kind(
    Config,
    run,
    plan,
    makes=("difficulty",),
    filters=True,
    metric_names=metric_names,
)
