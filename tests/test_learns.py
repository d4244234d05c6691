"""The stages do what they are for: the warm start teaches, curation keeps the middle, RL lifts accuracy beyond both."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow import parquet

from rl.recipe import load
from rl.run.summary import Summary
from rl.runner import run

WORDS = {"dataset": "spell_backward", "size": 6000, "config": {"max_word_len": 6}}


@pytest.fixture(scope="module")
def trained(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    """`spell_backward` with shorter words and fewer steps; the full recipe with three seeds is scripts/learning."""
    folder = tmp_path_factory.mktemp("learns") / "run"
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
            "engines.count=1",
        ],
    )
    return folder, run(recipe, folder, say=lambda _: None)


@pytest.mark.timeout(900)
def test_rl_lifts_accuracy_over_the_warm_start(trained: tuple[Path, Summary]) -> None:
    folder, summary = trained
    stage = {s.name: s.metrics for s in summary.stages}
    assert stage["before"]["accuracy"] < 0.05
    assert 0.2 < stage["warm"]["accuracy"] < 0.95
    assert stage["after"]["accuracy/low"] > stage["warm"]["accuracy/high"]
    assert stage["after"]["accuracy"] > stage["warm"]["accuracy"] + 0.05
    assert stage["after"]["greedy_accuracy"] >= stage["warm"]["greedy_accuracy"] - 0.01
    difficulty = parquet.read_table(folder / "stages" / "04-curate" / "difficulty.parquet").to_pylist()
    assert all(row["keep"] == (3 <= row["correct"] <= 6) for row in difficulty)


@pytest.mark.timeout(900)
def test_an_adapter_of_rank_16_reaches_what_all_weights_reach(
    ray_session: None, trained: tuple[Path, Summary], tmp_path: Path
) -> None:
    """The same RL from the same warm start on the same prompts, at ten times the learning rate, as adapters want it. With two
    engines, and two ranks of ZeRO stage 1."""
    folder, summary = trained
    stages = folder / "stages"
    recipe = load(
        {
            "name": "adapted",
            "model": {"path": str(stages / "02-sft" / "model"), "lora": {"rank": 16}, "think": True},
            "data": {"words": {"source": "reasoning_gym", "args": WORDS}},
            "reward": {
                "parts": [{"verifier": "text", "weight": 0.8}, {"verifier": "format", "name": "format", "weight": 0.2}]
            },
            "engines": {"count": 2},
            "trainer": {"ranks": 2, "zero_stage": 1},
            "stages": [
                {
                    "rlvr": {
                        "data": "words",
                        "limit": 400,
                        "difficulty": str(stages / "04-curate" / "difficulty.parquet"),
                        "steps": 16,
                        "prompts_per_step": 16,
                        "max_sequence_tokens": 64,
                        "optimizer": {"learning_rate": 2e-3, "warmup_steps": 10},
                        "critic_minibatches": 8,
                        "critic_optimizer": {"learning_rate": 3e-3, "warmup_steps": 10},
                        "max_logprob_gap": 1e-5,
                    }
                },
                {"evaluate": {"name": "after", "data": "words", "limit": 200, "max_sequence_tokens": 64}},
            ],
        }
    )
    adapted = run(recipe, tmp_path / "run", say=lambda _: None)
    full = {s.name: s.metrics for s in summary.stages}
    after = {s.name: s.metrics for s in adapted.stages}["after"]
    print({"warm": full["warm"]["accuracy"], "all weights": full["after"]["accuracy"], "rank 16": after["accuracy"]})
    assert after["accuracy/low"] > full["warm"]["accuracy/high"]
    assert after["accuracy/high"] > full["after"]["accuracy"] - 0.02
    adapter = tmp_path / "run" / "stages" / "01-rlvr" / "adapter" / "adapter_model.safetensors"
    assert adapter.stat().st_size < 0.5 * (stages / "02-sft" / "model" / "model.safetensors").stat().st_size
