"""Soaks the verifiers' pool with ten thousand samples, most of them harmful.

No sample may cost another one its verdict, and no process, file, descriptor or memory may be left behind
(docs/benchmarks.md).

    scripts/soak [--samples N] [--json FILE]
    scripts/soak --pace [--streams N] [--rounds R] [--mode MODE] [--json FILE]    # `rl serve` instead: paced_soak.py
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from rewards.combine import PartConfig, RewardConfig
from rewards.contract import Case
from rewards.service import RewardService
from rl.types import Rollout

HOSTILE = Path(__file__).parents[2] / "tests" / "rewards"
DEADLINE_S = 0.5  # in CPU time; what sleeps takes six times as long
HOSTILE_SHARES = {  # actions of tests/rewards/hostile.py, and how many samples of a thousand do each
    "good": 395, "raise x": 100, "exit": 100, "none": 50, "score nan": 50, "recurse": 50, "print": 50, "stray x": 50,
    "os._exit": 50, "segfault": 20, "litter x": 20, "memory": 20, "child 60": 3, "loop": 3, "sleep 60": 3,
}  # fmt: skip
CORRECT_PROGRAM = "def double(x): return 2 * x"
CODE_SHARES = {
    CORRECT_PROGRAM: 16, "import os; os._exit(0)": 4, "import os\nos.fork()": 4, "x = [0] * 10**12": 4, "import socket\nsocket.socket()": 4,
    "open('/tmp/x', 'wb').write(bytes(1 << 30))": 2, "print('passed')\nraise SystemExit": 2,
}  # fmt: skip


def build_samples(count: int) -> list[tuple[str, Rollout, bool]]:
    """Return (verifier, rollout, True if it must score), shuffled."""
    rows: list[tuple[str, Rollout, bool]] = []
    for action, share in HOSTILE_SHARES.items():
        row = ("hostile", Case(action, None).rollout(), action in ("good", "print"))
        rows += [row] * max(1, count * share // 1000)
    fields = {"test_list": ["assert double(2) == 4"]}
    for program, share in CODE_SHARES.items():
        rollout = Case(f"```python\n{program}\n```", None, fields=fields).rollout()
        rows += [("code", rollout, program == CORRECT_PROGRAM)] * max(1, count * share // 1000)
    random.Random(0).shuffle(rows)
    return rows


def find_descendants() -> dict[int, int]:
    """Return {process id: its parent's} of all processes below this one."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    tree = {os.getpid()}
    while children := {pid for pid, parent in parents.items() if parent in tree} - tree:
        tree |= children
    return {pid: parents[pid] for pid in tree - {os.getpid()}}


def measure_resources() -> dict[str, int]:
    """Return the resources that this process and its descendants hold, with the memory of this one and of those that
    fork the workers."""

    def resident_kb(pid: int | str) -> int:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") >> 10

    time.sleep(3)  # ended workers are reaped once a second
    descendants = find_descendants()
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "processes": len(descendants),
        "temporary files": sum(1 for path in Path(tempfile.gettempdir()).rglob("*") if path.is_file()),
        "resident kB": resident_kb("self"),
        "resident kB of the forkservers": sum(
            resident_kb(pid) for pid, parent in descendants.items() if parent == os.getpid()
        ),
    }


def soak(count: int) -> dict[str, Any]:
    """Run `count` samples and return the counts and the resources over time."""
    rows, counts = build_samples(count), Counter[str]()
    parts = [
        PartConfig("hostile.py:verify", "hostile", when={"source": "hostile"}),
        PartConfig("code", "code", when={"source": "code"}, args={"wall_s": 20.0}),
    ]
    before, curve, began = measure_resources(), [], time.monotonic()
    hostile_config = RewardConfig(parts[:1], deadline_s=DEADLINE_S, workers=2, memory_mb=128)
    code_config = RewardConfig(parts[1:], deadline_s=60.0, workers=2, memory_mb=1024)
    with RewardService(hostile_config, HOSTILE) as hostile, RewardService(code_config, HOSTILE) as code:
        step = max(1, len(rows) // 20)
        for start in range(0, len(rows), step):
            batch = [
                (kind, replace(r, prompt=replace(r.prompt, source=kind)), right)
                for kind, r, right in rows[start : start + step]
            ]
            for service, kind in ((hostile, "hostile"), (code, "code")):
                group = [(r, right) for k, r, right in batch if k == kind]
                scored = service.score([r for r, _ in group])
                counts["reordered"] += [s.rollout for s in scored] != [r for r, _ in group]
                for (_, right), result in zip(group, scored, strict=True):
                    counts["right ones lost"] += right and result.verdict.score <= 0
                    counts["wrong ones scored"] += not right and result.verdict.score > 0
                    counts["errors"] += result.verdict.error is not None
            curve.append(measure_resources())
        restarts, timeouts = hostile.restarts + code.restarts, hostile.timeouts + code.timeouts
    return {
        "samples": len(rows), "seconds": round(time.monotonic() - began), **counts, "restarts": restarts,
        "timeouts": timeouts, "before": before, "after a tenth": curve[len(curve) // 10], "at the end": curve[-1],
        "closed": measure_resources(),
    }  # fmt: skip


def _soak_paced(arguments: argparse.Namespace) -> bool:
    """Soak the streams of a paced server; return whether anything went wrong."""
    from paced_soak import soak_paced

    figures = soak_paced(arguments.streams, arguments.rounds, arguments.mode)
    print(json.dumps(figures, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))
    wrong = figures["lost"] + figures["mixed"] + figures["errors"] + figures["still running"]
    return bool(wrong) or figures["memory"] > 1.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pace", action="store_true", help="soak the streams of `rl serve` instead")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mode", default="think_first")
    arguments = parser.parse_args()
    if arguments.pace:
        sys.exit(_soak_paced(arguments))
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = os.environ["TMPDIR"] = folder
        figures = soak(arguments.samples)
    print(json.dumps(figures, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))
    closed, before = figures["closed"], figures["before"]
    must_not_grow = ("descriptors", "processes", "temporary files")
    wrong = figures["reordered"] + figures["right ones lost"] + figures["wrong ones scored"]
    early, late = figures["after a tenth"], figures["at the end"]
    leaks = late["processes"] > early["processes"] or late["resident kB"] > 1.1 * early["resident kB"]
    sys.exit(bool(wrong) or any(closed[name] > before[name] for name in must_not_grow) or leaks)


if __name__ == "__main__":
    main()
