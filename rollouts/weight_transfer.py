"""How an engine receives weights: vLLM's weight-transfer interface over Ray's shared-memory object store.

vLLM ships transports between GPUs (NCCL, CUDA IPC) and none for CPU; this one is registered beside them. The trainer puts
buckets of tensors into the object store; the engine maps a bucket, copies each tensor out of it (a layer is built once its
last tensor has come, which may be when the bucket has gone) and loads layer by layer. The processes of a tensor-parallel
engine are none of Ray's: they read the bucket from a file in shared memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
import torch
from safetensors.torch import load_file, save_file
from vllm.distributed.weight_transfer import WeightTransferEngineFactory
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload
from vllm.model_executor.models.interfaces import supports_multimodal

BACKEND = "object_store"


@dataclass
class Rendezvous(WeightTransferInitInfo):
    """The object store needs no rendezvous."""


@dataclass
class Bucket(WeightTransferUpdateInfo):
    """Either `tensors`, a Ray reference to {parameter name: numpy array} (bfloat16, which numpy lacks, travels as its
    bits in uint16), or `folder`, a Hugging Face model on disk."""

    tensors: Any = None
    folder: str | None = None
    frozen: str | None = None
    """Names what is in it, where no update changes that: an engine that holds it does not take it again."""

    def read(self) -> Iterator[tuple[str, torch.Tensor]]:
        if self.folder is not None:
            for file in Path(self.folder).glob("*.safetensors"):
                yield from load_file(file).items()
            return
        for name, array in ray.get(self.tensors).items():
            tensor = torch.from_numpy(array.copy())
            yield name, tensor.view(torch.bfloat16) if tensor.dtype == torch.uint16 else tensor


@contextmanager
def within_reach(bucket: dict[str, Any], parallel: bool) -> Iterator[dict[str, Any]]:
    """The bucket, in a form that vLLM's workers can read when they are processes of their own (`parallel`)."""
    if not parallel or bucket.get("tensors") is None:
        yield bucket
        return
    with TemporaryDirectory(prefix="groundtone-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        save_file(dict(Bucket(**bucket).read()), Path(folder) / "bucket.safetensors")
        yield {**bucket, "tensors": None, "folder": folder}


class ObjectStoreWeightTransferEngine(WeightTransferEngine[Rendezvous, Bucket]):
    init_info_cls = Rendezvous
    update_info_cls = Bucket

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.held: dict[str, set[str]] = {}  # what a frozen bucket is called: the parameters it brought

    def init_transfer_engine(self, init_info: Rendezvous) -> None:
        pass

    def start_weight_update(self) -> None:
        self.loaded: set[str] = set()
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self.receive_weights(self.parse_update_info(update_info))  # the base class would wait for an accelerator

    def receive_weights(self, update_info: Bucket) -> None:
        name = update_info.frozen
        if name not in self.held:
            held, self.held = self.held, {}  # a load that fails half-way may have overwritten anything
            brought = self.model.load_weights(update_info.read()) or set()
            self.held = {other: names for other, names in held.items() if not names & brought}
            if name is None:
                self.loaded |= brought
                return
            self.held[name] = brought
        self.loaded |= self.held[name]

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)
        if self.device.type != "cpu":
            return
        # With tied embeddings the head is the embedding, whose reload does not re-pack the head's copy of the matrix:
        # without this the engine goes on with stale logits, in silence.
        language = self.model.get_language_model() if supports_multimodal(self.model) else self.model
        dispatch_cpu_unquantized_gemm(language.lm_head, remove_weight=False)

    def shutdown(self) -> None:
        pass


def missing(worker: Any) -> list[str]:
    """Runs in vLLM's worker: the parameters that the last update did not bring."""
    receiver = worker.weight_transfer_engine
    return sorted({name for name, _ in receiver.model.named_parameters()} - receiver.loaded)


def register() -> None:
    """Idempotent; vLLM calls it in every process of an engine (entry point `vllm.general_plugins`)."""
    if BACKEND not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(BACKEND, ObjectStoreWeightTransferEngine)
