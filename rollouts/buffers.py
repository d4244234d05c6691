"""Shares a sender's buffers within one device: receivers map the memory and read it.

On a GPU this uses CUDA's inter-process handles, as vLLM's own `ipc` transport does; on CPU, a file that exists in
memory only.
"""

# What torch uses to share CUDA memory between processes has no types.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import base64
import json
import os
import socket
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor


def device_name(device: torch.device) -> str:
    """Return a name that is the same in all processes that share a device: a GPU's UUID, since its index differs
    between processes, or the host's name."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_properties(device).uuid)
    return socket.gethostname()


class SharedBuffer:
    """Memory of this process that others on the device may map by `handle`."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.file: int | None = None
        if device.type == "cuda":
            self.bytes, self.handle = _share_cuda(size, device)
            return
        # A file without a name in any folder: nothing stays behind when the process is killed, and only this user can
        # open it.
        self.file = os.memfd_create("groundtone-weights")
        os.ftruncate(self.file, size)
        path = f"/proc/{os.getpid()}/fd/{self.file}"
        self.bytes = torch.from_file(path, shared=True, size=size, dtype=torch.uint8)
        self.handle = json.dumps([path, size])

    def close(self) -> None:
        """Give the memory back. Receivers must have released it."""
        del self.bytes
        if self.file is not None:
            os.close(self.file)
        else:
            # What receivers have released counts as in use until torch collects it.
            torch.cuda.ipc_collect()


def map_buffer(handle: str, device: torch.device) -> Tensor:
    """Return the bytes of another process's buffer; dropping the tensor releases them. Call it once for each handle:
    CUDA counts the releases."""
    values: list[Any] = json.loads(handle)
    if device.type != "cuda":
        path, size = values
        return torch.from_file(path, shared=True, size=size, dtype=torch.uint8)
    from torch.multiprocessing.reductions import rebuild_cuda_tensor

    size, storage, storage_bytes, offset, counter, counter_offset, event, syncs = values
    # In the order of torch's `rebuild_cuda_tensor`: a flat tensor of bytes, from the beginning of its storage.
    sound = torch.Tensor, (size,), (1,), 0, torch.storage.TypedStorage, torch.uint8
    # The device by its index in this process; the sender's index may differ.
    shared = device.index or 0, base64.b64decode(storage), storage_bytes, offset, False
    return rebuild_cuda_tensor(
        *sound, *shared, base64.b64decode(counter), counter_offset, base64.b64decode(event), syncs
    )


def _share_cuda(size: int, device: torch.device) -> tuple[Tensor, str]:
    """Return (bytes on the GPU, their handle)."""
    from torch.multiprocessing.reductions import reduce_tensor

    # Memory in expandable segments is shared through file descriptors, which containers do not let other processes
    # open.
    settings: Any = torch.cuda.memory._set_allocator_settings  # pyright: ignore[reportPrivateUsage, reportDeprecated] # no public name
    expands = "expandable_segments:True" in os.environ.get("PYTORCH_CUDA_ALLOC_CONF", "")
    if expands:
        settings("expandable_segments:False")
    buffer = torch.empty(size, dtype=torch.uint8, device=device)
    if expands:
        settings("expandable_segments:True")
    reduced: Any = reduce_tensor(buffer)
    arguments = reduced[1]
    # The first seven tell of the tensor what `map_buffer` knows; the one left out, `_`, is `requires_grad`.
    storage, storage_bytes, offset, _, counter, counter_offset, event, syncs = arguments[7:]
    encoded = [base64.b64encode(content).decode() for content in (storage, counter, event)]
    values = [size, encoded[0], storage_bytes, offset, encoded[1], counter_offset, encoded[2], bool(syncs)]
    return buffer, json.dumps(values)
