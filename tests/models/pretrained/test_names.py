"""A model that `scripts/pretrained` writes is used where a recipe names it, and only there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from models.folder import folder_of, on_disk
from models.pretrained.catalogue import CATALOGUE, CHECKOUT, pretrained_root
from rl.planning.plan import plan
from rl.recipe import load
from rl.runner.artifacts import Artifacts

NAME, OFFICIAL = "smollm2-135m-instruct-q4", "HuggingFaceTB/SmolLM2-135M-Instruct"


def recipe(path: str) -> dict[str, object]:
    """A recipe that measures the model at `path`."""
    return {
        "name": "named",
        "model": {"path": path},
        "data": {"words": {"source": "reasoning_gym", "args": {"dataset": "spell_backward", "size": 20}}},
        "reward": {"parts": [{"verifier": "text"}]},
        "stages": [{"evaluate": {"data": "words"}}],
    }


@pytest.fixture
def model_folder(alone: None, tied: Path) -> Path:
    """The folder of the pretrained model, with another model's files."""
    return Path(shutil.copytree(tied, pretrained_root() / NAME))


def test_the_bare_name_is_the_folder(model_folder: Path) -> None:
    assert (folder_of(NAME), on_disk(NAME)) == (model_folder, model_folder)
    shown = plan(load(recipe(NAME)))
    assert shown.problems == []
    assert shown.origins[0] == f"model {NAME}: from disk"
    assert re.fullmatch(rf".* parameters, {NAME}, float32", shown.model)


def test_an_official_name_is_the_hub(model_folder: Path) -> None:
    assert folder_of(OFFICIAL) is None
    assert f"model {OFFICIAL}: from the hub, which needs the network" in plan(load(recipe(OFFICIAL))).origins[0]


@pytest.mark.usefixtures("alone")
def test_a_folder_of_that_name_comes_first(tied: Path) -> None:
    shutil.copytree(tied, NAME)
    assert on_disk(NAME) == Path.cwd() / NAME


@pytest.mark.usefixtures("alone")
def test_where_it_was_not_written_one_line_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    how = f"'{NAME}' is not in {pretrained_root()}; run scripts/pretrained, which writes it there"
    assert plan(load(recipe(NAME))).problems == [f"model.path: {how}"]
    with pytest.raises(ValueError, match=f"^model.path: '{NAME}' is not in .*; run scripts/pretrained"):
        on_disk(NAME)
    monkeypatch.delenv("GROUNDTONE_PRETRAINED")
    assert pretrained_root() == CHECKOUT / "pretrained"


def test_names_are_no_names_of_the_hub() -> None:
    assert [name for name in CATALOGUE if "/" in name] == []


def stage_recipe() -> dict[str, object]:
    """A recipe one of whose stages names a model of its own."""
    values = recipe("model")
    stages = [{"evaluate": {"data": "words"}}, {"evaluate": {"name": "other", "data": "words", "model": NAME}}]
    return values | {"stages": stages}


def test_a_stage_takes_the_bare_name_too(model_folder: Path, tied: Path, tmp_path: Path) -> None:
    shutil.copytree(tied, "model")
    loaded = load(stage_recipe())
    assert plan(loaded).problems == []
    assert Artifacts(loaded, tmp_path / "run", print).model(NAME) == model_folder
    (model_folder / "tokenizer.json").unlink()
    assert [line for line in plan(loaded).problems if line.startswith("stages[1].evaluate.model: ")]


@pytest.mark.usefixtures("alone")
def test_a_stage_is_told_how_to_get_it() -> None:
    with pytest.raises(
        ValueError, match=rf"^stages\[1\]\.evaluate\.model: '{NAME}' is not in .*; run scripts/pretrained"
    ):
        load(stage_recipe())
