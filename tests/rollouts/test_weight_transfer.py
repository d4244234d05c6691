"""An engine's side of a load that goes wrong, with a layer of torch for its model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from vllm.model_executor.model_loader import reload

from rollouts.errors import TransferError
from rollouts.weight_transfer import Bucket, PolicyWeightTransferEngine


class Refusing(torch.nn.Linear):
    """A model that takes none of the names."""

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        raise ValueError(f"There is no parameter named {next(iter(weights))[0]}")


class Taking(Refusing):
    """A model that takes every name, and reads all tensors first."""

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        return {name for name, _ in list(weights)}


class FailingLater(Refusing):
    """A model that fails once it has all tensors."""

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        list(weights)
        raise ValueError("no expert 3. Look there")


class BrokenReceiver:
    """A stream that breaks behind its first bucket."""

    def __init__(self, *_: Any) -> None: ...

    def buckets(self) -> Iterator[list[tuple[str, torch.Tensor]]]:
        yield [("wieght", torch.zeros(2, 2))]
        raise TransferError("the stream of weights was ended")


FIELDS = {"transport": "gloo", "host": "", "port": 0, "name": "load 1", "group": "streams"}
FIELDS |= {"engines": 1, "workers": 1, "senders": 1, "bucket_bytes": 100}


def receiver_of(model: torch.nn.Module) -> PolicyWeightTransferEngine:
    """The engine's side of a load that has begun."""
    reload.record_metadata_for_reloading(model)
    config: Any = SimpleNamespace(parallel_config=SimpleNamespace(rank=0), model_config=None)
    receiving = PolicyWeightTransferEngine(config, config, torch.device("cpu"), model)
    receiving.start_weight_update()
    return receiving


def test_a_stream_that_breaks_behind_a_refusal_leaves_no_layer_half_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of the stream is read for the other engines' sake; its end is an end as at any other place."""
    model = Refusing(2, 2, bias=False)
    before = model.weight.tolist()
    receiving = receiver_of(model)
    dropped = list[str]()
    monkeypatch.setattr("rollouts.weight_transfer.Receiver", BrokenReceiver)
    monkeypatch.setattr(receiving.links, "drop", dropped.append)
    assert model.weight.is_meta, "waits to be loaded"
    with pytest.raises(TransferError):
        receiving.receive_weights(Bucket(stream=FIELDS))
    assert receiving.refusal == "vLLM does not take wieght: There is no parameter named wieght"
    assert dropped == ["streams"]
    assert model.weight.tolist() == before


@pytest.mark.parametrize(
    ("model", "content", "refusal"),
    [
        (Taking, b"?", "cannot be read: Error while deserializing header: header too small"),
        (FailingLater, None, "vLLM does not take them: no expert 3"),
        (Refusing, None, "vLLM does not take a: There is no parameter named a"),
        (Taking, None, ""),
    ],
)
def test_the_model_is_blamed_for_what_it_was_given_alone(
    tmp_path: Path, model: type[torch.nn.Linear], content: bytes | None, refusal: str
) -> None:
    save_file({"a": torch.zeros(2), "b": torch.zeros(2)}, tmp_path / "model.safetensors")
    if content is not None:
        (tmp_path / "model.safetensors").write_bytes(content)
    receiving = receiver_of(model(2, 2, bias=False))
    receiving.receive_weights(Bucket(folder=str(tmp_path)))
    assert receiving.refusal == (f"{tmp_path}: {refusal}" if content else refusal)


def test_a_fault_in_reading_a_stream_ends_it_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollouts.weight_transfer.Receiver", BrokenReceiver)

    def fail(_: object) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr("rollouts.weight_transfer.checksums", fail)
    receiving = receiver_of(Taking(2, 2, bias=False))
    with pytest.raises(TransferError, match=r"^the stream of weights broke: CUDA out of memory$"):
        receiving.receive_weights(Bucket(stream=FIELDS))
