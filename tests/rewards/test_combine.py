from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.combine import PartConfig, RewardConfig, combine, correct, is_open
from rewards.contract import NO_OPINION, Case
from rl.config import ConfigError, build
from rl.types import Clip, Message, Prompt, Verdict

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


TWO_LINES = {
    "parts": [
        {"verifier": "choice", "weight": {"text": 1, "audio": 0.8}},
        {"verifier": "format", "name": "format", "weight": {"audio": 0.2}},
    ]
}


def test_the_papers_rule_in_two_lines(rollout):
    config = build(RewardConfig, TWO_LINES, "reward")
    heard, read = rollout("x", clips=(Clip("a.wav"),)).prompt, rollout("x").prompt
    accuracy, form = config.parts
    assert (config.applying(read), config.applying(heard)) == ((0,), (0, 1))
    assert combine([(accuracy, Verdict(1.0))], read).score == 1.0
    assert combine([(accuracy, Verdict(1.0)), (form, Verdict(0.0))], heard).score == pytest.approx(0.8)
    assert combine([(accuracy, Verdict(0.0)), (form, Verdict(1.0))], heard).score == pytest.approx(0.2)


def test_a_gate_lets_a_part_count_only_where_another_scored(rollout):
    accuracy, form = PartConfig("math", weight=0.8), PartConfig("format", "format", 0.2, only_if="accuracy")
    prompt = rollout("x").prompt

    def of(a: Verdict, f: Verdict | None) -> Verdict:
        return combine([(accuracy, a), (form, f)], prompt)

    assert of(Verdict(1.0), Verdict(1.0)).score == pytest.approx(1.0)
    shut = of(Verdict(0.0), Verdict(1.0))
    assert (shut.score, shut.parts) == (0.0, {"accuracy": 0.0, "format": 1.0, "format/counted": 0.0})
    assert of(Verdict(0.0), Verdict(error="hung")).error is None, "what does not count cannot spoil the sum"
    assert of(Verdict(0.0), None).parts == {"accuracy": 0.0, "format/counted": 0.0}
    assert of(Verdict(1.0), Verdict(error="hung")).error == "format: hung"
    assert of(Verdict(error="hung"), Verdict(1.0)).error == "accuracy: hung; format: its gate 'accuracy' has no verdict"
    assert combine([(form, Verdict(1.0))], prompt).score == 0.0


def test_a_gate_may_name_a_least_score_and_an_inner_part(rollout):
    sound, form = PartConfig("a:b", "sound"), PartConfig("format", "format", only_if={"sound/true": 2, "sound": 0.5})
    RewardConfig([sound, form]).validate("reward")
    for score, true, counted in ((0.5, 2.0, True), (0.4, 2.0, False), (0.5, 1.0, False)):
        parts = {"sound": score, "sound/true": true}
        assert is_open(form, parts) == counted
        verdict = combine([(sound, Verdict(score, {"true": true})), (form, Verdict(1.0))], rollout("x").prompt)
        assert verdict.score == score + counted


def test_success_is_the_accuracy_where_it_has_an_opinion(rollout):
    accuracy, form = PartConfig("a:b", only_if="format"), PartConfig("format", "format", 0.5)
    config, prompt = RewardConfig([accuracy, form]), rollout("x").prompt

    def success(a: Verdict | None, f: float) -> float:
        return config.success(prompt, combine([(accuracy, a), (form, Verdict(f))], prompt))

    assert [success(Verdict(a), 1.0) for a in (0.0, 1.0)] == [0.0, 1.0]
    assert success(None, 0.0) == 0.0, "its gate is closed"
    assert success(Verdict(0.0, {NO_OPINION: 1.0}), 1.0) == 0.5, "the score"


def test_clipping(rollout):
    part = PartConfig("a:b", "tone", weight=2.0, clip=(0.25, 0.75))
    prompt = rollout("x").prompt
    assert [combine([(part, Verdict(s))], prompt).score for s in (0.0, 0.5, 1.0)] == [0.5, 1.0, 1.5]
    assert combine([(part, Verdict(1.0))], prompt).parts == {"tone": 1.0}
    assert combine([(part, Verdict(1.0))], prompt, clip=(0.0, 1.0)).score == 1.0
    assert combine([(PartConfig("a:b", weight=-1.0), Verdict(1.0))], prompt, clip=(0.0, 1.0)).score == 0.0


def test_fields_route(rollout):
    config = RewardConfig([
        PartConfig("choice", when={"field": {"task": ["pitch", "tempo"]}}),
        PartConfig("text", when={"field": {"task": "transcript"}, "text": True}),
    ])  # fmt: skip
    config.validate("reward")
    tasks = ("pitch", "tempo", "transcript", "other")
    assert [config.applying(rollout("x", fields={"task": t}).prompt) for t in tasks] == [(0,), (0,), (1,), ()]
    assert config.applying(rollout("x").prompt) == ()


names = st.sampled_from(["a", "b"])
whens = st.fixed_dictionaries(
    {},
    optional={
        "source": names | st.lists(names, min_size=1),
        "audio": st.booleans(),
        "text": st.booleans(),
        "field": st.dictionaries(st.sampled_from(["k", "l"]), st.integers(0, 1) | st.just([0, 1]), min_size=1),
    },
)
weights = st.floats(-2, 2) | st.dictionaries(st.sampled_from(["text", "audio"]), st.floats(-2, 2), min_size=1)
some_parts = st.builds(PartConfig, verifier=st.just("math"), when=st.none() | whens, weight=weights)
prompts = st.builds(
    Prompt,
    id=st.just("p"),
    messages=st.just((Message("user", "q"),)),
    source=names,
    clips=st.sampled_from([(), (Clip("a.wav"),)]),
    fields=st.dictionaries(st.sampled_from(["k", "l"]), st.integers(0, 1)),
)
verdicts = st.builds(Verdict, st.floats(0, 1)) | st.just(Verdict(error="hung"))


@given(some_parts, some_parts, prompts)
def test_parts_that_are_called_disjoint_never_meet(a: PartConfig, b: PartConfig, prompt: Prompt):
    assert a.disjoint(b) == b.disjoint(a)
    if a.disjoint(b):
        assert not (a.applies(prompt) and b.applies(prompt))


@given(st.lists(st.tuples(st.floats(-2, 2), verdicts, st.sets(st.integers(0, 4))), min_size=1, max_size=5))
def test_an_error_is_never_a_score(drawn: list[tuple[float, Verdict, set[int]]]):
    """Whatever weights, gates and verdicts: the score is the sum over open gates, or there is an error and no score."""
    parts = [
        PartConfig("math", str(i), weight, only_if={str(g): 0.5 for g in gates if g != i and g < len(drawn)})
        for i, (weight, _, gates) in enumerate(drawn)
    ]
    said = {part.name: verdict for part, (_, verdict, _) in zip(parts, drawn, strict=True)}
    verdict = combine([(part, said[part.name]) for part in parts], Case("x", None).rollout().prompt)
    unknown = any(said[g].error for part in parts for g in part.gates)
    counting = [p for p in parts if all(said[g].error is None and said[g].score >= 0.5 for g in p.gates)]
    if unknown or any(said[part.name].error for part in counting):
        assert verdict.error is not None
        assert verdict.score == 0.0
    else:
        assert verdict.error is None
        assert verdict.score == pytest.approx(sum(p.weight_for(None) * said[p.name].score for p in counting))  # type: ignore[arg-type]
    assert {n: s for n, s in verdict.parts.items() if "/" not in n} == {
        n: v.score for n, v in said.items() if v.error is None
    }


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
        ({"parts": [{"verifier": "math", "weight": {"sound": 1}}]}, r"weight: unknown key 'sound'; known: audio, text"),
        ({"parts": [{"verifier": "math", "weight": {"audio": 1}, "when": {"text": True}}]}, r"\[0\]: judges no prompt"),
        ({"parts": [{"verifier": "math", "weight": "much"}]}, r"weight: expected a number; got 'much'"),
        (
            {"parts": [{"verifier": "math", "when": {"field": "pitch"}}]},
            r"when.field: expected fields and their values",
        ),
        (
            {"parts": [{"verifier": "math", "clip": [1, 0]}]},
            r"parts\[0\].clip: \[1.0, 0.0\] is not \[lowest, highest\]",
        ),
        ({"parts": [{"verifier": "math"}], "clip": [1]}, r"reward.clip: expected a list of 2; got \[1\]"),
        ({"parts": [{"verifier": "math", "only_if": "accuracy"}]}, r"parts\[0\].only_if: no other part 'accuracy'"),
        (
            {"parts": [{"verifier": "math"}, {"verifier": "format", "name": "form", "only_if": "acuracy"}]},
            r"parts\[1\].only_if: no other part 'acuracy'; did you mean 'accuracy'\?",
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
