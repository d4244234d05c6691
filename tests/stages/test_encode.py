"""What an encoder is taught: the labels of clips."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from contexts import context

from rl.stages.encode import Config, classes_of, prompts_with_labels, run, targets
from rl.types import Clip, Prompt


def test_classes_of_labels() -> None:
    prompts = [Prompt(str(i), (), fields={"labels": labels}) for i, labels in enumerate(({"a": 2, "b": "x"}, {"a": 1}))]
    classes = classes_of(prompts, None)
    assert classes == {"a": ["1", "2"], "b": ["x"]}
    assert targets(prompts, classes) == [[1, 0], [0, -1]]
    assert classes_of(prompts, ["b"]) == {"b": ["x"]}
    with pytest.raises(ValueError, match=r"^encode.labels: no clip has a label 'pitch_bins'; known: a, b$"):
        classes_of(prompts, ["b", "pitch_bins"])


def heard(id: str, labels: Any) -> Prompt:
    return Prompt(id, (), clips=(Clip(f"{id}.wav"),), fields={"labels": labels})


def test_a_label_that_is_null_is_none() -> None:
    """Parquet has one wherever a row lacks a key that others have."""
    prompts = [
        heard("p", {"a": 1, "b": None}),
        heard("q", {"a": None, "b": "None"}),
        heard("r", {"a": None, "b": None}),
    ]
    assert [p.id for p in prompts_with_labels(prompts, None, "encode")] == ["p", "q"]
    assert [p.id for p in prompts_with_labels(prompts, ["a"], "encode")] == ["p"]
    classes = classes_of(prompts, None)
    assert classes == {"a": ["1"], "b": ["None"]}
    assert targets(prompts, classes) == [[0, -1], [-1, 0], [-1, -1]]


@pytest.mark.parametrize("labels", ["seven", ["seven"], 7])
def test_labels_that_are_no_mapping_are_named(labels: object) -> None:
    with pytest.raises(
        ValueError, match=r"^prompt 'p': labels is .*, not names with their classes, such as \{digit: 7"
    ):
        prompts_with_labels([heard("p", labels)], None, "encode")


@pytest.mark.parametrize("held_out", [[], [heard("q", None)], [heard("q", {"speaker": 2})]])
def test_a_held_out_split_without_the_labels_is_refused_before_training(tmp_path: Path, held_out: list[Prompt]) -> None:
    rows = {"train": [heard("p", {"digit": 7})], "validation": held_out}
    stage = context(
        tmp_path / "encode", {}, data=lambda name, split, limit: rows[split], cluster=SimpleNamespace(policy=None)
    )
    with pytest.raises(
        ValueError,
        match=r"^encode 'distill.held_out': no row has one clip and one of the labels digit; name a split",
    ):
        run(Config("d"), stage)
