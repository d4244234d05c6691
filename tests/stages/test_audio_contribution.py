"""What must be heard is kept, what text gives away is dropped: chance, power, and a filter of several steps."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from rl.config import ConfigError, build
from rl.stages.audio_contribution import ControlTest, count_options, fewest_to_drop, power, samples_needed, tail
from rl.stages.curate import Config, ask_without_sound, fingerprint_of, run
from rl.stages.prompt_filter import Row, apply_control, control_metrics, describe_drops, funnel, verdicts_needed
from rl.types import Clip, Message, Prompt


def row(id: str, dropped_by: str = "") -> Row:
    return {"id": id, "correct": 4, "k": 8, "keep": not dropped_by, "dropped_by": dropped_by, "silenced": None}


def test_the_tail_of_the_binomial() -> None:
    assert tail(0, 8, 0.25) == pytest.approx(1.0)
    assert tail(8, 8, 0.5) == pytest.approx(1 / 256)
    assert tail(5, 8, 0.25) == pytest.approx(0.02729797, abs=1e-7)  # scipy.stats.binom.sf(4, 8, 0.25)
    assert tail(4, 8, 0.25) == pytest.approx(0.11381531, abs=1e-7)


@pytest.mark.parametrize(
    ("samples", "chance", "fewest"),
    [(8, 0.25, 5), (8, 0.5, 7), (4, 0.5, None), (5, 0.5, 5), (2, 0.25, None), (3, 0.25, 3), (1, 0.04, 1), (8, 0.1, 3)],
)
def test_from_how_many_right_answers_on_a_prompt_is_dropped(samples: int, chance: float, fewest: int | None) -> None:
    assert fewest_to_drop(samples, chance, 0.05) == fewest
    assert (power(samples, chance, 0.05, 1.0) == 1.0) == (fewest is not None)


def test_samples_needed_are_the_fewest_that_do() -> None:
    for chance in (0.1, 0.25, 1 / 3, 0.5):
        needed = samples_needed(chance, 0.05)
        assert needed is not None
        assert power(needed, chance, 0.05, 0.9) >= 0.95
        assert all(power(fewer, chance, 0.05, 0.9) < 0.95 for fewer in range(1, needed))
    assert samples_needed(0.5, 0.05) == 13
    found = [round(power(samples, 0.5, 0.05, 0.9), 3) for samples in (13, 14, 15)]
    assert found == [0.966, 0.956, 0.944], "with one more it may take one more right answer"
    assert samples_needed(0.9, 0.05) is None, "who guesses as well as the text tells cannot be told apart"


@pytest.mark.parametrize(
    ("chance", "fewest", "above"),
    # scipy.stats.binom.isf(0.05, 1100, chance) + 1, and binom.sf of one less than that
    [(0.5, 578, 0.048605034739), (0.25, 300, 0.044994383483), (0.1, 128, 0.041549568211)],
)
def test_many_samples_have_a_tail_too(chance: float, fewest: int, above: float) -> None:
    """The number of ways to choose half of 1,100 is beyond the range of floats."""
    assert fewest_to_drop(1100, chance, 0.05) == fewest
    assert tail(fewest, 1100, chance) == pytest.approx(above, rel=1e-8)
    assert tail(0, 1100, chance) == pytest.approx(1.0, rel=1e-9)
    assert (tail(1100, 1100, 1.0), tail(1100, 1100, chance) < 1e-300) == (1.0, True)


EXACT = {
    (2, 8): (0.0351562, 0.8131),
    (2, 16): (0.0384064, 0.9830),
    (2, 32): (0.0250512, 0.9998),
    (3, 8): (0.0196616, 0.9619),
    (3, 16): (0.0499625, 0.9999),
    (3, 32): (0.0376533, 1.0000),
    (4, 8): (0.0272980, 0.9950),
    (4, 16): (0.0271300, 1.0000),
    (4, 32): (0.0377513, 1.0000),
    (5, 8): (0.0104064, 0.9950),
    (5, 16): (0.0266573, 1.0000),
    (5, 32): (0.0410883, 1.0000),
}
"""(options, samples) -> exact (level, power) from scipy.stats.binom.sf, as docs/benchmark_sets.md prints them."""


@pytest.mark.parametrize(("options", "samples"), EXACT)
def test_the_exact_level_is_at_most_5_percent(options: int, samples: int) -> None:
    level, found = EXACT[options, samples]
    fewest = fewest_to_drop(samples, 1 / options, 0.05)
    assert fewest is not None
    assert tail(fewest, samples, 1 / options) == pytest.approx(level, abs=1e-6)
    assert tail(fewest, samples, 1 / options) <= 0.05
    assert power(samples, 1 / options, 0.05, 0.9) == pytest.approx(found, abs=1e-4)


@pytest.mark.parametrize(("options", "samples"), EXACT)
def test_planted_questions_are_found_and_others_kept(options: int, samples: int) -> None:
    """A third of 3,000 questions is given away by the text (right 90 % of the time in silence), the rest is guessed."""
    rng, chance = random.Random(options * 100 + samples), 1 / options
    planted = {f"p{i}" for i in range(1000)}
    rows = [row(f"p{i}") for i in range(3000)]
    right = {r["id"]: [rng.random() < (0.9 if r["id"] in planted else chance) for _ in range(samples)] for r in rows}
    apply_control("silenced", rows, right, dict.fromkeys(right, chance), 0.05, samples)
    dropped = {r["id"] for r in rows if not r["keep"]}
    false_alarms, found = len(dropped - planted) / 2000, len(dropped & planted) / 1000
    level, expected = EXACT[options, samples]
    # 2,000 draws at a level of 5 % have a standard deviation of 0.5 points
    assert false_alarms == pytest.approx(level, abs=0.015)
    assert found == pytest.approx(expected, abs=0.04)


def test_one_filter_and_one_funnel() -> None:
    config = build(Config, {"data": "d", "least": {"grounding": 0.3}, "controls": {"silenced": {"samples": 16}}})
    rows = [row("a"), row("b", "difficulty"), row("c", "least"), row("d"), row("e"), row("f"), row("g"), row("text")]
    right = {
        "a": [True] * 15 + [False],
        "d": [True] * 4 + [False] * 12,
        "e": [],  # every verdict is an error
        "f": [True, False],  # nearly all are: not even two right ones could drop it
    }
    # g has sound, and no partner to swap it with
    apply_control("silenced", rows, right, dict.fromkeys("adefg", 0.25), 0.05, 16)
    assert [(r["id"], r["dropped_by"], r["keep"]) for r in rows] == [
        ("a", "silenced", False), ("b", "difficulty", False), ("c", "least", False), ("d", "", True),
        ("e", "silenced_unknown", False), ("f", "silenced_unknown", False), ("g", "silenced_unknown", False), ("text", "", True),
    ]  # fmt: skip
    steps = {"medium": 7, "enough grounding": 6, "tested silenced": 3, "not right silenced": 2}
    assert funnel(rows, config) == steps
    for r in rows:
        r.setdefault("silenced_k", None)
    assert control_metrics(rows, config) == {
        "dropped_silenced": 1.0,
        "dropped_silenced_unknown": 3.0,
        "accuracy_silenced": 20 / 34,
    }
    assert describe_drops(rows, config) == "; dropped 1 by least, 1 right silenced, 3 not tested silenced"
    tested = [r for r in rows if r["dropped_by"] != "silenced_unknown"]
    assert "tested silenced" not in funnel(tested, config)
    plain = build(Config, {"data": "d"})
    assert (funnel(rows, plain), describe_drops(rows, plain)) == ({}, "")


def test_a_control_needs_as_many_verdicts_as_can_drop_a_prompt() -> None:
    needed = [verdicts_needed(16, 0.5, 0.05), verdicts_needed(16, 0.25, 0.05), verdicts_needed(2, 0.5, 0.05)]
    assert needed == [5, 3, 2]
    assert all(
        fewest_to_drop(n, chance, 0.05) is not None and fewest_to_drop(n - 1, chance, 0.05) is None
        for chance in (0.5, 1 / 3, 0.25, 0.1)
        for n in [verdicts_needed(32, chance, 0.05)]
    )


def test_prompts_without_a_partner_are_not_kept(tmp_path: Path) -> None:
    """Nobody is asked: there is no engine, and the rows of those with sound are dropped all the same."""
    from contexts import context

    sound = [Prompt(str(n), (Message("user", "?"),), "a", clips=(Clip("x.wav"),) * n) for n in (1, 2)]
    prompts = [*sound, Prompt("text", (Message("user", "?"),), "a")]
    rows = [row(prompt.id) for prompt in prompts]
    config = build(Config, {"data": "d", "temperature": 1.0, "controls": {"swapped": {}}})
    ask_without_sound("swapped", rows, prompts, config, context(tmp_path / "curate", {}))
    assert [r["dropped_by"] for r in rows] == ["swapped_unknown", "swapped_unknown", ""]


def test_chance_is_one_over_the_options_or_the_stated_bound() -> None:
    def prompt(**fields: object) -> Prompt:
        return Prompt("x", (Message("user", "?"),), "a", fields=fields)

    test = ControlTest(guess=0.2)
    assert [count_options(prompt(options=o)) for o in (["a", "b"], {"A": "x", "B": "y", "C": "z"}, ["a"], "ab", None)] == [
        2, 3, 0, 0, 0,
    ]  # fmt: skip
    assert test.chance(prompt(choices=["a", "b", "c", "d"])) == 0.25
    assert test.chance(prompt()) == 0.2


def test_rl_check_says_how_many_samples_it_takes() -> None:
    (line,) = build(Config, {"data": "d", "controls": {"silenced": {}}}).notes("stages[0].curate", 100)
    assert line.startswith(
        "stages[0].curate.controls.silenced: at 5% a prompt is dropped with 2 options from 7 of 8 right on"
    )
    assert f"{samples_needed(0.5, 0.05)} samples find 95%" in line
    (line,) = build(Config, {"data": "d", "samples": 1100, "controls": {"silenced": {}}}).notes("x", 1)
    assert "with 2 options from 578 of 1100 right on (finds 100% of what the text gives away)" in line
    (line,) = build(Config, {"data": "d", "samples": 6, "controls": {"silenced": {"samples": 2}}}).notes("x", 1)
    assert "with 2 options never, 2 samples are too few" in line


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"controls": {"silence": {}}}, "no control 'silence'; did you mean 'silenced'?"),
        ({"controls": {"silenced": {"level": 0}}}, "x.controls.silenced.level: a share between 0 and 1"),
        ({"controls": {"silenced": {"guess": 1}}}, "x.controls.silenced.guess: a chance between 0 and 1"),
        ({"controls": {"silenced": {"samples": 0}}}, "x.controls.silenced.samples: from 1 to 500"),
        ({"controls": {"silenced": {"most": 2}}}, "unknown key 'most'"),
        ({"controls": ["silenced"]}, "expected a mapping"),
        ({"least": {"grounding": 2}}, "scores are at most 1"),
    ],
)
def test_mistakes_are_one_line(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError) as error:
        build(Config, {"data": "d", **settings}, "x")
    assert complaint in str(error.value)


def test_a_filter_that_asks_more_is_another_filter(tmp_path: Path) -> None:
    """Difficulty files of before stay valid; one with controls is reused under the same settings alone."""
    prompts = [Prompt("1", (Message("user", "?"),), "a")]

    def digest(**settings: object) -> str:
        return fingerprint_of(build(Config, {"data": "d", **settings}), tmp_path, prompts, {})

    assert digest() == digest(keep=[1, 2])
    silenced = {"silenced": {}}
    digests = [digest(), digest(controls=silenced), digest(controls=silenced, keep=[1, 2]), digest(least={"a": 0.1})]
    assert len({*digests}) == 4


def test_controls_need_sound(tmp_path: Path) -> None:
    from contexts import context, prompt

    text_only = context(tmp_path / "curate", {"d": [prompt("1"), prompt("2")]})
    with pytest.raises(ValueError, match="controls need prompts with audio, and none has any"):
        run(build(Config, {"data": "d", "temperature": 1.0, "controls": {"silenced": {}}}), text_only)
