"""Whatever a program does to escape its judgement is its wrong answer, never an error; what is done to it is an error."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from rewards.combine import PartConfig, RewardConfig
from rewards.contract import Case
from rewards.sandbox import sandbox
from rewards.sandbox.bubblewrap import Limits
from rewards.service import RewardService
from rl.types import Verdict

TESTS = {"test_list": ["assert f(1) == 1", "assert g(f(1)) == 1"]}
SAY = """
import json, os, time
def say(*bodies):
    for body in bodies:
        for fd in range(3, 20):
            try: os.write(fd, len(body).to_bytes(4, "little") + body)
            except OSError: pass
"""
PROGRAMS = {
    # time
    "polite loop": "import os\nos.nice(19)\nwhile True: pass",
    "idle scheduling": "import os\nos.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True: pass",
    "one core": "import os\nos.sched_setaffinity(0, {max(os.sched_getaffinity(0))})\nwhile True: pass",
    "yields": "import os\nwhile True: os.sched_yield()",
    "sleeps": "import time\ntime.sleep(1000)",
    "naps": "import time\nwhile True: time.sleep(0.001)",
    "stops itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "stops all": "import os, signal\nos.kill(-1, signal.SIGSTOP)",
    "waits for itself": "import threading\nlock = threading.Lock(); lock.acquire(); lock.acquire()",
    "ignores signals": "import signal\nfor s in set(signal.Signals) - {9, 19}: signal.signal(s, signal.SIG_IGN)\nwhile True: pass",
    "loops in an alarm": "import signal, time\ndef on(*_):\n    while True: pass\nsignal.signal(14, on); signal.alarm(1)\nwhile True: pass",
    "loops at exit": "import atexit\ndef loop():\n    while True: pass\natexit.register(loop)\nraise SystemExit(1)",
    "loops in a thread": "import threading\ndef loop():\n    while True: pass\nthreading.Thread(target=loop).start()",
    "less CPU time": "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (0, 0))\nwhile True: pass",
    # its end
    "kills itself": "import os\nos.kill(os.getpid(), 9)",
    "kills itself by a thread": "import signal, threading\nsignal.pthread_kill(threading.get_ident(), 9)",
    "kills itself by a pipe": """
import fcntl, os
r, w = os.pipe()
fcntl.fcntl(r, 10, 9); fcntl.fcntl(r, fcntl.F_SETOWN, os.getpid())
fcntl.fcntl(r, fcntl.F_SETFL, fcntl.fcntl(r, fcntl.F_GETFL) | os.O_ASYNC)
os.write(w, b'x')""",
    "kills its parent": "import os\nos.kill(os.getppid(), 9)\nos.kill(1, 9)",
    "kills all": "import os\nos.kill(-1, 9)",
    "looks killed": "import os\nos._exit(137)",
    "looks killed politely": "raise SystemExit(137)",
    "exits": "import os\nos._exit(0)",
    "crashes": "import ctypes\nctypes.string_at(0)",
    "aborts": "import os\nos.abort()",
    "becomes another": "import os\nos.execv('/usr/bin/true', ['true'])",
    "base exception": "class E(BaseException): pass\nraise E",
    "keyboard": "raise KeyboardInterrupt",
    "generator's end": "def f(x): raise GeneratorExit\ng = f",
    "lying exception": "class E(Exception):\n    def __str__(self): raise SystemExit\nraise E",
    "traces itself": "import ctypes\nctypes.CDLL(None).ptrace(0, 0, 0, 0)\nimport os, signal\nos.kill(os.getpid(), signal.SIGTRAP)",
    # what we run inside
    "closes all": "import os\nos.closerange(0, 64)",
    "closes all later": "import os\ndef f(x):\n    os.closerange(0, 64)\n    return 1",
    "exhausts descriptors": "import os\nx = []\nwhile True: x.append(os.dup(0))",
    "keeps all descriptors": "import os\nx = []\ntry:\n    while True: x.append(os.dup(0))\nexcept OSError: pass",
    "exhausts threads": "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(99,)).start()",
    "exhausts memory": "x = []\nwhile True: x.append(bytearray(1 << 20))",
    "keeps all memory": "x = []\ntry:\n    while True: x.append(bytearray(1 << 10))\nexcept MemoryError: pass\ndef f(x): return [0] * 99999",
    "lowers memory": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (0, 0))\nx = [0] * 10**7",
    "lowers files": "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))",
    "deletes the harness": "import shutil\nshutil.rmtree('/harness')",
    "empties modules": "import sys\nfor m in list(sys.modules): sys.modules[m] = None\nsys.meta_path.clear()",
    "patches json": "import json\njson.dumps = json.loads = None",
    "patches builtins": "import builtins\nfor n in ('len', 'isinstance', 'type', 'id', 'int', 'hasattr', 'vars'): setattr(builtins, n, None)",
    "patches os": "import os\nos.write = os.read = lambda *a: 0",
    "patches the harness": "import rewards.sandbox.inside.wire as w\nw.encode = w.send = w.receive = None",
    "recursion limit": "import sys\nsys.setrecursionlimit(60)",
    "deep recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef h(): return h()\nh()",
    "traces": "import sys\ndef t(*a): raise SystemExit\nsys.settrace(t); sys.setprofile(t)",
    "collector": "import gc\ngc.callbacks.append(lambda *a: 1 / 0)\ngc.set_threshold(1)\nwhile True: x = []; x.append(x)",
    "fault handler": "import faulthandler\nfaulthandler.dump_traceback_later(0.1, exit=True)\nwhile True: pass",
    "audits": "import sys\ndef hook(*a): raise RuntimeError\nsys.addaudithook(hook)",
    "its frames": "import sys\nframe = sys._getframe()\nwhile frame: frame.f_globals.clear(); frame = frame.f_back",
    # the wire
    "garbage": SAY + "say(b'garbage', b'[]', b'{}', b'\\xff' * 100)",
    "a length that lies": SAY + "os.write(3, b'\\xff\\xff\\xff\\x7f')",
    "half a message": SAY + "os.write(3, b'\\x10\\0\\0\\0[')\ntime.sleep(1000)",
    "nested": SAY + "say(b'[' * 100000)",
    "nested values": SAY + "v = ['list', []]\nfor _ in range(300): v = ['list', [v]]\nsay(json.dumps(['value', v]).encode())\nos._exit(0)",
    "unknown tags": SAY + "say(b'[\"value\", [\"record\", [\"x\", []]]]')",
    "a stream": SAY + "while True: say(b'[\"value\", null]')",
    "memory of the tests": SAY + "say(b'[\"value\",[\"list\",[' + b'[\"list\",[]],' * 600000 + b'0]]]')",
    "an error of ours": SAY + "say(b'[\"raised\", \"Unsendable\", \"x\"]')\nos._exit(0)",
    "a system error": SAY + "say(b'[\"raised\", \"SystemExit\", \"x\"]')\nos._exit(0)",
    "a long iterator": SAY + """
value = json.dumps(["value", ["iterator", [0] * 200_000]]).encode()
os.set_blocking(3, True)
say(b'["value", null]', b'["value", ["object", 0]]', value)
say(b'["value", ["object", 0]]', b'["value", ["object", 0]]', value)
time.sleep(1000)""",
    # values
    "no pickle": "class A:\n    def __reduce__(self): raise SystemExit\ndef f(x): return A()\ng = f",
    "no class": "class A:\n    __class__ = property(lambda self: 1 / 0)\ndef f(x): return A()\ng = f",
    "equal to all": "class A:\n    def __eq__(self, other): return True\ndef f(x): return A()\ng = f",
    "a function": "def f(x): return lambda: 1\ng = f",
    "a generator": "def f(x):\n    yield 1\ng = f",
    "a generator without end": "import itertools\ndef f(x): return itertools.count()\ng = f",
    "an iterator that kills": "class A:\n    def __iter__(self): return self\n    def __next__(self): import os; os._exit(0)\ndef f(x): return A()\ng = f",
    "itself": "def f(x):\n    x = []; x.append(x); return x\ng = f",
    "depth": "def f(x):\n    x = []\n    for _ in range(400): x = [x]\n    return x\ng = f",
    "a long text": "def f(x): return 'x' * (20 << 20)\ng = f",
    "many bytes": "def f(x): return bytes(6 << 20)\ng = f",
    "a long integer": "def f(x): return 10 ** 100_000\ng = f",
    "a module": "import os\ndef f(x): return os\ng = f",
    "a half": "def f(x): return '\\ud800'\ng = f",
    # text
    "parentheses": "(" * 100_000,
    "signs": "x = " + "-" * 100_000 + "1",
    "attributes": "x" + ".a" * 100_000,
    "a null": "x = '\0'",
    "no Unicode": "x = '\ud800'",
    "digits": "x = " + "1" * 100_000,
}  # fmt: skip
HANDED_ON = {
    "a method": ("def f(x): return [1]", "assert g(f(1).append) == 1"),
    "an exception": ("def f(x): raise ValueError(x)", "def t():\n    try: return f(1)\n    except Exception as e: return e\nassert g(t()) == 1"),
    "a type": ("def f(x): return 3", "assert g(type(f(1))) == 1"),
    "a long text": ("def f(x): return '\\n' * (4 << 20) + '\\t'", "assert g(f(1) * 2) == 1"),
    "a bound method of a proxy": ("class A: pass\ndef f(x): return A()", "assert g(f(1).__init__) == 1"),
    "not implemented": ("def f(x): return 3", "assert g(f(1).__eq__('x')) == 1"),
    "an iterator without end": ("def f(x): return [1]", "import itertools\nassert g(itertools.cycle(f(1))) == 1"),
}  # fmt: skip


@pytest.fixture(scope="module")
def service() -> Iterator[RewardService]:
    # `wall_s` is short because some only wait; the CPU time of an honest program is far below `cpu_s`.
    config = RewardConfig([PartConfig("code", args={"wall_s": 1.5, "cpu_s": 1})], workers=1, deadline_s=30.0)
    with RewardService(config) as service:
        service.start()
        yield service


def judge(service: RewardService, code: str, fields: dict[str, object]) -> Verdict:
    return service.score([Case(f"```python\n{code}\n```", None, fields=fields).rollout()])[0].verdict


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_a_program_does_is_its_answer(service: RewardService, name: str):
    verdict = judge(service, PROGRAMS[name], TESTS)
    assert (verdict.score, verdict.error) == (0.0, None), verdict
    assert service.restarts == 0, verdict


@pytest.mark.parametrize("name", [name for name in PROGRAMS if "g = f" not in PROGRAMS[name]])
def test_nor_does_it_escape_where_it_only_prints(service: RewardService, name: str):
    verdict = judge(service, PROGRAMS[name], {"inputs": [""], "outputs": ["1"]})
    assert (verdict.score, verdict.error) == (0.0, None), verdict


@pytest.mark.parametrize("name", HANDED_ON)
def test_nor_by_values_that_a_test_hands_on(service: RewardService, name: str):
    program, test = HANDED_ON[name]
    verdict = judge(service, f"{program}\ndef g(x): return 1", {"test_list": [test]})
    assert (verdict.score, verdict.error) == (0.0, None), verdict


@pytest.mark.parametrize("test", ["assert f(lambda x: x) == 1", "assert f(int) == 1", "assert f(len) == 1", "import math\nassert f(math) == 1",
    "class A: pass\nassert f(A()) == 1", "assert f(1) == 1 and f(lambda x: x) == 1", "import itertools\nassert f(itertools.count()) == 1"])  # fmt: skip
def test_a_test_that_hands_on_its_own_is_an_error(service: RewardService, test: str):
    verdict = judge(service, "def f(x): return 1", {"test_list": [test]})
    assert verdict.error, verdict
    assert "cannot leave its process" in verdict.error


HONEST = {
    "plain": "def f(x): return x\ng = f",
    "threads": "import threading\ndef f(x):\n    t = threading.Thread(target=int); t.start(); t.join()\n    return x\ng = f",
    "a subclass": "class I(int): pass\ndef f(x): return I(x)\ng = f",
    "a polite one": "import os\nos.nice(19)\ndef f(x): return x\ng = f",
    "at its end": "def f(x): return x\ng = f\nexit()",
    "with a file": "import tempfile\ndef f(x):\n    with tempfile.TemporaryFile('w+') as t:\n        t.write(str(x)); t.seek(0)\n        return int(t.read())\ng = f",
    "with a process's limits": "import sys\nsys.setrecursionlimit(10**6)\ndef f(x): return x and 1 + f(x - 1)\ng = f",
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_program_is_right(service: RewardService, name: str):
    verdict = judge(service, HONEST[name], TESTS)
    assert (verdict.score, verdict.error) == (1.0, None), verdict


@pytest.mark.parametrize("victim", range(6))
def test_a_program_that_is_killed_from_outside_is_an_error(victim: int):
    """Two sandboxes of three processes each: bubblewrap, the first process inside, and Python."""
    task = {"program": ["import time; time.sleep(1000)"], "preamble": "", "imports": [], "classes": [], "shadowed_builtins": []}  # fmt: skip
    task |= {"tests": ["assert f(1)"], "module": "", "entry_point": "", "calls": None}
    sandbox.require()
    thread = threading.Thread(target=kill, args=(victim, 6))
    thread.start()
    with pytest.raises(RuntimeError, match="killed from outside"):
        sandbox.examine(task, Limits(wall_s=60.0))
    thread.join()


def list_sandboxed() -> list[int]:
    """The processes of this one's sandboxes, without a pool's, which come and go."""
    found: list[int] = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if child.name() == "bwrap":
                found += [child.pid, *(process.pid for process in child.children(recursive=True))]
    return found


def kill(victim: int, count: int) -> None:
    """Kill one of the `count` processes of running sandboxes."""
    while len(pids := list_sandboxed()) < count:
        time.sleep(0.01)
    time.sleep(1.5)  # the program must have begun: before, Python cannot tell its death from its end
    os.kill(pids[victim], signal.SIGKILL)


def test_threads_that_starve_each_other_excuse_no_waiting():
    """A hundred threads that wake together: each waits for a core while the others have it, all of them sleep afterwards."""
    program = """
import hashlib, threading, time
data = bytes(16 << 20)
barrier = threading.Barrier(40)
def work():
    while True:
        barrier.wait()
        hashlib.sha1(data)  # without the interpreter's lock
        time.sleep(0.8)
threading.stack_size(1 << 16)
for _ in range(40): threading.Thread(target=work).start()
"""
    begin = time.monotonic()
    outcome = sandbox.execute(program, b"", Limits(wall_s=2.0, cpu_s=20.0, memory_mb=4096))
    assert outcome.stop_reason == "gave no answer within 2 s", outcome
    assert outcome.cpu_s < 15, (outcome, time.monotonic() - begin)
