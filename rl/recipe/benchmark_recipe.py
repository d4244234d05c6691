"""Builds the recipe of `rl benchmark`: one evaluation of any model on a public set, asked and scored by the set's own rules."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.folder import folder_of, read_config
from rewards.verifiers.benchmark import require_rule
from rl.benchmarks.benchmark import Benchmark
from rl.benchmarks.sets import find_benchmark
from rl.config import ConfigError, Values
from rl.data.benchmark_rows import SOURCE
from rl.recipe.loader import Recipe, load
from rl.recipe.single_stage import default_max_tokens, describe_model

TEMPERATURE = 0.7
"""Temperature of Step-Audio-R1's public examples."""
CONTROLS = ["silenced", "swapped"]
"""Controls that stand beside every set that is heard."""
JUDGE = "judge"


@dataclass(frozen=True, slots=True)
class JudgeChoice:
    """The judge of a set: a model behind an address, or one that the run serves itself."""

    where: str
    """An http address, or a model's folder or hub name."""
    model: str = ""
    """The model's name at the address."""
    key_env: str | None = None
    """The environment variable that holds its key."""

    @property
    def args(self) -> Values:
        """Return the arguments of the verifier that asks it. Raises ConfigError for an address without a model's
        name."""
        if not self.where.startswith(("http://", "https://")):
            return {"served": JUDGE}
        if not self.model:
            raise ConfigError("--judge: an address needs the model's name there; add --judge-model NAME")
        key = {"api_key_env": self.key_env} if self.key_env else {}
        return {"endpoint": self.where, "model": self.model, **key}

    @property
    def served(self) -> Values:
        """Judges that the run serves."""
        return {JUDGE: {"model": self.where}} if "served" in self.args else {}


def benchmark_recipe(
    name: str,
    model: str,
    data: str | None,
    prompt: str | None = None,
    rule: str | None = None,
    samples: int = 4,
    limit: int | None = None,
    max_sequence_tokens: int | None = None,
    judge: JudgeChoice | None = None,
    think: bool | None = None,
    overrides: Sequence[str] = (),
) -> Recipe:
    """Return a recipe whose one stage measures `model` on the set `name` in the folder `data`. Raises ConfigError."""
    benchmark = find_benchmark(name, "rl benchmark")
    args: Values = {"set": name} | ({"prompt": prompt} if prompt else {})
    if prompt and prompt not in benchmark.prompts:
        raise ConfigError(f"--prompt: {name} has no prompt '{prompt}'; use {' or '.join(benchmark.prompts)}")
    model_values = describe_model(model)
    if benchmark.is_heard:
        _require_ears(model_values["path"], name)
    stage: Values = {
        "data": name,
        "split": None,
        "samples": samples,
        "limit": limit,
        "temperature": TEMPERATURE,
        "greedy": False,
        "orders": benchmark.orders,
        "max_sequence_tokens": max_sequence_tokens or default_max_tokens(model_values["path"]),
    }
    if benchmark.is_heard:
        stage["controls"] = list(CONTROLS)
    values: Values = {
        "name": f"benchmark-{name}",
        "model": model_values if think is None else {**model_values, "think": think},
        # A row that cannot be asked or scored is left out, said and counted, and changes no other item's score.
        "data": {name: {"source": SOURCE, "path": find_folder(name, data), "args": args, "on_bad_row": "skip"}},
        "reward": _reward(name, benchmark, rule, judge),
        "judges": judge.served if judge else {},
        "stages": [{"evaluate": stage}],
    }
    return load(values, overrides)


def _require_ears(model: str, name: str) -> None:
    """Raise ConfigError for a model on disk whose configuration names no audio at all."""
    folder = folder_of(model)
    if folder and (folder / "config.json").is_file() and "audio" not in json.dumps(read_config(folder)):
        raise ConfigError(f"rl benchmark: {name} is heard, and {model} reads text only; name a model that listens")


def find_folder(name: str, data: str | None) -> str:
    """Return the folder of a set's download: the one named, or that of its name in GROUNDTONE_DATA. Raises ConfigError."""
    benchmark = find_benchmark(name, "rl benchmark")
    if data is not None:
        return data
    root = os.environ.get("GROUNDTONE_DATA")
    if root and (Path(root) / name).is_dir():
        return str(Path(root) / name)
    raise ConfigError(f"--data: name the folder of your download of {benchmark.title} ({benchmark.source})")


def _reward(name: str, benchmark: Benchmark, rule: str | None, judge: JudgeChoice | None) -> Values:
    """Return the reward that scores by the set's rule; a judge beside a rule is a second opinion, whose failures take no
    answer its verdict."""
    if judge is not None and benchmark.judging is None:
        raise ConfigError(f"--judge: {name} is scored by a rule alone; remove it")
    judge_part: Values = {"verifier": "benchmark_judge", **({"args": judge.args} if judge else {})}
    if not benchmark.rules:
        if judge is None:
            raise ConfigError(
                f"--judge: {name} is scored by a judge; name its address with --judge-model, or a model to serve"
            )
        return {"parts": [{**judge_part, "name": "benchmark_judge"}], "deadline_s": 60.0}
    rule = rule or benchmark.rules[0]
    require_rule(name, rule, "--rule")
    watch = {"watch": [judge_part]} if judge else {}
    return {"parts": [{"verifier": "benchmark", "args": {"rule": rule}}], **watch}
