"""Measures accuracy and speed of the verifiers (docs/benchmarks.md).

Agreement with labelled answers, programs that must pass and fail, throughput beside the same verifier without
isolation, and the cost of hanging samples and of a sandbox.

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

from rewards.combine import PartConfig, RewardConfig
from rewards.contract import Case
from rewards.sandbox import sandbox
from rewards.sandbox.bubblewrap import Limits
from rewards.service import RewardService
from rl.types import Rollout

DATA = Path(os.environ.get("GROUNDTONE_DATA") or sys.exit("error: set GROUNDTONE_DATA to the folder of the data"))
CORES = len(os.sched_getaffinity(0))
SLOW = """
import time
from rl.types import Verdict
def verify(prompt, rollout):
    while rollout.text == "hang":
        pass
    time.sleep(0.01)
    return Verdict(1.0)
"""


def read_rows(name: str) -> list[dict[str, Any]]:
    """Return the rows of a jsonl file of the data folder."""
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]


def start_service(verifier: str, folder: Path | None = None, **settings: Any) -> RewardService:
    """Return a running pool of one verifier, with a worker for each core."""
    service = RewardService(RewardConfig([PartConfig(verifier)], **{"workers": CORES, **settings}), folder)
    service.start()
    return service


def measure_agreement() -> dict[str, Any]:
    """Return, for each class of labelled answers, how often the verdict agrees with the label."""
    labelled_rows = read_rows("verifier_gold.jsonl")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in labelled_rows:
        verifier = row["cls"] if row["cls"] in ("text", "choice") else "math"
        groups.setdefault((row["cls"], verifier), []).append(row)
    groups["model solutions", "math"] = read_rows("gsm8k/model_solutions_labelled.jsonl")
    results: dict[str, Any] = {}
    for (name, verifier), group in groups.items():
        with start_service(verifier) as judge:
            scored = judge.score([_rollout(row) for row in group])
        kinds = Counter(_kind(row, s.verdict) for row, s in zip(group, scored, strict=True))
        results[name] = {"verifier": verifier, "cases": len(group), **kinds}
    return results


def check_gold_cases() -> dict[str, str]:
    """Return how many of its own cases each verifier judges right, without those that need a model."""
    names = sorted(path.stem for path in (Path(__file__).parents[2] / "rewards/verifiers").glob("[a-z]*.py"))
    results: dict[str, str] = {}
    for name in names:
        if name not in ("judge", "reward_model"):
            command = [Path(sys.executable).parent / "rl", "verifiers", "test", name, "--json"]
            trial = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout)
            results[name] = f"{trial['agree']} of {trial['n']}"
    return results


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


def check_programs(every: int) -> dict[str, Any]:
    """Return how many reference solutions pass, and how many of them pass with their return value changed."""
    results: dict[str, Any] = {}
    with start_service("code", deadline_s=60.0) as judge:
        for name, file in (("HumanEval", "humaneval/test.jsonl"), ("MBPP", "mbpp/data.jsonl")):
            tasks = read_rows(file)[::every]
            texts = [_solution(row) for row in tasks]
            began = time.monotonic()
            right = judge.score([_program(text, row) for text, row in zip(texts, tasks, strict=True)])
            seconds = time.monotonic() - began
            wrong = judge.score(
                [_program(_with_wrong_result(text, _entry(row)), row) for text, row in zip(texts, tasks, strict=True)]
            )
            results[name] = {
                "programs": len(tasks),
                "reference solutions passed": sum(s.verdict.score == 1.0 for s in right),
                "spoilt ones passed": sum(s.verdict.score == 1.0 for s in wrong),
                "errors": sum(s.verdict.error is not None for s in right + wrong),
                "per second": len(tasks) / seconds,
            }
    return results


def _solution(row: dict[str, Any]) -> str:
    return row["prompt"] + row["canonical_solution"] if "prompt" in row else row["code"]


def _entry(row: dict[str, Any]) -> str:
    """Return the function under test: for MBPP, the one that the first assertion calls."""
    if "entry_point" in row:
        return row["entry_point"]
    names = [line.split("(")[0][4:].strip() for line in row["code"].splitlines() if line.startswith("def ")]
    return next(name for name in reversed(names) if name in row["test_list"][0])


def _with_wrong_result(program: str, entry: str) -> str:
    return f"{program}\n\n_right = {entry}\ndef {entry}(*args):\n    return (_right(*args), 'spoilt')\n"


def _program(text: str, row: dict[str, Any]) -> Rollout:
    return Case(f"```python\n{text}\n```", None, fields=row).rollout()


def measure_throughput(rounds: int) -> dict[str, float]:
    """Return samples per second of `math` in a pool with a worker for each core, on every second labelled case; beside as
    many plain processes in which math-verify itself, or `math`, judges them without isolation; and beside a new process
    for each sample. In turns, so that all see the same load.
    """
    # Each time all are new and have judged the other half of the cases: parsers get faster with use, and cache what
    # they have parsed.
    warm_up, cases = ([_rollout(row) for row in _cases()[i::2]] for i in (0, 1))
    rates: dict[str, list[float]] = {"pool": [], "math-verify": [], "math": []}
    for _ in range(rounds):
        with start_service("math") as judge:
            judge.score(CORES * warm_up)
            began = time.monotonic()
            judge.score(cases)
            rates["pool"].append(len(cases) / (time.monotonic() - began))
        for name in ("math-verify", "math"):
            command = [sys.executable, __file__, "--plain", name]
            processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(CORES)]
            rates[name].append(sum(float(process.communicate()[0]) for process in processes))
    began = time.monotonic()
    for _ in range(5):
        subprocess.run([sys.executable, __file__, "--plain", "one"], check=True, stdout=subprocess.DEVNULL)
    one_each = 5 * CORES / (time.monotonic() - began)
    ratios = {
        f"pool / {CORES} processes of {name}": median(a / b for a, b in zip(rates["pool"], rates[name], strict=True))
        for name in ("math-verify", "math")
    }
    per_second = {f"{name} per second": median(values) for name, values in rates.items()}
    return {**per_second, **ratios, "pool / process for each call": median(rates["pool"]) / one_each}


def _cases() -> list[dict[str, Any]]:
    return [row for row in read_rows("verifier_gold.jsonl") if row["cls"] == "math"]


def measure_plain(name: str) -> float:
    """Return samples per second in this process, of `math` or of math-verify; `one` judges a single sample."""
    cases = _cases()[: 2 if name == "one" else None]
    if name == "math-verify":
        from math_verify import parse, verify

        pairs = [(f"${_rollout(row).prompt.answer}$", f"${row['pred']}$") for row in cases]
        judges = [lambda gold=gold, pred=pred: verify(parse(gold), parse(pred)) for gold, pred in pairs]
    else:
        from rewards.verifiers.math import verify as ours

        judges = [lambda sample=sample: ours(sample.prompt, sample) for sample in map(_rollout, cases)]
    for judge in judges[::2]:
        judge()
    began = time.monotonic()
    for judge in judges[1::2]:
        judge()
    return len(judges[1::2]) / (time.monotonic() - began)


def measure_hangs(count: int, hanging: int, deadline_s: float) -> dict[str, Any]:
    """Return the throughput of a pool in which h of N samples hang until the deadline of d seconds, as a share of the
    ideal: N·c / (N·c + h·d) of its throughput without them, c seconds a sample."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "slow.py").write_text(SLOW)
        with start_service("slow.py:verify", Path(folder), deadline_s=deadline_s) as judge:
            began = time.monotonic()
            judge.score([Case("good", None).rollout() for _ in range(count)])
            without = time.monotonic() - began
            every = count // hanging
            samples = [Case("hang" if i % every == every // 2 else "good", None).rollout() for i in range(count)]
            began = time.monotonic()
            scored = judge.score(samples)
            seconds = time.monotonic() - began
            lost = sum((s.verdict.error is not None) != (s.rollout.text == "hang") for s in scored)
    ratio = without / seconds
    ideal = without / (without + hanging * deadline_s / CORES)
    return {"samples": count, "hanging": hanging, "share of the ideal": ratio / ideal, "lost or wrong": lost}


def measure_sandboxes(count: int) -> dict[str, float]:
    """Return milliseconds of an empty program in its sandbox, and of one test of one function, one at a time."""
    task = {"program": ["def f(x): return x"], "preamble": "", "imports": [], "tests": ["assert f(1) == 1"]}
    task |= {"module": "", "entry_point": "", "classes": [], "shadowed_builtins": [], "calls": None}
    limits = Limits(wall_s=60.0)
    results: dict[str, float] = {}
    for name, act in {
        "by output": lambda: sandbox.execute("pass", b"", limits),
        "by tests": lambda: sandbox.examine(task, limits),
    }.items():
        times: list[float] = []
        for _ in range(count):
            began = time.monotonic()
            act()
            times.append(1000 * (time.monotonic() - began))
        results[name] = median(times)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples")
    parser.add_argument("--plain", choices=("math", "math-verify", "one"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.plain:
        print(measure_plain(arguments.plain))
        return
    quick = arguments.quick
    figures = {
        "gold": check_gold_cases(),
        "agreement": measure_agreement(),
        "programs": check_programs(10 if quick else 1),
        "throughput": measure_throughput(1 if quick else 5),
        "hangs": measure_hangs(200 if quick else 2000, 2 if quick else 20, 1.0),
        "sandbox, ms": measure_sandboxes(5 if quick else 50),
    }
    print(json.dumps(figures, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
