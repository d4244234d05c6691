"""What a program can make the kernel hold outside its memory limit, and what honest programs ask of the kernel."""

from __future__ import annotations

import pytest
from attacks import ATTACKS

from rewards.sandbox.bubblewrap import Limits
from rewards.sandbox.sandbox import execute

LIMITS = Limits(wall_s=60.0, cpu_s=20.0)
BOUNDED_BY_DESCRIPTORS = 32  # two each, of 64


@pytest.mark.parametrize("name", ATTACKS)
def test_the_kernel_holds_nothing_without_bound(name: str):
    outcome = execute(ATTACKS[name], b"", LIMITS)
    if outcome.stop_reason:
        assert outcome.stop_reason.startswith("more than"), outcome
    else:
        assert outcome.status == 0, outcome
        assert int(outcome.output) <= BOUNDED_BY_DESCRIPTORS, outcome


def test_a_program_may_call_itself_by_bytes_that_are_no_text():
    """The kernel shows the name among what is counted and timed."""
    program = r"""
import ctypes, time
ctypes.CDLL(None).prctl(15, b"\xff\xfe) \xff")
time.sleep(3)  # long enough to be looked at
print("done")
"""
    assert execute(program, b"", LIMITS).output == b"done\n"


def test_no_pipe_or_socket_grows():
    program = """
import fcntl, os, socket
def refused(act):
    try:
        act()
    except PermissionError:
        return True
reader, writer = os.pipe()
pair = socket.socketpair()
print(refused(lambda: fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)))
print(refused(lambda: pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)))
print(refused(lambda: socket.send_fds(pair[0], [b'x'], [reader])))
"""
    assert execute(program, b"", LIMITS).output == b"True\n" * 3


HONEST = {
    "threads": """
from concurrent.futures import ThreadPoolExecutor
print(sum(ThreadPoolExecutor(5).map(abs, range(-1000, 0))) == 500500)""",
    "a deep recursion": """
import resource, sys, threading
resource.setrlimit(resource.RLIMIT_STACK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
sys.setrecursionlimit(10**6)
threading.stack_size(1 << 28)
def depth(n): return n and 1 + depth(n - 1)
def run(): print(depth(50_000) == 50_000)
thread = threading.Thread(target=run); thread.start(); thread.join()""",
    "asyncio": """
import asyncio
async def add(a, b):
    await asyncio.sleep(0.001)
    return await asyncio.to_thread(lambda: a + b)
async def main(): return sum(await asyncio.gather(*(add(i, i) for i in range(20))))
print(asyncio.run(main()) == 380)""",
    "a data base": """
import sqlite3
for place in (':memory:', '/tmp/a.db'):
    with sqlite3.connect(place) as base:
        base.execute('create table t(a)')
        base.executemany('insert into t values (?)', [(i,) for i in range(1000)])
print(sqlite3.connect('/tmp/a.db').execute('select sum(a) from t').fetchone() == (499500,))""",
    "files": """
import os, shutil, tempfile, zipfile, shelve
folder = tempfile.mkdtemp()
for i in range(300):
    with open(f'{folder}/{i}', 'w') as file: file.write(str(i))
shutil.copytree(folder, f'{folder}2')
shutil.copy2(f'{folder}/7', f'{folder}/8')
with zipfile.ZipFile(f'{folder}.zip', 'w') as archive: archive.write(f'{folder}/7')
os.symlink(f'{folder}/7', f'{folder}/link'); os.chmod(f'{folder}/7', 0o600)
with shelve.open(f'{folder}/shelf') as shelf: shelf['a'] = 1
shutil.rmtree(folder)
print(len(os.listdir(f'{folder}2')) == 300)""",
    "locks": """
import fcntl
with open('/tmp/a', 'w') as file:
    fcntl.flock(file, fcntl.LOCK_EX); fcntl.lockf(file, fcntl.LOCK_EX)
print(True)""",
    "pipes and selectors": """
import os, selectors, mmap, select
reader, writer = os.pipe()
with selectors.DefaultSelector() as selector:
    selector.register(reader, selectors.EVENT_READ)
    os.write(writer, b'x')
    print(len(selector.select(1)) == 1 and os.read(reader, 1) == b'x' and len(mmap.mmap(-1, 4096)) == 4096)""",
    "signals and clocks": """
import signal, time
fired = []
signal.signal(signal.SIGALRM, lambda *_: fired.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.01)
while not fired: time.sleep(0.005)
print(time.perf_counter() > 0 and bool(time.strftime('%Y')))""",
    "politeness": """
import os
os.nice(5)
os.sched_setaffinity(0, os.sched_getaffinity(0))
print(True)""",
    "much memory": "x = bytearray(400 << 20)\nprint(len(x) == 400 << 20)",
    "the library": """
import collections, ctypes, dataclasses, datetime, decimal, email, fractions, functools, hashlib, heapq, html, http, inspect
import io, itertools, json, locale, logging, lzma, math, multiprocessing, pathlib, pickle, platform, pprint, queue, random
import re, secrets, statistics, string, struct, subprocess, textwrap, traceback, typing, unittest, uuid, xml.dom, zlib
platform.platform(); uuid.uuid4(); locale.getlocale(); secrets.token_hex()
print(hashlib.sha256(b'').hexdigest()[:4] == 'e3b0' and lzma.decompress(lzma.compress(b'x')) == b'x')""",
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_program_runs(name: str):
    assert execute(HONEST[name], b"", LIMITS).output == b"True\n"
