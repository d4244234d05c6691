"""What in a recipe's numbers cannot come out, and what is possible and probably not meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rl.data.mixture import weights_of
from rl.data.sources import FILES, DataConfig, DataFacts
from rl.data.tasks import TASKS
from rl.data.tasks.procedural import COMPACT
from rl.planning.workload import quoted
from rl.units import many

if TYPE_CHECKING:
    from rl.recipe import Recipe
    from rl.recipe.loader import Stage

GROUPED = {"grpo", "dr_grpo", "rloo", "reinforce++-baseline"}
"""Advantages that compare a sample with others of its prompt."""

SOUND = ("sounds", "recordings", "folder")
"""Sources whose every prompt has a clip."""

LEAST = {"max_sequence_tokens": 2, "limit": 1, "keep": 1}
"""Of any stage that has such a key (a curate stage's `keep` is a range and checked there)."""


DRAWN = {"sft": "sequences_per_step", "encode": "clips_per_step"} | dict.fromkeys(
    ("dpo", "reward_model"), "pairs_per_step"
)
"""What one optimiser step of a stage that learns from its rows takes of them."""


def problems(stage: Stage, recipe: Recipe, rows: int | None, positions: int | None) -> list[str]:
    """Mistakes of arithmetic in a stage that has `rows` prompts and a model of `positions`, one line each."""
    config, found = stage.config, list[str]()
    inner = getattr(config, "eval", None)
    for place, settings in ((stage.place, config), *([(f"{stage.place}.eval", inner)] if inner else [])):
        for name, least in LEAST.items():
            value = getattr(settings, name, None)
            if isinstance(value, int) and value < least:
                found.append(f"{place}.{name}: must be at least {least}; got {value}")
        longest = getattr(settings, "max_sequence_tokens", 0)
        if positions is not None and longest > positions:
            found.append(
                f"{place}.max_sequence_tokens: {longest} asked for, the model has {positions} positions; lower it"
            )
    if rows == 0 and not found:
        found.append(
            f"{stage.place}.data: {quoted(config.data)}, split '{config.split}', has no rows; choose another split"
        )
    if getattr(config, "budgets", ()) and not recipe.header.model.think:
        found.append(f"{stage.place}.budgets: the model does not think (model.think: false); remove them")
    lacking = {"sft": ("demonstrations", ("response", "messages"))} | dict.fromkeys(
        ("dpo", "reward_model"), ("pairs", ("chosen",))
    )
    for name in weights_of(config.data) if stage.kind in lacking else ():
        data, (what, keys) = recipe.header.data.get(name), lacking[stage.kind]
        if data is not None and data.source in FILES and not set(keys) & data.fields.keys():
            found.append(f"{stage.place}.data: '{name}' has no {what}; map `{keys[0]}:` in data.{name}.fields")
        elif data is not None and data.source not in FILES and _lacks(stage.kind, data):
            found.append(
                f"{stage.place}.data: '{name}' has no {what}; name a data set that has, or the stage that makes it"
            )
    build = recipe.header.model.build
    for name in weights_of(config.data) if build and not build.audio and not getattr(config, "model", None) else ():
        data = recipe.header.data.get(name)
        if data is not None and (data.source in SOUND or "audio" in data.fields):
            found.append(
                f"{stage.place}.data: '{name}' has sound, the model reads text only; add `audio: {{}}` to model.build"
            )
    return found + (_impossible(stage, rows) if stage.kind == "rlvr" and not found else [])


def _lacks(kind: str, data: DataConfig) -> bool:
    """Whether a task of ours surely makes nothing that the stage learns from."""
    if kind != "sft":
        return data.source in TASKS
    return data.source == "reasoning_gym" and data.args.get("dataset", "spell_backward") not in COMPACT


def _impossible(stage: Stage, rows: int | None) -> list[str]:
    config, goal, place, found = stage.config, stage.config.resolved(), stage.place, list[str]()
    if rows is not None and 0 < rows < config.prompts_per_step:
        found.append(
            f"{place}.prompts_per_step: {config.prompts_per_step} prompts asked for, {quoted(config.data)} has {rows}; "
            "lower it or raise limit"
        )
    if goal.overlong_buffer > config.max_sequence_tokens:
        found.append(
            f"{place}.objective.overlong_buffer: {goal.overlong_buffer} tokens do not fit max_sequence_tokens "
            f"({config.max_sequence_tokens}); make it smaller"
        )
    if config.samples_per_prompt == 1 and goal.filter_zero_variance:
        found.append(
            f"{place}.samples_per_prompt: a group of 1 has no variance and filter_zero_variance drops it; use at least 2"
        )
    return found


def notes(stage: Stage, rows: int | None) -> list[str]:
    """What is possible and probably not meant in a stage that has `rows` prompts, and when a repeated block ends."""
    taken = getattr(stage.config, key := DRAWN.get(stage.kind, ""), 0)
    if rows is not None and 0 < rows < taken:
        return [
            f"{stage.place}.{key}: {taken} asked for, {quoted(stage.config.data)} has {rows}: each is drawn about "
            f"{taken / rows:.2g} times in one step; lower it"
        ]
    block = stage.repeat
    if block and block.until and stage.base == block.until.stage and stage.iteration == 1:
        patience = many(block.until.patience, "iteration")
        return [f"{block.name}: ends early once {block.until.metric} has not improved for {patience}"]
    if stage.kind != "rlvr":
        return []
    config, found = stage.config, list[str]()
    if config.critic_warmup_steps >= config.steps:
        found.append(
            f"critic_warmup_steps: {config.critic_warmup_steps} of {config.steps} steps: the policy never learns"
        )
    if config.eval_every > config.steps:
        found.append(f"eval_every: {config.eval_every}, of {config.steps} steps: nothing is evaluated on the way")
    advantage = config.resolved().advantage
    if config.samples_per_prompt == 1 and advantage in GROUPED:
        found.append(f"samples_per_prompt: with 1 sample '{advantage}' has no group to compare it with")
    return [f"{stage.place}.{note}" for note in found]


def same_rows(facts: Mapping[tuple[str, str | None], DataFacts]) -> list[str]:
    """Data sets without splits of which several are asked for, from the facts of each (data set, split)."""
    asked: dict[str, list[str]] = {}
    for (name, split), fact in facts.items():
        if fact.without_splits and split is not None:
            asked.setdefault(name, []).append(split)
    return [
        f"data.{name} has no split column: {' and '.join(splits)} read the same rows"
        for name, splits in asked.items()
        if len(splits) > 1
    ]


def unjudged(recipe: Recipe, facts: Mapping[tuple[str, str | None], DataFacts]) -> tuple[list[str], list[str]]:
    """(problems, notes) of rlvr stages whose `difficulty` is that of other data: a prompt is kept by its id, so nothing
    is left of data that surely has other ids, such as the rows of another file that are called by their numbers."""
    known, found, unsure = recipe.header.data, dict[str, None](), dict[str, None]()
    numbered = {name for (name, _), fact in facts.items() if fact.without_ids}
    judges = {stage.base: stage for stage in recipe.stages if stage.kind == "curate"}
    for stage in recipe.stages:
        judge = judges.get(getattr(stage.config, "difficulty", None) or "")
        for name in weights_of(stage.config.data) if judge else ():
            others = weights_of(judge.config.data)
            if name in others or any(_alike(known.get(name), known.get(other)) for other in others):
                continue
            says = f"{stage.place}.difficulty: '{judge.base}' judges {quoted(judge.config.data)}, not '{name}'"
            if all((name in known) != (other in known) or {name, other} <= numbered for other in others):
                found[f"{says}, of which no prompt would be left; give both stages the same data"] = None
            else:
                unsure[f"{says}: only prompts whose id is in both are kept"] = None
    return list(found), list(unsure)


def _alike(one: DataConfig | None, other: DataConfig | None) -> bool:
    """Whether both read the same rows."""
    return bool(one and other) and all(getattr(one, k) == getattr(other, k) for k in ("source", "path", "args"))
