"""Programs that hold as much as they can of what the kernel keeps outside a process's address space.

`python tests/rewards/sandbox/attacks.py [name …]` measures, on a quiet machine, what each of them takes from it; docs/sandbox.md
has the table.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from pathlib import Path

_HEAD = """
import ctypes, fcntl, mmap, os, resource, signal, socket, struct, sys, tempfile, threading, time
libc = ctypes.CDLL(None, use_errno=True)
call = libc.syscall
call.restype = ctypes.c_long
x86 = os.uname().machine == "x86_64"
kept = []
def nr(x, arm):
    return ctypes.c_long(x if x86 else arm)
def until_error(act):
    global count
    count = 0
    while True:
        try:
            if act(count) == -1:
                break
        except (OSError, MemoryError, RuntimeError, ValueError):
            break
        count += 1
"""
_TAIL = "\nprint(count)\nsys.stdout.flush()\n"

_BODIES = {
    "System V semaphores": "until_error(lambda i: call(nr(64, 190), 0, 32000, 0o1600))",
    "System V shared memory": """
def segment(i):
    number = call(nr(29, 194), 0, ctypes.c_long(16 << 20), 0o1600)
    if number < 0:
        return -1
    libc.shmat.restype = ctypes.c_void_p
    address = libc.shmat(number, None, 0)
    ctypes.memset(address, 1, 16 << 20)
    libc.shmdt(ctypes.c_void_p(address))
until_error(segment)""",
    "System V messages": """
text = ctypes.create_string_buffer(struct.pack("l", 1) + bytes(8192))
def fill(i):
    queue = call(nr(68, 186), 0, 0o1600)
    if queue < 0:
        return -1
    while call(nr(69, 189), queue, text, ctypes.c_long(8192), 0o4000) == 0:
        pass
until_error(fill)""",
    "POSIX message queues": """
def queue(i):
    name = ctypes.create_string_buffer(b"q%d" % i)
    fd = call(nr(240, 180), name, os.O_CREAT | os.O_RDWR | os.O_NONBLOCK, 0o600, None)
    if fd < 0:
        return -1
    text = ctypes.create_string_buffer(8192)
    while call(nr(242, 182), fd, text, ctypes.c_long(8192), 0, None) == 0:
        pass
    os.close(fd)
until_error(queue)""",
    "empty files": "until_error(lambda i: os.close(os.open(f'/tmp/{i}', os.O_CREAT | os.O_WRONLY)))",
    "folders": "until_error(lambda i: os.mkdir(f'/tmp/{i}'))",
    "symbolic links": "until_error(lambda i: os.symlink('x' * 100, f'/tmp/{i}'))",
    "hard links": "open('/tmp/a', 'w').close()\nuntil_error(lambda i: os.link('/tmp/a', f'/tmp/{i}'))",
    "named pipes": "until_error(lambda i: os.mkfifo(f'/tmp/{i}'))",
    "extended attributes": """
open('/tmp/a', 'w').close()
until_error(lambda i: os.setxattr('/tmp/a', f'user.{i}', bytes(60000)))""",
    "keys": """
text = ctypes.create_string_buffer(20000)
until_error(lambda i: call(nr(248, 217), b"user", b"k%d" % i, text, ctypes.c_long(100), -3))""",
    "timers": """
def timer(i):
    return call(nr(222, 107), 1, None, ctypes.byref(ctypes.c_int()))
until_error(timer)""",
    "queued signals": """
signal.pthread_sigmask(signal.SIG_BLOCK, [40])
information = ctypes.create_string_buffer(struct.pack("iii", 40, 0, -1) + bytes(116))
until_error(lambda i: call(nr(129, 138), os.getpid(), 40, information))""",
    "pipes": """
def pipe(i):
    kept.append(os.pipe2(os.O_NONBLOCK))
    try:
        fcntl.fcntl(kept[-1][1], 1031, 1 << 20)
    except OSError:
        pass
    try:
        while os.write(kept[-1][1], bytes(1 << 16)):
            pass
    except BlockingIOError:
        pass
until_error(pipe)""",
    "sockets": """
def pair(i):
    kept.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM))
    for end in kept[-1]:
        end.setblocking(False)
        try:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        except OSError:
            pass
        try:
            while end.send(bytes(1 << 16)):
                pass
        except BlockingIOError:
            pass
until_error(pair)""",
    "descriptors in flight": """
held = []
def fly(i):
    a, b = socket.socketpair()
    held.append(a)  # its peer keeps flying
    r, w = os.pipe2(os.O_NONBLOCK)
    try:
        while os.write(w, bytes(1 << 16)):
            pass
    except BlockingIOError:
        pass
    socket.send_fds(a, [b'x'], [r, w] )
    os.close(r); os.close(w)
    socket.send_fds(held[0] if i else a, [b'x'], [b.fileno()]) if i else kept.append(b)
    if i:
        b.close(); a.close(); held.pop()
until_error(fly)""",
    "pages in pipes": """
area = mmap.mmap(-1, 256 << 20)
area.madvise(14)
class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
def gift(i):
    kept.append(os.pipe2(os.O_NONBLOCK))
    for j in range(16):
        area = mmap.mmap(-1, 4 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        area.madvise(14)
        area[:] = bytes(4 << 20)
        start = ctypes.addressof(ctypes.c_char.from_buffer(area)) + (2 << 20) & ~((2 << 20) - 1)
        vector = Vector(start, 4096)
        if call(nr(278, 75), kept[-1][1], ctypes.byref(vector), ctypes.c_ulong(1), 0) < 0:
            return -1
        libc.munmap(ctypes.c_void_p(start), ctypes.c_size_t(2 << 20))
until_error(gift)""",
    "inotify": """
def watch(i):
    os.mkdir(f'/tmp/{i}')
    if not kept:
        kept.append(call(nr(294, 26), 0))
    number = call(nr(254, 27), ctypes.c_int(kept[0]), b'/tmp/%d' % i, 0xfff)
    os.rmdir(f'/tmp/{i}') if i % 2 else None
    return number
until_error(watch)""",
    "locks of files": """
files = [open(f'/tmp/{i}', 'w') for i in range(50)]
until_error(lambda i: fcntl.lockf(files[i % 50], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 2 * (i // 50)))""",
    "memory files": """
def memory(i):
    fd = call(nr(319, 279), b"x", 0)
    if fd < 0:
        return -1
    os.write(fd, bytes(8 << 20))
until_error(memory)""",
    "asynchronous input and output": """
def context(i):
    return call(nr(206, 0), 4096, ctypes.byref(ctypes.c_ulong()))
until_error(context)""",
    "rings": """
def ring(i):
    return call(ctypes.c_long(425), 32768, ctypes.create_string_buffer(120))
until_error(ring)""",
    "maps of the BPF": """
attributes = ctypes.create_string_buffer(struct.pack("IIII", 2, 4, 1 << 20, 16) + bytes(56))
until_error(lambda i: call(nr(321, 280), 0, attributes, 72))""",
    "performance events": """
attributes = ctypes.create_string_buffer(struct.pack("IIQ", 1, 112, 0) + bytes(96))
until_error(lambda i: call(nr(298, 241), attributes, 0, -1, -1, 0))""",
    "filters of system calls": """
program = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7fff0000) * 4000)
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
until_error(lambda i: libc.prctl(22, 2, ctypes.byref(Filter(4000, ctypes.addressof(program)))))""",
    "namespaces": "until_error(lambda i: call(nr(272, 97), 0x10000000))",
    "page tables": """
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
def far(i):
    address = libc.mmap(0x100000000000 + (i << 30), 4096, 3, 0x22 | 0x100000, -1, 0)
    if address in (None, (1 << 64) - 1):
        return -1
    ctypes.c_char.from_address(address).value
until_error(far)""",
    "threads": """
threading.stack_size(32768)
def begin(i):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
until_error(begin)""",
    "bare threads": """
area = mmap.mmap(-1, 1 << 16)
code = mmap.mmap(-1, 4096, prot=7)
code.write(bytes.fromhex("b822000000 0f05 ebf7".replace(" ", "")))  # pause, for ever
start = ctypes.addressof(ctypes.c_char.from_buffer(code))
stack = ctypes.addressof(ctypes.c_char.from_buffer(area)) + (1 << 16) - 64
maker = mmap.mmap(-1, 4096, prot=7)
# clone(flags, stack): the child pauses, the parent returns
maker.write(bytes.fromhex("b838000000 0f05 85c0 7401 c3 b822000000 0f05 ebf7".replace(" ", "")))
make = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long, ctypes.c_void_p)(
    ctypes.addressof(ctypes.c_char.from_buffer(maker)))
until_error(lambda i: -1 if make(0x10f00 | 0x40000, stack) < 0 else 0)""",
}
ATTACKS = {name: _HEAD + body + _TAIL for name, body in _BODIES.items()}
"""Name of what is held -> the program that holds it."""


def read_available_mb() -> float:
    """Return the memory that the machine could still give to programs, in MiB."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 1024


def measure(program: str) -> tuple[float, float, str]:
    """Return (MiB that the machine lacked at most while the program ran, seconds, how it ended)."""
    from rewards.sandbox.bubblewrap import Limits
    from rewards.sandbox.sandbox import execute

    before_mb, lowest_mb, end = read_available_mb(), [read_available_mb()], threading.Event()

    def watch() -> None:
        while not end.wait(0.01):
            lowest_mb[0] = min(lowest_mb[0], read_available_mb())

    thread = threading.Thread(target=watch)
    thread.start()
    begin = time.monotonic()
    try:
        outcome = execute(f"{program}\ntime.sleep(2)", b"", Limits(wall_s=3.0, cpu_s=4.0))
        ending = outcome.stop_reason or f"status {outcome.status}, {outcome.output.decode()!r}"
    finally:
        end.set()
        thread.join()
    return before_mb - lowest_mb[0], time.monotonic() - begin, ending


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name in sys.argv[1:] or ATTACKS:
        held_mb, seconds, ending = measure(ATTACKS[name])
        print(f"| {name} | {held_mb:.0f} MB | {seconds:.1f} s | {ending} |", flush=True)
        time.sleep(1)
