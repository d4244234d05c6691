"""The composite audio reward, from YAML alone: text by accuracy; sound by accuracy and format, what the chain claims of it
watched, and nothing for who denies hearing."""

from __future__ import annotations

from pathlib import Path

import pytest

from rl.recipe import Recipe, load
from rl.run.tracker import read_metrics
from rl.runner import run
from rl.types import Clip, Message, Prompt

RECIPE = """
name: composite
model: {build: {hidden_size: 64, layers: 1, heads: 2, audio: {hidden_size: 64, layers: 1}}}
data:
  sounds: {source: sounds, args: {kinds: [pitch, direction], size: 60, multiple_choice: 1.0}}
  words: {source: reasoning_gym, args: {dataset: spell_backward, size: 60}}
reward:
  parts:
    - {verifier: choice, weight: {audio: 0.8}, only_if: self_cognition}
    - {verifier: text, weight: {text: 1}}
    - {verifier: format, name: format, weight: {audio: 0.2}}
    - {verifier: grounding, name: grounding, weight: {audio: 0}}
    - {verifier: self_cognition, name: self_cognition, weight: {audio: 0}}
stages:
  - rlvr: {algorithm: grpo, data: {sounds: 1, words: 1}, steps: 2, prompts_per_step: 4, samples_per_prompt: 2, max_sequence_tokens: 80}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "composite.yaml").write_text(RECIPE)
    return load(str(tmp_path / "composite.yaml"))


def test_each_part_judges_its_kind_of_prompt(recipe: Recipe):
    assert recipe.header.reward is not None
    spoken = Prompt("a", (Message("user", "low or high?"),), "low", "sounds", (Clip("a.wav"),))
    written = Prompt("t", (Message("user", "spell"),), "low", "words")
    weights = {
        kind: {part.verifier: part.weight_for(prompt) for part in recipe.header.reward.parts if part.applies(prompt)}
        for kind, prompt in (("audio", spoken), ("text", written))
    }
    assert weights["audio"] == {"choice": 0.8, "format": 0.2, "grounding": 0, "self_cognition": 0}
    assert weights["text"] == {"text": 1}


@pytest.mark.timeout(600)
def test_two_steps_with_every_part_by_its_name(ray_session: None, recipe: Recipe, tmp_path: Path):
    run(recipe, tmp_path / "run", say=lambda _: None)
    steps = [row for row in read_metrics(tmp_path / "run") if row["stage"] == "rlvr"]
    assert len(steps) == 2
    for row in steps:
        assert row["verifier_errors"] == 0
        named = {"accuracy", "format", "grounding", "self_cognition", "grounding/claimed", "grounding/true"}
        assert {f"part/{name}" for name in named} <= row.keys()
