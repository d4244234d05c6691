"""Checks of the teachers of rlvr stages for `rl check`: another tokenizer, a clip that it cannot hear, a prompt that cannot be
written; and their shapes, for memory and time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from models.folder import folder_of, read_config
from models.shape import Shape, folder_shape, read_shape
from models.supported import find_unsupported_key
from models.tokenizer import VOCABULARY
from models.vocabulary import describe_difference, read_vocabulary
from rl.data.inspection import DataFacts
from rl.data.mixture import weights_of
from rl.data.rows import placeholders
from rl.data.sources import load
from rl.data.teacher_prompts import teacher_prompt
from rl.planning.checks import has_sound

if TYPE_CHECKING:
    from pathlib import Path

    from models.settings import ModelConfig
    from rl.recipe import Recipe
    from rl.recipe.stage_list import Stage
    from rl.stages.rlvr.config import Config
    from rl.types import Prompt

Facts = Mapping[tuple[str, str | None], DataFacts]


def check(recipe: Recipe, facts: Facts) -> tuple[list[str], list[str]]:
    """Return (problems, notes) about the teachers of the recipe's stages."""
    problems, notes = dict[str, None](), dict[str, None]()  # ordered sets: iterations of a block repeat a line
    for stage in _taught(recipe):
        config: Config = stage.config
        problems |= dict.fromkeys(_unwritten(recipe, stage, facts))
        folder = _folder(recipe, stage)
        if folder is None:  # an earlier stage's, of the recipe's own model; or one that `rl.recipe.names` has refused
            continue
        place = f"{stage.place}.teacher"
        try:
            shape = folder_shape(folder, place)
            foreign = find_unsupported_key(read_config(folder))
            difference, is_known = _compare_tokenizers(recipe.header.model, folder, shape.vocabulary if shape else 0)
        except ValueError as error:
            problems[str(error) if str(error).startswith(place) else f"{place}: {error}"] = None
            continue
        if foreign:
            problems[f"{place}: {config.teacher}: {foreign}; choose another model"] = None
        if difference:
            fix = "name a model with the policy's tokenizer"
            problems[f"{place}: {config.teacher} has another tokenizer: {difference}; {fix}"] = None
        if not is_known:
            notes[f"{place}: its tokenizer cannot be compared with the policy's here; it must be the same"] = None
        problems |= dict.fromkeys(_unfit(recipe, stage, shape)) if shape else {}
    return list(problems), list(notes)


def largest_shape(recipe: Recipe) -> Shape | None:
    """Return the shape of the recipe's largest teacher that is no stage of its own; None without one."""
    folders = [_folder(recipe, stage) for stage in _taught(recipe)]
    shapes = [shape for folder in folders if (shape := _shape(folder)) is not None]
    return max(shapes, key=lambda shape: shape.parameters, default=None)


def further_forwards(recipe: Recipe, stage: Stage, shape: Shape) -> int:
    """Return how many forward passes of the policy, whose shape is given, the stage's teacher takes beyond the one that its plan
    counts."""
    teacher = _shape(_folder(recipe, stage)) if getattr(stage.config, "teacher", None) else None
    return 0 if teacher is None else max(0, round(teacher.active / shape.active) - 1)


def _taught(recipe: Recipe) -> list[Stage]:
    """Return the stages with a teacher."""
    return [stage for stage in recipe.stages if getattr(stage.config, "teacher", None)]


def _folder(recipe: Recipe, stage: Stage) -> Path | None:
    """Return the folder of the stage's teacher; None where an earlier stage makes it, or where it is not here."""
    name = str(stage.config.teacher)
    return None if name in {other for s in recipe.stages for other in (s.base, s.name)} else folder_of(name)


def _shape(folder: Path | None) -> Shape | None:
    """Return the shape of the model in the folder; None for a broken one, which `check` names."""
    try:
        return folder_shape(folder, "teacher")
    except ValueError:
        return None


def _unwritten(recipe: Recipe, stage: Stage, facts: Facts) -> list[str]:
    """Return a line where the teacher's prompt cannot be written for a prompt that was read."""
    config: Config = stage.config
    if config.teacher_template is None:
        return []
    for name in weights_of(config.data):
        data, known = recipe.header.data.get(name), facts.get((name, config.split))
        prompts: Sequence[Prompt] = known.prompts if known else ()
        if data and data.source == "sounds" and not (known and known.problems):
            prompts = load(data, config.split, 1)  # its columns are known once one is made, which takes milliseconds
        fix = f"; map the column in data.{name}.fields" if data and data.fields else ""
        for prompt in prompts:
            try:
                teacher_prompt(prompt, config.teacher_template)
            except ValueError as error:
                return [f"{stage.place}: {error}{fix}"]
    return []


def _unfit(recipe: Recipe, stage: Stage, shape: Shape) -> list[str]:
    """Return a line for each reason why a teacher of this shape cannot read what the policy reads."""
    config: Config = stage.config
    place, lines = f"{stage.place}.teacher", list[str]()
    policy = _policy_shape(recipe.header.model)
    # A composed model has got marks of clips behind the tokens of its decoder, and may write them.
    if policy and recipe.header.model.compose and policy.vocabulary > shape.vocabulary:
        lines.append(
            f"{place}: {config.teacher} has {shape.vocabulary} tokens, the policy {policy.vocabulary} with those of clips; "
            "compose the teacher likewise"
        )
    if shape.positions is not None and shape.positions < config.max_sequence_tokens:
        lines.append(
            f"{place}: {config.teacher} has {shape.positions} positions, max_sequence_tokens is "
            f"{config.max_sequence_tokens}; lower it or choose another model"
        )
    data = [recipe.header.data[name] for name in weights_of(config.data) if name in recipe.header.data]
    template = config.teacher_template
    is_heard = template is None or "audio" in placeholders(template, f"{stage.place}.teacher_template")
    if not (is_heard and any(map(has_sound, data))):
        return lines
    if not shape.token_rate:
        lines.append(
            f"{place}: {config.teacher} reads text only, the prompts have sound; say what it reads in its place: "
            "teacher_template: '{description} {question}'"
        )
    elif policy and policy.token_rate != shape.token_rate:
        lines.append(
            f"{place}: {config.teacher} hears a second in {shape.token_rate:g} tokens, the policy in {policy.token_rate:g}; choose another "
            "model, or say what it reads instead (teacher_template)"
        )
    return lines


def _policy_shape(model: ModelConfig) -> Shape | None:
    """Return the shape of the recipe's model; None where it is not known, or broken, which the plan has named."""
    try:
        return read_shape(model)
    except ValueError:
        return None


def _compare_tokenizers(model: ModelConfig, teacher: Path, rows: int) -> tuple[str | None, bool]:
    """Return (how the teacher's tokenizer differs from that of the recipe's model, whether both are known); `rows` of the
    teacher's embedding."""
    theirs = read_vocabulary(teacher)
    if model.build is not None:
        return (describe_difference(VOCABULARY, theirs, rows), True) if theirs else (None, False)
    folder = folder_of(str(model.text_source))
    ours = read_vocabulary(folder) if folder else None
    if ours and theirs:
        return describe_difference(ours, theirs, rows), True
    files = [path / "tokenizer.model" for path in (folder, teacher) if path]
    if len(files) < 2 or not all(map(os.path.isfile, files)):
        return None, False
    # A SentencePiece file alone: equal bytes are all that can be told without the library that reads it.
    same = files[0].read_bytes() == files[1].read_bytes()
    return (None if same else "its tokenizer.model is not the policy's"), True
