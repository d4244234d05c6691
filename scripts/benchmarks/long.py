"""Runs one PPO step of 16 sequences of 10,240 tokens on the small model: seconds of each phase, peak memory of each
role.

scripts/bench long [--json FILE] [key=value …]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import threading
from collections import defaultdict
from pathlib import Path

import ours
import workload
from rich.console import Console
from rich.table import Table
from tables import show
from turns import cpu_seconds_of_tree

from rl.run.tracker import Tracker, read_metrics

ROLES = ("EngineWorker", "PolicyWorker", "CriticWorker")


class Peaks(threading.Thread):
    """A thread that records the peak resident memory (bytes) of this process and its descendants, by Ray's name for them."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes: dict[str, dict[int, int]] = defaultdict(dict)
        self.end = threading.Event()

    def run(self) -> None:
        while not self.end.wait(1.0):
            for pid, _ in cpu_seconds_of_tree(os.getpid()):
                try:
                    command = Path(f"/proc/{pid}/cmdline").read_text()
                    status = Path(f"/proc/{pid}/status").read_text()
                except OSError:  # the process has just ended
                    continue
                role = next((r for r in ROLES if command.startswith(f"ray::{r}")), None)
                if pid == os.getpid():
                    role = "driver"
                if role is not None and "VmHWM:" in status:
                    self.bytes[role][pid] = int(status.split("VmHWM:")[1].split()[0]) << 10


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench long")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--tokens", type=int, default=10_240, help="of a sequence, prompt included")
    parser.add_argument("overrides", nargs="*", help="key=value of the recipe")
    options = parser.parse_args()
    folder = Path(__file__).parents[2] / ".bench/runs/long"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    recipe = ours.build_recipe(
        workload.LONG,
        folder,
        ["trainer.ranks=1", *options.overrides],
        steps=1,
        algorithm="ppo",
        prompts_per_step=1,
        samples_per_prompt=16,
        max_sequence_tokens=options.tokens,
    )
    peaks = Peaks()
    peaks.start()
    ours.run(recipe, folder, Tracker(folder, "rlvr"))
    peaks.end.set()
    (line,) = read_metrics(folder)
    seconds = {name: line[f"time/{name}"] for name in ("step", *ours.PHASES)}
    show_figures(seconds, peaks.bytes, options.tokens)
    if options.json is not None:
        peak = {role: sorted(by_pid.values()) for role, by_pid in peaks.bytes.items()}
        options.json.write_text(json.dumps({"seconds": seconds, "peak_bytes": peak}, indent=1))


def show_figures(seconds: dict[str, float], peaks: dict[str, dict[int, int]], tokens: int) -> None:
    console = Console()
    table = Table(title=f"PPO, 16 sequences of {tokens:,} tokens", title_justify="left")
    for name in seconds:
        table.add_column(name, justify="right")
    table.add_row(*(f"{value:.1f} s" for value in seconds.values()))
    show(console, table)
    table = Table(title="peak memory (resident, each process)", title_justify="left")
    for role in peaks:
        table.add_column(role, justify="right")
    table.add_row(*(", ".join(f"{b / 2**30:.2f} GiB" for b in sorted(p.values())) for p in peaks.values()))
    show(console, table)


if __name__ == "__main__":
    main()
