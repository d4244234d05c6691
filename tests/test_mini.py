"""The whole pipeline in miniature, stage after stage on real recordings, at its tiniest."""

from __future__ import annotations

import json
from pathlib import Path

from real_data import real

from rl.recipe import load
from rl.runner import run
from rl.stages.registry import STAGES

DENIALS = ("denials_before", "denials_distilled", "denials")
MEASURED = ("base", "thinking_before", "thinking", "check", "listening", *DENIALS)
TINY = [
    *(f"data.{name}.args.limit=30" for name in ("speech_clips", "scene_clips", "shot_clips", "scenes", "shots")),
    *("data.lessons.args.limit=60", "data.speech.args.limit=30", "data.words.args.limit_words=300"),
    *("encode.epochs=1", "encode.held_out=null", "cold_start.epochs=12", "cold_start.optimizer.learning_rate=5e-3"),
    *(
        "text_rlvr.limit=16",
        "audio_rlvr.limit=16",
    ),
    *(f"{stage}.{key}" for stage in ("text_curate", "curate") for key in ("limit=16", "samples=2", "keep=[0,2]")),
    *(f"{stage}.{key}" for stage in ("text_rlvr", "audio_rlvr") for key in ("steps=1", "prompts_per_step=2")),
    *(f"{stage}.samples_per_prompt=2" for stage in ("text_rlvr", "audio_rlvr")),
    *("distill.limit=16", "distill.samples=4", "distill.keep={accuracy: 0, grounding: 0, coherence: 0}"),
    *(f"{stage}.{key}" for stage in MEASURED for key in ("limit=8", "samples=2")),
    *(f"{stage}.{key}" for stage in MEASURED[1:3] for key in ("budgets=[0,full]", "votes=2")),
    *("imitate.epochs=1", "imitate.sequences_per_step=4"),
    *(
        "pairs.limit=48",
        "pairs.by=null",
        "pairs.chosen={}",
        "pairs.margin=0.1",
        "dpo.pairs_per_step=2",
        "mgrd.until=null",
    ),
    *("engines.count=1", "trainer.ranks=1"),
]


@real
def test_every_stage_of_the_miniature(ray_session: None, tmp_path: Path) -> None:
    recipe = load("step_audio_r1_mini", TINY)
    full = [stage.kind for stage in load("step_audio_r1").stages if stage.iteration <= 1]
    mini = [stage.kind for stage in recipe.stages if stage.iteration <= 1]
    assert mini == ["encode", *full], "the stages of the report's pipeline, after learning to hear"
    summary = run(recipe, tmp_path / "run", say=lambda _: None)
    assert summary.status == "done"
    assert [stage.name for stage in summary.stages] == [stage.name for stage in recipe.stages]
    of = {stage.name: stage.metrics for stage in summary.stages}
    for name in ("base", "check@2", "thinking", "listening", *DENIALS):
        assert {"grounding", "surrogate_rate", "denial_rate/low"} <= of[name].keys()
    assert {"accuracy_silenced", "accuracy_swapped", "accuracy_shuffled"} <= of["listening"].keys()
    for stage in recipe.stages:  # what `until.metric` may name is all that there is
        if metric_names := STAGES[stage.kind].metric_names:
            assert {name.partition("/")[0] for name in of[stage.name]} <= {*metric_names(stage.config)}, stage.name
    folders = {path.name.partition("-")[2]: path for path in (tmp_path / "run" / "stages").iterdir()}
    parents = {name: _parents(folders[name]) for name in ("text_rlvr", "imitate@2", "audio_rlvr@2", "dpo")}
    assert ("difficulty", "text_curate") in parents["text_rlvr"]
    assert {("model", "audio_rlvr@1"), ("distilled", "distill@2"), ("data", "words")} <= parents["imitate@2"]
    assert {("model", "imitate@2"), ("difficulty", "curate@2")} <= parents["audio_rlvr@2"]
    assert {("model", "audio_rlvr@2"), ("pairs", "pairs")} <= parents["dpo"]


def _parents(folder: Path) -> set[tuple[str, str]]:
    return {(parent["kind"], parent["name"]) for parent in json.loads((folder / "done.json").read_text())["parents"]}
