"""The stages do what they are for: the warm start teaches, curation keeps the middle, RL lifts accuracy beyond both."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow import parquet

from rl.recipe import load
from rl.runner import run


@pytest.mark.timeout(900)
def test_rl_lifts_accuracy_over_the_warm_start(ray_session: None, tmp_path: Path) -> None:
    """`spell_backward` with shorter words and fewer steps; the full recipe with three seeds is scripts/learning."""
    recipe = load(
        "spell_backward",
        [
            "data.words.args.config.max_word_len=6",
            "data.words.args.size=6000",
            "before.limit=50",
            "warm.limit=200",
            "after.limit=200",
            "sft.stop_at_loss=0.05",
            "sft.epochs=8",
            "curate.limit=400",
            "rlvr.limit=400",
            "rlvr.steps=16",
            "rlvr.optimizer.learning_rate=2e-4",
            "trainer.ranks=2",
            "trainer.zero_stage=1",
        ],
    )
    summary = run(recipe, tmp_path / "run", say=lambda _: None)
    stage = {s.name: s.metrics for s in summary.stages}
    assert stage["before"]["accuracy"] < 0.05
    assert 0.2 < stage["warm"]["accuracy"] < 0.95
    assert stage["after"]["accuracy/low"] > stage["warm"]["accuracy/high"]
    assert stage["after"]["accuracy"] > stage["warm"]["accuracy"] + 0.05
    assert stage["after"]["greedy_accuracy"] >= stage["warm"]["greedy_accuracy"] - 0.01
    difficulty = parquet.read_table(tmp_path / "run" / "stages" / "04-curate" / "difficulty.parquet").to_pylist()
    assert all(row["keep"] == (3 <= row["correct"] <= 6) for row in difficulty)
