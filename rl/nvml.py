"""Reads what the NVIDIA driver says about this machine's GPUs, from the driver's own library (NVML). Nothing is imported and
no GPU is opened, so that `rl check` may ask.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

LIBRARY = "libnvidia-ml.so.1"
"""NVML, which every driver installs."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """Memory of one GPU (or of one MIG slice), in bytes."""

    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Driver:
    """The NVIDIA driver and the GPUs that a process may use."""

    version: str = ""
    """Version of the driver, such as `580.95.05`; empty where there is no driver, or one without NVML."""
    gpus: tuple[Gpu, ...] = ()


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def read_driver(library: str = LIBRARY, visible: str | None = None) -> Driver:
    """Return the driver's version and the GPUs named in `visible` (default: CUDA_VISIBLE_DEVICES; without it all of them).
    Without a driver both are empty."""
    try:
        nvml = ctypes.CDLL(library)
        if nvml.nvmlInit_v2() != 0:  # 0 is success, here and below: the library may be there without a driver
            return Driver()
    except (OSError, AttributeError):  # AttributeError: a driver of before 2013
        return Driver()
    try:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
        handles = _handles(nvml, None if visible is None else [name.strip() for name in visible.split(",")])
        memories = [_memory(nvml, handle) for handle in handles]
        return Driver(_version(nvml), tuple(Gpu(memory.total, memory.free) for memory in memories))
    finally:
        nvml.nvmlShutdown()


def _handles(nvml: ctypes.CDLL, names: Sequence[str] | None) -> list[ctypes.c_void_p]:
    """Return the handles of the GPUs of these names (index, UUID of a GPU or a MIG slice, beginning of a GPU's UUID), up to the
    first that is none, as CUDA does; of all GPUs without names."""
    count = ctypes.c_uint()
    nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
    handles: list[ctypes.c_void_p] = []
    for name in [str(i) for i in range(count.value)] if names is None else names:
        # NVML counts in the order of the bus. CUDA begins with the fastest GPU unless CUDA_DEVICE_ORDER is PCI_BUS_ID: where
        # a machine has GPUs of several kinds, an index may be another one's there.
        handle = _by_index(nvml, int(name)) if name.isdigit() else _by_uuid(nvml, name, count.value)
        if handle is None:
            break
        handles.append(handle)
    return handles


def _by_index(nvml: ctypes.CDLL, index: int) -> ctypes.c_void_p | None:
    handle = ctypes.c_void_p()
    return handle if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)) == 0 else None


def _by_uuid(nvml: ctypes.CDLL, name: str, count: int) -> ctypes.c_void_p | None:
    handle = ctypes.c_void_p()
    if nvml.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(handle)) == 0:
        return handle
    # NVML knows whole UUIDs; CUDA takes the beginning of one, too, if no other GPU's begins so.
    gpus = [gpu for gpu in (_by_index(nvml, index) for index in range(count)) if gpu is not None]
    matching = [gpu for gpu in gpus if _uuid(nvml, gpu).startswith(name)] if name.startswith("GPU-") else []
    return matching[0] if len(matching) == 1 else None


def _uuid(nvml: ctypes.CDLL, handle: ctypes.c_void_p) -> str:
    text = ctypes.create_string_buffer(96)
    nvml.nvmlDeviceGetUUID(handle, text, ctypes.c_uint(len(text)))
    return text.value.decode(errors="replace")


def _memory(nvml: ctypes.CDLL, handle: ctypes.c_void_p) -> _Memory:
    memory = _Memory()
    nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
    return memory


def _version(nvml: ctypes.CDLL) -> str:
    text = ctypes.create_string_buffer(80)
    with suppress(AttributeError):
        nvml.nvmlSystemGetDriverVersion(text, ctypes.c_uint(len(text)))
    return text.value.decode(errors="replace")
