"""How an engine receives weights: vLLM's weight-transfer interface over Ray's shared-memory object store.

vLLM ships transports between GPUs (NCCL, CUDA IPC) and none for CPU; this one is registered beside them. The trainer puts buckets of tensors
into the object store, the engine maps them (no copy on the same node) and loads them layer by layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from safetensors.torch import load_file
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

    def read(self) -> Iterator[tuple[str, torch.Tensor]]:
        if self.folder is not None:
            for file in Path(self.folder).glob("*.safetensors"):
                yield from load_file(file).items()
            return
        for name, array in ray.get(self.tensors).items():
            tensor = torch.from_numpy(array.copy())
            yield name, tensor.view(torch.bfloat16) if tensor.dtype == torch.uint16 else tensor


class ObjectStoreWeightTransferEngine(WeightTransferEngine[Rendezvous, Bucket]):
    init_info_cls = Rendezvous
    update_info_cls = Bucket

    def init_transfer_engine(self, init_info: Rendezvous) -> None:
        pass

    def start_weight_update(self) -> None:
        self.loaded: set[str] = set()
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self.receive_weights(self.parse_update_info(update_info))  # the base class would wait for an accelerator

    def receive_weights(self, update_info: Bucket) -> None:
        self.loaded |= self.model.load_weights(update_info.read()) or set()

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
    """Idempotent; in every process that makes an engine."""
    if BACKEND not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(BACKEND, ObjectStoreWeightTransferEngine)
