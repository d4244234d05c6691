"""The house stands: imports point down, siblings meet only as arguments, light modules stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("rl", "rewards", "rollouts", "models")
FLOORS = {
    "rl.types": 0,
    "rl.config": 0,
    "rl.native_libraries": 0,
    "rl.audio": 1,
    "rl.functions": 1,
    "rl.algorithms": 2,
    "rl.data": 3,
    "rl.run": 3,
    "models": 3,
    "rollouts": 3,
    "rewards": 3,
    "rl.workers": 4,
    "rl.stages": 5,
    "rl": 6,
}


def modules() -> dict[str, Path]:
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imports(file: Path, name: str) -> set[str]:
    """Every module of ours that the file imports, inside functions too; those for type checking are no dependency."""
    tree = ast.parse(file.read_text())
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    known = modules()
    resolved = {m if m in known else m.rpartition(".")[0] for m in found if m.split(".")[0] in ROOMS}
    return resolved & known.keys() - {name}


def room(module: str) -> str:
    return max((r for r in FLOORS if module == r or module.startswith(f"{r}.")), key=len)


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_point_down(module: str) -> None:
    mine = room(module)
    for other in imports(modules()[module], module):
        if module == "rl" or other == "rl":
            continue
        theirs = room(other)
        assert theirs == mine or FLOORS[theirs] < FLOORS[mine], f"{module} imports {other}: up or sideways"


def test_no_cycles() -> None:
    graph = {name: imports(file, name) for name, file in modules().items()}
    done: set[str] = set()

    def walk(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"import cycle: {' -> '.join((*above, name))}"
        if name not in done:
            for other in graph[name]:
                walk(other, (*above, name))
            done.add(name)

    for name in graph:
        walk(name, ())


def test_a_recipe_is_read_without_heavy_imports() -> None:
    heavy = ["torch", "ray", "transformers", "vllm", "deepspeed", "datasets", "sympy"]
    program = f"import sys, rl.recipe, rl.plan; print([m for m in {heavy} if m in sys.modules])"
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
