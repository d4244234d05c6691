"""The house stands: every module is in a room, imports point down, nothing goes in circles, light modules stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOUSES = ("rl", "rewards", "rollouts", "models")
FLOORS = [
    {"rl.yaml_scalars", "rl.redaction", "rl.nearness"},
    {"rl.bundled", "rl.gpu_requirements", "rl.native_libraries", "rl.nvml", "rl.think", "rl.config", "rl.units"},
    {"rl.json_files", "rl.messages"},
    {"rl.types"},
    {"rl.audio", "rl.finite", "rl.functions", "rl.terminal", "rewards.answers"},
    {"rl.benchmarks"},
    {"rl.algorithms", "rl.data", "models", "rollouts", "rewards"},
    {
        "rl.run",
        "rl.signals",
        "rewards.pool",
        "rewards.judge",
        "rewards.choices",
        "rewards.grounding",
        "rewards.programs",
        "rewards.sandbox",
    },
    {"rewards.verifiers", "rewards.service", "rl.workers", "rollouts.environments"},
    {"rl.stages", "rollouts.harness"},
    {"rl.recipe"},
    {"rl.planning", "rl.report"},
    {"rl.runner"},
    {"rl.submit"},
    {"rl.exchange"},
    {"rl.workbench", "rl.starter", "rl.conversation", "rl.publishing"},
    {"rl.realtime"},
    {"rl.commands"},
    {"rl.cli"},
    {"rl.__main__"},
]
"""Rooms from the ground up. A module belongs to the most exact name; it imports from its own room and from floors below.
`rewards` is what verifiers, pool and judges share; `rewards.service` brings them together."""


@cache
def modules() -> dict[str, Path]:
    files = [file for house in HOUSES for file in (ROOT / house).rglob("*.py")]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


@cache
def imports(module: str, typing_too: bool = False) -> frozenset[str]:
    """Every module of ours that this one imports, inside functions too; `typing_too`: also for type checking alone."""
    tree = ast.parse(modules()[module].read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only and not typing_too:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    known = modules()
    resolved = {m if m in known else m.rpartition(".")[0] for m in names if m.split(".")[0] in HOUSES}
    return frozenset(resolved & known.keys() - {module})


def room(module: str) -> str | None:
    rooms = [name for floor in FLOORS for name in floor if module == name or module.startswith(f"{name}.")]
    return max(rooms, key=len, default=None)


def floor(name: str) -> int:
    return next(height for height, rooms in enumerate(FLOORS) if name in rooms)


def test_every_module_is_in_a_room() -> None:
    assert [m for m in modules() if room(m) is None] == ["rl"]
    assert [name for rooms in FLOORS for name in rooms if not any(room(m) == name for m in modules())] == []


def test_every_folder_is_on_the_map() -> None:
    """README's map shows every folder by its name."""
    readme = (ROOT / "README.md").read_text().partition("## The house")[2]
    folders = {file.parent.relative_to(ROOT) for file in modules().values()} - {Path("rl")}
    missing = [str(f) for f in folders if f"{f.name}/" not in readme and f"{f}/" not in readme]
    assert missing == []


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_point_down(module: str) -> None:
    here = room(module)
    for other in imports(module, typing_too=True):
        there = room(other)
        if here and there:
            assert there == here or floor(there) < floor(here), f"{module} imports {other}: up or sideways"


@pytest.mark.parametrize("typing_too", [False, True])
def test_no_cycles(typing_too: bool) -> None:
    done: set[str] = set()

    def walk(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"import cycle: {' -> '.join((*above, name))}"
        if name not in done:
            for other in imports(name, typing_too):
                walk(other, (*above, name))
            done.add(name)

    for name in modules():
        walk(name, ())


def test_a_recipe_is_read_without_heavy_imports() -> None:
    heavy = ["torch", "ray", "transformers", "vllm", "deepspeed", "datasets", "sympy"]
    program = f"import sys, rl.recipe, rl.planning.plan; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_functions_and_files_stay_short() -> None:
    long = []
    for name, file in modules().items():
        text = file.read_text()
        if text.count("\n") > 300:
            long.append(f"{name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno > 60:
                long.append(f"{name}.{node.name}: {(node.end_lineno or 0) - node.lineno} lines")
    assert not long
