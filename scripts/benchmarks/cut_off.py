"""Cuts a node off from the network in the middle of a run over two nodes, and lets it come back (scripts/chaos
--cut-off)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf
from resumed_run import Run
from separate_node import TwoNodes

from rl.run.tracker import read_metrics

STEPS = 14
CUT_AFTER = (3, 6)
"""Steps of which one is the last before the node is cut off."""
GONE_S = 120.0
"""Seconds in which Ray ends what is left on a node that it has declared lost, once that node reaches it again."""


@dataclass(frozen=True)
class CutOff:
    """Fate of the run and of the node."""

    step: int
    """Number of steps that were recorded when the node was cut off."""
    silent_s: float
    """Seconds until a new step was recorded."""
    rebuilt_s: float
    """Seconds of these in which the cluster was built anew."""
    checkpoint: int
    """Step from which the run went on."""
    left: int
    """Number of processes that were alive on the node when it came back."""
    gone_s: float
    """Seconds after which none of them was left."""
    leftovers: int
    """Number of unfinished files and folders in the run directory at the end."""


def write_two_ranks(recipe: Path) -> Path:
    """Write the recipe anew for two ranks of the policy, which are spread over the nodes."""
    values = OmegaConf.load(recipe)
    values.name, values.trainer, values.cluster = "cut_off", {"ranks": 2, "zero_stage": 2}, {"spread": ["policy"]}
    values.engines.count = 2  # an engine on each node too: one that is lost with its node cannot be replaced elsewhere
    rlvr = values.stages[0].rlvr
    rlvr.algorithm, rlvr.steps = "grpo", STEPS
    file = recipe.with_name("cut_off.yaml")
    OmegaConf.save(values, file)
    return file


def run_over_a_cut(recipe: Path, folder: Path, seed: int, report: Callable[[str], None]) -> CutOff:
    """Run the recipe over two nodes, the second of which is cut off for as long as the run takes to go on without it."""
    draw = random.Random(seed)
    with TwoNodes(head_cpus=2, node_cpus=1) as nodes, Run(recipe, folder / "disturbed", nodes.env) as run:
        target = draw.randint(*CUT_AFTER)
        run.wait(lambda: run.last_step >= target)
        time.sleep(draw.uniform(0, 2 * read_metrics(run.out)[-1]["time/step"]))
        step, start = run.last_step, time.monotonic()
        nodes.link.cut()
        report(f"the node is cut off after step {step}")
        run.wait(lambda: run.is_done() or run.last_step > step)
        silent_s, left = time.monotonic() - start, len(nodes.link.find_processes())
        report(f"a new step after {silent_s:.0f} s, with {left} processes left on the node; now it comes back")
        nodes.link.mend()
        back = time.monotonic()
        while nodes.link.find_processes() and time.monotonic() - back < GONE_S:
            time.sleep(0.2)
        gone_s, gone = time.monotonic() - back, not nodes.link.find_processes()
        if not gone:
            raise RuntimeError(
                f"{len(nodes.link.find_processes())} processes are on the node {GONE_S:.0f} s after it came back"
            )
        run.wait(run.is_done)
    if not run.recoveries:
        raise RuntimeError("the run lost nothing: was the node in use?")
    leftovers = [path for path in run.out.rglob(".*") if path.name.endswith(".tmp") or path.name.startswith(".shared-")]
    recovery = run.recoveries[0]
    return CutOff(step, silent_s, recovery.seconds, recovery.checkpoint, left, gone_s, len(leftovers))
