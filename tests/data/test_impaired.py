"""Noise at the ratio that is asked for, and a made-up recogniser that errs where it is told to."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from real_data import data_file, real

from rl.audio import encode, waveform
from rl.config import ConfigError
from rl.data.tasks.impaired import Misheard, add_noise, check_noise, draw_noise
from rl.data.tasks.questions import Question
from rl.data.tasks.recordings import recordings
from rl.types import Clip

DIGITS = tuple(map(str, range(10)))


def question(number: int, speaker: str = "george") -> Question:
    answer = " ".join(f"{number:03}")
    return Question(f"string/{number}", "string", "?", answer, answer, DIGITS, ({"speaker": speaker},))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_dial_of_errors(share: float) -> None:
    questions = [question(n) for n in range(1000)]
    heard = [Misheard(share).hear(q) for q in questions]
    wrong = [
        sum(a != b for a, b in zip(h.split(), q.answer.split(), strict=True))
        for h, q in zip(heard, questions, strict=True)
    ]
    assert set(wrong) <= {0, 1}  # one digit of three
    assert np.mean(wrong) == pytest.approx(share, abs=0.03)
    higher = [Misheard(0.6).hear(q) for q in questions]
    assert all(a == b for a, b, is_wrong in zip(heard, higher, wrong, strict=True) if is_wrong and share <= 0.6)


def test_a_voice_on_which_it_is_always_wrong() -> None:
    ear = Misheard.build({"always_wrong": ["jackson"]}, "recordings.external")
    assert all(ear.hear(question(n)) == question(n).answer for n in range(50))
    assert all(ear.hear(question(n, "jackson")) != question(n).answer for n in range(50))


def test_without_other_words_it_hears_nothing() -> None:
    alone = Question("sum/1", "sum", "?", "7", "", (), ())
    assert Misheard(errors=1.0).hear(alone) == ""
    assert Misheard(errors=0.0).hear(alone) == "7"


def test_settings_are_checked() -> None:
    for values, message in (
        ({"errors": 30}, r"recordings.external.errors: 30 is no share"),
        ({"error": 0.3}, r"recordings.external: unknown key 'error'; did you mean 'errors'"),
        ({"always_wrong": 3}, r"recordings.external.always_wrong"),
    ):
        with pytest.raises(ConfigError, match=message):
            Misheard.build(values, "recordings.external")
    for levels in ([], [float("nan")], [0, 100]):
        with pytest.raises(ConfigError, match=r"^p: "):
            check_noise(levels, "p")


@pytest.mark.parametrize("snr_db", [20.0, 0.0, -10.0])
def test_noise_has_its_ratio_to_the_sound(snr_db: float) -> None:
    t = np.arange(16000) / 16000
    tone = (0.9 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
    noisy = waveform(add_noise(Clip(data=encode(tone)), snr_db, "x")).astype(np.float64)
    scale = noisy @ tone / (tone @ tone)
    rest = noisy - scale * tone
    assert 10 * np.log10((scale * tone) @ (scale * tone) / (rest @ rest)) == pytest.approx(snr_db, abs=0.3)
    assert np.abs(noisy).max() <= 1
    assert waveform(add_noise(Clip(data=encode(np.zeros(800, np.float32))), 0, "x")).max() == 0


def test_levels_are_drawn_equally_often() -> None:
    counts = Counter(draw_noise([20, 0, -10], f"{n}") for n in range(3000))
    assert all(abs(count - 1000) < 100 for count in counts.values())


@real
def test_strings_of_real_digits() -> None:
    settings = {"path": str(data_file("fsdd")), "kinds": ["string"], "limit": 6, "speakers": ["jackson", "theo"]}
    prompts = [*recordings("test", **settings, noise_db=[0], external={"always_wrong": ["theo"]})]
    assert len(prompts) == 6
    for prompt in prompts:
        (attributes,) = prompt.fields["attributes"]  # type: ignore[misc]  # a field may hold anything
        assert prompt.answer == attributes["digits"]
        assert {part.split("_")[1] for part in prompt.id.split("/")[1:]} == {attributes["speaker"]}
        assert (prompt.fields["external"] == prompt.answer) == (attributes["speaker"] == "jackson")
        assert prompt.fields["noise_db"] == 0
        assert len(waveform(prompt.clips[0])) == pytest.approx(2.2 * 16000, abs=2)
    plain = next(iter(recordings("test", **settings)))
    assert plain.clips[0].data != prompts[0].clips[0].data
    assert "external" not in plain.fields
