"""The plan for a terminal, and as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from rl.planning.duration import words
from rl.planning.plan import Plan
from rl.recipe.repeat import base
from rl.stages.workload import StagePlan
from rl.units import amount, many, size
from rl.workers.placement import ExpectConfig, total

if TYPE_CHECKING:
    from rich.console import RenderableType


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain values; memory and disk in bytes, `bundles` grouped by what sits on them."""
    values = asdict(plan)
    values["roles"] = [{**asdict(role), "bytes": role.bytes} for role in plan.roles]
    groups = _groups(plan)
    values["bundles"] = [
        {"count": n, "cpus": cpus, "gpus": gpus, "actors": list(actors), "bytes": need}
        for (cpus, gpus, actors, need), n in groups.items()
    ]
    del values["placed"]
    return values


def render(plan: Plan, brief: bool = False) -> RenderableType:
    """The plan for a terminal; `brief` leaves out the memory by role. Problems are the caller's to print."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    def table(texts: list[str], numbers: list[str]) -> Table:
        made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in texts + numbers:
            made.add_column(column, overflow="fold", justify="right" if column in numbers else "left")
        return made

    timed = any(stage.seconds for stage in plan.stages)
    stages = table(["stage", "kind", "what it does"], ["tokens", "time"] if timed else ["tokens"])
    for names, stage in _folded(plan.stages):
        name, times = (
            (stage.name, "") if len(names) == 1 else (f"{names[0]} … {names[-1].partition('@')[2]}", f"{len(names)} × ")
        )
        both = [_both(times, amount, stage.tokens, stage.expected_tokens)]
        both += [_both(times, words, stage.seconds, stage.expected_seconds)] if timed else []
        stages.add_row(Text(name), stage.kind, Text(stage.says), *both)
    lines = [f"placement  {_placement(plan)}"]
    if plan.roles:
        here = f" of {size(plan.present.memory)}" if plan.present else ""
        lines.append(f"memory     {_per_gpu(plan) if plan.gpu else f'about {size(plan.memory)}{here}'}")
        each = ", ".join(f"{name} {size(plan.disk[name])}" for name in ("models", "checkpoints", "rollouts"))
        free = f"; {size(plan.disk['free'])} free" if "free" in plan.disk else ""
        lines.append(f"disk       up to {each}{free}")
    if timed and plan.expected:
        lines.append(f"time       {_time(plan, plan.expected)}")
    title = Text.assemble((plan.recipe, "bold"), f"  {plan.model}")
    told = [Text(line) for line in lines] + [Text(f"note: {note}", "yellow") for note in plan.notes]
    if brief or not plan.roles:
        return Group(title, stages, *told)
    parts = ("weights", "gradients", "optimizer", "kv", "activations", "other")
    columns = ["actors", *("KV cache" if part == "kv" else part for part in parts), "each"]
    roles_table = table(["memory of"], columns)
    for role in plan.roles:
        cells = (size(role.parts[part]) if role.parts[part] else "" for part in parts)
        roles_table.add_row(role.role, str(role.count), *cells, size(role.bytes))
    return Group(title, stages, roles_table, *told)


def _both(times: str, text: Callable[[float], str], most: float, expected: float) -> str:
    """`3 × ≤ 4.1B`, and on a second line what is expected, `3 × ≈ 1B`."""
    return "\n".join(f"{times}{sign} {text(value)}" for sign, value in (("≤", most), ("≈", expected)) if value)


def _folded(stages: Sequence[StagePlan]) -> list[tuple[list[str], StagePlan]]:
    """[(names, plan)]: the iterations of a repeated stage that do the same are one."""
    alike: dict[tuple[str, StagePlan], list[str]] = {}
    for stage in stages:
        alike.setdefault((base(stage.name), replace(stage, name="")), []).append(stage.name)
    return [(names, replace(stage, name=names[0])) for (_, stage), names in alike.items()]


def _groups(plan: Plan) -> Counter[tuple[float, int, tuple[str, ...], float]]:
    """Bundles that are alike, with their number."""
    return Counter(
        (bundle.cpus, bundle.gpus, tuple(name for name, _ in bundle.actors), need)
        for bundle, need in zip(plan.placed, plan.devices, strict=True)
    )


def _placement(plan: Plan) -> str:
    groups = "; ".join(
        f"{f'{n} × ' if n > 1 else ''}[{cpus:g} CPU{f' + {gpus} GPU' if gpus else ''}: {_actors(actors)}]"
        for (cpus, gpus, actors, _), n in _groups(plan).items()
    )
    cpus, gpus = total(plan.placed)
    asked = f"{many(gpus, 'GPU')} and {many(cpus, 'CPU')}" if plan.gpu else many(cpus, "CPU")
    if plan.expected and plan.present is None:
        there = f"{plan.expected.gpus} and {plan.expected.cpus}" if plan.gpu else str(plan.expected.cpus)
        return f"{plan.placement}, {asked} of {there} expected on {many(plan.expected.nodes, 'node')}: {groups}"
    if plan.present is None:
        return f"{plan.placement}, {asked} of the cluster at {plan.address}: {groups}"
    have = f"{plan.present.gpus} and {plan.present.cpus}" if plan.gpu else str(plan.present.cpus)
    return f"{plan.placement}, {asked} of {have} here: {groups}"


def _actors(names: Sequence[str]) -> str:
    """`engine policy`, `engine 8 policy 8 critic`."""
    return " ".join(f"{n} {name}" if n > 1 else name for name, n in Counter(names).items())


def _per_gpu(plan: Plan) -> str:
    """What is needed on a GPU of each kind of bundle."""
    of = f" of {plan.expected.gpu_memory_gb:g}" if plan.expected else ""
    kinds = "; ".join(
        f"about {size(need)}{of} {f'a GPU of {n} ×' if n > 1 else 'on the GPU of'} [{_actors(actors)}]"
        for (_, _, actors, need), n in _groups(plan).items()
    )
    if plan.kv_tokens:
        return f"{kinds}; the KV cache of an engine holds {amount(plan.kv_tokens)} tokens"
    return kinds + ("; engines fill what is left with KV cache" if any(r.role == "engine" for r in plan.roles) else "")


def _time(plan: Plan, expect: ExpectConfig) -> str:
    whole, told = words(sum(stage.seconds for stage in plan.stages)), ""
    if any(stage.expected_seconds for stage in plan.stages):
        likely = words(sum(stage.expected_seconds or stage.seconds for stage in plan.stages))
        bound = any(stage.seconds and not stage.expected_seconds for stage in plan.stages)
        told = f"about {likely} at the expected lengths{' (full, where none is)' * bound}, "
    return (
        f"{told}up to {whole} if every sequence has its full length, at {expect.train_tflops:g} TFLOP/s of training a GPU and "
        f"{expect.engine_tokens_per_second:,g} tokens/s an engine (cluster.expect); starting and loading left out"
    )
