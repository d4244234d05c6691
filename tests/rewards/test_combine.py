from __future__ import annotations

import pytest

from rewards.combine import PartConfig, RewardConfig, combine, correct
from rl.config import ConfigError, build
from rl.types import Clip, Verdict

PAPER = {
    "parts": [
        {"verifier": "math", "when": {"audio": False}},
        {"verifier": "choice", "weight": 0.8, "when": {"audio": True}},
        {"verifier": "format", "name": "format", "weight": 0.2, "when": {"audio": True}},
    ]
}


def test_the_papers_rule_is_accuracy_for_text_and_four_to_one_for_audio(rollout):
    config = build(RewardConfig, PAPER, "reward")
    heard, read = rollout("x", clips=(Clip("a.wav"),)).prompt, rollout("x").prompt
    assert config.applying(read) == (0,)
    assert config.applying(heard) == (1, 2)
    parts = config.parts
    verdict = combine([(parts[1], Verdict(1.0, reason="chose B")), (parts[2], Verdict(0.0))], heard)
    assert verdict.score == pytest.approx(0.8)
    assert verdict.parts == {"accuracy": 1.0, "format": 0.0}
    assert verdict.reason == "accuracy: chose B"
    assert combine([(parts[1], Verdict(0.0)), (parts[2], Verdict(1.0))], heard).score == pytest.approx(0.2)
    assert combine([(parts[0], Verdict(1.0))], read).score == 1.0


def test_sources_route(rollout):
    config = RewardConfig([
        PartConfig("text", when={"source": ["reverse", "sorted"]}),
        PartConfig("math", when={"source": "vowels"}),
    ])  # fmt: skip
    config.validate("reward")
    routed = {s: config.applying(rollout("x", source=s).prompt) for s in ("reverse", "sorted", "vowels", "gsm8k")}
    assert routed == {"reverse": (0,), "sorted": (0,), "vowels": (1,), "gsm8k": ()}


def test_no_part_is_an_error_that_names_the_source(rollout):
    assert combine([], rollout("x", source="gsm8k").prompt).error == (
        "no reward part applies to a prompt of source 'gsm8k' without audio"
    )


def test_one_error_is_an_error_of_the_whole(rollout):
    accuracy, form = PartConfig("math"), PartConfig("format", "format", 0.2)
    verdict = combine([(accuracy, Verdict(error="deadline")), (form, Verdict(1.0))], rollout("x").prompt)
    assert (verdict.error, verdict.score, verdict.parts) == ("accuracy: deadline", 0.0, {"format": 1.0})


def test_parts_of_a_part_are_named_under_it(rollout):
    verdict = combine([(PartConfig("a:b", "sound"), Verdict(0.5, {"true": 2.0}))], rollout("x").prompt)
    assert verdict.parts == {"sound": 0.5, "sound/true": 2.0}


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Verdict(0.2, {"accuracy": 1.0, "format": 0.0}), True),
        (Verdict(0.8, {"accuracy": 0.0, "format": 1.0}), False),
        (Verdict(0.5), True),
        (Verdict(0.4), False),
        (Verdict(parts={"accuracy": 1.0}, error="format: crashed"), False),
    ],
)
def test_correct(verdict, expected):
    assert correct(verdict) is expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"parts": []}, "reward.parts: empty; name at least one verifier"),
        ({"parts": [{"verifier": "math", "wieght": 1}]}, r"reward.parts\[0\]: unknown key 'wieght'.*'weight'"),
        ({"parts": [{"verifier": "math", "weight": float("nan")}]}, r"parts\[0\].weight: nan is not a finite number"),
        ({"parts": [{"verifier": "math", "when": {"sources": "x"}}]}, r"parts\[0\].when: unknown key .*mean 'source'"),
        ({"parts": [{"verifier": "math", "when": {"audio": "yes"}}]}, r"when.audio: expected true or false; got 'yes'"),
        ({"parts": [{"verifier": "math", "when": {"source": 3}}]}, r"when.source: expected a source's name or a list"),
        ({"parts": [{"verifier": "math"}, {"verifier": "text"}]}, r"parts\[1\]: named 'accuracy' like parts\[0\]"),
        (
            {
                "parts": [
                    {"verifier": "math", "when": {"source": ["a", "b"]}},
                    {"verifier": "text", "when": {"source": "b"}},
                ]
            },
            r"both may judge the same prompt",
        ),
        ({**PAPER, "workers": 0}, "reward.workers: 0 is too small; at least 1"),
        ({**PAPER, "deadline_s": 0}, "reward.deadline_s: 0.0 is not a positive number of seconds"),
        ({**PAPER, "memory_mb": 1}, "reward.memory_mb: 1 is too small"),
        ({**PAPER, "max_error_share": 2}, "reward.max_error_share: 2.0 is not between 0 and 1"),
    ],
)
def test_mistakes_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        build(RewardConfig, values, "reward")
