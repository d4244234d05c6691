"""What is NaN or infinite is named before it is exported, sent or taken for an answer."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.heads import CRITIC_FILE, LogprobModel, ValueModel
from models.load import load_model
from rl.finite import NonFiniteError, describe_non_finite, drop_undefined, find_non_finite
from rl.types import Batch
from rl.workers.batch_share import cut_batch
from rl.workers.diagnosis import check_answers, check_weights, checked


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1.0, float("nan"), float("inf")], "NaN in 1 of 3 values"),
        ([float("inf"), -float("inf"), 0.0], "infinite in 2 of 3 values"),
        ([float("nan")], "NaN"),
        ([3e38, -3e38, 1e-45], ""),
        ([], ""),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_numbers_that_are_none_are_counted(values: list[float], words: str, dtype: torch.dtype) -> None:
    assert describe_non_finite(torch.tensor(values, dtype=dtype)) == words


def test_whole_numbers_are_always_finite() -> None:
    assert find_non_finite([("ids", torch.tensor([1, 2])), ("mask", torch.tensor([True]))]) == ""


def test_weights_are_checked_after_a_step_and_on_their_way_out() -> None:
    module = torch.nn.Linear(3, 2)
    check_weights(module)
    with torch.no_grad():
        module.bias[1] = float("nan")
    with pytest.raises(
        NonFiniteError, match=r"^the optimiser's step has spoilt the weights: bias is NaN in 1 of 2 values$"
    ):
        check_weights(module)
    with pytest.raises(NonFiniteError, match=r"^the weight bias is NaN in 1 of 2 values$"):
        checked("bias", module.bias)


def test_an_error_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(NonFiniteError("the loss is nan", is_update=True)))
    assert (str(error), error.is_update) == ("the loss is nan", True)


def test_an_answer_is_named_by_its_prompt() -> None:
    lengths = torch.tensor([2, 2])
    zeros = torch.zeros(2)
    batch = Batch(
        torch.arange(4), lengths, torch.tensor([False, True] * 2), zeros, zeros, lengths, names_N=("a", "b/7")
    )
    (share,) = cut_batch(batch, [{0, 1}])
    check_answers({0: np.zeros(1), 1: np.ones(1)}, "values", share)
    with pytest.raises(
        NonFiniteError, match=r"^the values of sequence 2 of 2 \(prompt 'b/7'\) are not finite numbers: \[-inf\]"
    ):
        check_answers({0: np.zeros(1), 1: np.array([-np.inf])}, "values", share)
    assert batch.select([1]).names_N == ("b/7",)


def test_what_json_has_no_number_for_is_left_out() -> None:
    metrics = {"a": 1.0, "b": float("nan"), "c": float("inf"), "d": -float("inf"), "e": 0.0}
    assert json.dumps(drop_undefined(metrics), allow_nan=False) == '{"a": 1.0, "e": 0.0}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_broken_model_on_disk_is_named_by_whoever_loads_it(tied: Path, tmp_path: Path, value: float) -> None:
    for file in tied.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(tied / "model.safetensors")
    state["model.norm.weight"][3] = value
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    word = "NaN" if value != value else "infinite"
    says = rf"^model {tmp_path}: its weights are broken: model\.norm\.weight is {word} in 1 of 64 values; fetch or train it again"
    for load in (load_model, LogprobModel, ValueModel):
        with pytest.raises(ValueError, match=says):
            load(tmp_path, "float32")


def test_so_is_a_critic(tied: Path, tmp_path: Path) -> None:
    critic = ValueModel(tied, "float32")
    critic.save_config(tmp_path)
    state = critic.state_dict()
    state["head.bias"] = torch.tensor([float("nan")])
    save_file(state, tmp_path / CRITIC_FILE)
    with pytest.raises(
        ValueError, match=rf"^critic {tmp_path / CRITIC_FILE}: its weights are broken: head\.bias is NaN"
    ):
        ValueModel(tmp_path, "float32")
