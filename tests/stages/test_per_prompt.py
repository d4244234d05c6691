"""The table of an evaluation by which runs are compared prompt by prompt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
from samples import scored_sample

from rl.stages.evaluate import write_per_prompt
from rl.stages.scoring import digest
from rl.types import Message


def test_a_prompt_is_told_by_what_the_run_asks_and_not_by_a_harness(tmp_path: Path) -> None:
    sample = scored_sample()
    prompt = sample.rollout.prompt
    played = replace(prompt, messages=(Message("user", "as the harness puts it"),))
    samples = [replace(sample, rollout=replace(sample.rollout, prompt=played))]
    write_per_prompt(tmp_path / "per_prompt.parquet", [prompt], samples, [])
    (row,) = pyarrow.parquet.read_table(tmp_path / "per_prompt.parquet").to_pylist()
    assert (row["id"], row["asked"]) == (prompt.id, digest(prompt))
    assert digest(played) != digest(prompt)
