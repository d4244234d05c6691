"""Finds stages whose verifiers compare with a gold answer that their prompts do not have, before every sample scores 0."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rewards.resolve import reads_gold
from rl.data.inspection import DataFacts
from rl.data.mixture import weights_of
from rl.data.rows import placeholders
from rl.data.sources import FILES, DataConfig
from rl.data.standard_forms import recognise
from rl.units import many

if TYPE_CHECKING:
    from rewards.combine import PartConfig, RewardConfig
    from rl.recipe import Recipe
    from rl.types import Prompt

ANSWER_NAMES = [
    *(
        "answer",
        "answers",
        "gold",
        "goldanswer",
        "groundtruth",
        "finalanswer",
        "answerfinal",
        "correctanswer",
        "correct",
    ),
    *("expectedanswer", "expected", "referenceanswer", "reference", "target", "targets", "label", "labels", "solution"),
    *(
        "antwort",
        "réponse",
        "respuesta",
        "risposta",
        "resposta",
        "答案",
        "答え",
        "정답",
        "result",
        "output",
        "response",
    ),
]
"""Usual names of a column of answers, in small letters and without `_`, the likeliest first."""


@dataclass(frozen=True)
class Use:
    """A part of a reward that judges the prompts of a data set."""

    place: str
    """Place in the recipe of the stage, or of its evaluation."""
    data: str
    split: str | None
    part: PartConfig


def check(recipe: Recipe, facts: Mapping[tuple[str, str | None], DataFacts]) -> tuple[list[str], list[str]]:
    """Return (problems, notes) about golds that are missing among the prompts that `rl check` has read."""
    problems, notes = dict[str, None](), dict[str, None]()  # ordered sets: iterations of a block repeat a line
    for use in _uses(recipe):
        config, fact = recipe.header.data[use.data], facts[use.data, use.split]
        prompts = [prompt for prompt in fact.prompts if use.part.applies(prompt)]
        missing = [prompt for prompt in prompts if prompt.answer is None]
        has_no_column = bool(fact.columns) and _answer_column(config) not in fact.columns
        if not missing and not (has_no_column and not fact.prompts and use.part.when is None):
            continue
        line = _describe(use, config, fact.columns, missing, len(prompts))
        # A verifier of the user's may do without a gold, and a part without weight only watches.
        is_fatal = len(missing) == len(prompts) and ":" not in use.part.verifier and use.part.weight != 0
        (problems if is_fatal else notes)[line] = None
    return list(problems), list(notes)


def check_prompts(recipe: Recipe, read_prompts: Callable[..., Sequence[Prompt]], say: Callable[[str], None]) -> None:
    """Raise ValueError where no prompt that a part judges has the gold it compares with; `say` gets a line where some have
    none. All prompts are read, also of sources that `rl check` does not open."""
    lines = dict[str, None]()
    for use in _uses(recipe):
        config = recipe.header.data[use.data]
        limits = [
            read.limit
            for read in recipe.loads()
            if (read.place, read.data, read.split) == (use.place, use.data, use.split)
        ]
        prompts = [p for p in read_prompts(use.data, use.split, limits[0], place=use.place) if use.part.applies(p)]
        missing = [prompt for prompt in prompts if prompt.answer is None]
        if not missing:
            continue
        line = _describe(use, config, (), missing, len(prompts))
        if len(missing) == len(prompts) and ":" not in use.part.verifier and use.part.weight != 0:
            raise ValueError(line)
        lines[line] = None
    for line in lines:
        say(f"warning: {line}")


def _uses(recipe: Recipe) -> Iterator[Use]:
    """Yield the uses of verifiers that read the gold, on data sets of the recipe."""
    comparing: dict[str, bool] = {}  # verifier -> whether it reads the gold, looked up once each
    for stage in recipe.stages:
        if not stage.config.judges_samples:
            continue
        reward: RewardConfig = stage.config.stage_reward or recipe.header.reward
        for spec in {part.verifier for part in reward.parts} - comparing.keys():
            comparing[spec] = reads_gold(spec, recipe.folder)
        for read in stage.config.reads:
            if read.key == "chains":  # they are judged on the prompts of the stage's own data
                continue
            place = f"{stage.place}.{read.key}" if read.key else stage.place
            for name in weights_of(read.data):
                for part in reward.parts:
                    if name in recipe.header.data and comparing[part.verifier]:
                        yield Use(place, name, read.split, part)


def _describe(use: Use, config: DataConfig, columns: Sequence[str], missing: Sequence[Prompt], judged: int) -> str:
    """Return one line: who compares with what, how many have none, and the fix."""
    fault = f"'{use.data}' has none"
    if missing and len(missing) < judged:
        fault = f"{len(missing):,} of {many(judged, 'prompt')} read of '{use.data}' have none, first '{missing[0].id}'"
    return f"{use.place}: '{use.part.verifier}' compares with a gold answer, and {fault}; {_fix(use.data, config, columns)}"


def _fix(name: str, config: DataConfig, columns: Sequence[str]) -> str:
    column = _answer_column(config)
    if config.source not in FILES:
        return f"have {config.source} give each Prompt an `answer`"
    if not columns:
        return f"map the column that holds it: data.{name}.fields: {{answer: COLUMN}}"
    if column in columns:
        return f"column '{column}' is null there: fill it in, remove the rows, or map another: data.{name}.fields"
    names = ", ".join(columns)
    nearest = nearest_column(columns, used_columns(config))
    if nearest is None:
        return f"there is no column '{column}' among {names}; map the one that holds it: data.{name}.fields: {{answer: COLUMN}}"
    return f"there is no column '{column}' among {names}; map it: data.{name}.fields: {{answer: {nearest}}}"


def _answer_column(config: DataConfig) -> str:
    return recognise(config).fields.get("answer", "answer").removesuffix("?")


def used_columns(config: DataConfig) -> set[str]:
    """Return the columns that hold something else than an answer."""
    config = recognise(config)
    # What only goes on under its own name may be the answer as well.
    columns = {
        column.removesuffix("?")
        for key, column in config.fields.items()
        if key not in ("response", "reasoning") and column != f"{key}?"
    }
    in_template = set() if "messages" in config.fields else set(placeholders(config.template, "template"))
    return columns | in_template | {config.split_name, "id"}


def nearest_column(columns: Sequence[str], used: set[str]) -> str | None:
    """Return the column that most likely holds the answers: by a usual name, or else by one that is spelled alike."""
    # The last part of a column such as `reward_model.ground_truth` says what it holds.
    simple_names = {
        re.sub(r"[\W_]", "", column.rpartition(".")[2]).casefold(): column
        for column in reversed(columns)  # the first of a name wins
        if column not in used
    }
    for name in ANSWER_NAMES:
        if name in simple_names:
            return simple_names[name]
    close = difflib.get_close_matches("answer", simple_names, n=1, cutoff=0.6)
    if close:
        return simple_names[close[0]]
    holding = [column for simple, column in simple_names.items() if "answer" in simple or "gold" in simple]
    return holding[0] if holding else None
