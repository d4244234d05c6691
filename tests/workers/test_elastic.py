"""Checkpoints that go on with other ranks, another ZeRO stage, or an optimizer that moves to the host and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from worlds import ragged_batch

from models.lora import LoraConfig
from rl.algorithms.objective import Objective
from rl.types import Batch

IMITATE = Objective(advantage="none", policy_loss="nll", critic=False)
LENGTHS = [5, 30, 12, 7, 21]
ON_HOST = {"offload_optimizer": {"device": "cpu", "pin_memory": False}}
DIVIDED = {"stage3_param_persistence_threshold": 0}  # so small a model would stay whole otherwise
Trainer = tuple[int, int, dict[str, Any]]
"""(ranks, ZeRO stage, DeepSpeed's options of ZeRO)."""
# Each one's state comes from the one before it, so that a value which any of them changed would show in all after it.
FLOAT: list[Trainer] = [
    (2, 2, {}), (1, 3, DIVIDED), (2, 2, ON_HOST), (2, 0, {}), (2, 3, DIVIDED), (1, 1, {}), (2, 1, {}), (1, 0, {}),
]  # fmt: skip
HALF: list[Trainer] = [(2, 2, {}), (1, 3, DIVIDED), (2, 1, {}), (1, 2, ON_HOST), (2, 3, DIVIDED)]
CASES = [("policy", "float32", None, FLOAT), ("policy", "bfloat16", None, HALF), ("critic", "float32", None, FLOAT[:3])]
ADAPTER = LoraConfig(rank=4, alpha=8)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return ragged_batch(LENGTHS)


def train(group: Any, role: str, batch: Batch, steps: int) -> None:
    extra = (IMITATE, 64) if role == "policy" else (0.5,)
    for _ in range(steps):
        group.update(batch, [range(len(batch))], [1e-3], *extra).get()


def state(folder: Path) -> dict[str, torch.Tensor]:
    """{`parameter/tensor`: its values, flattened} of a checkpoint, put together from the pieces of all ranks."""
    parts: dict[str, dict[int, torch.Tensor]] = {}
    for file in folder.glob("optimizer/*.safetensors"):
        for key, values in load_file(file).items():
            parameter, _, rest = key.rpartition("@")
            start, _, name = rest.partition("/")
            parts.setdefault(f"{parameter}/{name}", {})[int(start)] = values.reshape(-1)
    whole = {name: torch.cat([pieces[start] for start in sorted(pieces)]) for name, pieces in parts.items()}
    return {name: values[:1] if name.endswith("/step") else values for name, values in whole.items()}


@pytest.mark.parametrize(("role", "dtype", "lora", "trainers"), [*CASES, ("policy", "float32", ADAPTER, FLOAT[:3])])
def test_a_checkpoint_goes_on_with_any_ranks_and_stage(
    worlds: Callable[[int], Any],
    untied: Path,
    batch: Batch,
    tmp_path: Path,
    role: str,
    dtype: str,
    lora: LoraConfig | None,
    trainers: list[Trainer],
) -> None:
    """From trainer to trainer no value changes; and after the last one the next step is that of the run that was left alone."""
    (ranks, stage, zero), path = trainers[0], untied
    world = worlds(ranks)
    group = world.load(role, path, stage, clipping=0.5, dtype=dtype, lora=lora, base=untied, **zero)
    train(group, role, batch, 2)
    group.save(tmp_path / "0")
    train(group, role, batch, 1)
    undisturbed = world.parameters(role)
    saved = state(tmp_path / "0")
    assert {name.rpartition("/")[2] for name in saved} == {"weight", "exp_avg", "exp_avg_sq", "step"}
    for i, (ranks, stage, zero) in enumerate(trainers[1:], 1):
        path = tmp_path / f"{i - 1}"
        world = worlds(ranks)
        group = world.load(role, path, stage, clipping=0.5, dtype=dtype, lora=lora, base=untied, **zero)
        group.restore_optimizer(path)
        group.save(tmp_path / f"{i}")
        again = state(tmp_path / f"{i}")
        assert again.keys() == saved.keys(), trainers[i]
        assert [name for name in saved if not torch.equal(again[name], saved[name])] == [], trainers[i]
        # Of a trainer without ZeRO, and of any other, the ranks together write each value once.
        values = sum(load_file(file)[key].numel() for file in path.glob("optimizer/*") for key in load_file(file))
        assert values < 1.01 * sum(map(torch.numel, saved.values())) + 400
    train(group, role, batch, 1)
    for name, weight in world.parameters(role).items():
        torch.testing.assert_close(weight, undisturbed[name], atol=1e-6, rtol=0, msg=name)


@pytest.mark.parametrize("trainer", [(1, 0, {}), (2, 2, {}), (2, 3, DIVIDED)])
def test_a_step_of_other_ranks_is_the_step_that_would_have_been(
    worlds: Callable[[int], Any], untied: Path, batch: Batch, tmp_path: Path, trainer: Trainer
) -> None:
    """Up to the order in which gradients are added up."""
    world = worlds(2)
    group = world.load("policy", untied, 1, clipping=0.5)
    train(group, "policy", batch, 2)
    group.save(tmp_path)
    train(group, "policy", batch, 1)
    undisturbed = world.parameters("policy")
    ranks, stage, zero = trainer
    world = worlds(ranks)
    group = world.load("policy", tmp_path, stage, clipping=0.5, **zero)
    group.restore_optimizer(tmp_path)
    train(group, "policy", batch, 1)
    for name, weight in world.parameters("policy").items():
        torch.testing.assert_close(weight, undisturbed[name], atol=1e-6, rtol=0, msg=name)


def test_what_a_checkpoint_lacks_is_named(
    worlds: Callable[[int], Any], untied: Path, batch: Batch, tmp_path: Path
) -> None:
    group = worlds(2).load("policy", untied, 2)
    train(group, "policy", batch, 1)
    group.save(tmp_path)
    file = tmp_path / "optimizer" / "1-of-2.safetensors"
    content = load_file(file)
    file.unlink()
    single = worlds(1).load("policy", tmp_path)
    with pytest.raises(
        ValueError, match=rf"^{tmp_path}/optimizer: lacks \d+ of the \d+ values of lm\S+; resume with th"
    ):
        single.restore_optimizer(tmp_path)
    save_file({f"{i}.weight": tensor for i, tensor in enumerate(content.values())}, file)
    with pytest.raises(
        ValueError, match=rf"^{file}: an earlier version of Groundtone wrote it, by ranks .* another --out$"
    ):
        single.restore_optimizer(tmp_path)
    # Who loads the checkpoint as a model finds the model's weights alone beside config.json.
    assert [file.name for file in tmp_path.glob("*.safetensors")] == ["model.safetensors"]
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "qwen2"
