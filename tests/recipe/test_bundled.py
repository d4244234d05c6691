"""The bundled recipes: short, valid, and carried by the wheel."""

from __future__ import annotations

import importlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rl import bundled
from rl.recipe import load

ROOT = Path(__file__).parents[2]
WHOLE = {"step_audio_r1", "step_audio_r1_mini", "step_audio_r1_5", "format_and_data", "echo", "speech_hands"}
"""A whole pipeline or experiment each, written out to be read."""
RECIPES = sorted(bundled.FOLDER.rglob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_bundled_recipes_are_valid_and_short(recipe: Path) -> None:
    made = load(str(recipe.relative_to(bundled.FOLDER).with_suffix("")))
    assert made.name == recipe.stem
    assert recipe.read_text().count("\n") <= (120 if made.name in WHOLE else 50)


@pytest.mark.parametrize("algorithm", ["grpo", "rloo", "reinforce++"])
def test_one_key_changes_the_algorithm(algorithm: str) -> None:
    roles = load("quickstart", [f"rlvr.algorithm={algorithm}"]).roles
    assert roles == {"engine", "policy"}
    assert load("quickstart").roles == {"engine", "policy", "critic"}


def test_the_wheel_carries_the_recipes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"recipes/{recipe.relative_to(bundled.FOLDER)}" for recipe in RECIPES} <= set(names)
    assert {"rl/report/page.html", "rl/report/page.css", "rl/report/page.js", "rewards/verifiers/math.py"} <= set(names)
    assert not any(name.startswith(("tests/", "scripts/")) for name in names)


def test_the_tables_of_the_findings_name_stages_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts" / "benchmarks")
    findings = importlib.import_module("findings")
    for recipe, tables in (
        ("findings/format_and_data", (findings.FORMAT, findings.DATA)),
        ("step_audio_r1_mini", (findings.ITERATIONS,)),
    ):
        evaluated = {stage.name for stage in load(recipe).stages if stage.kind == "evaluate"}
        assert evaluated >= {stage for table in tables for stage in table}
    neighbours = importlib.import_module("neighbours")
    for name, columns in neighbours.COLUMNS.items():
        parts = {f"part/{part.name}" for part in load(neighbours._path_of(name)).header.reward.parts}
        assert {column for column in columns if column.startswith("part/")} <= parts


def test_the_tables_of_echo_name_stages_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts" / "benchmarks")
    tables = importlib.import_module("echo")
    evaluated = {stage.name for stage in load("echo").stages if stage.kind == "evaluate"}
    assert evaluated == set(tables.ARMS) >= {stage for pair in tables.DIFFERENCES.values() for stage in pair}


def test_the_tables_of_paced_answers_and_of_hands_name_stages_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts" / "benchmarks")
    for recipe, script in (("mind_paced", "paced"), ("speech_hands", "hands")):
        stages = {stage.name: stage.config for stage in load(recipe).stages if stage.kind == "evaluate"}
        tables = importlib.import_module(script)
        assert set(tables.ARMS) == set(stages)
        if script == "paced":
            assert all(set(tables.MODES) == set(config.pace.modes) for config in stages.values())


def test_the_arms_of_echo_have_as_many_steps() -> None:
    stages = {stage.name: stage.config for stage in load("echo").stages}
    arms = ("once_more", "unheard", "heard")
    assert {(stages[arm].model, stages[arm].epochs, stages[arm].data["figures"]) for arm in arms} == {
        ("once", 1.5, 0.2)
    }
    assert [stages[f"{arm}_rl"].model for arm in ("once", "unheard", "heard")] == [*arms]
    assert stages["once_warm"].model == "once_more"


def test_fused_answers_are_of_strings_whose_gold_was_not_learned() -> None:
    recipe = load("speech_hands")
    stages = {stage.name: stage.config for stage in recipe.stages}
    assert stages["fused"].data == stages["choices"].data
    learned = [stages["base"].data, stages["both"].data]
    seeds = [recipe.header.data[name].args.get("seed", 0) for name in (*learned, stages["fused"].data)]
    assert len({*seeds}) == 3
