"""What an encoder is taught: the labels of clips."""

from __future__ import annotations

import pytest

from rl.stages.encode import classes_of, targets
from rl.types import Prompt


def test_classes_of_labels() -> None:
    prompts = [Prompt(str(i), (), fields={"labels": labels}) for i, labels in enumerate(({"a": 2, "b": "x"}, {"a": 1}))]
    classes = classes_of(prompts, None)
    assert classes == {"a": ["1", "2"], "b": ["x"]}
    assert targets(prompts, classes) == [[1, 0], [0, -1]]
    assert classes_of(prompts, ["b"]) == {"b": ["x"]}
    with pytest.raises(ValueError, match=r"^encode.labels: no clip has a label 'pitch_bins'; known: a, b$"):
        classes_of(prompts, ["b", "pitch_bins"])
