"""Kills of every kind of process at random moments of one small run, which must end as if nothing had been
(docs/runs.md).

    scripts/chaos [--kills N] [--seed N] [--only KIND …] [--out FOLDER] [--json FILE]

The run is PPO with a critic and a reference on words spelt backward. It is run once undisturbed and once with the kills. Then
every step must be there once, with the metrics (timings apart), the prompts in their order and the samples of the undisturbed
run, and so must the trained model, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import pyarrow.parquet
from omegaconf import OmegaConf
from rich.console import Console

from rl.report.bare_table import bare_table
from rl.run.metrics import is_timing
from rl.run.summary import Recovery, Summary, read_summary
from rl.run.tracker import read_metrics, rollout_files

STEPS_PER_KILL = 4
"""Steps of the run for each kill; with a checkpoint at every second one."""
PATIENCE_S = 900.0
"""Seconds without a new step after which the run counts as hung."""


@dataclass(frozen=True, slots=True)
class Victim:
    """A kind of process, found by a part of its command line."""

    name: str
    title: str
    place: int = 0
    """Which of several, in the order in which they were started: the policy's trainer comes before the reference's."""


VICTIMS = (
    Victim("policy", "ray::PolicyWorker", 0),
    Victim("reference", "ray::PolicyWorker", 1),
    Victim("critic", "ray::CriticWorker"),
    Victim("engine", "ray::EngineWorker"),
    Victim("reward worker", "serve_forks"),  # a child of it
    Victim("raylet", "raylet/raylet"),
    Victim("GCS", "gcs/gcs_server"),
    Victim("driver", ""),
)


@dataclass(frozen=True, slots=True)
class Kill:
    """A process that was killed, and how the run went on."""

    victim: str
    step: int
    """Steps that were recorded when it was killed."""
    answer: str
    """What made up for it: a new process in its place, a new cluster, or a new driver (`--resume`)."""
    seconds: float
    """Seconds until the next new step."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Both runs, held against each other."""

    kills: Sequence[Kill]
    recoveries: Sequence[Recovery]
    """Clusters that the run built anew by itself."""
    resumes: int
    """Drivers that were started after the first one."""
    equal: Mapping[str, bool]
    """What of the disturbed run is as in the undisturbed one."""


class Run:
    """A run of the recipe in a process of its own, which is resumed whenever it ends too early."""

    def __init__(self, recipe: Path, out: Path) -> None:
        self.recipe, self.out = recipe, out
        self.resumes = -1
        self.start()

    def start(self) -> None:
        """Start the run, or go on with it."""
        self.resumes += 1
        command = [sys.executable, "-m", "rl.cli", "run", str(self.recipe), "--out", str(self.out)]
        if (self.out / "recipe.yaml").exists():
            command.append("--resume")
        with self.out.with_suffix(".log").open("a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    @property
    def last_step(self) -> int:
        """Number of steps that are recorded."""
        rows = read_metrics(self.out) if (self.out / "recipe.yaml").exists() else []
        return max((row["step"] for row in rows), default=0)

    @property
    def summary(self) -> Summary | None:
        """The run's summary, which is absent until it has begun."""
        return read_summary(self.out) if (self.out / "recipe.yaml").exists() else None

    @property
    def recoveries(self) -> list[Recovery]:
        """Clusters that were built anew."""
        return list(self.summary.recoveries) if self.summary else []

    def wait(self, until: Callable[[], bool]) -> None:
        """Wait for a condition, and go on with a run that has ended before it. Raises RuntimeError for one that hangs."""
        step, since = -1, time.monotonic()
        while not until():
            if self.last_step != step:
                step, since = self.last_step, time.monotonic()
            if time.monotonic() - since > PATIENCE_S:
                raise RuntimeError(f"{self.out}: no new step for {PATIENCE_S:.0f} s after step {step}")
            if self.process.poll() is not None and not self.is_done():
                self.start()
            time.sleep(0.05)

    def is_done(self) -> bool:
        """Return whether the run has come to its end."""
        return self.process.poll() == 0

    def find(self, victim: Victim) -> psutil.Process | None:
        """Return the victim's process, or None while it is not there."""
        try:
            driver = psutil.Process(self.process.pid)
            if not victim.title:
                return driver
            below = [p for p in driver.children(recursive=True) if victim.title in " ".join(p.cmdline())]
            if victim.title == "serve_forks":
                below = [child for forkserver in below for child in forkserver.children()]
            below.sort(key=lambda process: process.pid)
            return below[victim.place]
        except (psutil.Error, IndexError):
            return None

    def kill(self, victim: Victim, delay: float) -> Kill:
        """Kill the victim in so many seconds, and wait until the run has taken a step that it had not taken before."""
        time.sleep(delay)
        self.wait(lambda: self.is_done() or self.find(victim) is not None)
        step, resumes, recoveries = self.last_step, self.resumes, len(self.recoveries)
        start = time.monotonic()
        if process := self.find(victim):
            process.send_signal(signal.SIGKILL)
        self.wait(lambda: self.is_done() or (self.process.poll() is None and self.last_step > step))
        answer = "a new process"
        if self.resumes > resumes:
            answer = "--resume"
        elif len(self.recoveries) > recoveries:
            answer = f"a new cluster in {self.recoveries[-1].seconds:.0f} s"
        return Kill(victim.name, step, answer, time.monotonic() - start)


def write_recipe(folder: Path, steps: int) -> Path:
    """Write the run's recipe."""
    rlvr = {
        "data": "words", "steps": steps, "prompts_per_step": 4, "samples_per_prompt": 4, "max_sequence_tokens": 48,
        "checkpoint_every": 2, "algorithm": "ppo", "optimizer": {"learning_rate": 1e-3},
        "objective": {"kl_in": "loss", "kl_coef": 0.01, "kl_estimator": "k3"},
    }  # fmt: skip
    recipe = {
        "name": "chaos",
        "model": {"build": {"hidden_size": 64, "heads": 2, "layers": 1}, "think": False},
        "data": {
            "words": {
                "source": "reasoning_gym",
                "args": {"dataset": "spell_backward", "size": 80, "config": {"max_word_len": 4}},
            }
        },
        # Beside the exact answer, which an untrained model never gives, the letters of the words score: all learn.
        "reward": {
            "parts": [{"verifier": "text", "weight": 0.5}, {"verifier": "letters.py:verify", "name": "letters"}]
        },
        "engines": {"kv_cache_mb": 64},
        "track": [],
        "run": {"retries": 3},
        "stages": [{"rlvr": rlvr}],
    }
    (folder / "letters.py").write_text(LETTERS)
    OmegaConf.save(OmegaConf.create(recipe), folder / "chaos.yaml")
    return folder / "chaos.yaml"


LETTERS = '''"""The share of an answer that is small letters."""
from rl.types import Verdict

def verify(prompt, rollout):
    return Verdict(sum(letter.islower() for letter in rollout.text) / max(1, len(rollout.text)))
'''


def compare(undisturbed: Path, disturbed: Path) -> dict[str, bool]:
    """Return what of the disturbed run is as in the other one."""

    def rows(run: Path) -> list[dict[str, object]]:
        return [{name: value for name, value in row.items() if not is_timing(name)} for row in read_metrics(run)]

    def samples(run: Path) -> list[list[object]]:
        columns = ["id", "sample", "token_ids", "score"]
        files = rollout_files(run)
        return [[step, pyarrow.parquet.read_table(file, columns=columns).to_pydict()] for _, step, file in files]

    models = [(run / "model" / "model.safetensors").read_bytes() for run in (undisturbed, disturbed)]
    steps = [row["step"] for row in rows(disturbed)]
    return {
        "every step once": steps == list(range(1, len(rows(undisturbed)) + 1)),
        "metrics": rows(undisturbed) == rows(disturbed),
        "prompts and samples": samples(undisturbed) == samples(disturbed),
        "model": models[0] == models[1],
    }


def rehearse(folder: Path, kinds: Sequence[Victim], kills: int, seed: int, report: Callable[[Kill], None]) -> Outcome:
    """Run undisturbed, then with the kills of these kinds of processes, and return what happened."""
    recipe, draw = write_recipe(folder, STEPS_PER_KILL * (kills + 1)), random.Random(seed)
    calm = Run(recipe, folder / "undisturbed")
    calm.wait(calm.is_done)
    seconds = [row["time/step"] for row in read_metrics(calm.out)]
    step_s = sum(seconds) / len(seconds)
    victims = [victim for _ in range(-(-kills // len(kinds))) for victim in draw.sample(kinds, len(kinds))]
    run, done = Run(recipe, folder / "disturbed"), list[Kill]()
    for i, victim in enumerate(victims[:kills]):
        # The first one may be killed while the run starts.
        target = draw.randint(0, 1) if i == 0 else run.last_step + draw.randint(1, 2)
        run.wait(lambda target=target: run.is_done() or run.last_step >= target)
        done.append(run.kill(victim, draw.uniform(0, 2 * step_s)))
        report(done[-1])
    run.wait(run.is_done)
    return Outcome(done, run.recoveries, run.resumes, compare(calm.out, run.out))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="+", choices=[victim.name for victim in VICTIMS], help="kinds of processes to kill"
    )
    parser.add_argument("--out", type=Path, help="folder that keeps both runs and their logs")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        kinds = [victim for victim in VICTIMS if not arguments.only or victim.name in arguments.only]
        outcome = rehearse(folder.absolute(), kinds, arguments.kills, arguments.seed, lambda kill: console.print(kill))
    table = bare_table("killed", "after step", "made up for by", "s until the next step")
    for kill in outcome.kills:
        table.add_row(kill.victim, str(kill.step), kill.answer, f"{kill.seconds:.0f}")
    console.print(table)
    console.print("  ".join(f"{name}: {'equal' if same else 'DIFFERENT'}" for name, same in outcome.equal.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(outcome), indent=2))
    sys.exit(not all(outcome.equal.values()))


if __name__ == "__main__":
    main()
