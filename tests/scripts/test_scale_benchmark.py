"""`scripts/bench scale`: the phase times that it computes, the calibration of its check, and tables that are never cut."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from models.shape import Shape

sys.path.append(str(Path(__file__).parents[2] / "scripts" / "benchmarks"))

import scale
import workload
from cluster_times import Job, Lengths, Pass, read_job
from scale_check import Phases, Times, fit_engine, predict
from simulation import EngineTimes
from tables import show

from rl.recipe import load

SHAPE = Shape(
    hidden=1000, layers=10, q=1000, k=1000, heads=10, ffn=2000, vocabulary=1000, tied=False, positions=None,
    parameters=10**9,
)  # fmt: skip
ACTIVE = 10 * (1000 * 4000 + 3 * 1000 * 2000) + 1000 * 1000
JOB = Job(
    SHAPE, (Pass("update", 6, 1, 3),), 1, 4, 2, Lengths(100, 0.0, 1000, 10), engine_gpus=2, micro_batch=1000,
    train_flops=ACTIVE * 6 * 1000.0,
)  # fmt: skip  # a GPU trains on 1,000 tokens a second


def test_training_is_arithmetic_and_what_is_uneven():
    # 8 samples of 110 tokens on 8 GPUs: 0.11 s each, and 6 GB at 450 GB/s within a node take less.
    parts = JOB.train_parts([100] * 8, 1)
    assert parts["arithmetic"] == pytest.approx(0.11)
    assert parts["uneven"] == pytest.approx(0)
    assert parts["gathers"] == 0
    # One of them has 810: its rank works for 0.81 s and the others wait; shared by all ranks nothing is uneven.
    lengths = [100] * 7 + [800]
    assert JOB.train_parts(lengths, 1)["arithmetic"] == pytest.approx(1.58 / 8)
    assert JOB.train_s(lengths, 1) == pytest.approx(0.81)
    assert replace(JOB, sharing=8).train_s(lengths, 1) == pytest.approx(1.58 / 8)
    # In two optimiser steps, each waits for its own longest.
    assert replace(JOB, passes=(Pass("update", 6, 2, 3),)).train_s(lengths, 1) == pytest.approx(0.11 + 0.81)


def test_gathers_count_where_they_take_longer_than_the_arithmetic():
    slow = replace(JOB, passes=(Pass("update", 6, 1, 100),))
    parts = slow.train_parts([100] * 8, 1)
    assert parts["gathers"] == pytest.approx(100 * 2e9 / 450e9 - 0.11)
    assert slow.train_s([100] * 8, 1) == pytest.approx(100 * 2e9 / 450e9)


def test_the_bound_is_what_no_run_exceeds():
    job = replace(JOB, lengths=Lengths(100, 0.5, 1000, 10))
    for lag in (0, 4):
        for placement in (scale.Placement(4, None), scale.Placement(4, 1)):
            assert scale.run(job, placement, lag).samples_per_s <= job.bound(4) * 1.05, "but for the luck of lengths"
    assert job.bound(4) == 4 * job.bound(1)
    written, trained = job.gpu_seconds
    assert trained == pytest.approx(0.11, rel=1e-3)
    assert written > 0


def test_what_does_not_fit_is_not_placed():
    large = replace(JOB, learners=64)  # 64 × 16 GB × 1 / GPUs ≤ 64 GB
    assert [large.fits(nodes) for nodes in (1, 2)] == [False, True]
    assert scale.best(large, 1, 0) is None
    point = scale.best(large, 2, 0)
    assert point is not None
    assert point.placement.engine_nodes is None, "a single node of trainers has no room"


def test_a_job_is_read_from_a_recipe():
    recipe = load("step_audio_r1", ["trainer.sequence_parallel=8", "text_rlvr.epochs=2"], check=False)
    job = read_job(recipe, SHAPE, JOB.lengths)
    assert (job.prompts_per_step, job.samples_per_prompt, job.sharing, job.learners) == (64, 16, 8, 2)
    passes = [(p.name, p.operations, p.steps) for p in job.passes]
    assert passes == [("update", 16, 2), ("logprobs", 2, 1), ("values", 2, 1), ("critic update", 16, 8)]
    with pytest.raises(ValueError, match="no rlvr stage nothing; name one that has"):
        read_job(recipe, SHAPE, JOB.lengths, "nothing")
    assert dict(scale.changes(JOB)).keys() == {
        "trainer.sequence_parallel: 8",
        "prompts_per_step: × 2",
        "prompts_per_step: × 4",
        "weights sent while the next step trains (not built)",
    }


def test_an_engine_is_fitted_from_what_it_took():
    def seconds(samples: int, tokens: int) -> float:
        return 0.01 + 0.002 * samples + tokens * (0.004 + 0.0001 * samples)

    points = [(n, t, seconds(n, t)) for n in (1, 8, 32, 64) for t in (16, 64)]
    engine = fit_engine(points, 1)
    assert (engine.step_s, engine.sample_s, engine.read_s) == pytest.approx((0.004, 0.0001, 0.002))


def test_the_prediction_of_a_sync_run():
    """128 samples of 10 tokens on two engines: 64 × 1 ms a step, ten of them; 1,280 tokens at 1 ms; 0.1 s each to judge, to send."""
    engine = EngineTimes(step_s=0.0, sample_s=0.001)
    phases = Phases(train_s=0.001, verify_s=0.1, transfer_s=0.1)
    rate = predict(Times(engine, phases), 2, [10] * 128 * 4, 0, 1)
    assert rate == pytest.approx(128 / (0.64 + 1.28 + 0.2))


def test_engines_alone_have_the_lengths_of_ours(tmp_path: Path):
    workload.write_lengths(tmp_path, [*range(10)])
    shares = [workload.read_lengths(tmp_path, engine, 2) for engine in range(2)]
    assert shares == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]], "in pieces, as our sampler deals them"
    assert [n for engine in range(3) for n in workload.read_lengths(tmp_path, engine, 3)] == [*range(10)]


@pytest.mark.parametrize("width", [20, 80, 400])
@pytest.mark.parametrize("is_terminal", [False, True])
def test_tables_are_whole(width: int, is_terminal: bool):
    names = ["", *(f"column number {i}" for i in range(12))]
    table = Table(title="seconds a step")
    for name in names:
        table.add_column(name, justify="right")
    rows = [[f"row {r}", *(f"{r * 100 + i}.123 seconds" for i in range(12))] for r in range(3)]
    for row in rows:
        table.add_row(*row)
    console = Console(file=io.StringIO(), width=width, force_terminal=is_terminal, color_system=None)
    show(console, table)
    text = console.file.getvalue()
    assert all(cell in text for cell in [*names, *(cell for row in rows for cell in row), "seconds a step"])
    assert "…" not in text
    if not is_terminal:
        assert any(all(name in line for name in names) for line in text.splitlines()), "a file has whole lines"
    elif width == 80:
        assert max(map(len, text.splitlines())) <= width
    assert console.width == width
