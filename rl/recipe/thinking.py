"""Decides whether the model thinks, where the recipe leaves it to `model.think: auto`.

A model that thinks begins every answer in a chain, which a prompt opens with `<think>`. For one that never learned to close
it, no answer would ever begin. So `auto` asks for evidence: demonstrations with chains, stages and rewards that need one, or a
chat template that knows the tag.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.folder import read_chat_template
from rl.config import ConfigError
from rl.data.tasks import TASKS
from rl.think import THINK_CLOSE, THINK_OPEN, find_other_tags, to_standard_tags

if TYPE_CHECKING:
    from rl.recipe.loader import DataRead, Recipe
    from rl.types import Prompt

CHAIN_VERIFIERS = ("format", "coherence", "grounding")
"""Verifiers that judge a chain of thought, and give nothing to an answer without one."""

PromptsOf = Callable[["DataRead"], "Sequence[Prompt] | None"]
"""A function from a read of data to its prompts, as far as they were read; None where they are not known yet."""


@dataclass(frozen=True)
class Thinking:
    """A decision whether the model thinks, with its reason."""

    think: bool | None
    """The decision; None where it is not known before the run starts."""
    reason: str

    def __str__(self) -> str:
        word = {True: "on", False: "off", None: "not known yet"}[self.think]
        return f"{word} (model.think: auto): {self.reason}"


def choose_thinking(recipe: Recipe, prompts_of: PromptsOf, folder: Path | None) -> Thinking:
    """Return what `model.think` of the recipe means. `folder`: that of the model, None where it is not here. Raises
    ConfigError where the model would think in tags that its chat template does not use."""
    template = read_chat_template(folder) if folder and recipe.header.model.build is None else None
    choice = _choose(recipe, prompts_of, folder, template)
    tags = find_other_tags(template) if template and not _knows_tags(template) else None
    if tags and choice.think:
        # Nobody reads a chain in other tags: verifiers, budgets and engines look for these, and the model has not learned
        # to close them. Renamed in the template they would be plain text to its tokenizer.
        raise ConfigError(
            f"model.think: the model's chat template writes chains between {tags[0]} and {tags[1]}, and here they stand "
            f"between {THINK_OPEN} and {THINK_CLOSE} ({choice.reason}); choose a model that has these tags, or none "
            "(as a base model), or leave out what needs a chain and set model.think: false"
        )
    if tags and choice.think is False:
        return Thinking(False, f"{choice.reason}; a chain between {tags[0]} and {tags[1]} counts as answer")
    return choice


def _knows_tags(template: str) -> bool:
    return THINK_OPEN in template or THINK_CLOSE in template


def _choose(recipe: Recipe, prompts_of: PromptsOf, folder: Path | None, template: str | None) -> Thinking:
    model = recipe.header.model
    if model.think != "auto":
        return Thinking(model.think, f"model.think is {str(model.think).lower()}")
    unknown = ""
    for reason, is_known in _teachers(recipe, prompts_of):
        if is_known:
            return Thinking(True, reason)
        unknown = unknown or reason
    for reason in _askers(recipe):
        return Thinking(True, reason)
    if model.build is not None:
        return Thinking(True, f"the chat template of a built model opens {THINK_OPEN}")
    if template is not None and _knows_tags(template):
        return Thinking(True, f"the model's chat template knows {THINK_OPEN}")
    # A yes needed one piece of evidence; a no needs all of it.
    if folder is None or unknown:
        return Thinking(None, unknown or "the chat template is read once the model is here")
    return Thinking(
        False,
        f"the model's chat template does not know {THINK_OPEN}, and neither demonstrations nor reward call for chains",
    )


def _teachers(recipe: Recipe, prompts_of: PromptsOf) -> Iterator[tuple[str, bool]]:
    """Yield (reason, True) for each stage that teaches chains, and (what is not known, False) for each that may."""
    for read in recipe.loads():
        if read.key or read.stage.facts.reads == "prompts":
            continue
        prompts = prompts_of(read)
        if prompts is not None and any(has_chain(prompt) for prompt in prompts):
            yield f"rows of '{read.data}', which {read.stage.place} learns from, have chains", True
        elif prompts is None and recipe.header.data[read.data].source in TASKS:
            yield f"the task of '{read.data}', which {read.stage.place} learns from, demonstrates chains", True
        elif prompts is None:
            yield f"the rows of '{read.data}' are read when the run starts", False
    for stage in recipe.stages:
        if "distilled" in stage.facts.makes:
            yield f"{stage.place} collects answers with a chain", True


def _askers(recipe: Recipe) -> Iterator[str]:
    """Yield what in the recipe needs chains."""
    for stage in recipe.stages:
        if getattr(stage.config, "budgets", ()):
            yield f"{stage.place}.budgets cuts chains"
        if not stage.config.judges_samples:
            continue
        for part in (stage.config.stage_reward or recipe.header.reward).parts:
            weights = part.weight.values() if isinstance(part.weight, dict) else [part.weight]
            if part.verifier in CHAIN_VERIFIERS and any(weights):
                yield f"the reward of {stage.place} has '{part.verifier}', which asks for chains"


def has_chain(prompt: Prompt) -> bool:
    """Return whether the prompt shows a chain to imitate, or to prefer."""
    if prompt.demonstration is not None and prompt.demonstration.reasoning:
        return True
    return any(THINK_CLOSE in to_standard_tags(str(prompt.fields.get(side, ""))) for side in ("chosen", "rejected"))


def unused_chains(recipe: Recipe, prompts_of: PromptsOf) -> list[str]:
    """Return a line for each stage whose rows have chains that a model without thinking does not learn."""
    return [
        f"{reason}, and model.think is false: they are left out; remove `think: false` to teach them"
        for reason, is_known in _teachers(recipe, prompts_of)
        if is_known and recipe.header.model.think is False
    ]
