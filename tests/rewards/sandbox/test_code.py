"""Attacks on the `code` verifier and its sandbox."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from real_data import data_file

from rewards.contract import Case
from rewards.sandbox import sandbox
from rewards.sandbox.bubblewrap import Limits
from rewards.verifiers.code import verify
from rl.types import Verdict

TESTS = {"test_list": ["assert double(2) == 4", "assert double('ab') == 'abab'"]}
SHORT_CPU = {"cpu_s": 1, "wall_s": 60.0}  # for programs that loop: they use up their CPU time on a busy machine too
SHORT_WAIT = {"wall_s": 1.0}  # for programs that only wait


def judge(code: str, fields: dict[str, Any] = TESTS, **args: Any) -> Verdict:
    rollout = Case(f"```python\n{code}\n```", None, fields=fields).rollout()
    return verify(rollout.prompt, rollout, **{"wall_s": 60.0, **args})


def run(program: str, stdin: bytes = b"", **limits: Any) -> sandbox.Outcome:
    return sandbox.execute(program, stdin, Limits(**{"wall_s": 60.0, **limits}))


def test_right_and_wrong():
    assert judge("def double(x):\n    return x + x").score == 1.0
    assert judge("def double(x):\n    return 4") == Verdict(0.0, {"passed": 0.5}, reason="AssertionError: ")
    assert judge("def double(x):\n    return 4", partial=True).score == 0.5
    assert judge("double = lambda x: 2 * x").score == 1.0
    assert judge("def double(x) return").reason.startswith("SyntaxError")


CHEATS = {
    "prints that it passed": "print('all tests passed'); print('{\"outcomes\": [null, null]}')",
    "exits with success": "import sys; sys.exit(0)",
    "leaves at once": "import os; os._exit(0)",
    "leaves when called": "def double(x):\n    import os; os._exit(0)",
    "exits when called": "def double(x):\n    raise SystemExit(0)",
    "leaves at exit": "import atexit, os; atexit.register(os._exit, 0)\ndef double(x): return 0",
    "equals everything": "class All:\n    def __eq__(self, other): return True\ndef double(x): return All()",
    "an int that equals everything": "class All(int):\n    def __eq__(self, other): return True\n"
    "    def __int__(self): return self\ndef double(x): return All(7)",
    "a text that equals everything": "class All(str):\n    def __eq__(self, other): return True\n"
    "def double(x): return All('z')",
    "ends the loop over the tests": "def double(x):\n    raise StopIteration",
    "raises what a test raises": "def double(x):\n    raise AssertionError",
    "patches Python's names": "import builtins\nbuiltins.AssertionError = KeyError\nbuiltins.isinstance = lambda *_: True\n"
    "builtins.len = lambda _: 0\ndef double(x): return 0",
    "patches the harness": "import rewards.sandbox.inside.wire as w, rewards.sandbox.inside.candidate as c\n"
    "w.encode = c.encode = lambda value, other: ['value', None]\ndef double(x): return 0",
    "looks the tests up in its frames": "def double(x):\n    import sys, gc\n    frame = sys._getframe()\n"
    "    while frame:\n        for v in [*frame.f_locals.values()]:\n"
    "            if isinstance(v, (list, tuple, str)) and 'assert' in str(v): return 4 if x == 2 else 'abab'\n"
    "        frame = frame.f_back\n    return [o for o in gc.get_objects() if isinstance(o, str) and 'double(2)' in o]",
    "writes answers into every descriptor": "import os\nfor fd in range(64):\n    for m in (b'true', b'[\"value\", 4]'):\n"
    "        try: os.write(fd, len(m).to_bytes(4, 'little') + m)\n        except OSError: pass\n"
    "def double(x): return 0",
    "writes a verdict into every descriptor": "import os\nfor fd in range(64):\n"
    "    try: os.write(fd, b'{\"outcomes\": [null, null]}')\n    except OSError: pass\nos._exit(0)",
    "reads what waits for it": "import os\ndef double(x):\n    for fd in range(3, 20):\n        try:\n"
    "            os.set_blocking(fd, False); os.read(fd, 9999)\n        except OSError: pass\n    return 0",
    "kills its parent": "import os, signal\nfor p in (os.getppid(), 1):\n    try: os.kill(p, 9)\n    except OSError: pass\n"
    "def double(x): return 0",
    "kills everything": "import os\ntry: os.kill(-1, 9)\nexcept OSError: pass\ndef double(x): return 0",
    "recurses": "def double(x): return double(x)",
    "answers without end": "def double(x):\n    while True: yield x",
    "answers a value that holds itself": "def double(x):\n    a = []; a.append(a); return a",
    "answers something enormous": "def double(x): return 'x' * (9 << 20)",
    "nothing": "",
}


@pytest.mark.parametrize("code", CHEATS.values(), ids=CHEATS.keys())
def test_a_program_that_does_not_compute_does_not_pass(code: str):
    verdict = judge(code, **SHORT_CPU)
    assert verdict.score == 0.0
    assert verdict.error is None
    assert verdict.reason


def test_names_of_the_tests_are_their_own():
    fields = {
        "test_list": [
            "assert set(some(1)) == set([1, 2])",
            "assert isclose(half(1), 0.5)",
            "assert abs(half(1)) == 0.5",
        ],
        "test_imports": ["from math import isclose"],
    }
    honest = "def some(x): return [1, 2]\ndef half(x): return x / 2\n"
    assert judge(honest, fields).score == 1.0
    forged = "set = abs = lambda x: 0.5\nisclose = lambda a, b: True\ndef some(x): return 0\ndef half(x): return 9\n"
    assert judge(forged, fields).parts == {"passed": 0.0}
    assert judge("def sum(a, b): return a * b", {"test_list": ["assert sum(2, 3) == 6"]}).score == 1.0


def test_objects_of_a_class_of_the_candidate():
    pair = "class Pair:\n    def __init__(self, a, b): self.a, self.b = a, b\n    def total(self): return self.a + self.b\n"
    fields = {"test_list": ["assert Pair(1, 2).total() == 3", "assert best([Pair(1, 2), Pair(3, 4)]).a == 3"]}
    assert judge(pair + "def best(pairs): return max(pairs, key=Pair.total)", fields).score == 1.0


VALUES = """None; True; 2 ** 200; 10 ** 5000; -0.5; float('inf'); 1j; '\\ud800\\n'; b'\\0'; bytearray(b'a'); (1, [2, {3}]);
{(1, 2): {'a': None}}; range(3); frozenset({1}); []; {}; {1: {2: (3,)}}"""


@pytest.mark.parametrize("value", [value.strip() for value in VALUES.split(";")])
def test_values_arrive_as_they_are(value: str):
    tests = [f"assert same({value}) == {value}", f"assert type(same({value})) is type({value})"]
    assert judge("def same(x): return x", {"test_list": tests}).score == 1.0


def test_a_list_is_no_tuple_and_an_iterator_no_list():
    fields = {"test_list": ["assert f() == [1, 2]"]}
    assert judge("def f(): return [1, 2]", fields).score == 1.0
    assert judge("def f(): return (1, 2)", fields).score == 0.0
    assert judge("def f(): return iter([1, 2])", fields).score == 0.0
    assert judge("def f(): return iter([1, 2])", {"test_list": ["assert list(f()) == [1, 2]"]}).score == 1.0


def test_modules_of_tests():
    case = "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): self.assertEqual(f(1), 2)\n"
    case += "    def test_b(self):\n        with self.assertRaises(ValueError): f(-1)\n"
    functions = "def test_one(): assert f(1) == 2\ndef test_two(): assert f(2) == 3\n"
    right = "def f(x):\n    if x < 0: raise ValueError(x)\n    return x + 1"
    for module in (case, functions):
        assert judge(right, {"test": module}).score == 1.0
        assert judge("def f(x): return 2", {"test": module}).parts == {"passed": 0.5}
    assert judge("import unittest\ndef f(x): raise unittest.SkipTest", {"test": case}).parts == {"passed": 0.0}


NOWHERE = "ModuleNotFoundError: No module named 'nowhere'"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"test": "import nowhere\nassert f(1) == 2"}, NOWHERE),
        ({"test": "def test_f():\n    assert f(1) < 9\n    import nowhere"}, NOWHERE),
        ({"test": "def check(g):\n    from nowhere import x\n", "entry_point": "f"}, NOWHERE),
        ({"test_list": ["import nowhere\nassert f(1) == 2"]}, NOWHERE),
        ({"test": "assert f(1) =="}, "SyntaxError: invalid syntax (tests.py, line 1)"),
        (
            {"test": "def check(candidate):\n    assert candidate(1) == 2"},
            "no column names the function that `check` gets; add the column entry_point",
        ),
    ],
)
@pytest.mark.parametrize("result", [2, 0])
def test_tests_that_cannot_run_are_an_error_whatever_the_program_is(fields: dict[str, Any], reason: str, result: int):
    with pytest.raises(ValueError, match=re.escape(f"the tests cannot be run: {reason}")):
        judge(f"def f(x): return {result}", fields)


@pytest.mark.parametrize(
    "code",
    [
        "import nowhere\ndef f(x): return 2",
        "def f(x):\n    import nowhere",
        "def f(x): raise ModuleNotFoundError('nowhere')",
        "def f(x) return 2",
        "def g(x): return 2",
    ],
)
@pytest.mark.parametrize(
    "test", ["import math\nassert f(1) == 2", "def test_f():\n    import math\n    assert f(1) == 2"]
)
def test_a_program_that_cannot_run_is_wrong(code: str, test: str):
    verdict = judge(code, {"test": test})
    assert (verdict.score, verdict.error) == (0.0, None)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("def f(): b'\\xff'.decode()", "UnicodeDecodeError"),
        ("def f(): b'\\xff'.decode()", "ValueError"),
        ("import json\ndef f(): json.loads('{')", "json.JSONDecodeError"),
        ("import json\ndef f(): json.loads('{')", "ValueError"),
        ("from decimal import Decimal\ndef f(): Decimal('x')", "ArithmeticError"),
        ("class Own(KeyError): pass\ndef f(): raise Own('a')", "LookupError"),
        ("class Own(Exception): pass\ndef f(): raise Own('a')", "Exception"),
        ("def f(): raise ExceptionGroup('a', [ValueError()])", "Exception"),
    ],
)
def test_a_test_may_expect_an_exception_by_its_class_or_a_base(code: str, kind: str):
    test = "import json\ntry:\n    f()\nexcept {}:\n    pass\nelse:\n    assert False"
    assert judge(code, {"test_list": [test.format(kind)]}).score == 1.0
    assert judge(code, {"test_list": [test.format("NameError")]}).score == 0.0


def test_a_program_is_judged_by_its_output():
    fields = {"inputs": ["1 2\n", "3 4"], "outputs": ["3", "7\n\n"]}
    assert judge("print(sum(map(int, input().split())), ' ')", fields).score == 1.0
    assert judge("print(3)", fields, partial=True).score == 0.5
    assert judge("print(sum(map(int, input().split()))); exit(1)", fields).reason == "it ended with status 1"
    assert judge("while True: pass", fields, **SHORT_CPU).score == 0.0


def test_a_prompt_without_tests_is_an_error_not_a_zero():
    with pytest.raises(ValueError, match="has no tests"):
        judge("pass", {})
    with pytest.raises(ValueError, match="2 inputs and 1 outputs"):
        judge("pass", {"inputs": ["", ""], "outputs": [""]})
    with pytest.raises(ValueError, match="cannot leave its process: a value of type function"):
        judge("def f(g): return 1", {"test_list": ["assert f(lambda x: x) == 1"]})


def test_a_result_that_is_no_json_is_told_before_anything_starts():
    before = os.listdir("/proc/self/fd")
    fields = {"fn_name": "f", "inputs": [[1]], "outputs": [date(2020, 1, 2)]}
    with pytest.raises(
        ValueError, match="the tests hold what JSON does not: Object of type date is not JSON serializable"
    ):
        judge("def f(x): return x", fields)
    assert os.listdir("/proc/self/fd") == before
    assert list_sandboxes() == set()


@pytest.mark.parametrize(
    ("program", "limits", "reason"),
    [
        ("while True: pass", {"cpu_s": 1}, "used its 1 s of CPU time"),
        ("9 ** 9 ** 9", {"cpu_s": 1}, "used its 1 s of CPU time"),
        ("import time; time.sleep(600)", SHORT_WAIT, "gave no answer within 1 s"),
        ("import os, time; os.close(1); os.close(0); time.sleep(600)", SHORT_WAIT, "gave no answer within 1 s"),
        ("import threading, time\nfor _ in range(3): threading.Thread(target=time.sleep, args=(600,)).start()", SHORT_WAIT, "gave"),
        ("import signal, time\nfor s in range(1, 32):\n    try: signal.signal(s, signal.SIG_IGN)\n    except OSError: pass\n"
         "time.sleep(600)", SHORT_WAIT, "gave"),
        ("while True: print('x' * 100_000)", {}, "more than 1024 kB of output"),
        ("import os\nwhile True: os.write(1, b'x' * 100_000)", {"output_kb": 10}, "more than 10 kB of output"),
    ],
)  # fmt: skip
def test_a_program_ends_at_its_limits(program: str, limits: dict[str, Any], reason: str):
    outcome = run(program, **limits)
    assert outcome.stop_reason.startswith(reason)
    assert len(outcome.output) <= limits.get("output_kb", 1024) << 10
    assert list_sandboxes() == set()


def test_a_busy_machine_makes_no_right_program_wrong():
    """All on one core, beside five processes that never rest: half a second of CPU takes about three on the clock."""
    program = f"""
import os, subprocess, sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[2])!r}]
from test_code import run
os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(5)]
try:
    busy = run("import time\\nwhile time.process_time() < 1.5: pass\\nprint(1)", wall_s=5.0, cpu_s=10)
    idle = run("import time; time.sleep(600)", wall_s=1.0)
finally:
    for hog in hogs:
        hog.kill()
assert (busy.output, busy.stop_reason) == (b"1\\n", ""), busy
assert idle.stop_reason == "gave no answer within 1 s", idle
"""
    subprocess.run([sys.executable, "-c", program], check=True)


FORBIDDEN = {
    "memory": "x = []\nwhile True: x.append(bytearray(1 << 20))",
    "one number": "x = 1 << (1 << 40)",
    "fork": "import os; os.fork()",
    "a process": "import subprocess; subprocess.run(['/usr/bin/true'])",
    "a shell": "import os, sys; sys.exit(os.system('true') != 0)",
    "spawn": "import os; os.posix_spawn('/usr/bin/true', ['true'], {})",
    "a socket": "import socket; socket.socket()",
    "a local socket": "import socket; socket.socket(socket.AF_UNIX)",
    "the network": "import urllib.request; urllib.request.urlopen('http://127.0.0.1:1')",
    "home": f"open({str(Path.home() / 'x')!r}, 'w')",
    "its program": "open('/program.py', 'w')",
    "the harness": "open('/harness/rewards/sandbox/inside/wire.py', 'a')",
    "the system": "open('/usr/x', 'w')",
    "the root": "open('/x', 'w')",
    "shared memory": "open('/dev/shm/x', 'w')",
    "a full disk": "for i in range(64): open(f'/tmp/{i}', 'wb').write(bytes(1 << 20))",
    "a long file": "open('/tmp/x', 'wb').truncate(1 << 30)",
    "many files": "x = [open(f'/tmp/{i}', 'w') for i in range(100)]",
    "its limits": "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "processes of others": "import os; os.listdir('/proc')",
    "memory outside": "import os; os.memfd_create('x')",
    "this checkout": f"open({__file__!r})",
    "passwords": "open('/etc/passwd')",
    "root's rights": "import os; os.setuid(0)",
    "another root": "import os; os.chroot('/tmp')",
}


@pytest.mark.parametrize("program", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_a_forbidden_action_fails(program: str):
    outcome = run(program)
    assert (outcome.status, outcome.output) == (1, b"")


def test_a_program_sees_nothing_of_the_host(monkeypatch):
    monkeypatch.setenv("GROUNDTONE_TOKEN", "secret")
    program = (
        "import json, os; print(json.dumps([dict(os.environ), os.listdir('/'), os.listdir('/tmp'), os.getppid()]))"
    )
    environment, root, temporary, parent = json.loads(run(program).output)
    assert set(environment) <= {"PWD", "LC_CTYPE"}
    assert not {"home", "proc", "mnt", "var", "work"} & set(root)
    assert temporary == []
    assert parent in (0, 1)


def test_threads_and_temporary_files_are_allowed():
    program = "import threading, tempfile\nwith tempfile.NamedTemporaryFile('w') as f:\n    f.write('a')\n"
    program += "t = threading.Thread(target=print, args=(input(),)); t.start(); t.join()"
    assert run(program, b"hello\n").output == b"hello\n"


def test_a_long_input_that_nobody_reads():
    assert run("print(1)", b"x" * (4 << 20)).output == b"1\n"
    assert run("import sys; print(len(sys.stdin.read()))", b"x" * (4 << 20)).output == b"4194304\n"


def test_nothing_is_left_behind():
    """Runs in a process of its own: a process that runs other tests has other children and open files."""
    program = f"""
import os, sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[2])!r}]
from test_code import list_sandboxes, judge, run
run("pass")
before = os.listdir("/proc/self/fd")
for _ in range(3):
    run("import time; time.sleep(60)", wall_s=0.2)
    judge("def double(x): return x + x")
    judge("def double(x):\\n    while True: pass", wall_s=0.2, cpu_s=1)
assert os.listdir("/proc/self/fd") == before
assert list_sandboxes() == set()
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def list_sandboxes() -> set[str]:
    """Return the process ids of the sandboxes that this process has started and not reaped."""
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {pid for pid in pids if Path(f"/proc/{pid}/comm").read_text() == "bwrap\n"}


def test_without_bubblewrap_it_refuses_before_the_run(monkeypatch, tmp_path: Path):
    from rewards.combine import PartConfig, RewardConfig
    from rewards.service import RewardService

    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        RewardService(RewardConfig([PartConfig("code")])) as service,
        pytest.raises(ValueError, match=r"'code' .*sandbox only, and bubblewrap \(bwrap\) is not installed") as error,
    ):
        service.check_verifiers()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["humaneval/test.jsonl", "mbpp/data.jsonl"])
def test_reference_solutions_pass_and_others_fail(name: str):
    for row in [json.loads(line) for line in data_file(name).read_text().splitlines()][::25]:
        assert judge(row.get("canonical_solution") or row["code"], row, cpu_s=60).score == 1.0, row["task_id"]
        name = row.get("entry_point") or row["test_list"][0].partition("(")[0].split()[-1]
        assert judge(f"def {name}(*args): return None", row).score == 0.0, row["task_id"]
