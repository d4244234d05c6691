from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.contract import Case
from rewards.grounding.tones import tone
from rewards.verifiers.grounding import find_surrogates, verify
from rl.types import Clip, Verdict

LOW, HIGH = tone(150, 0.4, -35), tone(600, 1.6, -15)
BEATS = tone(440, 0.05, -20, then=(440, 440, 440), gap_s=0.2)


def verdict(chain: str, *clips: Clip, **args: float) -> Verdict:
    rollout = Case(f"<think>\n{chain}\n</think>\nA", None, clips=clips).rollout()
    return verify(rollout.prompt, rollout, **args)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("clips", "true", "false"),
    [
        ((LOW,), "The pitch is low.", "The pitch is high."),
        ((LOW,), "It is about 150 Hz.", "It is about 200 Hz."),
        ((LOW,), "It is quiet.", "It is loud."),
        ((HIGH,), "It is loud.", "It is quiet."),
        ((LOW,), "It lasts 0.4 s.", "It lasts 0.8 s."),
        ((LOW,), "A short tone.", "It is not short."),
        ((HIGH,), "The pitch is steady.", "The pitch is falling."),
        ((HIGH,), "The pitch is above 500 Hz.", "The pitch is below 500 Hz."),
        ((LOW, HIGH), "The second is higher.", "The first is higher."),
        ((LOW, HIGH), "The first is not louder than the second.", "The second is not louder than the first."),
        ((LOW, HIGH), "The second clip lasts longer than the first.", "The first clip lasts longer than the second."),
        ((LOW, HIGH), "The last one is higher.", "The last one is lower."),
        ((LOW, HIGH), "The last clip is louder than the first.", "The last one has the same pitch."),
        ((LOW, HIGH), "The second is two octaves up: the first is at 150 Hz.", "The first is at 600 Hz."),
        ((LOW, LOW), "Both have the same pitch.", "The second is louder than the first."),
        ((BEATS,), "There are four beats.", "There are five beats."),
        ((BEATS,), "There are at most seven beats.", "There are at most three beats."),
        ((BEATS,), "There are at least three beats.", "There are at least six beats."),
        ((tone(200, 0.3, then=(400,), gap_s=0.2),), "The last one is higher.", "The last one is lower."),
        ((BEATS,), "The beats come at 4 per second.", "The beats come at 8 per second."),
        ((tone(200, 0.6, to_hertz=500),), "The pitch rises.", "The pitch falls."),
        ((tone(200, 0.6, to_hertz=500),), "It goes from 200 Hz to 500 Hz.", "It goes from 500 Hz to 200 Hz."),
        ((tone(200, 0.3, then=(400, 300)),), "The second tone is the highest.", "The third tone is the highest."),
        ((tone(200, 0.6, to_hertz=500),), "It starts low and ends high.", "It starts high and ends low."),
        ((tone(200, 0.6, to_hertz=500),), "It starts at 200 Hz.", "It ends at 200 Hz."),
        ((LOW, HIGH), "First I hear a low tone, then a high tone.", "First I hear a high tone, then a low tone."),
        ((tone(200, 0.3, then=(400, 300)),), "First 200 Hz, then 400 Hz, then 300 Hz.", "First 400 Hz, then 200 Hz."),
        ((tone(200, 0.3, then=(400, 300)),), "Tones at 200, 400 and 300 Hz.", "Tones at 400, 200 and 300 Hz."),
        ((LOW, HIGH), "The first is the least loud.", "The second is the least loud."),
        ((LOW, HIGH), "The second is higher, 600 Hz versus 150 Hz.", "The second is higher, 150 Hz versus 600 Hz."),
        ((tone(200, 0.3, then=(400, 300)),), "200Hz 400Hz 300Hz", "200Hz 300Hz 400Hz"),
        ((tone(0, 0.5),), "no pitch", "The pitch is about 200 Hz."),
    ],
)
def test_true_and_false(clips: tuple[Clip, ...], true: str, false: str):
    accepted, rejected = verdict(true, *clips).parts, verdict(false, *clips)
    assert accepted["checked"] == accepted["true"] > 0
    assert rejected.parts["true"] < rejected.parts["checked"]
    assert rejected.reason.startswith("false: ")


def test_the_score_is_as_documented():
    half = verdict("The pitch is low. It is loud.", LOW)
    assert (half.parts["true"], half.parts["checked"]) == (1, 2)
    assert half.score == pytest.approx(0.7 * 0.5 + 0.3)
    assert verdict("The pitch is low.", LOW).score == pytest.approx(0.7 * 0.5 + 0.3)
    assert verdict("The pitch is low.", LOW, min_claims=1).score == 1.0
    assert verdict("The pitch is low.", LOW, min_claims=1, min_features=2).score == pytest.approx(0.7 + 0.15)
    assert verdict("The pitch is low.", LOW, measured_weight=1.0).score == 0.5


@pytest.mark.parametrize(
    ("chain", "true", "checked"),
    [
        ("The second is higher. The first is lower. The second is the highest. The last is not lower.", 1, 1),
        ("The second is higher and louder.", 2, 2),
        ("The first is 150 Hz. The first is 151 Hz. The first is above 140 Hz.", 1, 1),
        ("The first is 150 Hz, the second 600 Hz.", 2, 2),
        ("The first is not rising. The first is not falling.", 1, 1),
        ("The second is higher. The first is higher. The second is lower.", 1, 2),
        ("The first is 150 Hz. The first is 300 Hz. The first is 400 Hz.", 1, 3),
        ("It is false that the second is higher.", 0, 1),
    ],
)
def test_one_fact_counts_once(chain: str, true: int, checked: int):
    parts = verdict(chain, LOW, HIGH).parts
    assert (parts["true"], parts["checked"]) == (true, checked)


def test_a_textual_surrogate_counts_against():
    clean, textual = (
        "The pitch is low and it is quiet.",
        "The lyrics mention a storm. The pitch is low and it is quiet.",
    )
    assert verdict(textual, LOW).score < verdict(clean, LOW).score == 1.0
    assert verdict("The lyrics mention sadness.", LOW).score == 0
    assert verdict(textual, LOW, surrogate_weight=0.0).score == 1.0


@pytest.mark.parametrize(
    "phrase",
    [
        "the lyrics mention sadness",
        "The transcript says it",
        "according to the text",
        "the text states that",
        "based on the transcription",
        "In the lyrics there is hope",
        "the description indicates a dog",
        "the wording suggests anger",
    ],
)
def test_surrogates_are_found(phrase: str):
    assert find_surrogates(phrase)
    assert not find_surrogates(f"I do not rely on what {phrase}") or phrase.startswith(("according", "based", "In"))


@pytest.mark.parametrize("phrase", ["the voice says seven", "the pitch suggests anger", "the contour reads as rising"])
def test_what_is_no_surrogate(phrase: str):
    assert not find_surrogates(phrase)


def test_what_says_nothing_stays_open():
    for chain in ("The pitch is above 20 Hz.", "The pitch is between 20 and 8000 Hz.", "It is not 8000 Hz."):
        assert verdict(chain, LOW).parts["checked"] == 0
    for chain in (
        "At most 50 tones.",
        "No more than 9 tones.",
        "The first clip has at most 50 tones.",
        "clip 0 is low",
    ):
        assert verdict(chain, LOW, HIGH).parts["checked"] == 0
        assert verdict(chain, tone(0, 0.5, -100)).parts["true"] == 0
    for chain in (
        "In the second half the pitch is steady.",
        "It fades within the first 0.1 s.",
        "It rises, then falls.",
    ):
        assert verdict(chain, LOW).parts["checked"] == 0
    assert verdict("At least 2 beats.", tone(440, 0.05, -20, then=(440,) * 8, gap_s=0.2)).parts["checked"] == 0
    assert verdict("The last is higher than the second.", LOW, HIGH).parts["checked"] == 0


def test_no_chain_no_score():
    rollout = Case("The pitch is low.", None, clips=(LOW,)).rollout()
    assert verify(rollout.prompt, rollout).score == 0


def test_a_prompt_without_audio_is_an_error():
    with pytest.raises(ValueError, match="has no audio"):
        verdict("The pitch is low.")


def test_broken_audio_is_an_error():
    with pytest.raises(ValueError, match="no audio that can be read"):
        verdict("The pitch is low.", Clip(data=b"noise"))


@settings(deadline=None)
@given(st.text(max_size=300), st.integers(1, 2))
def test_any_chain_is_judged(chain: str, clips: int):
    assert 0 <= verdict(chain, *(LOW, HIGH)[:clips]).score <= 1


@pytest.mark.parametrize("claim", ["is loud", "rises", "is 220 Hz", "has no pitch", "is low, not high"])
def test_silence_has_no_last_sound(claim: str):
    judged = verdict(f"The last sound {claim}.", tone(440, 0.5, -100))
    assert judged.parts["true"] == 0
    assert judged.reason.endswith(": measured no sound)")


def test_silence_and_a_click():
    for clip in (tone(440, 0.03), tone(440, 0.5, -100)):
        verdict("The first tone is higher than the second, about 440 Hz, rising, three beats, loud.", clip)


def test_the_package_carries_the_written_set():
    assert (Path(__file__).parents[3] / "rewards/verifiers/self_cognition.jsonl").is_file()
