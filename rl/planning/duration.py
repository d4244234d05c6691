"""Estimates how long a stage takes: from the pace that the recipe states (cluster.expect), else by a model of a GPU.

The model is a sum, without gaps: products at 650 TFLOP/s, bytes of elementwise work and of the engine's weights and cache at
2.7 TB/s, 2.5 µs for each kernel of a trainer. These are rates of an H100 or H200 with bfloat16; what a run really takes was
measured on none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from models.shape import BYTES, Shape
from rl.planning.result import Plan
from rl.planning.teachers import further_forwards
from rl.units import amount

if TYPE_CHECKING:
    from rl.recipe import Recipe
    from rl.recipe.stage_list import Stage
    from rl.stages.workload import StagePlan
    from rl.workers.placement import ExpectConfig

FLOPS, BANDWIDTH, KERNEL_S = 650e12, 2.7e12, 2.5e-6
"""Operations and bytes of a second, seconds of a kernel's start."""
PASSES = {True: 4.0, False: 1.3}
"""Times that elementwise kernels read or write the activations, in an update (forward and backward) and in a forward pass."""
KERNELS = {True: 90, False: 30}
"""Kernels of a layer, likewise."""
STEP_S = 2e-3
"""Seconds of an engine's step beside the GPU's work: scheduling and sampling."""
IN_FLIGHT = 512
"""Samples that an engine on a GPU runs at once, unless the recipe sets `max_num_seqs`."""
HOST_BANDWIDTH = 50e9
"""Bytes of a second at which an optimizer steps in the host's memory."""


@dataclass(frozen=True)
class Pace:
    """Pace of a recipe's trainers and engines in one stage."""

    train_s: float
    """Seconds of all its optimiser steps and forward passes, for each token of its sequences."""
    sample_s: float
    """Seconds of sampling, for each token."""
    step_s: float
    """Seconds of an optimiser step beside its tokens."""
    train_formula: str
    sample_formula: str = ""


def add_durations(recipe: Recipe, shape: Shape, plan: Plan) -> None:
    """Give the stages of the plan their seconds at full length, and at the expected lengths where there are some; none where
    neither a pace is stated nor a GPU is known."""
    expect = plan.expected
    is_stated = expect is not None and expect.train_tflops is not None
    if not is_stated and not (plan.gpu and plan.gpu_memory):
        return
    stages: list[StagePlan] = []
    for stage, stage_plan in zip(recipe.stages, plan.stages, strict=True):
        # A teacher's pass takes as long as several of the policy's where it is several times as large.
        forwards = stage_plan.forwards + further_forwards(recipe, stage, shape)
        stage_plan = replace(stage_plan, forwards=forwards)
        if is_stated and expect:
            pace = _stated_pace(stage_plan, recipe, shape, expect)
        else:
            pace = _modelled_pace(stage, stage_plan, recipe, shape, plan)
        side_by_side = plan.steps_side_by_side(stage)
        training, sampling = _sides(pace, stage_plan, stage_plan.tokens)
        seconds = _seconds(training, sampling, side_by_side)
        stages.append(
            replace(
                stage_plan,
                seconds=seconds,
                expected_seconds=_seconds(*_sides(pace, stage_plan, stage_plan.expected_tokens), side_by_side),
                training_seconds=training,
                sampling_seconds=sampling,
                time_formula=f"{_formula(pace, side_by_side)}; × {amount(stage_plan.tokens)} tokens" if seconds else "",
            )
        )
    plan.stages = stages


def _sides(pace: Pace, stage_plan: StagePlan, tokens: int) -> tuple[float, float]:
    """Return the seconds of (training, sampling) of so many tokens; of none where nobody knows how many there are."""
    return (tokens * pace.train_s + stage_plan.steps * pace.step_s, tokens * pace.sample_s) if tokens else (0.0, 0.0)


def _seconds(training: float, sampling: float, side_by_side: int) -> float:
    """Return the seconds of a stage of so much training and sampling, one after the other or, for so many steps, at the same
    time."""
    if not side_by_side:
        return training + sampling
    # The slower one never waits for the other but at an end: for the first step's samples, or after the last one's.
    return max(training, sampling) + min(training, sampling) / side_by_side


def _formula(pace: Pace, side_by_side: int) -> str:
    """Return the formula of `_seconds`."""
    if not side_by_side:
        return " + ".join(filter(None, [pace.train_formula, pace.sample_formula]))
    return f"the longer of {pace.train_formula} and {pace.sample_formula}, and 1/{side_by_side} of the other"


def _operations(stage_plan: StagePlan, recipe: Recipe) -> tuple[int, int]:
    """Return the operations for each parameter and token of a stage: of its updates and of its forward passes alone.

    2 P forward and 4 P backward (Kaplan et al. 2020, arXiv 2001.08361, section 2.1), 2 P more where gradient checkpointing
    works the layers again; attention's own, about an eighth of that at 10,240 tokens of a 33B model, are left to the pace.
    Beside an adapter the backward pass spares the gradients of the weights: 2 P less."""
    update = 8 if recipe.header.model.gradient_checkpointing else 6
    if recipe.header.model.lora:
        update -= 2
    return update * stage_plan.updates, 2 * stage_plan.forwards


def _stated_pace(stage_plan: StagePlan, recipe: Recipe, shape: Shape, expect: ExpectConfig) -> Pace:
    """Return the pace by what `cluster.expect` states."""
    flops, rate = (expect.train_tflops or 0) * 1e12, expect.engine_tokens_per_second or 1
    operations, ranks = sum(_operations(stage_plan, recipe)), recipe.header.trainer.ranks
    train_s = operations * shape.active / (ranks * flops)
    engines = recipe.header.engines.count
    formula = f"{operations} × {amount(shape.active)} / ({ranks} × {expect.train_tflops:g} TFLOP/s)"
    if not stage_plan.rollouts:
        return Pace(train_s, 0.0, 0.0, formula)
    return Pace(train_s, 1 / (engines * rate), 0.0, formula, f"1 / ({engines} × {rate:,g} tokens/s)")


def _modelled_pace(stage: Stage, stage_plan: StagePlan, recipe: Recipe, shape: Shape, plan: Plan) -> Pace:
    """Return the pace by the model of a GPU."""
    dtype, trainer = recipe.header.model.dtype, recipe.header.trainer
    update, forward = _operations(stage_plan, recipe)
    flops = FLOPS if dtype == "bfloat16" else FLOPS / 16  # float32 without TF32
    elementwise = shape.activations(dtype, "all")
    passes = PASSES[True] * stage_plan.updates + PASSES[False] * stage_plan.forwards
    kernels = KERNELS[True] * stage_plan.updates + KERNELS[False] * stage_plan.forwards
    tokens = max(1, stage_plan.micro_batch)
    train_s = (update + forward) * shape.active / flops + passes * elementwise / BANDWIDTH
    train_s = (train_s + kernels * shape.layers * KERNEL_S / tokens) / trainer.ranks
    learned = sum(role.parts["optimizer"] for role in plan.roles) or sum(role.host for role in plan.roles)
    on_host = any(role.host and not role.parts["optimizer"] for role in plan.roles)
    # Of 12 bytes a parameter of states: read and written once.
    step_s = 2 * learned / (HOST_BANDWIDTH if on_host else BANDWIDTH) if stage_plan.updates else 0.0
    formula = (
        f"({update + forward} × {amount(shape.active)} / {flops / 1e12:,.0f} TFLOP/s + {passes:.1f} × "
        f"{elementwise / 1e6:,.2f} MB / 2.7 TB/s + {kernels * shape.layers:,.0f} kernels of 2.5 µs / {tokens:,} tokens) / "
        f"{trainer.ranks} ranks"
    )
    if not stage_plan.rollouts:
        return Pace(train_s, 0.0, step_s, formula)
    rate, engine_formula = _engine_rate(stage, stage_plan, recipe, shape, plan)
    engines = recipe.header.engines.count
    sample_formula = f"1 / ({engines} engines × {engine_formula})"
    return Pace(train_s, 1 / (engines * rate), step_s, formula if train_s else "", sample_formula)


def _engine_rate(stage: Stage, stage_plan: StagePlan, recipe: Recipe, shape: Shape, plan: Plan) -> tuple[float, str]:
    """Return (tokens of a second of one engine, the formula): decoding reads all weights at each step, and for each of the
    samples at once half of a sequence's cache."""
    engines, dtype = recipe.header.engines, recipe.header.model.dtype
    longest = max(1.0, stage_plan.tokens / stage_plan.rollouts)
    length = min(longest, stage_plan.sequence_tokens or longest)
    # Only rlvr samples step by step: in other stages all samples count as waiting at once.
    at_once = getattr(stage.config, "prompts_per_step", 0) * getattr(stage.config, "samples_per_prompt", 0)
    together = min(
        engines.vllm.get("max_num_seqs", IN_FLIGHT),
        max(1.0, (at_once or stage_plan.rollouts) / engines.count),
        max(1.0, plan.kv_tokens / length),
    )
    weights = BYTES[dtype] * shape.parameters / engines.gpus
    cache = together * length / 2 * shape.kv_per_token(dtype) / engines.gpus
    products = together * 2 * shape.active / engines.gpus / FLOPS
    step_s = (weights + cache) / BANDWIDTH + products + STEP_S
    rate = together / step_s
    formula = f"{together:,.0f} samples at once / {step_s * 1e3:.1f} ms = {rate:,.0f} tokens/s"
    return rate, formula


def format_duration(seconds: float) -> str:
    """Return `40 min`, `5.2 h` or `3.1 days`."""
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
