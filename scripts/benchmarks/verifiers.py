"""Are the verifiers right, and fast? Agreement with labelled answers, programs that must pass and fail, throughput
beside the same verifier without isolation, what hanging samples cost, and what a sandbox costs (docs/benchmarks.md).

    scripts/bench verifiers [--json FILE] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from rewards import sandbox
from rewards.combine import PartConfig, RewardConfig
from rewards.service import RewardService
from rewards.verifiers import Case
from rl.types import Rollout

DATA = Path(os.environ.get("GROUNDTONE_DATA") or sys.exit("error: set GROUNDTONE_DATA to the folder of the data"))
CORES = len(os.sched_getaffinity(0))
SLOW = """
import time
from rl.types import Verdict
def verify(prompt, rollout):
    time.sleep(3600 if rollout.text == "hang" else 0.01)
    return Verdict(1.0)
"""


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]


def service(verifier: str, folder: Path | None = None, **settings: Any) -> RewardService:
    made = RewardService(RewardConfig([PartConfig(verifier)], **{"workers": CORES, **settings}), folder)
    made.start()
    return made


def agreement() -> dict[str, Any]:
    """How often each class of labelled answers is judged as labelled."""
    labelled = rows("verifier_gold.jsonl")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in labelled:
        verifier = row["cls"] if row["cls"] in ("text", "choice") else "math"
        groups.setdefault((row["cls"], verifier), []).append(row)
    groups["model solutions", "math"] = rows("gsm8k/model_solutions_labelled.jsonl")
    found: dict[str, Any] = {}
    for (name, verifier), group in groups.items():
        with service(verifier) as judge:
            scored = judge.score([_rollout(row) for row in group])
        kinds = Counter(_kind(row, s.verdict) for row, s in zip(group, scored, strict=True))
        found[name] = {"verifier": verifier, "cases": len(group), **kinds}
    return found


def gold() -> dict[str, str]:
    """How many of its own cases each verifier judges right; those that ask a model need one and are left to their run."""
    names = sorted(path.stem for path in (Path(__file__).parents[2] / "rewards/verifiers").glob("[a-z]*.py"))
    found: dict[str, str] = {}
    for name in names:
        if name not in ("judge", "reward_model"):
            command = [Path(sys.executable).parent / "rl", "verifiers", "test", name, "--json"]
            told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout)
            found[name] = f"{told['agree']} of {told['n']}"
    return found


def _rollout(row: dict[str, Any]) -> Rollout:
    metadata = json.loads(row.get("context", {}).get("metadata", "{}"))
    gold = metadata.get("correct_letter", row["gold"])
    fields = {"options": metadata["choices"]} if "choices" in metadata else {}
    return Case(row["pred"], gold if isinstance(gold, str) else json.dumps(gold), fields=fields).rollout()


def _kind(row: dict[str, Any], verdict: Any) -> str:
    equal = row.get("corrected_equal", row["equal"])
    if verdict.error is not None:
        return "errors"
    if (verdict.score == 1.0) == equal:
        return "agree"
    return "false negative" if equal else "false positive"


def programs(every: int) -> dict[str, Any]:
    """Reference solutions, and the same with what they return changed."""
    found: dict[str, Any] = {}
    with service("code", deadline_s=60.0) as judge:
        for name, file in (("HumanEval", "humaneval/test.jsonl"), ("MBPP", "mbpp/data.jsonl")):
            tasks = rows(file)[::every]
            texts = [_solution(row) for row in tasks]
            began = time.monotonic()
            right = judge.score([_program(text, row) for text, row in zip(texts, tasks, strict=True)])
            seconds = time.monotonic() - began
            wrong = judge.score(
                [_program(_spoilt(text, _entry(row)), row) for text, row in zip(texts, tasks, strict=True)]
            )
            found[name] = {
                "programs": len(tasks),
                "reference solutions passed": sum(s.verdict.score == 1.0 for s in right),
                "spoilt ones passed": sum(s.verdict.score == 1.0 for s in wrong),
                "errors": sum(s.verdict.error is not None for s in right + wrong),
                "per second": len(tasks) / seconds,
            }
    return found


def _solution(row: dict[str, Any]) -> str:
    return row["prompt"] + row["canonical_solution"] if "prompt" in row else row["code"]


def _entry(row: dict[str, Any]) -> str:
    """The function under test: for MBPP the one of the program's that its first assertion calls."""
    if "entry_point" in row:
        return row["entry_point"]
    names = [line.split("(")[0][4:].strip() for line in row["code"].splitlines() if line.startswith("def ")]
    return next(name for name in reversed(names) if name in row["test_list"][0])


def _spoilt(program: str, entry: str) -> str:
    return f"{program}\n\n_right = {entry}\ndef {entry}(*args):\n    return (_right(*args), 'spoilt')\n"


def _program(text: str, row: dict[str, Any]) -> Rollout:
    return Case(f"```python\n{text}\n```", None, fields=row).rollout()


def throughput(rounds: int) -> dict[str, float]:
    """Samples a second of `math` in a pool of a worker for each core, on every second of its labelled cases; beside as many
    plain processes in which math-verify itself, or `math`, judges them without any isolation; and beside a new process
    for each sample. In turns, so that all see the same load. All are new each time and have judged the other cases
    before: parsers grow faster with use, and know by heart what they have parsed."""
    warming, timed = ([_rollout(row) for row in _cases()[i::2]] for i in (0, 1))
    rates: dict[str, list[float]] = {"pool": [], "math-verify": [], "math": []}
    for _ in range(rounds):
        with service("math") as judge:
            judge.score(CORES * warming)
            began = time.monotonic()
            judge.score(timed)
            rates["pool"].append(len(timed) / (time.monotonic() - began))
        for name in ("math-verify", "math"):
            command = [sys.executable, __file__, "--plain", name]
            running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(CORES)]
            rates[name].append(sum(float(process.communicate()[0]) for process in running))
    began = time.monotonic()
    for _ in range(5):
        subprocess.run([sys.executable, __file__, "--plain", "one"], check=True, stdout=subprocess.DEVNULL)
    each = 5 * CORES / (time.monotonic() - began)
    ratios = {
        f"pool / {CORES} processes of {name}": median(a / b for a, b in zip(rates["pool"], rates[name], strict=True))
        for name in ("math-verify", "math")
    }
    per_second = {f"{name} per second": median(values) for name, values in rates.items()}
    return {**per_second, **ratios, "pool / process for each call": median(rates["pool"]) / each}


def _cases() -> list[dict[str, Any]]:
    return [row for row in rows("verifier_gold.jsonl") if row["cls"] == "math"]


def alone(name: str) -> float:
    """Samples a second in this process, of `math` or of the library that it stands on; `one`: judges a single one."""
    cases = _cases()[: 2 if name == "one" else None]
    if name == "math-verify":
        from math_verify import parse, verify

        wrapped = [(f"${_rollout(row).prompt.answer}$", f"${row['pred']}$") for row in cases]
        judges = [lambda gold=gold, pred=pred: verify(parse(gold), parse(pred)) for gold, pred in wrapped]
    else:
        from rewards.verifiers.math import verify as ours

        judges = [lambda sample=sample: ours(sample.prompt, sample) for sample in map(_rollout, cases)]
    for judge in judges[::2]:
        judge()
    began = time.monotonic()
    for judge in judges[1::2]:
        judge()
    return len(judges[1::2]) / (time.monotonic() - began)


def hangs(count: int, hanging: int, deadline_s: float) -> dict[str, Any]:
    """A pool in which some samples hang beside the ideal (N·c / (N·c + h·d) of its own throughput without them)."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "slow.py").write_text(SLOW)
        with service("slow.py:verify", Path(folder), deadline_s=deadline_s) as judge:
            began = time.monotonic()
            judge.score([Case("good", None).rollout() for _ in range(count)])
            without = time.monotonic() - began
            every = count // hanging
            samples = [Case("hang" if i % every == every // 2 else "good", None).rollout() for i in range(count)]
            began = time.monotonic()
            scored = judge.score(samples)
            seconds = time.monotonic() - began
            lost = sum((s.verdict.error is not None) != (s.rollout.text == "hang") for s in scored)
    reached = without / seconds
    ideal = without / (without + hanging * deadline_s / CORES)
    return {"samples": count, "hanging": hanging, "share of the ideal": reached / ideal, "lost or wrong": lost}


def sandboxes(count: int) -> dict[str, float]:
    """Milliseconds of an empty program in its sandbox, and of one test of one function, one at a time."""
    task = {"program": "def f(x): return x", "preamble": "", "imports": [], "tests": ["assert f(1) == 1"]}
    task |= {"module": "", "entry_point": None, "lent": []}
    limits = sandbox.Limits(wall_s=60.0)
    found: dict[str, float] = {}
    for name, act in {
        "by output": lambda: sandbox.execute("pass", b"", limits),
        "by tests": lambda: sandbox.examine(task, limits),
    }.items():
        times: list[float] = []
        for _ in range(count):
            began = time.monotonic()
            act()
            times.append(1000 * (time.monotonic() - began))
        found[name] = median(times)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    parser.add_argument("--plain", choices=("math", "math-verify", "one"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.plain:
        print(alone(arguments.plain))
        return
    quick = arguments.quick
    figures = {
        "gold": gold(),
        "agreement": agreement(),
        "programs": programs(10 if quick else 1),
        "throughput": throughput(1 if quick else 5),
        "hangs": hangs(200 if quick else 2000, 2 if quick else 20, 1.0),
        "sandbox, ms": sandboxes(5 if quick else 50),
    }
    print(json.dumps(figures, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
