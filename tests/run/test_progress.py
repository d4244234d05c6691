from __future__ import annotations

import io

from rich.console import Console

from rl.run.progress import Progress, format_clock, format_headlines


def plain(total: int, steps: range, every: float) -> list[str]:
    out = io.StringIO()
    with Progress("rlvr", total, Console(file=out, width=20), every) as progress:
        for step in steps:
            progress.advance(step, {"reward": step / 10, "time/step": 2.0, "other": 1.0})
    return out.getvalue().splitlines()


def test_off_a_terminal_only_the_first_and_last_step_within_ten_seconds() -> None:
    lines = plain(5, range(1, 6), every=10)
    assert [line.split("  ")[:4] for line in lines] == [
        ["rlvr", "1/5", "reward 0.1", "time/step 2"],
        ["rlvr", "5/5", "reward 0.5", "time/step 2"],
    ]
    assert lines[0].endswith("0:00 left")


def test_every_so_often_and_the_last_step_of_a_stage_cut_short() -> None:
    assert [line.split()[1] for line in plain(9, range(4, 7), every=0)] == ["4/9", "5/9", "6/9"]
    assert [line.split()[1] for line in plain(9, range(4, 7), every=99)] == ["4/9", "6/9"]
    assert plain(9, range(0), every=0) == []


def test_on_a_terminal_a_bar() -> None:
    out = io.StringIO()
    with Progress("sft", 4, Console(file=out, width=120, force_terminal=True)) as progress:
        progress.advance(3, {"loss": 0.25})
    assert "3/4" in out.getvalue()
    assert "loss 0.25" in out.getvalue()


def test_words() -> None:
    assert [format_clock(s) for s in (0.4, 59.6, 725, 11220)] == ["0:00", "1:00", "12:05", "3:07:00"]
    assert format_headlines({"time/step": 1.0, "reward": 0.5}) == "reward 0.5  time/step 1"
    assert format_headlines({"stage": "x", "kept": 12.0}) == "kept 12"  # type: ignore[dict-item]
