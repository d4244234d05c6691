"""An engine's side of a load that goes wrong, with a layer of torch for its model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from vllm.model_executor.model_loader import reload

from rollouts.errors import TransferError
from rollouts.weight_transfer import Bucket, PolicyWeightTransferEngine


class Refusing(torch.nn.Linear):
    """A model that takes none of the names."""

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        raise ValueError(f"There is no parameter named {next(iter(weights))[0]}")


class BrokenReceiver:
    """A stream that breaks behind its first bucket."""

    def __init__(self, *_: Any) -> None: ...

    def buckets(self) -> Iterator[list[tuple[str, torch.Tensor]]]:
        yield [("wieght", torch.zeros(2, 2))]
        raise TransferError("the stream of weights was ended")


def test_a_stream_that_breaks_behind_a_refusal_leaves_no_layer_half_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of the stream is read for the other engines' sake; its end is an end as at any other place."""
    model = Refusing(2, 2, bias=False)
    before = model.weight.tolist()
    reload.record_metadata_for_reloading(model)
    config: Any = SimpleNamespace(parallel_config=SimpleNamespace(rank=0), model_config=None)
    receiving = PolicyWeightTransferEngine(config, config, torch.device("cpu"), model)
    dropped = list[str]()
    monkeypatch.setattr("rollouts.weight_transfer.Receiver", BrokenReceiver)
    monkeypatch.setattr(receiving.links, "drop", dropped.append)
    receiving.start_weight_update()
    assert model.weight.is_meta, "waits to be loaded"
    fields = {"transport": "gloo", "host": "", "port": 0, "name": "load 1", "group": "streams"}
    fields |= {"engines": 1, "workers": 1, "senders": 1, "bucket_bytes": 100}
    with pytest.raises(TransferError):
        receiving.receive_weights(Bucket(stream=fields))
    assert receiving.refusal == "vLLM does not take wieght: There is no parameter named wieght"
    assert dropped == ["streams"]
    assert model.weight.tolist() == before
