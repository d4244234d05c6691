"""Steps of which nothing can be learned: one warning for each kind in a stage, in the terminal and in the report."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rl.report.run_data import read_run
from rl.run.tracker import Tracker, read_warnings
from rl.stages.rlvr.gaps import PROBE, SAMPLES, Bounds, Gaps, choose_bounds
from rl.stages.rlvr.recorder import Recorder, closed_share
from rl.stages.rlvr.stalls import Stalls
from rl.types import Message, Prompt, Rollout, Scored, Verdict

FINE = {"zero_variance_groups": 0.5, "truncation_rate": 0.0, "reward": 0.3, "closed_chains": 0.5}
EQUAL = {**FINE, "zero_variance_groups": 1.0}
UNCLOSED = {**FINE, "closed_chains": 0.0}


def observed(*steps: dict[str, float], samples: int = 4) -> list[tuple[int, str]]:
    """The warnings of a stage with these metrics, each with its step."""
    stalls = Stalls("rlvr", samples, 64)
    return [(step, text) for step, metrics in enumerate(steps, 1) for text in stalls.observe(step, metrics)]


def test_a_stage_that_learns_is_not_warned() -> None:
    assert observed(FINE, EQUAL, EQUAL, FINE, EQUAL, EQUAL) == []


def test_a_teacher_tells_samples_of_equal_scores_apart() -> None:
    taught = {**EQUAL, "kl/teacher": 0.3}
    assert observed(*[taught] * 5) == []
    assert observed(*[EQUAL] * 3)


def test_chains_that_no_sample_closes() -> None:
    [(step, text)] = observed(FINE, UNCLOSED, FINE, UNCLOSED)
    assert step == 2
    assert text == (
        "rlvr 'rlvr', step 2: no sample closed its chain with </think>, so none has an answer; teach chains by an sft stage "
        "first, or set model.think: false for a model that answers at once"
    )
    [(_, text)] = observed({**UNCLOSED, "truncation_rate": 1.0})
    assert "every sample reached max_sequence_tokens (64) before its chain closed" in text


def test_a_model_that_does_not_think_has_no_chains_to_close() -> None:
    assert observed({name: value for name, value in FINE.items() if name != "closed_chains"}) == []


@pytest.mark.parametrize(
    ("reward", "fix"), [(0.0, "check the reward and its golds"), (1.0, "the prompts are too easy")]
)
def test_groups_of_equal_scores(reward: float, fix: str) -> None:
    [(step, text)] = observed(FINE, *[{**EQUAL, "reward": reward}] * 6)
    assert step == 4
    assert text.startswith(
        f"rlvr 'rlvr', steps 2 to 4: in every group all samples have one score ({reward:g} in the mean)"
    )
    assert fix in text
    assert observed(*[EQUAL] * 6, samples=1) == [], "a group of one has no variance to miss"


def test_each_kind_is_said_once() -> None:
    both = {**EQUAL, "closed_chains": 0.0}
    assert [step for step, _ in observed(*[both] * 9)] == [1, 3]


def scored(text: str) -> Scored:
    tokens = np.arange(3)
    rollout = Rollout(
        Prompt("p", (Message("user", "q"),)), 0, tokens, tokens > 0, np.zeros(2, np.float32), "stop", 0, text
    )
    return Scored(rollout, Verdict(score=0.0))


def test_a_chain_is_closed_by_its_tag() -> None:
    samples = [scored("<think>\na\n</think>\n4"), scored("<think>\na"), scored("4"), scored("<think></think>")]
    assert closed_share(samples) == 0.5
    assert closed_share([]) == 0.0


def recorder(folder: Path, said: list[str]) -> Recorder:
    """The recorder of a stage, as far as warnings need one."""
    context: Any = SimpleNamespace(name="rlvr", tracker=Tracker(folder, "rlvr"), say=said.append)
    result: Any = object.__new__(Recorder)  # its models and engines have no part in a warning
    result.context, result.stalls = context, Stalls("rlvr", 4, 64)
    result.gaps = Gaps("rlvr", choose_bounds("bfloat16", None))
    result.has_diverged, result.stream = False, SimpleNamespace(diverged_group=None)
    return result


def test_a_warning_is_in_the_terminal_and_in_the_report(tmp_path: Path) -> None:
    said: list[str] = []
    recorder(tmp_path, said).warn(1, UNCLOSED)
    [text] = read_warnings(tmp_path)
    assert said == [f"warning: {text}"]
    Tracker(tmp_path, "rlvr").record(1, UNCLOSED)
    assert read_run(tmp_path).warnings == [text]


@pytest.mark.parametrize(("dtype", "warn", "stop"), [("float32", 1e-4, 0.01), ("bfloat16", 0.08, 0.2)])
def test_gaps_are_told_once_and_then_stop_the_run(tmp_path: Path, dtype: Any, warn: float, stop: float) -> None:
    """Of samples and of the probe each, by the bounds of the dtype; also when a resumed run reads the earlier steps."""
    gaps = Gaps("rlvr", choose_bounds(dtype, None))
    tiny, wide = {SAMPLES: 0.9 * warn, PROBE: 1.9 * warn}, {SAMPLES: 1.1 * warn, PROBE: 2.1 * warn}
    assert gaps.observe(1, tiny) == gaps.observe(1, {}) == []
    texts = gaps.observe(2, wide)
    assert [text.partition(" differ")[0].partition("logprobs of ")[2] for text in texts] == [
        "the step's samples",
        "the probe of the new weights",
    ]
    assert all(text.startswith("rlvr 'rlvr', step 2: engine and trainer logprobs") for text in texts)
    assert gaps.observe(3, wide) == []
    gaps.check(3, {SAMPLES: 0.99 * stop, PROBE: 1.99 * stop})
    for metrics in ({SAMPLES: 1.1 * stop}, {PROBE: 2.1 * stop}, {SAMPLES: float("nan")}):
        with pytest.raises(ValueError, match=rf"^rlvr 'rlvr', step 4: .*more than (2 × )?max_logprob_gap \({stop:g}\)"):
            gaps.check(4, metrics)
    own = choose_bounds(dtype, 1e-5)
    assert (own.warn, own.stop) == (1e-5, 1e-5)
    assert choose_bounds(dtype, 3.0) == Bounds(warn, 3.0)
