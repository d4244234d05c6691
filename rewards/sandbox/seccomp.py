"""Compiles the filter of system calls for sandboxed programs (Linux seccomp, in classic BPF)."""

from __future__ import annotations

import platform
import struct
from collections.abc import Iterable
from functools import cache

from rewards.sandbox.system_calls import ALLOWED, IGNORED

ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""(column of the call numbers, AUDIT_ARCH constant of linux/audit.h) by machine."""
KILLED_STATUS = 137
"""Exit status (128 + SIGKILL) that the filter keeps every program from choosing: it marks a kill from outside, for
which the answer is not to blame."""
_CLONE_THREAD, _MAP_HUGETLB, _AF_UNIX, _SIGKILL, _RLIMIT_CPU = 0x10000, 0x40000, 1, 9, 0
_PRCTL_NAMES = (15, 16)  # PR_SET_NAME, PR_GET_NAME: of a thread
# F_SETSIG could choose SIGKILL; F_NOTIFY and F_SETPIPE_SZ take memory of the kernel, and so do leases and locks of open files
# (F_OFD_…), which name no process that could be held to account.
_FCNTL_REFUSED = (10, 36, 37, 38, 1024, 1026, 1031)
_FIRST_NEW_CALL = 424  # from here on both architectures count alike, and libraries ask whether a kernel has the call
_EPERM, _ENOSYS = 1, 38
# SECCOMP_RET_… of linux/seccomp.h. An "error" of number 0 is a success.
_RET_ERRNO, _RET_ALLOW, _RET_KILL = 0x50000, 0x7FFF0000, 0x80000000
# Opcodes of linux/bpf_common.h: load a word, mask it, jump if =, if ≥, if any bit is set, return. An instruction is (opcode,
# how many to skip if true, how many if false, operand).
_LOAD, _MASK, _EQUAL, _LEAST, _BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_Instruction = tuple[int, int, int, int]
_ALLOW: _Instruction = (_RETURN, 0, 0, _RET_ALLOW)
_REFUSE: _Instruction = (_RETURN, 0, 0, _RET_ERRNO | _EPERM)
_LACK: _Instruction = (_RETURN, 0, 0, _RET_ERRNO | _ENOSYS)
_IGNORE: _Instruction = (_RETURN, 0, 0, _RET_ERRNO)
_KILL: _Instruction = (_RETURN, 0, 0, _RET_KILL)


@cache
def compile_filter() -> bytes:
    """Return the filter for this machine as an array of `struct sock_filter`."""
    column, architecture = ARCHITECTURES[platform.machine()]
    # `struct seccomp_data`: the call's number at byte 0, the architecture at 4.
    code = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, architecture), _REFUSE, (_LOAD, 0, 0, 0)]
    code += [(_LEAST, 0, 1, 1 << 30), _REFUSE]  # the x32 numbers of x86-64: the same calls a second time
    for numbers, rule in _list_rules():
        number = numbers[column]
        code += [(_EQUAL, 0, len(rule), number), *rule]
    for numbers in IGNORED.values():
        # All of these have a number on both architectures; `or 0` is for their type alone: 0 is `read` on x86-64.
        code += [(_EQUAL, 0, 1, numbers[column] or 0), _IGNORE]
    code += _compile_allowed(numbers[column] for numbers in ALLOWED.values())
    code += [(_LEAST, 0, 1, _FIRST_NEW_CALL), _LACK, _REFUSE]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


def _list_rules() -> list[tuple[tuple[int, int], list[_Instruction]]]:
    """Return the calls whose arguments matter, each with the instructions that decide about it."""
    return [
        # A thread, but no process: RLIMIT_NPROC does not bind root.
        ((56, 220), [_argument(0), (_BIT, 0, 1, _CLONE_THREAD), _ALLOW, _REFUSE]),
        # clone3's flags lie behind a pointer, which a filter cannot follow. ENOSYS makes glibc try clone instead.
        ((435, 435), [_LACK]),
        ((9, 222), [_argument(3), (_BIT, 0, 1, _MAP_HUGETLB), _REFUSE, _ALLOW]),  # mmap
        ((72, 25), [_argument(1), *_unless_any(_FCNTL_REFUSED, _REFUSE), _ALLOW]),  # fcntl
        ((157, 167), [_argument(0), *_unless_any(_PRCTL_NAMES, _ALLOW), _REFUSE]),  # prctl
        (
            (53, 199),
            [_argument(0), *_unless_any((_AF_UNIX,), _ALLOW), _REFUSE],
        ),  # socketpair: asyncio wakes itself by it
        *((call, [_argument(1), *_unless_any((_SIGKILL,), _REFUSE), _ALLOW]) for call in ((62, 129), (200, 130))),
        ((234, 131), [_argument(2), *_unless_any((_SIGKILL,), _REFUSE), _ALLOW]),  # tgkill; above kill and tkill
        # setrlimit and prlimit64: the kernel kills at RLIMIT_CPU, which it counts in ticks: a program that works at each tick
        # for a moment would reach a low limit without work. Without a new limit (a null pointer, of two words) it only asks.
        ((160, 164), [_argument(0), *_unless_any((_RLIMIT_CPU,), _IGNORE), _ALLOW]),
        (
            (302, 261),
            [
                *(_argument(1), (_EQUAL, 1, 0, _RLIMIT_CPU), _ALLOW),
                *(_argument(2), (_EQUAL, 1, 0, 0), _IGNORE, (_LOAD, 0, 0, 36), (_EQUAL, 1, 0, 0), _IGNORE, _ALLOW),
            ],
        ),
        # exit and exit_group: otherwise a program could exit with the status that marks a kill from outside.
        *(
            (call, [_argument(0), (_MASK, 0, 0, 0xFF), *_unless_any((KILLED_STATUS,), _KILL), _ALLOW])
            for call in ((60, 93), (231, 94))
        ),
    ]


def _argument(index: int) -> _Instruction:
    """Return the instruction that loads the low half of an argument. None that is read here is wider in the kernel."""
    return (_LOAD, 0, 0, 16 + 8 * index)


def _unless_any(values: Iterable[int], action: _Instruction) -> list[_Instruction]:
    """Return instructions that end with `action` where the loaded word is one of `values`, and else go on."""
    return [instruction for value in values for instruction in ((_EQUAL, 0, 1, value), action)]


def _compile_allowed(numbers: Iterable[int | None]) -> list[_Instruction]:
    """Return instructions that allow the calls `numbers`, as ascending ranges, and go on with any other."""
    code: list[_Instruction] = []
    ascending = sorted({number for number in numbers if number is not None})
    low = high = ascending[0]
    for number in [*ascending[1:], 1 << 30]:
        if number == high + 1:
            high = number
            continue
        code += [(_LEAST, 2, 0, high + 1), (_LEAST, 0, 1, low), _ALLOW]
        low = high = number
    return code
