"""A model that is divided while it is loaded: one parameter at a time is whole, and the parts make up the model."""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_supported import save_family
from torch import nn

from models.heads import CRITIC_FILE, LogprobModel, ValueModel
from models.load import load_model
from models.settings import AudioConfig, BuildConfig


@pytest.fixture(scope="module", autouse=True)
def only_objects_from_here_on() -> Iterator[None]:
    """Hide what was alive before these tests from `gc.get_objects`: a million objects, looked through at every parameter."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Part:
    """What one of two ranks keeps: here both parts, so that the whole can be put together."""

    def __init__(self) -> None:
        self.parts: dict[int, tuple[nn.Parameter, list[torch.Tensor], torch.Size]] = {}
        self.most = 0
        """Most bytes of floating-point tensors that were alive at once beside the parts."""

    def divide(self, parameter: nn.Parameter) -> None:
        if id(parameter) in self.parts:
            return
        self.most = max(self.most, self._alive())
        halves = [half.clone() for half in parameter.detach().flatten().tensor_split(2)]
        self.parts[id(parameter)] = parameter, halves, parameter.shape
        parameter.ds_id = len(self.parts)  # type: ignore[attr-defined]
        parameter.data = parameter.data.new_empty(0)

    @contextmanager
    def whole(self, parameter: nn.Parameter) -> Generator[None]:
        _, halves, shape = self.parts[id(parameter)]
        parameter.data = torch.cat(halves).view(shape)
        yield
        for half, new in zip(halves, parameter.detach().flatten().tensor_split(2), strict=True):
            half.copy_(new)
        parameter.data = parameter.data.new_empty(0)

    def _alive(self) -> int:
        mine = {half.untyped_storage().data_ptr() for _, halves, _ in self.parts.values() for half in halves}
        sizes = {
            thing.untyped_storage().data_ptr(): thing.untyped_storage().nbytes()
            for thing in gc.get_objects()
            if issubclass(type(thing), torch.Tensor) and thing.is_floating_point() and not thing.is_meta
        }
        return sum(size for address, size in sizes.items() if address not in mine)


def same(module: nn.Module, parts: Part, expected: nn.Module) -> None:
    weights = dict(module.named_parameters())
    assert weights.keys() == dict(expected.named_parameters()).keys()
    for name, weight in expected.named_parameters():
        if id(weights[name]) not in parts.parts:
            assert torch.equal(weights[name], weight), name
            continue
        with parts.whole(weights[name]):
            assert torch.equal(weights[name], weight), name
        assert weights[name].dtype == weight.dtype
        assert weights[name].requires_grad == weight.requires_grad
    for name, buffer in expected.named_buffers():
        assert torch.equal(module.get_buffer(name), buffer), name


MIXTURE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


@pytest.fixture(scope="module", params=["tied", "untied", "qwen3_moe", "gemma3_text", "listener"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from models.load import build

    folder = tmp_path_factory.mktemp("models") / request.param
    if request.param in ("tied", "untied"):
        return request.getfixturevalue(request.param)
    if request.param == "listener":
        audio = AudioConfig(hidden_size=32, layers=1, heads=1)
        return build(BuildConfig(hidden_size=64, layers=1, heads=2, audio=audio), folder, seed=3)
    folder.mkdir()
    return save_family(folder, request.param, **(MIXTURE if "moe" in request.param else {}))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", [LogprobModel, ValueModel])
def test_the_parts_are_the_model(folder: Path, kind: Callable[..., nn.Module], dtype: str) -> None:
    parts = Part()
    model = kind(folder, dtype, shards=parts)
    same(model, parts, kind(folder, dtype))
    assert parts.parts


def test_one_parameter_at_a_time_is_whole(tmp_path: Path) -> None:
    """Of a model of many, whose threads would read ahead."""
    from models.load import build

    folder = build(BuildConfig(hidden_size=64, layers=12, heads=2, tied=False), tmp_path / "model", seed=1)
    gc.collect()
    before, parts = Part()._alive(), Part()
    model = load_model(folder, shards=parts)
    sizes = [shape.numel() * 4 for _, _, shape in parts.parts.values()]
    assert len(sizes) == len([*model.parameters()])
    assert parts.most - before <= 2 * max(sizes) < sum(sizes) / 8


def test_a_critic_of_its_own_file(folder: Path, tmp_path: Path) -> None:
    critic = ValueModel(folder, "float32")
    nn.init.normal_(critic.head.weight)
    critic.save_config(tmp_path)
    save_file(dict(critic.named_parameters()), tmp_path / CRITIC_FILE)
    parts = Part()
    same(ValueModel(tmp_path, "float32", shards=parts), parts, critic)


def test_a_critic_of_another_shape_or_name_is_refused(untied: Path, tmp_path: Path) -> None:
    critic = ValueModel(untied, "float32")
    critic.save_config(tmp_path)
    weights = {name: weight.detach() for name, weight in critic.named_parameters()}
    for change, problem in (
        ({"head.weight": torch.zeros(1, 5)}, r"critic\.safetensors: head\.weight is \[1, 5\], in the model \[1, 67\]$"),
        ({"more": torch.zeros(1)}, "more is in the file or in the model, not in both$"),
        ({"head.bias": torch.tensor([float("nan")])}, r"head\.bias is NaN$"),
    ):
        save_file(weights | change, tmp_path / CRITIC_FILE)
        with pytest.raises(ValueError, match=problem):
            ValueModel(tmp_path, "float32", shards=Part())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda weight: weight.index_fill_(0, torch.tensor([0]), float("nan")), "norm.weight is NaN in 1 of 64 values"),
        (lambda weight: weight[:5].clone(), "of another shape: model.norm.weight"),
        (lambda _: None, "missing: model.norm.weight"),
    ],
)
def test_what_is_wrong_is_said_as_ever(
    untied: Path, tmp_path: Path, change: Callable[[torch.Tensor], torch.Tensor | None], problem: str
) -> None:
    for file in untied.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    changed = change(weights.pop("model.norm.weight"))
    if changed is not None:
        weights["model.norm.weight"] = changed
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for shards in (None, Part()):
        with pytest.raises(ValueError, match=problem):
            load_model(tmp_path, shards=shards)
