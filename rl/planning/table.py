"""A plan as tables for a terminal, and as JSON values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from rl.planning.duration import format_duration
from rl.planning.explanation import explain as explain_plan
from rl.planning.formulas import PARTS
from rl.planning.result import Plan
from rl.planning.transfer import format_seconds
from rl.recipe.repeat import base
from rl.stages.workload import StagePlan
from rl.units import amount, many, size
from rl.workers.nodes import describe_nodes
from rl.workers.placement import total

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

Bundle = tuple[float, int, tuple[str, ...], float]  # (CPUs, GPUs, actors, bytes needed on its device)


def as_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as JSON values; memory and disk in bytes, `bundles` grouped by the actors on them."""
    values = asdict(plan)
    # `asdict` leaves properties out.
    values["roles"] = [{**asdict(role), "bytes": role.bytes} for role in plan.roles]
    values["bundles"] = [
        {"count": count, "cpus": cpus, "gpus": gpus, "actors": list(actors), "bytes": need}
        for (cpus, gpus, actors, need), count in _group_bundles(plan).items()
    ]
    del values["placed"]  # it is what `bundles` groups
    values["nodes"] = Counter(values.pop("places"))  # number of the node -> of its bundles
    return values


def render_plan(plan: Plan, brief: bool = False, explain: bool = False) -> RenderableType:
    """Return the plan for a terminal; `brief` leaves out the memory of each role, `explain` adds the formula of every number
    of memory and time. Problems are printed by the caller."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text.assemble((plan.recipe, "bold"), f"  {plan.model}"), _stages_table(plan)]
    if plan.roles and not brief:
        parts.append(_memory_table(plan))
    # Text, because rich would read the [brackets] around bundles as markup.
    parts += [Text(line) for line in _describe_resources(plan)]
    if explain:
        parts += [Text(line) for line in explain_plan(plan)]
    parts += [Text(f"note: {note}", "yellow") for note in plan.notes]
    return Group(*parts)


def _stages_table(plan: Plan) -> Table:
    from rich.text import Text

    has_times = any(stage.seconds for stage in plan.stages)
    table = _table(["stage", "kind", "what it does"], ["tokens", "time"] if has_times else ["tokens"])
    for names, stage in _fold_iterations(plan.stages):
        name, factor = stage.name, ""
        if len(names) > 1:
            name, factor = f"{names[0]} … {names[-1].partition('@')[2]}", f"{len(names)} × "  # curate@1 … 3
        cells = [_bound_and_estimate(factor, amount, stage.tokens, stage.expected_tokens)]
        if has_times:
            cells.append(_bound_and_estimate(factor, format_duration, stage.seconds, stage.expected_seconds))
        table.add_row(Text(name), stage.kind, Text(stage.summary), *cells)
    return table


def _memory_table(plan: Plan) -> Table:
    titles = ["KV cache" if part == "kv" else part for part in PARTS]
    table = _table(["memory of"], ["actors", *titles, "each"])
    for role in plan.roles:
        cells = [size(role.parts[part]) if role.parts[part] else "" for part in PARTS]
        table.add_row(role.role, str(role.count), *cells, size(role.bytes))
    return table


def _table(text_columns: list[str], number_columns: list[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in text_columns:
        table.add_column(column, overflow="fold")
    for column in number_columns:
        table.add_column(column, overflow="fold", justify="right")
    return table


def _describe_resources(plan: Plan) -> list[str]:
    """Return the lines on placement, memory, disk and time."""
    lines = [f"thinking   {plan.thinking}"] if plan.thinking else []
    lines += [f"{'' if i else 'answers':<11}{line}" for i, line in enumerate(plan.environments)]
    lines += [f"{'' if i else 'reads':<11}{line}" for i, line in enumerate(plan.origins)]
    lines.append(f"placement  {_describe_placement(plan)}")
    if plan.places and plan.machines and plan.machines.nodes > 1:
        names = [str(node + 1) for node in range(plan.machines.nodes)]
        lines.append(f"nodes      {describe_nodes(plan.placed, plan.places, names)}")
    if plan.roles:
        if plan.gpu:
            lines.append(f"memory     {_describe_gpu_memory(plan)}")
        else:
            available = f" of {size(plan.present.memory)}" if plan.present else ""
            lines.append(f"memory     about {size(plan.memory)}{available}")
        if plan.transfer:
            time = format_seconds(plan.transfer.seconds)
            lines.append(
                f"weights    to the engines by {plan.transfer.transport}, about {time} a step at published rates"
            )
        # All that the run writes.
        sizes = ", ".join(f"{name} {size(plan.disk[name])}" for name in ("models", "checkpoints", "rollouts"))
        free = f"; {size(plan.disk['free'])} free" if "free" in plan.disk else ""
        lines.append(f"disk       up to {sizes}{free}")
    if any(stage.seconds for stage in plan.stages):
        lines.append(f"time       {_describe_time(plan)}")
    return lines


def _bound_and_estimate(factor: str, text: Callable[[float], str], bound: float, estimate: float) -> str:
    """Return `3 × ≤ 4.1B`, and on a second line the estimate, `3 × ≈ 1B`, each if it is not 0."""
    lines: list[str] = []
    if bound:
        lines.append(f"{factor}≤ {text(bound)}")
    if estimate:
        lines.append(f"{factor}≈ {text(estimate)}")
    return "\n".join(lines)


def _fold_iterations(stages: Sequence[StagePlan]) -> list[tuple[list[str], StagePlan]]:
    """Return [(names, plan)], with the iterations of a repeated stage that have equal plans as one entry."""
    names_of: dict[tuple[str, StagePlan], list[str]] = {}
    for stage in stages:
        # Plans that differ in their name alone are equal.
        names_of.setdefault((base(stage.name), replace(stage, name="")), []).append(stage.name)
    return [(names, replace(stage, name=names[0])) for (_, stage), names in names_of.items()]


def _group_bundles(plan: Plan) -> Counter[Bundle]:
    """Return the number of bundles of each sort."""
    return Counter(
        (bundle.cpus, bundle.gpus, tuple(name for name, _ in bundle.actors), need)
        for bundle, need in zip(plan.placed, plan.devices, strict=True)
    )


def _describe_placement(plan: Plan) -> str:
    """Return `split, 2 CPUs of 8 here: [1 CPU: engine]; [1 CPU: policy]`."""
    if not plan.placed:
        return "none: what the stages read is there already"
    groups: list[str] = []
    for (cpus, gpus, actors, _), count in _group_bundles(plan).items():
        factor = f"{count} × " if count > 1 else ""
        devices = f"{cpus:g} CPU + {gpus} GPU" if gpus else f"{cpus:g} CPU"
        groups.append(f"{factor}[{devices}: {_describe_actors(actors)}]")
    cpus, gpus = total(plan.placed)
    need = f"{many(gpus, 'GPU')} and {many(cpus, 'CPU')}" if plan.gpu else many(cpus, "CPU")
    if plan.present is not None:
        available = f"{plan.present.gpus} and {plan.present.cpus}" if plan.gpu else str(plan.present.cpus)
        where = f"of {available} here"
    elif plan.machines:
        available = f"{plan.machines.gpus} and {plan.machines.cpus}" if plan.gpu else str(plan.machines.cpus)
        where = f"of {available} {'there' if plan.address else 'expected'} on {many(plan.machines.nodes, 'node')}"
    else:
        where = f"of the cluster at {plan.address}"
    return f"{plan.placement}, {need} {where}: {'; '.join(groups)}"


def _describe_actors(names: Sequence[str]) -> str:
    """Return `engine policy`, or `engine 8 policy 8 critic`."""
    return " ".join(f"{count} {name}" if count > 1 else name for name, count in Counter(names).items())


def _describe_gpu_memory(plan: Plan) -> str:
    """Return the memory needed on a GPU of each sort of bundle."""
    capacity = f" of {size(plan.gpu_memory)}" if plan.gpu_memory else ""
    sorts: list[str] = []
    for (_, _, actors, need), count in _group_bundles(plan).items():
        where = f"a GPU of {count} ×" if count > 1 else "on the GPU of"
        sorts.append(f"about {size(need)}{capacity} {where} [{_describe_actors(actors)}]")
    text = "; ".join(sorts)
    if plan.kv_tokens:
        return f"{text}; the KV cache of an engine holds {amount(plan.kv_tokens)} tokens"
    if any(role.role == "engine" for role in plan.roles):
        return f"{text}; engines fill what is left with KV cache"
    return text


def _describe_time(plan: Plan) -> str:
    bound, estimate = format_duration(sum(stage.seconds for stage in plan.stages)), ""
    if any(stage.expected_seconds for stage in plan.stages):
        # Full where no length is expected.
        likely = format_duration(sum(stage.expected_seconds or stage.seconds for stage in plan.stages))
        estimate = f"about {likely} at the expected lengths, "
        if any(stage.seconds and not stage.expected_seconds for stage in plan.stages):  # the estimate mixes both
            estimate = f"about {likely} at the expected lengths (full where none is expected), "
    pace, expect = "by a model of an H100 (estimated: 2.7 TB/s, 650 TFLOP/s, 2.5 µs a kernel)", plan.expected
    if expect and expect.train_tflops is not None:
        pace = (
            f"at {expect.train_tflops:g} TFLOP/s of training per GPU and {expect.engine_tokens_per_second:,g} tokens/s per "
            "engine (cluster.expect)"
        )
    return f"{estimate}up to {bound} if every sequence has its full length, {pace}; starting and loading not included"
