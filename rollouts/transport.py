"""Chooses the transport of weights from a trainer to the engines by the devices on which these sit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rl.config import ConfigError

Transport = Literal["object_store", "ipc", "nccl", "shared_memory", "gloo"]
"""`object_store`: whole versions through the host, by Ray. The others stream buckets: `ipc` within a GPU that trainer and
engine share, `nccl` from GPU to GPU; `shared_memory` and `gloo` are the same two between processes on CPU."""
Setting = Literal["auto", "object_store", "ipc", "nccl", "shared_memory", "gloo"]
WITHIN_DEVICE = ("ipc", "shared_memory")
"""Streams whose receivers read the sender's own memory."""

Gpu = tuple[int, str]
"""A GPU of the cluster: (bundle, name in CUDA_VISIBLE_DEVICES)."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Description of one stream of weights for both of its ends. The fields are plain, so that it travels as a dict."""

    transport: Transport
    host: str
    """Address of the trainer's first rank, which keeps the store through which the ends talk."""
    port: int
    name: str
    """Prefix of the stream's keys in the store, unique to it."""
    group: str
    """Name of the connections, which later streams between the same processes reuse: the sender's name, then of which they
    are."""
    engines: int
    """Engines that receive."""
    workers: int
    """Tensor-parallel workers of each, one on each of its GPUs."""
    senders: int
    """Ranks of the trainer that send. Each has its own share of every bucket, or its own GPU's receivers."""
    bucket_bytes: int
    """Size of a bucket; two are under way at a time."""
    engine: int = 0
    """The receiver's place among the engines."""


def choose_transport(
    setting: Setting, trainers: Sequence[Sequence[Gpu]], engines: Sequence[Sequence[Gpu]], adapters: bool = False
) -> Transport:
    """Return the transport between the policy's ranks and the engines that sit on these GPUs (none on CPU), or the recipe's
    own choice (`setting`). Engines with `adapters` take those by the object store. Raises ConfigError for a choice that
    cannot work."""
    if adapters and setting in ("auto", "object_store"):
        return "object_store"
    trained, served = {gpu for gpus in trainers for gpu in gpus}, {gpu for gpus in engines for gpu in gpus}
    beside, apart = bool(served) and served <= trained, bool(served) and bool(trained) and not served & trained
    if setting == "auto":
        # Anything else is mixed: NCCL takes no two processes of one GPU, and another GPU's memory is not ours to read.
        return "ipc" if beside else "nccl" if apart else "object_store"
    refusals = {
        "ipc": (beside, "every engine must sit on GPUs of the policy (cluster.placement: colocated, as many ranks)"),
        "nccl": (apart, "engines and policy must sit on different GPUs (cluster.placement: split)"),
        "shared_memory": (not served, "it is for CPUs; on GPUs set ipc"),
        "gloo": (not served, "it is for CPUs; on GPUs set nccl"),
        "object_store": (True, ""),
    }
    fits, fix = refusals[setting]
    if setting in ("ipc", "nccl") and not served:
        fits, fix = False, f"there are no GPUs; set {'shared_memory' if setting == 'ipc' else 'gloo'}"
    if adapters:
        fits, fix = False, "a LoRA adapter goes by the object store"
    if not fits:
        raise ConfigError(f"engines.transport: {setting} does not work here: {fix}; or leave it at auto")
    return setting
