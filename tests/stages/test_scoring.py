"""What chains rest on, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from rl.audio import encode
from rl.stages.scoring import chain_metrics, digest, part_metrics, sample_metrics, source_metrics
from rl.types import Clip, Message, Prompt, Rollout, Scored, Verdict


def sample(prompt: str, parts: dict[str, float], chain: str = "a 220Hz", error: str | None = None) -> Scored:
    asked, written = Prompt(prompt, (Message("user", "?"),)), np.array([False, True])
    text = f"<think>\n{chain}\n</think>\nfirst"
    rollout = Rollout(asked, 0, np.array([1, 2]), written, np.zeros(1, np.float32), "stop", 0, text)
    return Scored(rollout, Verdict(1.0, parts, error=error))


def heard(grounding: float, checked: float, true: float, surrogates: float, hears: float = 1.0) -> dict[str, float]:
    inner = {"grounding/checked": checked, "grounding/true": true, "grounding/surrogates": surrogates}
    return {"accuracy": 1.0, "grounding": grounding, **inner, "self_cognition": hears}


def test_shares_are_means_over_prompts() -> None:
    metrics = chain_metrics(
        [
            sample("x", heard(1.0, 4, 3, 0)),
            sample("x", heard(0.0, 0, 0, 2)),  # nothing that could be checked
            sample("y", heard(0.5, 2, 1, 0, hears=0.0)),
            sample("y", heard(0.0, 0, 0, 0), chain=""),  # no chain, so none that reasons from a text
            sample("z", heard(0.0, 1, 0, 0), error="TimeoutError"),
        ]
    )
    values = {name: value for name, value in metrics.items() if "/" not in name}
    assert values == {"grounding": 0.375, "claims_true": 0.625, "surrogate_rate": 0.25, "denial_rate": 0.25}
    assert metrics["claims_true/low"] <= 0.625 <= metrics["claims_true/high"]
    assert all(map(math.isfinite, metrics.values()))


def test_text_has_none_of_it() -> None:
    assert chain_metrics([sample("x", {"accuracy": 1.0, "format": 1.0})]) == {}


def scored(prompt: str, score: float, error: str | None = None) -> Scored:
    return replace(sample(prompt, {}), verdict=Verdict(score, error=error))


def test_a_prompt_drawn_twice_is_two_groups() -> None:
    """What was dropped counts with what was kept: first x all wrong and y mixed, then x again, all right."""
    first = [scored("x", 0.0), scored("x", 0.0), scored("y", 0.0), scored("y", 1.0)]
    second = [scored("x", 1.0), scored("x", 1.0), scored("z", 0.0, error="TimeoutError")]
    metrics = sample_metrics(first, second)
    assert (metrics["reward"], metrics["verifier_errors"]) == (0.5, 1.0)
    assert metrics["zero_variance_groups"] == 2 / 3


def test_answers_that_were_too_slow_to_judge_are_counted() -> None:
    slow = replace(sample("x", {}), verdict=Verdict(0.0, {"accuracy": 0.0, "accuracy/over_deadline": 1.0}))
    metrics = sample_metrics([slow, scored("x", 1.0), scored("x", 0.0, error="TimeoutError")])
    assert (metrics["reward"], metrics["verifier_timeouts"], metrics["verifier_errors"]) == (0.5, 1.0, 1.0)
    assert "part/accuracy/over_deadline" not in metrics


def test_a_digest_is_of_what_is_asked() -> None:
    prompt = Prompt("p", (Message("user", "1+1"),), "2")
    assert digest(prompt) == digest(replace(prompt, id="q", source="sums"))
    others = [replace(prompt, messages=(Message("user", "1+2"),)), replace(prompt, answer="3")]
    others.append(replace(prompt, clips=(Clip(data=encode(np.zeros(1600, np.float32))),)))
    assert len({digest(p) for p in (prompt, *others)}) == 4


def test_the_sources_of_a_mixture_are_told_one_by_one() -> None:
    """Parts that judge one source each (`when`) are of other means: rubric samples, preference samples, verifiable ones."""
    draws = [("rubric", 1.0), ("rubric", 0.0), ("preference", 0.75), ("verifiable", None), ("preference", 0.25)]
    samples: list[Scored] = []
    for source, score in draws:
        one = scored("p", score or 0.0, None if score is not None else "down")
        asked = replace(one.rollout.prompt, source=source)
        samples.append(replace(one, rollout=replace(one.rollout, prompt=asked)))
    assert source_metrics(samples) == {
        "samples/preference": 2.0,
        "reward/preference": 0.5,
        "samples/rubric": 2.0,
        "reward/rubric": 0.5,
        "samples/verifiable": 0.0,
    }
    assert source_metrics(samples[:2]) == {}


def test_parts_are_means_over_the_prompts_that_they_judge() -> None:
    samples = [
        sample("x", {"accuracy": 1.0, "rubric": 1.0, "grounding/true": 3.0, "style": 0.5}),
        sample("x", {"accuracy": 0.0, "rubric": 0.0, "style": 0.5}),
        sample("y", {"accuracy": 1.0, "style": 1.0}),
        sample("y", {"rubric": 0.0}, error="down"),
    ]
    means = {name: value for name, value in part_metrics(samples).items() if name.count("/") == 1}
    assert means == {"part/rubric": 0.5, "part/style": 0.75}
