"""Ten thousand samples through the verifiers' pool, most of which do harm: no sample may cost another one, and nothing
may be left: processes, files, descriptors, memory (docs/benchmarks.md).

    scripts/soak [--samples N] [--json FILE]
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
OWN = {  # deeds of tests/rewards/hostile.py, and how many of a thousand samples do each
    "good": 395, "raise x": 100, "exit": 100, "none": 50, "score nan": 50, "recurse": 50, "print": 50, "stray x": 50,
    "os._exit": 50, "segfault": 20, "litter x": 20, "memory": 20, "child 60": 3, "loop": 3, "sleep 60": 3,
}  # fmt: skip
RIGHT = "def double(x): return 2 * x"
CODE = {
    RIGHT: 16, "import os; os._exit(0)": 4, "import os\nos.fork()": 4, "x = [0] * 10**12": 4, "import socket\nsocket.socket()": 4,
    "open('/tmp/x', 'wb').write(bytes(1 << 30))": 2, "print('passed')\nraise SystemExit": 2,
}  # fmt: skip


def samples(count: int) -> list[tuple[str, Rollout, bool]]:
    """(verifier, rollout, whether it is right and must score), shuffled."""
    made: list[tuple[str, Rollout, bool]] = []
    for deed, share in OWN.items():
        many = [("own", Case(deed, None).rollout(), deed in ("good", "print"))] * max(1, count * share // 1000)
        made += many
    fields = {"test_list": ["assert double(2) == 4"]}
    for program, share in CODE.items():
        rollout = Case(f"```python\n{program}\n```", None, fields=fields).rollout()
        made += [("code", rollout, program == RIGHT)] * max(1, count * share // 1000)
    random.Random(0).shuffle(made)
    return made


def descendants() -> dict[int, int]:
    """Processes below this one, each with its parent."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: parents[pid] for pid in found - {os.getpid()}}


def held() -> dict[str, int]:
    """What this process and those under it hold, a moment after they have come to rest; memory of this one and of those
    that fork the workers."""

    def resident(pid: int | str) -> int:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") >> 10

    time.sleep(3)  # what is reaped once a second
    below = descendants()
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "processes": len(below),
        "temporary files": sum(1 for path in Path(tempfile.gettempdir()).rglob("*") if path.is_file()),
        "resident kB": resident("self"),
        "resident kB of the nurseries": sum(resident(pid) for pid, parent in below.items() if parent == os.getpid()),
    }


def soak(count: int) -> dict[str, Any]:
    """Run it; what was counted."""
    todo, heard = samples(count), Counter[str]()
    parts = [
        PartConfig("hostile.py:verify", "own", when={"source": "own"}),
        PartConfig("code", "code", when={"source": "code"}, args={"wall_s": 20.0}),
    ]
    before, curve, began = held(), [], time.monotonic()
    hurried = RewardConfig(parts[:1], deadline_s=DEADLINE_S, workers=2, memory_mb=128)
    patient = RewardConfig(parts[1:], deadline_s=60.0, workers=2, memory_mb=1024)
    with RewardService(hurried, HOSTILE) as own, RewardService(patient, HOSTILE) as code:
        step = max(1, len(todo) // 20)
        for start in range(0, len(todo), step):
            batch = [
                (kind, replace(r, prompt=replace(r.prompt, source=kind)), right)
                for kind, r, right in todo[start : start + step]
            ]
            for service, kind in ((own, "own"), (code, "code")):
                mine = [(r, right) for k, r, right in batch if k == kind]
                scored = service.score([r for r, _ in mine])
                heard["reordered"] += [s.rollout for s in scored] != [r for r, _ in mine]
                for (_, right), result in zip(mine, scored, strict=True):
                    heard["right ones lost"] += right and result.verdict.score <= 0
                    heard["wrong ones scored"] += not right and result.verdict.score > 0
                    heard["errors"] += result.verdict.error is not None
            curve.append(held())
        restarts, timeouts = own.restarts + code.restarts, own.timeouts + code.timeouts
    return {
        "samples": len(todo), "seconds": round(time.monotonic() - began), **heard, "restarts": restarts,
        "timeouts": timeouts, "before": before, "after a tenth": curve[len(curve) // 10], "at the end": curve[-1],
        "closed": held(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = os.environ["TMPDIR"] = folder
        figures = soak(arguments.samples)
    print(json.dumps(figures, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))
    closed, before = figures["closed"], figures["before"]
    kept = ("descriptors", "processes", "temporary files")
    harmed = figures["reordered"] + figures["right ones lost"] + figures["wrong ones scored"]
    early, late = figures["after a tenth"], figures["at the end"]
    grown = late["processes"] > early["processes"] or late["resident kB"] > 1.1 * early["resident kB"]
    sys.exit(bool(harmed) or any(closed[name] > before[name] for name in kept) or grown)


if __name__ == "__main__":
    main()
