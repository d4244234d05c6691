"""Samples that are there already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from contexts import context, prompt

from rewards.combine import PartConfig, RewardConfig
from rewards.contract import Case
from rl.stages.sampling import SAMPLES, _sample, collect_samples, judge_stream, line_appender, read_samples
from rl.stages.settings import CandidatesConfig
from rl.types import Rollout, Scored, Verdict

SEES = """
from rl.types import Verdict

def verify(prompt, rollout):
    assert prompt.question == "whose voice?", prompt
    known = {"tokens": float(rollout.tokens.sum()), "written": float(rollout.tokens[rollout.action_mask].sum())}
    known |= {"logprobs": float(rollout.logprobs.sum()), "truncated": float(rollout.truncated)}
    return Verdict(float(rollout.response == "a"), known)
"""


def sampled(i: int, text: str, finish: str = "stop") -> Rollout:
    tokens = np.array([7, 5, 3 + i, 2], dtype=np.int64)
    said = (tokens, np.arange(4) >= 2, np.array([-0.1, -0.3], dtype=np.float32), finish)
    return replace(
        Case(text, "a").rollout(),
        **dict(zip(("tokens", "action_mask", "logprobs", "finish_reason"), said, strict=True)),
        prompt=prompt("p", "whose voice?"),
        sample=i,
    )


def test_what_could_not_be_judged_is_judged_again_and_not_sampled_again(tmp_path: Path) -> None:
    (tmp_path / "sees.py").write_text(SEES)
    said: list[str] = []
    at = context(tmp_path / "distill", {"d": [prompt("p", "whose voice?")]}, say=said.append)
    chain = "<think>low</think>"
    before = [
        Scored(sampled(0, f"{chain}a"), Verdict(0.25, {"accuracy": 0.25})),
        Scored(sampled(1, f"{chain}a"), Verdict(error="the judge is away")),
        Scored(sampled(2, f"{chain}b", "length"), Verdict(error="the judge is away")),
    ]
    line_appender(at.folder / SAMPLES)([_sample(scored, "d", "train") for scored in before])
    reward = RewardConfig([PartConfig("sees.py:verify")])
    config = CandidatesConfig("d", samples=3, max_sequence_tokens=64, reward=reward, ask="Say what you hear.")

    judged = collect_samples(config, at, {"d": [prompt("p", "whose voice?")]})  # without a cluster
    assert [(s.score, s.error, s.again) for s in judged] == [(0.25, None, None), (1.0, None, None), (0.0, None, None)]
    assert [s.text for s in judged] == [s.rollout.text for s in before]
    seen = {"tokens": 18.0, "written": 6.0, "logprobs": float(np.float32(-0.1) + np.float32(-0.3)), "truncated": 0.0}
    assert judged[1].parts == {"accuracy": 1.0, **{f"accuracy/{name}": value for name, value in seen.items()}}
    assert (judged[2].parts["accuracy/truncated"], judged[2].truncated) == (1.0, True)
    assert "distill: 3 of 3 samples are there already; 2 of them could not be judged and are judged again" in said

    assert len(list(read_samples(at.folder / SAMPLES))) == 5
    assert collect_samples(config, replace(at, service=None), {"d": [prompt("p", "whose voice?")]}) == judged


def test_a_stage_goes_on_only_with_the_samples_that_it_asks_for(tmp_path: Path) -> None:
    """Those of other prompts, or of a number that it does not reach, count for none of its own."""
    stage, prompts = context(tmp_path / "distill", {}), {"d": [prompt("p")]}
    kept = _sample(Scored(sampled(0, "<think>low</think>a"), Verdict(0.25)), "d", "train")
    strangers = [replace(kept, sample=7), replace(kept, prompt="q"), replace(kept, sample=1)]
    line_appender(stage.folder / SAMPLES)([kept, *strangers])
    assert collect_samples(CandidatesConfig("d", samples=1), stage, prompts) == [kept]
    (stage.folder / SAMPLES).unlink()
    line_appender(stage.folder / SAMPLES)(strangers)
    with pytest.raises(
        AttributeError, match="Shared"
    ):  # it asks the reward, which is not there, for the sample that is missing
        collect_samples(CandidatesConfig("d", samples=1), stage, prompts)


@pytest.mark.parametrize(("score", "shown"), [(0.75, "distill  3/3  reward 0.75  "), (None, "distill  3/3  0:00 left")])
def test_a_sample_without_a_verdict_has_no_reward_to_show(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], score: float | None, shown: str
) -> None:
    verdicts = [Verdict(error="the judge is away"), Verdict(error="the judge is away")]
    verdicts.append(Verdict(error="the judge is away") if score is None else Verdict(score))
    scored = [Scored(sampled(i, "<think>low</think>a"), verdict) for i, verdict in enumerate(verdicts)]
    judge_stream(context(tmp_path / "distill", {}), [scored], {}, 3, lambda id: ("d", "train"))
    assert shown in "".join(capfd.readouterr())
