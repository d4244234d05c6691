"""Writes the job script that runs a recipe under Slurm: a Ray of its own over the job's nodes, and `rl run` on the first."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rl.config import ConfigError

TIME = re.compile(r"\d+|\d+:\d\d|\d+:\d\d:\d\d|\d+-\d+(:\d\d){0,2}|UNLIMITED", re.IGNORECASE)
"""Pattern of Slurm's times: minutes, minutes:seconds, hours:minutes:seconds, days-hours, …"""


@dataclass(frozen=True)
class SlurmJob:
    """Nodes, devices and limits that a Slurm job asks for."""

    nodes: int
    gpus_per_node: int | None = None
    """GPUs of each node; None: those that Slurm gives without being asked."""
    cpus_per_node: int | None = None
    """CPUs of each node; None: whole nodes, for the job alone."""
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    grace_s: int = 300
    """Seconds before the time limit at which the run is ended and queued anew."""
    options: Sequence[str] = ()
    """Further options of sbatch, such as `--constraint=h100`."""

    def check(self) -> None:
        """Raise ConfigError for what Slurm would refuse or misread."""
        for name, value in (
            ("nodes", self.nodes),
            ("gpus-per-node", self.gpus_per_node),
            ("cpus-per-node", self.cpus_per_node),
        ):
            if value is not None and value < 1:
                raise ConfigError(f"--{name} {value}: must be at least 1")
        if self.time is not None and not TIME.fullmatch(self.time):
            raise ConfigError(f"--time {self.time}: no time of Slurm's; write minutes, HH:MM:SS or D-HH:MM:SS")
        for name in ("partition", "account", "qos"):
            value = getattr(self, name)
            if value is not None and not re.fullmatch(r"[\w.,@+-]+", value):
                raise ConfigError(f"--{name} {value!r}: not a name of Slurm's")
        for option in self.options:
            if not re.fullmatch(r"--[\w-]+(=[^\n]*)?", option):
                raise ConfigError(f"--sbatch {option!r}: write one option of sbatch, as in --sbatch=--constraint=h100")

    def directives(self, name: str) -> list[str]:
        """Return the `#SBATCH` lines."""
        values: Mapping[str, object] = {
            "job-name": re.sub(r"[^\w.-]", "-", name),
            "nodes": self.nodes,
            "ntasks-per-node": 1,  # that of Ray, which starts all other processes
            "gpus-per-node": self.gpus_per_node,
            "cpus-per-task": self.cpus_per_node,
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "time": self.time,
            "output": "%x-%j.log",
            "open-mode": "append",  # a job that is queued anew goes on in its log
            "signal": f"B:USR1@{self.grace_s}",  # B: to this script alone, which ends the run in order
        }
        lines = [f"#SBATCH --{key}={value}" for key, value in values.items() if value is not None]
        lines += ["#SBATCH --requeue"] + ([] if self.cpus_per_node else ["#SBATCH --exclusive"])
        return [*lines, *(f"#SBATCH {option}" for option in self.options)]


def render(job: SlurmJob, recipe: str, name: str, overrides: Sequence[str], out: str, setup: Sequence[str] = ()) -> str:
    """Return the script. `setup` are shell lines that make `rl` available on every node, such as `module load cuda`. Raises
    ConfigError."""
    job.check()
    if "\n" in " ".join([recipe, out, *overrides]):
        raise ConfigError(
            "rl slurm: a recipe, an override or --out has a line break; put the value into the recipe's file"
        )
    gpus = f" --num-gpus={job.gpus_per_node}" if job.gpus_per_node else ""  # else Ray counts them
    run = shlex.join(["rl", "run", recipe, *overrides, "--out"])
    return SCRIPT.format(
        directives="\n".join(job.directives(name)),
        setup="\n".join(setup) or "# module load …; source …/bin/activate: whatever puts rl on the PATH of every node",
        out=shlex.quote(out),
        gpus=gpus,
        run=run,
        grace=job.grace_s,
    )


# Written out as text: a user reads and changes it. Doubled braces are the shell's.
SCRIPT = """\
#!/bin/bash
{directives}

# Written by `rl slurm`. The job starts a Ray over its nodes, waits until all have joined, and runs the recipe on the first.
# Before the time limit it ends the run cleanly and queues itself anew; it then goes on where the run stopped.
set -uo pipefail
cd "${{SLURM_SUBMIT_DIR:?run this with sbatch}}" || exit 2
{setup}

RUN={out}  # on storage that all nodes share
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST") || exit 2
count=$(wc -l <<<"$nodes")
head_ip=${{GROUNDTONE_HEAD_IP:-$(hostname -I | cut -d' ' -f1)}}  # set it where the first address is not the fast network's
port=$((20000 + SLURM_JOB_ID % 10000))  # several jobs may share a node
export RAY_ADDRESS="$head_ip:$port" RAY_USAGE_STATS_ENABLED=0 RAY_worker_niceness=0
# Whoever has no token is refused. Slurm hands the environment to the other nodes.
RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \\n')
export RAY_AUTH_MODE RAY_AUTH_TOKEN
export OMP_NUM_THREADS=${{OMP_NUM_THREADS:-1}}

folder=$(mktemp -d "/tmp/gt-$SLURM_JOB_ID-XXXX") || exit 2  # short: sockets lie in it
export GROUNDTONE_RAY_FOLDER=$folder
cpus=${{SLURM_CPUS_ON_NODE:-$(nproc)}}
head="" workers="" run="" ending=""

end() {{  # end what this script has started, on every node
    trap '' TERM USR1
    trap - EXIT
    # shellcheck disable=SC2086 # two process ids, or fewer
    [ -z "$workers$head" ] || kill -TERM $workers $head 2>/dev/null
    for _ in $(seq 20); do
        # shellcheck disable=SC2086
        kill -0 $workers $head 2>/dev/null || break
        sleep 1
    done
    # shellcheck disable=SC2086
    [ -z "$workers$head" ] || kill -KILL $workers $head 2>/dev/null
    rm -rf "$folder"
}}
await_run() {{  # wait until "$run" has ended, and keep its exit code
    [ -z "$ending" ] || kill -TERM "$run" 2>/dev/null  # the signal came before there was one to end
    code=0
    wait "$run" || code=$?
    while kill -0 "$run" 2>/dev/null; do  # a signal has ended the wait, and not yet the run
        code=0
        wait "$run" || code=$?
    done
    run=""
}}
leave() {{  # with that exit code
    end
    if [ "$ending" = limit ] && [ "$code" -ne 0 ]; then
        echo "the time limit is near: the job is queued anew and goes on with --resume"
        scontrol requeue "$SLURM_JOB_ID"
    fi
    exit "$code"
}}
trap end EXIT
trap 'ending=limit; [ -n "$run" ] && kill -TERM "$run" 2>/dev/null' USR1  # Slurm's notice, {grace} s before the limit
trap 'ending=stop; [ -n "$run" ] && kill -TERM "$run" 2>/dev/null' TERM  # scancel --full, or preemption

ray start --head --block --node-ip-address="$head_ip" --port="$port" --temp-dir="$folder" --num-cpus="$cpus"{gpus} \\
    --dashboard-host=127.0.0.1 >"$folder/head.log" 2>&1 &
head=$!
if [ "$count" -gt 1 ]; then
    # shellcheck disable=SC2016 # the other nodes read these variables
    srun --nodes=$((count - 1)) --ntasks=$((count - 1)) --ntasks-per-node=1 --relative=1 --cpus-per-task="$cpus" \\
        --kill-on-bad-exit=0 bash -c '
            for try in $(seq 30); do  # the head may not listen yet
                (exec 3<>"/dev/tcp/${{RAY_ADDRESS%:*}}/${{RAY_ADDRESS##*:}}") 2>/dev/null && break
                sleep 2
            done
            ray start --block --address="$RAY_ADDRESS" --num-cpus="${{SLURM_CPUS_ON_NODE:-$(nproc)}}"{gpus} &
            trap "kill -TERM $!" TERM
            wait
            wait  # a signal ends the first one before ray has ended
            rm -rf "$GROUNDTONE_RAY_FOLDER"
        ' >"$folder/workers.log" 2>&1 &
    workers=$!
fi

rl jobs await-nodes "$count" --hosts "$(tr '\\n' ' ' <<<"$nodes")" &
run=$!
await_run
if [ "$code" -ne 0 ]; then
    [ -n "$ending" ] || tail -n 20 "$folder"/*.log >&2
    leave
fi

resume=""
[ -e "$RUN/recipe.yaml" ] && resume=yes
{run} "$RUN" ${{resume:+--resume}} &
run=$!
await_run
leave
"""
