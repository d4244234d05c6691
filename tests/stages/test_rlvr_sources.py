"""Prompts that an rlvr stage draws from: what a difficulty keeps, and then the first so many of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from contexts import context, prompt

from rl.stages.curate import write_difficulty
from rl.stages.rlvr.config import Config
from rl.stages.rlvr.loop import _sources

KEPT_OF_TEXT, KEPT_OF_AUDIO = range(60, 100, 2), range(190, 200)


def drawn(folder: Path, **config: object) -> dict[str, list[str]]:
    """{source: ids of its prompts} where a difficulty keeps the late half of 100 texts, every other, and 10 of 200 sounds."""
    rows = [{"id": f"t{i}", "keep": i in KEPT_OF_TEXT} for i in range(100)]
    rows += [{"id": f"a{i}", "keep": i in KEPT_OF_AUDIO} for i in range(200)]
    write_difficulty(folder / "difficulty.parquet", rows)
    sources = {"text": [prompt(f"t{i}") for i in range(100)], "audio": [prompt(f"a{i}") for i in range(200)]}
    made = context(folder / "rlvr", sources, artifact=lambda kind, name: folder / f"{name}.parquet")
    settings = Config({"text": 0.4, "audio": 0.6}, prompts_per_step=4, **config)  # type: ignore[arg-type]
    return {name: [p.id for p in prompts] for name, prompts in _sources(settings, made).items()}


@pytest.mark.parametrize("limit", [None, 5, 20, 1000])
def test_a_limit_counts_what_the_difficulty_keeps(tmp_path: Path, limit: int | None) -> None:
    sources = drawn(tmp_path, limit=limit, difficulty="difficulty")
    text, audio = (1000, 1000) if limit is None else (limit * 2 // 5, limit * 3 // 5)
    assert sources["text"] == [f"t{i}" for i in KEPT_OF_TEXT][:text]
    assert sources["audio"] == [f"a{i}" for i in KEPT_OF_AUDIO][:audio]


def test_without_a_difficulty_a_limit_counts_the_rows(tmp_path: Path) -> None:
    assert drawn(tmp_path, limit=10) == {"text": [f"t{i}" for i in range(4)], "audio": [f"a{i}" for i in range(6)]}


def test_a_stage_with_a_difficulty_reads_all_of_its_data() -> None:
    """The prompts that are kept may stand at its end."""
    limits = [read.limit for read in Config("text", limit=10, difficulty="difficulty").reads]
    assert limits == [None]
    assert Config("text", limit=10).reads[0].limit == 10
