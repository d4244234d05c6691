"""Kills every kind of process at random moments of one small run, which must end as if nothing had happened
(docs/runs.md).

    scripts/chaos [--kills N] [--seed N] [--only KIND …] [--out FOLDER] [--json FILE]
    scripts/chaos --cut-off [--seed N] [--out FOLDER] [--json FILE]

The run is PPO with a critic and a reference on words spelt backward, once undisturbed and once with the kills. Then the
second must have every step exactly once, with the same metrics (timings apart), prompts in the same order and samples
as the first, and the same trained model, bit for bit. With --cut-off the run is over two nodes of a Ray cluster; one of
them, in a network namespace of its own, is cut off and comes back (needs root).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.parquet
from cut_off import run_over_a_cut, write_two_ranks
from omegaconf import OmegaConf
from resumed_run import VICTIMS, Kill, Run, Victim
from rich.console import Console
from tables import say, show

from rl.report.bare_table import bare_table
from rl.run.metrics import is_timing
from rl.run.summary import Recovery, read_summary
from rl.run.tracker import read_metrics, rollout_files

STEPS_PER_KILL = 4
"""Steps of the run for each kill; with a checkpoint at every second one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Comparison of the disturbed run with the undisturbed one."""

    kills: Sequence[Kill]
    recoveries: Sequence[Recovery]
    """Occasions on which the run built its cluster anew by itself."""
    resumes: int
    """Number of drivers that were started after the first one."""
    equal: Mapping[str, bool]
    """Name of a part of a run -> True if it is the same in both runs."""
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
    """Return (step, its samples) of a run, in order."""
    columns = ["id", "sample", "token_ids", "score"]
    return [
        (step, pyarrow.parquet.read_table(file, columns=columns).to_pydict()) for _, step, file in rollout_files(run)
    ]


def compare(undisturbed: Path, disturbed: Path) -> dict[str, bool]:
    """Return {name of a part: True if it is the same in both runs}."""

    def rows(run: Path) -> list[dict[str, object]]:
        return [{name: value for name, value in row.items() if not is_timing(name)} for row in read_metrics(run)]

    def prompts(run: Path) -> list[tuple[int, list[object]]]:
        return [(step, columns["id"]) for step, columns in read_samples(run)]

    models = [(run / "model" / "model.safetensors").read_bytes() for run in (undisturbed, disturbed)]
    steps = [row["step"] for row in rows(disturbed)]
    return {
        "every step once": steps == list(range(1, len(rows(undisturbed)) + 1)),
        "every prompt once, in order": prompts(undisturbed) == prompts(disturbed),
        "the same samples and scores": read_samples(undisturbed) == read_samples(disturbed),
        "the same metrics": rows(undisturbed) == rows(disturbed),
        "the same model, bit for bit": models[0] == models[1],
    }


def count(run: Path) -> dict[str, int]:
    """Return the numbers of steps, of prompts and of samples of a run."""
    sampled = [columns["id"] for _, columns in read_samples(run)]
    return {
        "steps": len(read_metrics(run)),
        "prompts": sum(len(set(ids)) for ids in sampled),
        "samples": sum(map(len, sampled)),
    }


def read_lengths(folder: Path) -> dict[str, float]:
    """Return the seconds that each of the two runs took."""
    summaries = {name: read_summary(folder / name) for name in ("undisturbed", "disturbed")}
    return {name: summary.seconds for name, summary in summaries.items() if summary}


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
    return Outcome(done, run.recoveries, run.resumes, compare(calm.out, run.out), count(calm.out), read_lengths(folder))


def cut_off(folder: Path, seed: int, report: Callable[[str], None]) -> Outcome:
    """Run undisturbed on this machine, then over two nodes of which one is cut off, and return what happened."""
    recipe = write_two_ranks(write_recipe(folder, STEPS_PER_KILL))
    with Run(recipe, folder / "undisturbed") as calm:
        calm.wait(calm.is_done)
    cut = run_over_a_cut(recipe, folder, seed, report)
    answer = f"a new cluster in {cut.rebuilt_s:.0f} s, on from step {cut.checkpoint}"
    kills = [Kill("a node, cut off", cut.step, answer, cut.silent_s)]
    equal = {
        **compare(calm.out, folder / "disturbed"),
        f"no process left {cut.gone_s:.0f} s after the node came back, of {cut.left}": True,
        "no unfinished file in the run directory": not cut.leftovers,
    }
    summary = read_summary(folder / "disturbed")
    recoveries = list(summary.recoveries) if summary else []
    return Outcome(kills, recoveries, 0, equal, count(calm.out), read_lengths(folder))


def show_outcome(console: Console, outcome: Outcome) -> None:
    """Print the kills as a table, and what both runs have in common."""
    table = bare_table("killed", "after step", "made up for by", "s until a whole step")
    for kill in outcome.kills:
        table.add_row(kill.victim, str(kill.step), kill.answer, f"{kill.seconds:.0f}")
    show(console, table)
    counts = ", ".join(f"{number:,} {name}" for name, number in outcome.counts.items())
    lengths = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in outcome.seconds.items())
    clusters = f"{len(outcome.recoveries)} new clusters, {outcome.resumes} new drivers"
    for line in (counts, lengths, clusters):
        say(console, line)
    for name, same in outcome.equal.items():
        say(console, f"{name}: {'yes' if same else 'NO'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="+", choices=[victim.name for victim in VICTIMS], help="kinds of processes to kill"
    )
    parser.add_argument("--cut-off", action="store_true", help="cut a node off from the network instead")
    parser.add_argument("--out", type=Path, help="folder that keeps both runs and their logs")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    console = Console()
    os.environ.pop("RAY_ADDRESS", None)  # each run starts a Ray of its own, whose processes are killed
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.out or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "undisturbed").exists():
            parser.error(f"--out {folder} holds runs already; name another folder")
        kinds = [victim for victim in VICTIMS if not arguments.only or victim.name in arguments.only]
        try:
            if arguments.cut_off:
                outcome = cut_off(folder, arguments.seed, lambda line: say(console, line))
            else:
                outcome = rehearse(folder, kinds, arguments.kills, arguments.seed, lambda line: say(console, line))
        except RuntimeError as error:
            sys.exit(f"error: {error}")
    show_outcome(console, outcome)
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(outcome), indent=2))
    sys.exit(not all(outcome.equal.values()))


if __name__ == "__main__":
    main()
