"""The job script of `rl slurm`: its text, and its course with stand-ins for Slurm's commands, Ray and `rl`."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from rl.config import ConfigError
from rl.submit.slurm import SlurmJob, render

STAND_INS = {
    # Runs what follows Slurm's own options, on this machine.
    "srun": 'while [[ "$1" == --* ]]; do shift; done\nexec "$@"\n',
    "scontrol": '[ "$1" = show ] && printf "a\\nb\\n" || echo "$@" >>calls\n',
    "ray": 'echo "ray $*" >>calls\nexec 3>&-\ntrap "echo end >>calls; exit 0" TERM\nwhile :; do sleep 0.2; done\n',
    "rl": """
if [ "$1" = jobs ]; then echo "joined $3" >>calls; [ -e joins ] || exit 0; fi
while [ "$(grep -c "^ray start" calls)" -lt 2 ]; do sleep 0.2; done
if [ "$1" = jobs ]; then
    trap "exit 143" TERM
    touch begun
    while :; do sleep 0.2; done
fi
echo "rl $*" >>calls
mkdir -p runs/tiny && touch runs/tiny/recipe.yaml
[ -e waits ] || exit "$(cat code)"
trap "exit 143" TERM
touch begun
while :; do sleep 0.2; done
""",
}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    for name, text in STAND_INS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}")
        (tmp_path / "bin" / name).chmod(0o755)
    script = render(SlurmJob(2, 8, time="10"), "a recipe.yaml", "tiny", ["rlvr.steps=3", "a='b c'"], "runs/tiny")
    assert "sleep 2" in script, "a node waits for the head to listen, which no stand-in does"
    (tmp_path / "job").write_text(script.replace("sleep 2", "sleep 0.02"))
    return tmp_path


def start(job: Path) -> subprocess.Popen[str]:
    (job / "calls").write_text("")
    variables = {
        "SLURM_SUBMIT_DIR": str(job),
        "SLURM_JOB_NODELIST": "[a-b]",
        "SLURM_JOB_ID": "7",
        "SLURM_CPUS_ON_NODE": "4",
    }
    env = {**os.environ, **variables, "PATH": f"{job / 'bin'}:{os.environ['PATH']}"}
    return subprocess.Popen(["bash", job / "job"], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def calls(job: Path) -> list[str]:
    return (job / "calls").read_text().splitlines()


@pytest.mark.parametrize("code", [0, 2])
def test_the_script_starts_ray_on_all_nodes_and_ends_as_the_run_does(job: Path, code: int) -> None:
    (job / "code").write_text(str(code))
    process = start(job)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == code, output
    heads = [call for call in calls(job) if call.startswith("ray start")]
    assert sorted(call.split()[2] for call in heads) == ["--block", "--head"]
    assert all("--num-gpus=8" in call and "--num-cpus=4" in call for call in heads)
    assert "joined 2" in calls(job)
    assert "rl run a recipe.yaml rlvr.steps=3 a='b c' --out runs/tiny" in calls(job)
    assert calls(job).count("end") == 2, "both are ended"
    assert not [call for call in calls(job) if call.startswith("requeue")]
    assert not list(Path("/tmp").glob("gt-7-*"))


@pytest.mark.parametrize("phase", ["waits", "joins"])
@pytest.mark.parametrize(("number", "queues_anew"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_before_the_limit_the_run_is_ended_and_queued_anew(
    job: Path, phase: str, number: signal.Signals, queues_anew: bool
) -> None:
    """Also while its nodes still join."""
    (job / phase).touch()
    process = start(job)
    until = time.monotonic() + 120
    while not (job / "begun").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=120)
    assert process.returncode == 143
    assert calls(job).count("end") == 2
    assert ("requeue 7" in calls(job)) == queues_anew
    (job / phase).unlink()
    (job / "code").write_text("0")
    start(job).communicate(timeout=120)
    again = "--out runs/tiny --resume" if phase == "waits" else "--out runs/tiny"
    assert any(call.endswith(again) for call in calls(job)), "it goes on where it stopped"


def test_what_slurm_is_asked_for() -> None:
    job = SlurmJob(4, 8, 96, "1-12:00:00", "gpu", "lab", "high", 120, ["--constraint=h100"])
    lines = render(job, "r.yaml", "my run", [], "/shared/it's", ["module load cuda"]).splitlines()
    asked = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]
    assert {"--job-name=my-run", "--nodes=4", "--gpus-per-node=8", "--cpus-per-task=96", "--partition=gpu"} <= {*asked}
    assert {"--account=lab", "--qos=high", "--time=1-12:00:00", "--signal=B:USR1@120", "--requeue"} <= {*asked}
    assert "--constraint=h100" in asked
    assert "--exclusive" not in asked
    assert "module load cuda" in lines
    (run,) = [line for line in lines if line.startswith("RUN=")]
    assert shlex.split(run, comments=True) == ["RUN=/shared/it's"]
    assert "--exclusive" in render(SlurmJob(1), "r.yaml", "one", [], "out")


@pytest.mark.parametrize(
    ("job", "says"),
    [
        (SlurmJob(0), "--nodes 0: must be at least 1"),
        (SlurmJob(1, 0), "--gpus-per-node 0: must be at least 1"),
        (SlurmJob(1, time="two hours"), "--time two hours: no time of Slurm's"),
        (SlurmJob(1, partition="gpu\n#SBATCH --wrap=x"), "--partition 'gpu"),
        (SlurmJob(1, options=["constraint=h100"]), "--sbatch 'constraint=h100': write one option"),
    ],
)
def test_what_slurm_would_refuse_is_refused(job: SlurmJob, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        render(job, "r.yaml", "one", [], "out")
    assert str(refused.value).startswith(says)
