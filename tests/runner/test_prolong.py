"""A run that is resumed with more steps goes on; with fewer, or with anything else changed, it is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from run_dirs import prepare_run_dir

from rl.config import ConfigError
from rl.recipe import load
from rl.run.checkpoint import Checkpoints
from rl.run.tracker import METRICS, read_metrics
from rl.runner.run_dir import read_recipe

VALUES: dict[str, Any] = {
    "name": "tiny",
    "model": {"build": {"hidden_size": 64, "heads": 2, "layers": 1}},
    "data": {"words": {"source": "reasoning_gym", "args": {"dataset": "spell_backward"}}},
    "reward": {"parts": [{"verifier": "text"}]},
    "stages": [
        {"sft": {"data": "words", "epochs": 2, "checkpoint_every": 1}},
        {"rlvr": {"data": "words", "steps": 4, "optimizer": {"schedule": "cosine"}}},
        {
            "repeat": {
                "times": 2,
                "stages": [{"rlvr": {"name": "more", "data": "words", "steps": 2}}, {"evaluate": {"data": "words"}}],
            }
        },
        {"evaluate": {"name": "after", "data": "words"}},
    ],
}
NAMES = ["sft", "rlvr", "more@1", "evaluate@1", "more@2", "evaluate@2", "after"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A run of VALUES that has ended."""
    out = tmp_path / "run"
    prepare_run_dir(load(VALUES), out, resume=False)
    lines: list[str] = []
    for number, name in enumerate(NAMES, 1):
        folder = out / "stages" / f"{number:02d}-{name}"
        if name.startswith(("sft", "rlvr", "more")):
            Checkpoints(folder / "checkpoints").save(4, {}, lambda folder: (folder / "weights").touch())
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "done.json").write_text("{}")
        lines.append(json.dumps({"stage": name, "step": 1}))
    (out / METRICS).write_text("\n".join(lines) + "\n")
    return out


def stages_left(out: Path) -> list[str]:
    return sorted(file.parent.name for file in (out / "stages").glob("*/done.json"))


def resume(out: Path, *overrides: str) -> list[str]:
    lines: list[str] = []
    recipe = load(VALUES, overrides)
    prepare_run_dir(recipe, out, resume=True, say=lines.append)
    assert read_recipe(out / "recipe.yaml") == json.loads(json.dumps(recipe.source))
    prepare_run_dir(recipe, out, resume=True, say=lines.append)  # from now on it is the run's recipe
    return lines


def test_more_steps_go_on_from_the_last_checkpoint(out: Path) -> None:
    said = resume(out, "rlvr.steps=9")
    assert said == [
        "rlvr: goes on from step 4, steps 4 → 9; its learning rate follows the cosine schedule of the new length, and so rises "
        "again",
        "run again, since what is before them changes: more@1, evaluate@1, more@2, evaluate@2, after",
    ]
    assert stages_left(out) == ["01-sft"]
    assert [folder.name for folder in sorted((out / "stages").iterdir())] == ["01-sft", "02-rlvr"]
    assert (out / "stages/02-rlvr/checkpoints/step-000004/weights").is_file()
    assert [row["stage"] for row in read_metrics(out)] == ["sft", "rlvr"]


def test_what_trackers_cannot_forget_is_said(tmp_path: Path) -> None:
    values = {**VALUES, "track": ["tensorboard", "wandb", "mlflow"]}
    prepare_run_dir(load(values), tmp_path, resume=False)
    (tmp_path / "stages/07-after").mkdir(parents=True)
    lines: list[str] = []
    prepare_run_dir(load(values, ["rlvr.steps=9"]), tmp_path, resume=True, say=lines.append)
    assert lines == [
        "run again, since what is before them changes: after",
        "wandb and mlflow: the old curves of these stages stay there; metrics.jsonl has the new ones",
    ]


def test_more_epochs_and_more_iterations(out: Path) -> None:
    said = resume(out, "repeat.times=3")
    assert said == ["run again, since what is before them changes: after"]
    assert stages_left(out) == [f"{i:02d}-{name}" for i, name in enumerate(NAMES[:-1], 1)]
    (more, _) = resume(out, "repeat.times=3", "more.steps=5")
    assert more == "more@1: goes on from step 4, steps 2 → 5"
    assert stages_left(out) == ["01-sft", "02-rlvr"]
    (epochs,) = [line for line in resume(out, "repeat.times=3", "more.steps=5", "sft.epochs=2.5") if "sft" in line]
    assert epochs == "sft: goes on from step 4, epochs 2 → 2.5"
    assert stages_left(out) == []


def test_a_stage_that_is_not_finished_needs_no_checkpoint(out: Path) -> None:
    for name in NAMES[1:]:
        (out / "stages" / f"{NAMES.index(name) + 1:02d}-{name}" / "done.json").unlink()
    resume(out, "rlvr.steps=9")
    assert stages_left(out) == ["01-sft"]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["rlvr.steps=3"], r"^stages\[1\]\.rlvr\.steps: 4 then, 3 now; a run that is resumed can be made longer, but not shorter$"),
        (["sft.epochs=1"], r"^stages\[0\]\.sft\.epochs: 2.0 then, 1.0 now; "),
        (["repeat.times=1"], r"^stages\[2\]\.repeat\.times: 2 then, 1 now; "),
        (["more.steps=1"], r"^stages\[2\]\.repeat\.stages\[0\]\.rlvr\.steps: 2 then, 1 now; "),
        (["rlvr.steps=9", "seed=3"], r"run: was run with another recipe \(.*resume with the same one$"),
        (["rlvr.steps=9", "rlvr.epochs=2"], r"was run with another recipe"),
        (["rlvr.steps=9", "after.samples=2"], r"was run with another recipe"),
        (["rlvr.temperature=0.5"], r"was run with another recipe"),
    ],
)  # fmt: skip
def test_other_changes_are_refused_and_nothing_is_lost(out: Path, overrides: list[str], says: str) -> None:
    before = read_recipe(out / "recipe.yaml")
    with pytest.raises(ConfigError, match=says):
        prepare_run_dir(load(VALUES, overrides), out, resume=True)
    assert len(stages_left(out)) == len(NAMES)
    assert read_recipe(out / "recipe.yaml") == before


def test_without_a_checkpoint_nothing_is_touched(out: Path) -> None:
    (out / "stages/01-sft/checkpoints/step-000004/weights").unlink()  # damaged
    with pytest.raises(
        ConfigError, match=r"^stages\[0\]\.sft\.epochs: 2 then, 3 now, and 'sft' left no checkpoint to go on"
    ):
        prepare_run_dir(load(VALUES, ["sft.epochs=3"]), out, resume=True, say=lambda _: None)
    assert len(stages_left(out)) == len(NAMES)


@pytest.mark.parametrize("stages", [None, [], [None] * 4, [{"sft": {}}], "x"])
def test_a_saved_recipe_that_was_edited(out: Path, stages: object) -> None:
    from omegaconf import OmegaConf

    saved = read_recipe(out / "recipe.yaml")
    OmegaConf.save(OmegaConf.create({**saved, "stages": stages}), out / "recipe.yaml")
    with pytest.raises(ConfigError, match="was run with another recipe"):
        prepare_run_dir(load(VALUES), out, resume=True)
