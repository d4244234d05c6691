"""Checks of `model.lora` for `rl check`: how many parameters train, targets that there are not, rates meant for all weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, cast

from models.folder import folder_of, parameter_names
from models.lora import ALL_LINEAR, LoraConfig
from models.shape import Shape
from rl.workers.optimizer import OptimizerConfig

if TYPE_CHECKING:
    from models.settings import ModelConfig
    from rl.recipe import Recipe
    from rl.recipe.stage_list import Stage

BUILT_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Linear layers of a built model's decoder, which are those of most families too."""
OTHER_MATRICES = ("embed_tokens", "lm_head", "wte", "wpe", "embed_in", "embed_out")
"""Last parts of the names of matrices that are no layers."""
WITHOUT_ADAPTERS = {"qwen2_audio"}
"""Values of `model_type` for which vLLM takes no adapters."""
USUAL_FACTOR, LEAST_FACTOR = 10, 5
"""An adapter learns best at about ten times the rate of full fine-tuning (Schulman et al. 2025, "LoRA without regret"); below
half of that the recipe likely kept a rate meant for all weights."""


def trained_parameters(shape: Shape, lora: LoraConfig) -> int:
    """Return the number of parameters that train beside a frozen model: of the LoRA adapter rank × (in + out) for each
    matrix of each layer (experts are no linear layers), and all of the audio adapter."""
    sides = {
        "q_proj": shape.hidden + shape.q,
        "k_proj": shape.hidden + shape.k,
        "v_proj": shape.hidden + shape.k,
        "o_proj": shape.q + shape.hidden,
    }
    if not shape.experts:
        sides |= dict.fromkeys(("gate_proj", "up_proj", "down_proj"), shape.hidden + shape.ffn)
    if lora.targets == ALL_LINEAR:
        return shape.adapter + shape.layers * lora.rank * sum(sides.values())
    names = {target.rpartition(".")[2] for target in lora.targets}
    # Names of other families are not known here: as wide as the widest there is.
    return shape.adapter + shape.layers * lora.rank * sum(sides.get(name, max(sides.values())) for name in names)


def check(recipe: Recipe, facts: object) -> tuple[list[str], list[str]]:
    """Return (problems, notes) about `model.lora`; nothing that is known of the data matters."""
    lora = recipe.header.model.lora
    return ([], []) if lora is None else (_problems(recipe, lora), _notes(recipe))


def _problems(recipe: Recipe, lora: LoraConfig) -> list[str]:
    """Return the mistakes in `model.lora`, one line each."""
    lines: list[str] = []
    if not any(_trains(stage) for stage in recipe.stages):
        lines.append("model.lora: no stage trains with it (sft, rlvr, dpo and reward_model do); remove it, or add one")
    kind = _family(recipe.header.model)
    if kind in WITHOUT_ADAPTERS and recipe.header.model.adapter_rank and "engine" in recipe.roles:
        lines.append(f"model.lora: vLLM takes no adapters for '{kind}'; use dtype float32, in which they are merged")
    layers = _layer_names(recipe.header.model)
    if layers and lora.targets != ALL_LINEAR:
        for target in lora.targets:
            if not any(f".{layer}".endswith(f".{target}") for layer in layers):
                names = ", ".join(dict.fromkeys(layer.rpartition(".")[2] for layer in layers))
                lines.append(
                    f"model.lora.targets: the decoder has no linear layer '{target}'; it has {names}, or write `all-linear`"
                )
    return lines


def _notes(recipe: Recipe) -> list[str]:
    """Return notes on stages whose learning rate suits all weights and not an adapter, and on those that train without it."""
    lines: dict[str, None] = {}  # ordered: iterations of a block repeat a line
    for stage in recipe.stages:
        if stage.facts.teaches_encoder:
            lines[f"{stage.place}: trains the audio encoder's own weights; model.lora is for the stages after it"] = (
                None
            )
        elif _trains(stage):
            lines |= dict.fromkeys(_low_rates(stage))
    return [*lines]


def _trains(stage: Stage) -> bool:
    """Return whether an adapter trains in the stage."""
    warms_up = getattr(stage.config, "train", "all") == "adapter"  # the audio adapter alone
    return bool({"model", "reward_model"} & {*stage.facts.makes}) and not (stage.facts.teaches_encoder or warms_up)


def _low_rates(stage: Stage) -> list[str]:
    """Return a line for each optimizer of the stage whose rate is not much above the default one for all weights."""
    lines: list[str] = []
    for field in fields(stage.config):
        if field.default_factory is MISSING or field.name not in ("optimizer", "critic_optimizer"):
            continue
        if field.name == "critic_optimizer" and "critic" not in stage.config.roles:
            continue
        # The kind's default suits all weights: a recipe that names no rate has it beside an adapter too.
        full = cast("OptimizerConfig", field.default_factory()).learning_rate
        rate = cast("OptimizerConfig", getattr(stage.config, field.name)).learning_rate
        if rate < LEAST_FACTOR * full:
            lines.append(
                f"{stage.place}.{field.name}.learning_rate: {rate:g} suits full fine-tuning; an adapter wants about "
                f"{USUAL_FACTOR} times as much, such as {USUAL_FACTOR * full:g}"
            )
    return lines


def _family(model: ModelConfig) -> object:
    """Return the `model_type` of the model's config.json, or None where that cannot be read."""
    try:
        return model.shape().get("model_type")
    except ValueError:
        return None  # `requirements.models` says what is broken


def _layer_names(model: ModelConfig) -> Sequence[str]:
    """Return the names of the matrices that may be targets; none where the model is not here. An audio part's are among them,
    of which the trainer will not take any."""
    if model.build is not None:
        return BUILT_LAYERS
    folder = folder_of(str(model.text_source))
    try:
        names = parameter_names(folder) if folder else []
    except ValueError:
        return []  # `requirements.models` says what is broken
    layers = [name.removesuffix(".weight") for name in names if name.endswith(".weight")]
    return [layer for layer in layers if layer.rpartition(".")[2] not in OTHER_MATRICES]
