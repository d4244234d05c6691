"""Holds the memory of a recipe's actors against the devices, and finds the change that helps where it does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from models.lora import LoraConfig
from models.shape import Shape
from rl.planning import memory
from rl.planning.memory import SHARE
from rl.planning.result import Plan
from rl.recipe import Recipe
from rl.units import GIB, size
from rl.workers.deepspeed_settings import offloads_optimizer
from rl.workers.placement import total

BUSY = 0.9
"""Free share of a GPU's memory below which somebody else is at work there."""
OFFLOAD = {"offload_optimizer": {"device": "cpu"}}
"""Option of DeepSpeed's ZeRO that keeps the optimizer in the host's memory."""


def add_memory(recipe: Recipe, shape: Shape, plan: Plan) -> None:
    """Add the memory of every role and the size of an engine's cache, with a problem or a note where there is too little."""
    _estimate(recipe, shape, plan)
    unknown = [
        f"judges.{role.role[6:]}.model" for role in plan.roles if role.role.startswith("judge ") and not role.bytes
    ]
    plan.notes += [f"{place}: the model is not here; its memory is not estimated" for place in unknown]
    if "engine" in recipe.roles:
        _check_engine(recipe, shape, plan)
    # Without actors, as where all is read from files, there is nothing to hold against the GPUs.
    held = plan.gpu and plan.gpu_memory and plan.placed
    if held and plan.machines and total(plan.placed)[1] <= plan.machines.gpus:
        _check_gpus(recipe, shape, plan)
    if not plan.gpu:
        _check_host(plan)
    elif plan.present:
        _check_host_of_gpus(plan, plan.present.memory)
    activations = max((role.parts["activations"] for role in plan.roles), default=0)
    if activations > 8 * GIB and not recipe.header.model.gradient_checkpointing:
        plan.notes.append(
            f"activations take {size(activations)} a rank; model.gradient_checkpointing=true keeps far less"
        )


def _estimate(recipe: Recipe, shape: Shape, plan: Plan) -> None:
    """Set the memory of every role, and the engines' share of GPUs that they share with trainers."""
    micro_batch = max((stage.micro_batch for stage in plan.stages), default=0)
    judges = [memory.judge_plan(name, judge, plan.gpu, plan.gpu_memory) for name, judge in recipe.judges.items()]
    plan.roles = [*memory.role_plans(recipe, shape, micro_batch, plan.gpu, plan.gpu_memory), *judges]
    shares = plan.gpu and plan.placement == "colocated" and len(plan.roles) > 1
    # A recipe that names one of these decides itself how much an engine takes.
    options = {SHARE, memory.CACHE} & recipe.header.engines.vllm.keys()
    if shares and plan.gpu_memory and "engine" in recipe.roles and not options:
        seats = [seat for bundle in plan.seats for seat in bundle if any(actor.role == "engine" for actor in seat)]
        plan.engine_share = min(memory.engine_share(seat, plan.gpu_memory) for seat in seats)
        roles = memory.role_plans(recipe, shape, micro_batch, plan.gpu, plan.gpu_memory, plan.engine_share)
        plan.roles = [*roles, *judges]


def _check_engine(recipe: Recipe, shape: Shape, plan: Plan) -> None:
    """Set the size of an engine's cache, and add a problem where it cannot hold the longest sequence."""
    engines, dtype = recipe.header.engines, recipe.header.model.dtype
    if plan.gpu and shape.heads % engines.gpus:
        plan.problems.append(f"engines.gpus: {shape.heads} attention heads do not divide over {engines.gpus} GPUs")
    (engine,) = (role for role in plan.roles if role.role == "engine")
    kv_tokens = int(engine.parts["kv"] * (engines.gpus if plan.gpu else 1) // shape.kv_per_token(dtype))
    plan.kv_tokens = 0 if plan.gpu and not plan.gpu_memory else kv_tokens
    if kv_tokens >= recipe.max_sequence_tokens:
        return
    if plan.gpu:
        fix = "a larger vllm.gpu_memory_utilization" if plan.engine_share is None else "lower max_sequence_tokens"
        plan.problems.append(
            f"engines.gpus: beside the weights an engine's cache holds {kv_tokens:,} tokens, one sequence has up to "
            f"{recipe.max_sequence_tokens:,}; give it more GPUs or {fix}"
        )
    else:
        least = size(recipe.max_sequence_tokens * shape.kv_per_token(dtype))
        plan.problems.append(
            f"engines.kv_cache_mb: {engines.kv_cache_mb} hold {kv_tokens:,.0f} tokens, one sequence has up to "
            f"{recipe.max_sequence_tokens:,}; give at least {least}"
        )


def _check_host(plan: Plan) -> None:
    """Add a problem or a note where the memory of this machine, which has no GPU, does not hold the actors."""
    demands = ", ".join(f"{r.role} {f'{r.count} × ' if r.count > 1 else ''}{size(r.certain)}" for r in plan.roles)
    certain = sum(role.certain * role.count for role in plan.roles)
    if plan.present and certain > plan.present.memory:
        plan.problems.append(
            f"memory: {size(certain)} asked for by weights, optimizers and caches alone ({demands}), "
            f"{size(plan.present.memory)} present; choose a smaller model or a cluster (cluster.address)"
        )
    elif plan.present and plan.memory > plan.present.memory:
        plan.notes.append(
            f"memory: about {size(plan.memory)} needed, {size(plan.present.memory)} present; lower "
            "trainer.tokens_per_microbatch or max_sequence_tokens"
        )


def _check_host_of_gpus(plan: Plan, present: int) -> None:
    """Add a note where the host's memory does not hold what leaves the GPUs."""
    need, asleep = sum(role.host * role.count for role in plan.roles), 0.0
    # Engines with GPUs of their own never sleep. By `ipc` the others drop their weights later, but not before their
    # first load.
    if plan.placement == "colocated":
        asleep = sum(role.parts["weights"] * role.count for role in plan.roles if role.role == "engine")
    if need + asleep > present:
        what = "optimizer states and sleeping engines" if asleep else "optimizer states"
        plan.notes.append(
            f"memory: {size(need + asleep)} of {what} wait in the host's memory, which has "
            f"{size(present)}; set trainer.offload_between_turns=false or train an adapter (model.lora={{rank: 16}})"
        )


def _check_gpus(recipe: Recipe, shape: Shape, plan: Plan) -> None:
    """Add a problem where the fullest GPU does not hold its actors at work, and a note where others
    have some of its memory."""
    if plan.present and plan.present.gpu_free < BUSY * plan.present.gpu_memory:
        plan.notes.append(
            f"memory: {size(plan.present.gpu_free)} of {size(plan.present.gpu_memory)} are free on a GPU: another program holds "
            "the rest; end it, or choose other GPUs with CUDA_VISIBLE_DEVICES"
        )
    word = "expected" if plan.expected and not plan.present else "present"
    need, capacity = max(plan.devices), plan.gpu_memory
    if need > capacity:
        fix = _find_fix(recipe, shape, plan) or (
            "use more GPUs (trainer.ranks with zero_stage 3, engines.gpus) or a smaller model"
        )
        plan.problems.append(f"memory: about {size(need)} needed on a GPU, {size(capacity)} {word}; {fix}")


def _find_fix(recipe: Recipe, shape: Shape, plan: Plan) -> str | None:
    """Return the overrides, as few as there are, with which the recipe fits; None where none of those tried do."""
    share = recipe.header.engines.vllm.get(SHARE)
    # The share that the recipe fixes is looked at first: without it one is chosen that leaves room for the trainers.
    if share is not None:
        rest = {key: value for key, value in recipe.header.engines.vllm.items() if key != SHARE}
        trial = replace(plan, roles=[], engine_share=None)
        _estimate(_with(recipe, engines={"vllm": rest}), shape, trial)
        if trial.engine_share and max(trial.devices) <= plan.gpu_memory:
            return f"set engines.vllm.{SHARE}={trial.engine_share:g}, or leave it out"
    changes = _candidates(recipe)
    together, names = recipe, list[str]()
    for name in changes:  # each alone, the cheapest first
        if _fits(changes[name], shape, plan):
            return f"set {name}"
    for name in changes:  # then more and more of them
        names.append(name)
        together = _candidates(together)[name]
        if _fits(together, shape, plan):
            return f"set {' and '.join(names)}"
    return None


def _fits(recipe: Recipe, shape: Shape, plan: Plan) -> bool:
    """Return whether a changed recipe fits the GPUs."""
    longest = recipe.max_sequence_tokens
    # A sequence beyond the budget makes a micro-batch alone (`rl.data.collate.pack`).
    budget = max(recipe.header.trainer.tokens_per_microbatch, longest)
    stages = [replace(stage, micro_batch=min(stage.micro_batch, budget)) for stage in plan.stages]
    trial = replace(plan, stages=stages, roles=[], engine_share=None)
    _estimate(recipe, shape, trial)
    (engine,) = [role for role in trial.roles if role.role == "engine"] or [None]
    holds_one = engine is None or engine.parts["kv"] * recipe.header.engines.gpus >= longest * shape.kv_per_token(
        recipe.header.model.dtype
    )
    return max(trial.devices) <= plan.gpu_memory and holds_one


def _candidates(recipe: Recipe) -> dict[str, Recipe]:
    """Return {overrides: the recipe with them}, the cheapest first: what costs little time before what changes what is learned."""
    header = recipe.header
    longest = recipe.max_sequence_tokens
    options = header.trainer.deepspeed
    changes: dict[str, Recipe] = {}
    if header.trainer.tokens_per_microbatch > longest:
        changes[f"trainer.tokens_per_microbatch={longest}"] = _with(recipe, trainer={"tokens_per_microbatch": longest})
    if not header.model.gradient_checkpointing:
        changes["model.gradient_checkpointing=true"] = _with(recipe, model={"gradient_checkpointing": True})
    if header.trainer.zero_stage < 3 and header.trainer.ranks > 1:
        changes["trainer.zero_stage=3"] = _with(recipe, trainer={"zero_stage": 3})
    if not offloads_optimizer(options):
        zero = {**options.get("zero_optimization", {}), **OFFLOAD}
        name = "trainer.deepspeed.zero_optimization.offload_optimizer.device=cpu"
        changes[name] = _with(recipe, trainer={"deepspeed": {**options, "zero_optimization": zero}})
    if not header.model.lora:
        changes["model.lora.rank=16"] = _with(recipe, model={"lora": LoraConfig(rank=16)})
    return changes


def _with(recipe: Recipe, **changes: Mapping[str, object]) -> Recipe:
    """Return the recipe with other values of a section's keys."""
    sections = {name: replace(getattr(recipe.header, name), **values) for name, values in changes.items()}
    return replace(recipe, header=replace(recipe.header, **sections))
