"""Run directories that cannot be, or that are another recipe's."""

from __future__ import annotations

from pathlib import Path

import pytest

from rl.config import ConfigError
from rl.recipe import Recipe, load
from rl.runner.run_dir import newest_run, prepare_run_dir

RECIPE = {
    "name": "tiny",
    "model": {"build": {"hidden_size": 64, "heads": 2, "layers": 1}},
    "data": {"words": {"source": "reasoning_gym"}},
    "reward": {"parts": [{"verifier": "text"}]},
    "stages": [{"sft": {"data": "words"}}],
}


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.chdir(tmp_path)
    return load(RECIPE)


def test_it_is_taken_once_and_gone_on_with_by_the_same_recipe(recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "a" / "run"
    prepare_run_dir(recipe, out, resume=False)
    prepare_run_dir(recipe, out, resume=True)
    with pytest.raises(ConfigError, match=r"run: holds a run already; go on with --resume or choose another --out"):
        prepare_run_dir(recipe, out, resume=False)
    with pytest.raises(ConfigError, match=r"was run with another recipe \(seed: None then, 3 now\)"):
        prepare_run_dir(load(RECIPE, ["seed=3"]), out, resume=True)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("out", "why"),
    [("file", "File exists|Not a directory"), ("file/run", "Not a directory"), ("/proc/run", "No such file")],
)
def test_what_cannot_be_a_directory_is_named(recipe: Recipe, out: str, why: str, resume: bool) -> None:
    Path("file").touch()
    with pytest.raises(
        ConfigError, match=rf"^--out: {out} cannot be a run's directory \(({why})[^)]*\); name another$"
    ):
        prepare_run_dir(recipe, Path(out), resume)


@pytest.mark.parametrize(("text", "says"), [("{bad", ":2: not valid YAML (did not find"), ("", ": holds no recipe;")])
def test_a_damaged_recipe_is_named(recipe: Recipe, text: str, says: str) -> None:
    out = Path("runs/tiny")
    prepare_run_dir(recipe, out, resume=False)
    (out / "recipe.yaml").write_text(text)
    for find in (lambda: prepare_run_dir(recipe, out, resume=True), lambda: newest_run("tiny", seeds=False)):
        with pytest.raises(ConfigError) as caught:
            find()
        assert str(caught.value).startswith(f"runs/tiny/recipe.yaml{says}")
        assert str(caught.value).endswith("; put back the recipe it was run with, or start anew with another --out")
