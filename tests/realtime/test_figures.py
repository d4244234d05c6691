"""What an answer took: seconds, tokens, and whether the thoughts keep up with the voice."""

from __future__ import annotations

import pytest

from rl.realtime.figures import Playback, Times, figures_of, real_time_factor
from rl.realtime.metrics import Metrics
from rl.realtime.stream import End, Failure
from rl.stages.paced_answer import Pace, Speech


def test_the_papers_segments_need_25_tokens_a_second() -> None:
    pace = Pace("think_first", 80, 20)
    assert real_time_factor(pace, 25.0, 6.25) == pytest.approx(1.0)
    assert real_time_factor(pace, 50.0, 6.25) == pytest.approx(2.0)
    assert real_time_factor(pace, None, 6.25) is None
    assert real_time_factor(Pace("wo", 80, 20), 25.0, 6.25) is None


def test_silence_counts_from_when_what_was_said_has_been_played() -> None:
    playback = Playback(rate=10.0)
    playback.add(1.0, 5)  # plays until 1.5
    playback.add(1.2, 5)  # until 2.0
    playback.add(2.5, 1)  # half a second too late
    playback.add(2.55, 1)
    assert playback.stalled == pytest.approx(0.5)


def test_an_answer_that_never_began_has_no_first_word() -> None:
    times = Times(question_s=1.0, begun=1.5)
    figures = figures_of(Pace("tbs", 80, 20), Speech(Pace("tbs", 80, 20)), 7, times)
    assert (figures["first_token_s"], figures["queue_s"], figures["tokens_before"]) == (None, 0.5, 7)
    assert figures["real_time_factor"] is None


def test_thinking_is_timed_from_its_first_token_on() -> None:
    times = Times(question_s=0.0)
    times.think(2.0, 1)
    times.think(3.0, 10)
    assert times.thinking_rate == pytest.approx(10.0)


def test_metrics_are_counters_gauges_and_summaries() -> None:
    metrics = Metrics()
    for value in range(1, 101):
        metrics.finish(End("stop", {"first_token_s": value, "mode": "wo", "queue_s": None}))
    metrics.finish(Failure("broken"))
    lines = metrics.render({"running": 3}).splitlines()
    assert "groundtone_finished_total 100" in lines
    assert "groundtone_failed_total 1" in lines
    assert "groundtone_running 3" in lines
    assert 'groundtone_first_token_s{quantile="0.5"} 50.5' in lines
    assert "groundtone_first_token_s_sum 5050" in lines
    assert "groundtone_queue_s_count 0" in lines
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
