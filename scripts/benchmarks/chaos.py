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
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.parquet
from omegaconf import OmegaConf
from resumed_run import VICTIMS, Kill, Run, Victim
from rich.console import Console
from tables import say, show

from rl.report.bare_table import bare_table
from rl.run.metrics import is_timing
from rl.run.summary import Recovery
from rl.run.tracker import read_metrics, rollout_files

STEPS_PER_KILL = 4
"""Steps of the run for each kill; with a checkpoint at every second one."""


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
    counts: Mapping[str, int]
    """Numbers of steps, prompts and samples of the undisturbed run, which the disturbed one must have too."""
    seconds: Mapping[str, float]
    """Length of each of the two runs."""


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


def read_samples(run: Path) -> list[tuple[int, dict[str, list[object]]]]:
    """Return (step, what was sampled in it) of a run, in order."""
    columns = ["id", "sample", "token_ids", "score"]
    return [
        (step, pyarrow.parquet.read_table(file, columns=columns).to_pydict()) for _, step, file in rollout_files(run)
    ]


def compare(undisturbed: Path, disturbed: Path) -> dict[str, bool]:
    """Return what of the disturbed run is as in the other one."""

    def rows(run: Path) -> list[dict[str, object]]:
        return [{name: value for name, value in row.items() if not is_timing(name)} for row in read_metrics(run)]

    def prompts(run: Path) -> list[tuple[int, list[object]]]:
        return [(step, columns["id"]) for step, columns in read_samples(run)]

    models = [(run / "model" / "model.safetensors").read_bytes() for run in (undisturbed, disturbed)]
    steps = [row["step"] for row in rows(disturbed)]
    return {
        "every step once": steps == list(range(1, len(rows(undisturbed)) + 1)),
        "every prompt once, in order": prompts(undisturbed) == prompts(disturbed),
        "samples and scores": read_samples(undisturbed) == read_samples(disturbed),
        "metrics": rows(undisturbed) == rows(disturbed),
        "model": models[0] == models[1],
    }


def count(run: Path) -> dict[str, int]:
    """Return the numbers of steps, of prompts and of samples of a run."""
    sampled = [columns["id"] for _, columns in read_samples(run)]
    return {
        "steps": len(read_metrics(run)),
        "prompts": sum(len(set(ids)) for ids in sampled),
        "samples": sum(map(len, sampled)),
    }


def rehearse(folder: Path, kinds: Sequence[Victim], kills: int, seed: int, report: Callable[[str], None]) -> Outcome:
    """Run undisturbed, then with the kills of these kinds of processes, and return what happened."""
    recipe, draw = write_recipe(folder, STEPS_PER_KILL * (kills + 1)), random.Random(seed)
    victims = [victim for _ in range(-(-kills // len(kinds))) for victim in draw.sample(kinds, len(kinds))][:kills]
    with Run(recipe, folder / "undisturbed") as calm:
        calm.wait(calm.is_done)
    seconds = [row["time/step"] for row in read_metrics(calm.out)]
    step_s = sum(seconds) / len(seconds)
    report(f"undisturbed: {len(seconds)} steps of {step_s:.1f} s")
    done = list[Kill]()
    with Run(recipe, folder / "disturbed") as run:
        for i, victim in enumerate(victims):
            # The first one may be killed while the run starts.
            target = draw.randint(0, 1) if i == 0 else run.last_step + draw.randint(1, 2)
            run.wait(lambda target=target: run.is_done() or run.last_step >= target)
            done.append(run.kill(victim, draw.uniform(0, 2 * step_s)))
            report(f"{time.strftime('%H:%M:%S')}  {i + 1} of {kills}: {done[-1]}")
        run.wait(run.is_done)
    lengths = {
        name: summary.seconds
        for name, summary in (("undisturbed", calm.summary), ("disturbed", run.summary))
        if summary
    }
    return Outcome(done, run.recoveries, run.resumes, compare(calm.out, run.out), count(calm.out), lengths)


def show_outcome(console: Console, outcome: Outcome) -> None:
    """Print the kills as a table, and what both runs have in common."""
    table = bare_table("killed", "after step", "made up for by", "s until a new step")
    for kill in outcome.kills:
        table.add_row(kill.victim, str(kill.step), kill.answer, f"{kill.seconds:.0f}")
    show(console, table)
    counts = ", ".join(f"{number:,} {name}" for name, number in outcome.counts.items())
    lengths = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in outcome.seconds.items())
    clusters = f"{len(outcome.recoveries)} new clusters, {outcome.resumes} new drivers"
    for line in (counts, lengths, clusters):
        say(console, line)
    for name, same in outcome.equal.items():
        say(console, f"{name}: {'equal' if same else 'DIFFERENT'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
        folder = (arguments.out or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "undisturbed").exists():
            parser.error(f"--out {folder} holds runs already; name another folder")
        kinds = [victim for victim in VICTIMS if not arguments.only or victim.name in arguments.only]
        try:
            outcome = rehearse(folder, kinds, arguments.kills, arguments.seed, lambda line: say(console, line))
        except RuntimeError as error:
            sys.exit(f"error: {error}")
    show_outcome(console, outcome)
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(outcome), indent=2))
    sys.exit(not all(outcome.equal.values()))


if __name__ == "__main__":
    main()
