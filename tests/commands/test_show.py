"""`rl show --follow`, which ends with the run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rl.run.summary import Summary, write_summary

HELD = """
import sys, time
from pathlib import Path
from rl.run.lock import RunLock
RunLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(600)
"""


def test_a_killed_run_is_not_followed_for_ever(tmp_path: Path) -> None:
    write_summary(tmp_path, Summary("words", "running", 9.0))
    run = subprocess.Popen([sys.executable, "-c", HELD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    follow = subprocess.Popen(
        [sys.executable, "-m", "rl", "show", str(tmp_path), "--follow"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert run.stdout is not None
        assert run.stdout.readline() == "held\n"
        run.kill()
        run.wait()
        out, _ = follow.communicate(timeout=120)
    finally:
        run.kill()
        follow.kill()
    assert follow.returncode == 0
    assert out.splitlines()[-1] == (
        f"{tmp_path}: no process is at work there any more, the run was killed; rl run with --resume goes on with it"
    )
