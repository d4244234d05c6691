"""A busy machine changes no verdict."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
from pathlib import Path

from rewards import verifiers
from rewards.combine import PartConfig, RewardConfig
from rewards.service import RewardService
from rewards.verifiers import Case

ARGS = {"length": {"max_tokens": 512, "buffer": 64}, "code": {"cpu_s": 1}}
model_verifiers = ("benchmark_judge", "judge", "reward_model")
names = [file.stem for file in sorted(Path(verifiers.__file__).parent.glob("[a-z]*.py")) if file.stem not in model_verifiers]
parts = [PartConfig(name, name, args=ARGS.get(name, {})) for name in names]
task = {"test_list": ["assert f(1) == 1"]}
looping = Case("while True: pass", None, fields=task).rollout()
with RewardService(RewardConfig(parts, deadline_s=2.0)) as service:
    assert service.check_verifiers() == []
    (verdict,) = service.judge_parts([names.index("code")], [looping])
assert (verdict.score, verdict.error) == (0.0, None), verdict
assert verdict.reason == "used its 1 s of CPU time", verdict
assert (service.restarts, service.timeouts) == (0, 0)

for policy, error in (("zero", None), ("error", "accuracy: used its 1 s of CPU time")):
    config = RewardConfig([PartConfig("hostile.py:verify", on_timeout=policy)], deadline_s=1.0)
    with RewardService(config, Path(FOLDER)) as service:
        loop, good = (scored.verdict for scored in service.score([Case(text, None).rollout() for text in ("loop", "good")]))
    assert (loop.score, loop.error, good.score, good.error) == (0.0, error, 0.5, None), (loop, good)
    assert (service.restarts, service.timeouts, service.over_deadline) == (1, 1, policy == "zero"), policy
"""


def test_every_verifier_proves_itself_and_a_loop_has_its_verdict_on_a_busy_machine() -> None:
    """All on one core, beside three processes that never rest: what takes 2 s of CPU time takes 8 on the clock."""
    pin = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})\n"
    pinned_program = f"{pin}FOLDER = {str(Path(__file__).parent)!r}\n{PROGRAM}"
    hog = [sys.executable, "-c", f"{pin}while True: pass"]
    # Each in a session of its own: the kernel divides a core among sessions first.
    hogs = [subprocess.Popen(hog, start_new_session=True) for _ in range(3)]
    try:
        result = subprocess.run([sys.executable, "-c", pinned_program], capture_output=True, text=True)
    finally:
        for process in hogs:
            process.kill()
            process.wait()
    assert result.returncode == 0, result.stderr
