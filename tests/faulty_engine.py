"""An engine in which faults can be planted: each is what the real thing would do if a line of it were wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import ray

from rollouts.arrival import Receipt
from rollouts.probe import Probe
from rollouts.worker import EngineWorker

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's processes do not find this file

LOST = "model.layers.1.self_attn.k_proj.weight"
"""vLLM fuses it with two others, so that its own parameters lack nothing."""
MISNAMED = LOST.replace("k_proj", "k_porj")


class FaultyEngine(EngineWorker):
    """The engine, with one fault at a time."""

    fault = ""

    def plant(self, fault: str) -> None:
        self.fault = fault

    def load(self, version: int, buckets: Sequence[Any], probe: Probe | None = None) -> Receipt:
        from rollouts import adapters, weight_transfer

        if self.fault == "never arrives":
            self.version = version
            return replace(self.receipt, version=version)
        if self.fault == "dies":
            os._exit(1)
        receiver = weight_transfer.Receiver
        if self.fault == "dies in the stream":
            weight_transfer.Receiver = dying_receiver()  # type: ignore[misc]
        if self.fault in ALTERATIONS and "stream" in buckets[0]:
            weight_transfer.Receiver = altering_receiver(self.fault)  # type: ignore[misc]
        elif self.fault in ALTERATIONS:
            buckets = [{**b, "tensors": ray.put(ALTERATIONS[self.fault](ray.get(b["tensors"])))} for b in buckets]
        model = self.engine.model_executor.driver_worker.worker.model_runner.model
        pack, load_weights = weight_transfer.dispatch_cpu_unquantized_gemm, model.load_weights
        load_adapter = adapters.load_adapter
        if self.fault == "head not packed":
            weight_transfer.dispatch_cpu_unquantized_gemm = lambda *_, **__: None  # type: ignore[assignment]
        if self.fault == "adapter left aside":
            adapters.load_adapter = lambda *_: None  # type: ignore[assignment]
        if self.fault == "received and left aside":
            names = {name for name, _ in model.named_parameters()}
            model.load_weights = lambda weights: (list(weights), names)[1]
        try:
            self.receipt = super().load(version, buckets, probe)
        finally:
            weight_transfer.Receiver = receiver  # type: ignore[misc]
            weight_transfer.dispatch_cpu_unquantized_gemm, model.load_weights = pack, load_weights
            adapters.load_adapter = load_adapter
        return self.receipt


def dying_receiver() -> Any:
    """The receiver of a stream, in a process that is killed with the first of several buckets in its hands."""
    from rollouts.stream import Receiver

    class Dying(Receiver):
        def buckets(self) -> Iterator[list[tuple[str, Any]]]:
            yield next(super().buckets())
            os._exit(1)

    return Dying


def altering_receiver(fault: str) -> Any:
    """The receiver of a stream, of which a bucket's tensors are altered on their way to the model."""
    from rollouts.stream import Receiver

    class Altering(Receiver):
        def buckets(self) -> Iterator[list[tuple[str, Any]]]:
            everything = [named for bucket in super().buckets() for named in bucket]
            arrays = {name: tensor.contiguous() for name, tensor in everything}
            yield list(ALTERATIONS[fault](arrays).items())

    return Altering


def _lose(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: array for name, array in arrays.items() if name != LOST}


def _misname(arrays: dict[str, Any]) -> dict[str, Any]:
    """Another layer's tensor has the same shape."""
    other = LOST.replace("layers.1", "layers.0")
    return {{LOST: other, other: LOST}.get(name, name): array for name, array in arrays.items()}


def _rename(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name.replace(LOST, MISNAMED): array for name, array in arrays.items()}


def _flip(arrays: dict[str, Any]) -> dict[str, Any]:
    altered = arrays[LOST].clone() if hasattr(arrays[LOST], "clone") else arrays[LOST].copy()
    content = altered.numpy() if hasattr(altered, "numpy") and altered.element_size() > 2 else altered
    if hasattr(content, "clone"):  # torch's bfloat16, which numpy lacks
        import torch

        content = content.view(torch.uint8).numpy()
    content.view("uint8").reshape(-1)[5] ^= 1
    return {**arrays, LOST: altered}


ALTERATIONS = {"lost": _lose, "swapped": _misname, "misnamed": _rename, "altered": _flip}
