"""The page of all recipe keys is written from the dataclasses, whole and up to date."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rl.recipe.reference import keys, render, sections
from rl.stages.registry import STAGES

PAGE = Path(__file__).parents[2] / "docs" / "recipe_reference.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == render(), "write it anew: rl recipes --reference > docs/recipe_reference.md"


def test_every_key_stands_once() -> None:
    assert len(keys()) == len(set(keys()))
    assert {"name", "model.path", "data.NAME.source", "reward.parts[i].weight", "optimizer.learning_rate"} <= {*keys()}
    assert {"rlvr.steps", "rlvr.objective.gamma", "SamplingConfig.samples", "repeat.until.metric"} <= {*keys()}
    assert "StageConfig.data" in keys()
    assert all(f"\n## {kind}\n" in render() for kind in STAGES)
    assert not any(key.startswith(("sft.optimizer.", "rlvr.eval.")) for key in keys())  # declared elsewhere


def test_every_key_has_a_meaning() -> None:
    """A docstring under the field, which says what the key means."""
    fields = [(section, field.name) for section in sections() for field in dataclasses.fields(section.config)]
    assert [section.key(name) for section, name in fields if not section.meaning(name)] == []


def test_a_key_shows_its_type_and_default() -> None:
    rows = {line.split("`")[1]: line for line in render().partition("\n## rlvr\n")[2].splitlines() if line[:3] == "| `"}
    assert rows["difficulty"].startswith("| `difficulty` | text or null | `null` | ")
    assert rows["critic_optimizer"].startswith(
        "| `critic_optimizer` | [optimizer](#optimizer) | `{learning_rate: 1e-5}` |"
    )
    assert "| `data` | text or mapping of numbers | required |" in render()
