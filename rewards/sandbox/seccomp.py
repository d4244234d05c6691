"""Which system calls a sandboxed program is refused, as the kernel's filter wants it (seccomp, classic BPF)."""

from __future__ import annotations

import platform
import struct
from functools import cache

# Numbers on x86-64 and aarch64. Refused: new processes, sockets, what holds memory that RLIMIT_AS does not count, and
# corners of the kernel that no exercise needs. clone may make threads.
_CALLS = {
    "socket": (41, 198), "fork": (57, None), "vfork": (58, None), "ptrace": (101, 117), "shmget": (29, 194),
    "memfd_create": (319, 279), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "unshare": (272, 97), "setns": (308, 268), "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438), "msgget": (68, 186),
    "memfd_secret": (447, 447), "open_by_handle_at": (304, 265), "personality": (135, 92),
}  # fmt: skip
_CLONE, _CLONE3 = (56, 220), 435
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_CLONE_THREAD = 0x10000
_EPERM, _ENOSYS = 1, 38


@cache
def program() -> bytes:
    """The filter's instructions for this machine."""
    column, architecture = ARCHITECTURES[platform.machine()]
    load, equal, least, bit, leave = 0x20, 0x15, 0x35, 0x45, 0x06
    refuse = (leave, 0, 0, 0x50000 | _EPERM)
    code = [(load, 0, 0, 4), (equal, 1, 0, architecture), refuse, (load, 0, 0, 0)]
    code += [(least, 0, 1, 1 << 30), refuse]  # x86-64's second numbering of the same calls
    code += [
        (equal, 0, 1, _CLONE3),
        (leave, 0, 0, 0x50000 | _ENOSYS),
    ]  # its flags are out of reach; clone is tried next
    for numbers in _CALLS.values():
        number = numbers[column]
        if number is not None:
            code += [(equal, 0, 1, number), refuse]
    code += [(equal, 0, 3, _CLONE[column]), (load, 0, 0, 16), (bit, 1, 0, _CLONE_THREAD), refuse]
    code += [(leave, 0, 0, 0x7FFF0000)]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)
