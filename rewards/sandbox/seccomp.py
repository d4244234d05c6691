"""The filter of system calls for sandboxed programs (Linux seccomp, in classic BPF)."""

from __future__ import annotations

import platform
import struct
from functools import cache

# Numbers on (x86-64, aarch64) of the calls that fail with EPERM: new processes, sockets, memory that RLIMIT_AS does not
# count, and corners of the kernel that no exercise needs. `clone` has a rule of its own, since it also makes threads.
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
"""(column of the call numbers above, AUDIT_ARCH constant of linux/audit.h) by machine."""
_CLONE_THREAD = 0x10000
_EPERM, _ENOSYS = 1, 38
_RET_ERRNO, _RET_ALLOW = 0x50000, 0x7FFF0000  # SECCOMP_RET_… of linux/seccomp.h


@cache
def compile_filter() -> bytes:
    """Return the filter for this machine as an array of `struct sock_filter`."""
    column, architecture = ARCHITECTURES[platform.machine()]
    # Opcodes of linux/bpf_common.h: load a word, jump if =, if ≥, if any bit is set, return. An instruction is (opcode,
    # how many to skip if true, how many if false, operand).
    load, equal, least, bit, leave = 0x20, 0x15, 0x35, 0x45, 0x06
    refuse = (leave, 0, 0, _RET_ERRNO | _EPERM)
    # `struct seccomp_data`: the call's number at byte 0, the architecture at 4, the first argument at 16.
    code = [(load, 0, 0, 4), (equal, 1, 0, architecture), refuse, (load, 0, 0, 0)]
    code += [(least, 0, 1, 1 << 30), refuse]  # the x32 numbers of x86-64: the same calls a second time
    # clone3's flags lie behind a pointer, which a filter cannot follow. ENOSYS makes glibc try clone instead.
    code += [(equal, 0, 1, _CLONE3), (leave, 0, 0, _RET_ERRNO | _ENOSYS)]
    for numbers in _CALLS.values():
        number = numbers[column]
        if number is not None:
            code += [(equal, 0, 1, number), refuse]
    # clone may make a thread, but no process
    code += [(equal, 0, 3, _CLONE[column]), (load, 0, 0, 16), (bit, 1, 0, _CLONE_THREAD), refuse]
    code += [(leave, 0, 0, _RET_ALLOW)]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)
