"""Loads a trainer's weights into an engine, through vLLM's weight-transfer interface.

vLLM's own transports (NCCL, CUDA IPC) do not prove what arrived, and none works on CPU; this one is registered beside
them. Weights come as a stream from the trainer (`rollouts.stream`), or by Ray's object store, into which the trainer
puts buckets of tensors: the engine maps a bucket, copies each tensor out of it and loads layer by layer. The processes
of a tensor-parallel engine are not Ray's: they read such a bucket from a file in shared memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import ray
import safetensors.torch
import torch
from torch import nn
from vllm.distributed.weight_transfer import WeightTransferEngineFactory
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
from vllm.model_executor.model_loader import reload
from vllm.model_executor.models.interfaces import supports_multimodal

from rl.finite import find_non_finite
from rollouts.adapters import base_name
from rollouts.arrival import Checksum, checksums
from rollouts.errors import TransferError
from rollouts.links import Links, transfer_errors
from rollouts.stream import Receiver
from rollouts.transport import Stream
from rollouts.weights import WeightBucket

BACKEND = "groundtone"
"""Name under which this transport is registered with vLLM."""


@dataclass
class Rendezvous(WeightTransferInitInfo):
    """Empty first message between the two sides: a stream names its meeting place with each load."""


@dataclass
class Bucket(WeightTransferUpdateInfo):
    """Some of a model's weights: `tensors`, `folder` or `stream`. `rollouts.weights.WeightBucket` is the same as a dict."""

    tensors: ray.ObjectRef[dict[str, np.ndarray]] | None = None
    """Parameter name → array. bfloat16, which numpy lacks, travels as its bits in uint16."""
    folder: str | None = None
    """A Hugging Face model on disk."""
    stream: dict[str, Any] | None = None
    """Fields of the `rollouts.transport.Stream` that brings all of the weights."""
    frozen: str | None = None
    """Name of the content if no update changes it: an engine that already holds it does not load it again."""
    adapter: str = ""
    """See `rollouts.weights.WeightBucket`; such a bucket is not for the model itself."""

    def read(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield (parameter name, tensor), on the host, of `folder` or `tensors`; a stream is read by a Receiver."""
        if self.folder is not None:
            for file in Path(self.folder).glob("*.safetensors"):
                yield from safetensors.torch.load_file(file).items()
            return
        for name, array in ray.get(cast("ray.ObjectRef[dict[str, np.ndarray]]", self.tensors)).items():
            # Copied out of shared memory: vLLM builds a layer once its last tensor has come, which may be in a later
            # bucket, when Ray has freed this one.
            tensor = torch.from_numpy(array.copy())
            yield name, tensor.view(torch.bfloat16) if tensor.dtype == torch.uint16 else tensor


def read_bucket(bucket: WeightBucket) -> dict[str, torch.Tensor]:
    """Return {name: tensor} of what a trainer has put into the object store."""
    return dict(Bucket(tensors=bucket.get("tensors")).read())


@contextmanager
def readable_by_workers(bucket: WeightBucket, parallel: bool) -> Generator[WeightBucket]:
    """Yield the bucket in a form that vLLM's workers can read, also where they are processes of their own (`parallel`)."""
    if not parallel or bucket.get("tensors") is None:
        yield bucket
        return
    # Processes that vLLM starts are no Ray workers and cannot read the object store, but they can read a file in shared
    # memory.
    with TemporaryDirectory(prefix="groundtone-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        safetensors.torch.save_file(dict(Bucket(**bucket).read()), Path(folder) / "bucket.safetensors")
        yield {**bucket, "tensors": None, "folder": folder}


class PolicyWeightTransferEngine(WeightTransferEngine[Rendezvous, Bucket]):
    """The receiving side, one in each of vLLM's workers. vLLM calls `start_weight_update`, `update_weights` for each
    bucket and `finish_weight_update`."""

    init_info_cls = Rendezvous
    update_info_cls = Bucket

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        # Name of a frozen bucket → the parameters that it brought and that nothing has overwritten since.
        self.frozen_parameters: dict[str, set[str]] = {}
        self.frozen_checksums: dict[str, dict[str, Checksum]] = {}  # of frozen buckets, from when they were read
        self.received: dict[str, Checksum] = {}  # of all tensors that the update has brought, as they came
        self.checksum_s = 0.0
        self.last_name = ""  # name of the tensor that the model was given last: the one to blame for an error
        self.is_reading = False  # whether a tensor is being read, so that the model is not to blame
        self.refusal = ""  # what the model's own loader says of a tensor that it does not take
        self.updated_parameters: set[str] = set()
        self.broken_parameter = ""  # first weight with a NaN or an infinity that the update has read from disk
        self.expert_kernels: list[tuple[Any, Any]] = []  # of a mixture's layers, from before the update
        self.links = Links()

    def init_transfer_engine(self, init_info: Rendezvous) -> None:
        """Return at once: there is no connection to open."""

    def start_weight_update(self) -> None:
        """Make the model's layers ready to be loaded again."""
        self.updated_parameters, self.broken_parameter = set(), ""
        self.received, self.checksum_s, self.refusal = {}, 0.0, ""
        # A plain `load_weights` into a live engine fails (`'Parameter' object has no attribute 'weight_loader'`),
        # because vLLM packs CPU layers after the first load. This undoes the packing layer by layer, `finalize…` packs
        # them again.
        reload.initialize_layerwise_reload(self.model)
        self.expert_kernels = _take_expert_kernels(self.model) if self.device.type == "cpu" else []

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Load one bucket, given as a dict."""
        self.receive_weights(self.parse_update_info(update_info))  # the base class would wait for an accelerator

    def receive_weights(self, update_info: Bucket) -> None:
        """Load one bucket, unless it is frozen and its parameters are still in place."""
        name = update_info.frozen
        if name is not None and name in self.frozen_parameters:
            # They count as brought: else `missing_parameters` would report them.
            self.updated_parameters |= self.frozen_parameters[name]
            self.received |= self.frozen_checksums[name]
            return
        # Emptied before the load: one that fails half-way may have overwritten any parameter.
        earlier, self.frozen_parameters = self.frozen_parameters, {}
        sums: dict[str, Checksum] = {}
        try:
            loaded_names = self._load(update_info, sums)
        except TransferError:
            # The links first: on a GPU what comes next would wait for a collective that never ends.
            self.links.drop(Stream(**(update_info.stream or {})).group)
            # Only part of a version has come. Finalised all the same: a layer that still waits for tensors would
            # otherwise mix those that it holds with the next version's.
            reload.finalize_layerwise_reload(self.model, self.model_config)
            raise
        self.received |= sums
        # A frozen bucket of which a parameter was overwritten is no longer in place.
        self.frozen_parameters = {key: names for key, names in earlier.items() if not names & loaded_names}
        if name is not None:
            self.frozen_parameters[name], self.frozen_checksums[name] = loaded_names, sums
        self.updated_parameters |= loaded_names

    def _load(self, bucket: Bucket, sums: dict[str, Checksum]) -> set[str]:
        """Give the bucket's tensors to the model; return vLLM's names of what they filled, some of which it fuses from several
        of the trainer's. Empty where the model refuses one. Raises TransferError if a stream breaks."""
        model: Any = self.model  # vLLM types it as a plain nn.Module
        tensors = self._inspect(bucket, sums)
        try:
            return model.load_weights(tensors) or set()
        except TransferError:
            raise
        except Exception as error:  # for a name or shape that the model lacks each loader of vLLM raises another type
            reason = (str(error).splitlines() or [type(error).__name__])[0].partition(". ")[0]
            if self.is_reading:
                self.refusal = f"{bucket.folder or 'the new weights'}: cannot be read: {reason}"
            else:
                self.refusal = f"vLLM does not take {self.last_name or 'them'}: {reason}"
        # Not raised: `refusal` reports it after the update. Other engines receive the same stream, and its sender waits
        # for all of them, so it is read to its end.
        if bucket.stream is not None:
            for _ in tensors:
                pass
        return set()

    def _inspect(self, bucket: Bucket, sums: dict[str, Checksum]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the bucket's tensors and note their checksums. Of a folder also note the first tensor that holds a NaN
        or an infinity; a trainer checks its weights before it sends them."""
        self.last_name, self.is_reading = "", True
        # A stream breaks by any fault here: its sender and the other engines wait for this reader.
        with nullcontext() if bucket.stream is None else transfer_errors():
            for tensors in self._read(bucket):
                start = time.monotonic()
                sums |= checksums(tensors)
                self.checksum_s += time.monotonic() - start
                if bucket.folder is not None and not self.broken_parameter:
                    self.broken_parameter = find_non_finite(tensors)
                for name, tensor in tensors:
                    self.last_name, self.is_reading = name, False
                    yield name, tensor
                self.is_reading = True
        self.last_name, self.is_reading = "", False  # what fails from here on is no single tensor's fault

    def _read(self, bucket: Bucket) -> Iterator[list[tuple[str, torch.Tensor]]]:
        """Yield the bucket's tensors: one at a time, or those of each bucket of a stream together."""
        if bucket.stream is not None:
            yield from Receiver(self.links, Stream(**bucket.stream), self.parallel_config.rank, self.device).buckets()
        else:
            yield from ([named] for named in bucket.read())

    def forget_frozen(self) -> None:
        """Forget that frozen weights are in place: the engine has dropped all of its weights."""
        self.frozen_parameters.clear()

    def finish_weight_update(self) -> None:
        """Make the loaded layers ready to run."""
        reload.finalize_layerwise_reload(self.model, self.model_config)
        if self.device.type != "cpu":
            return
        for method, kernel in self.expert_kernels:
            if method.moe_kernel is None:  # its experts are frozen, and stayed as they were packed
                method.moe_kernel = kernel
        # With tied embeddings the head shares the embedding's matrix, but reloading the embedding does not re-pack the
        # head's copy of it. Without this the engine silently computed with old logits: logprobs were wrong by 1.6 to
        # 2.7.
        language_model: Any = self.model.get_language_model() if supports_multimodal(self.model) else self.model
        # Gemma and Cohere have no head beside the embedding, which packs itself when it is loaded.
        if hasattr(language_model, "lm_head"):
            dispatch_cpu_unquantized_gemm(language_model.lm_head, remove_weight=False)

    def shutdown(self) -> None:
        """Return at once: there is no connection to close."""


def forget_frozen(worker: Any) -> None:
    """Forget that frozen weights are in place. Runs in vLLM's worker, by `collective_rpc`."""
    worker.weight_transfer_engine.forget_frozen()


def _take_expert_kernels(model: nn.Module) -> list[tuple[Any, Any]]:
    """Make a mixture's experts ready to be packed again, and return (method, kernel) of each layer.

    On CPU vLLM packs their matrices when it builds their kernel, at the first load. A later load found the kernel and
    copied unpacked matrices over the packed ones: logprobs were silently wrong by 0.5."""
    kernels: list[tuple[Any, Any]] = []
    for module in model.modules():
        method: Any = getattr(module, "quant_method", None)
        if getattr(method, "moe_kernel", None) is not None:
            kernels.append((method, method.moe_kernel))
            method.moe_kernel = None
    return kernels


def arrivals(worker: Any) -> tuple[dict[str, Checksum], float]:
    """Return the checksums of all tensors of the last update as they came, frozen ones from when they came, and the
    seconds that the sums took. Runs in vLLM's worker, by `collective_rpc`."""
    receiver = worker.weight_transfer_engine
    return receiver.received, receiver.checksum_s


def refusal(worker: Any) -> str:
    """Return what the model's loader said of a tensor of the last update that it did not take, and "" without one. Runs
    in vLLM's worker, by `collective_rpc`."""
    return worker.weight_transfer_engine.refusal


def missing_parameters(worker: Any) -> list[str]:
    """Return the parameters that the last update did not bring. Runs in vLLM's worker, by `collective_rpc`."""
    receiver = worker.weight_transfer_engine
    expected = {_plain_name(name) for name, _ in receiver.model.named_parameters()}
    return sorted(expected - {_plain_name(name) for name in receiver.updated_parameters})


def _plain_name(name: str) -> str:
    """Return a parameter's name as the update's is compared with it: `load_weights` names a wrapped layer's parameters by their
    own names or by the wrapped ones, and a mixture's experts without the module that holds them (`experts.w13_weight`)."""
    return base_name(name).replace(".routed_experts.", ".")


def broken_parameter(worker: Any) -> str:
    """Return the first weight with a NaN or an infinity that the last update read from disk, and "" without one. Runs in
    vLLM's worker, by `collective_rpc`."""
    return worker.weight_transfer_engine.broken_parameter


def register() -> None:
    """Make the transport known to vLLM, which calls this in every process of an engine (entry point
    `vllm.general_plugins`). Idempotent."""
    # Registering a name twice is an error, and vLLM has no public way to ask.
    if BACKEND not in WeightTransferEngineFactory._registry:  # pyright: ignore[reportPrivateUsage]
        WeightTransferEngineFactory.register_engine(BACKEND, PolicyWeightTransferEngine)
