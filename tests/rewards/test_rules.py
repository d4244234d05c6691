"""The verifiers that are rules: numbers, transcripts, options, puzzles, lengths, loops and languages."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_data import data_file

from rewards.combine import PartConfig, RewardConfig
from rewards.contract import Case
from rewards.service import RewardService
from rewards.verifiers import choice, format, language, length, logic, numeric, repetition, text, wer
from rl.algorithms.advantages import overlong_penalty
from rl.config import ConfigError


def score(
    verifier: Any, pred: str, gold: str | None = None, question: str = "", fields: Any = None, **args: Any
) -> float:
    rollout = Case(pred, gold, question=question, fields=fields or {}).rollout()
    return verifier.verify(rollout.prompt, rollout, **args).score


@pytest.mark.parametrize(
    ("pred", "gold", "args", "right"),
    [
        ("1,234,567", "1234567", {}, True),
        ("about -3.5 dB", "-3.5", {}, True),
        ("−3.5", "-3.5", {}, True),
        ("6.02e23", "602000000000000000000000", {}, True),
        ("$6.02 \\times 10^{23}$", "6.02e23", {}, True),
        (".5", "1/2", {}, True),
        ("twelve", "12", {}, True),
        ("A4 has 440 Hz", "440", {}, True),
        ("from 100 Hz it rises to 200 Hz", "200", {}, True),
        ("The result is 5\nbecause of 3 reasons", "5", {}, True),
        ("<answer>5</answer> or 6", "5", {}, True),
        ("105", "100", {"relative": 0.05}, True),
        ("105.1", "100", {"relative": 0.05}, False),
        ("102", "100", {"absolute": 2}, True),
        ("103", "100", {"absolute": 2}, False),
        ("100 or 200", "200", {}, False),
        ("\\boxed{100, 200}", "200", {}, False),
        ("1 2 3 4 5", "5", {}, False),
        ("1\n2\n3", "3", {}, False),
        ("no number", "3", {}, False),
        ("1/0", "3", {}, False),
        ("9" * 400, "3", {}, False),
    ],
)  # fmt: skip
def test_numeric(pred: str, gold: str, args: dict[str, float], right: bool):
    assert score(numeric, pred, gold, **args) == float(right)


@settings(max_examples=100, deadline=None)
@given(st.floats(-1e9, 1e9), st.sampled_from(["{:.6g}", "It is {:.6g}.", "\\boxed{{{:.6e}}}", "{:,.6f} Hz"]))
def test_numeric_reads_what_python_writes(value: float, dress: str):
    assert score(numeric, dress.format(value), f"{value:.6f}", absolute=1e-5, relative=1e-5) == 1.0


def test_numeric_needs_one_number_as_gold():
    with pytest.raises(ValueError, match="is not one number"):
        score(numeric, "3", "many")


@given(
    st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1),
    st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1),
)
def test_wer_is_jiwers(reference: list[str], heard: list[str]):
    expected = max(0.0, 1 - jiwer.wer(" ".join(reference), " ".join(heard[: 20 * len(reference)])))
    assert score(wer, " ".join(heard), " ".join(reference)) == pytest.approx(expected)


def test_wer_of_characters_and_of_everything_said():
    assert score(wer, "今天，天气好。", "今天天气好", characters=True) == 1.0
    assert score(wer, "The Cat", "the cat", normalise=False) == 0.0
    with pytest.raises(ValueError, match="no transcript"):
        score(wer, "a", "...")


def test_f1_is_of_words():
    assert score(text, "in the year 1912", "1912", f1=True) == pytest.approx(2 / 5)
    assert score(text, "nothing of it", "1912", f1=True) == 0.0
    assert score(text, "x", "a", fields={"answers": ["b", "x"]}) == 1.0


def rows(name: str) -> list[dict[str, Any]]:
    whole = data_file(name).read_text()
    return json.loads(whole) if name.endswith(".json") else [json.loads(line) for line in whole.splitlines()]


def test_the_official_rules_on_the_official_records():
    for row in rows("benchmark_formats/mmau_test_mini_sample.json"):
        fields = {"choices": row["choices"]}
        for i, option in enumerate(row["choices"]):
            right = float(option == row["answer"])
            assert (
                score(choice, f"<think>?</think>{option.upper()}!", row["answer"], fields=fields, rule="mmau") == right
            )
            letter = "ABCDEFGH"[i]
            assert score(choice, f"{letter}. {option}", row["answer"], fields=fields, rule="mmsu") == right
            assert score(choice, f"The answer is {letter}.", row["answer"], fields=fields, rule="mmsu") == right
            assert score(choice, letter, row["answer"], fields=fields, rule="strict") == right
            assert score(choice, option, row["answer"], fields=fields, rule="strict") == right
            assert score(choice, f"({letter})", row["answer"], fields=fields) == right
        everything = " ".join(row["choices"])
        assert score(choice, everything, row["answer"], fields=fields, rule="mmau") == 0.0
        assert score(choice, everything, row["answer"], fields=fields, rule="strict") == 0.0
        assert score(choice, "", row["answer"], fields=fields, rule="mmau") == 0.0


def test_rules_of_choice_are_named():
    with pytest.raises(ConfigError, match=r"unknown rule 'stict'; did you mean 'strict'\?"):
        score(choice, "A", "A", rule="stict")
    with pytest.raises(ValueError, match="compares with the options' texts"):
        score(choice, "A", "A", rule="mmau")


def test_knights_and_knaves():
    for row in rows("kk_logic/data.jsonl")[::10]:
        names, solution = row["names"], row["solution"]
        told = [f"{n} is a {'knight' if k else 'knave'}" for n, k in zip(names, solution, strict=True)]
        flipped = [told[0].replace("knight", "KNAVE").replace("knave", "knight").lower(), *told[1:]]
        for fields in ({}, {"names": names, "solution": solution}):
            gold = row["answer_final"]
            assert score(logic, row["answer_final"], gold, fields=fields) == 1.0
            assert score(logic, "So " + ", ".join(told) + ".", gold, fields=fields) == 1.0
            assert score(logic, "\n".join(told[1:]), gold, fields=fields) == 0.0
            assert score(logic, "\n".join(flipped), gold, fields=fields) == 0.0
            assert score(logic, "\n".join(flipped), gold, fields=fields, partial=True) == (len(names) - 1) / len(names)
            both = [f"{n} is a knight\n{n} is a knave" for n in names]
            assert score(logic, "\n".join(both), gold, fields=fields) == 0.0
            everyone = ", ".join(names[:-1]) + f" and {names[-1]} are knights"
            assert score(logic, everyone, gold, fields=fields) == float(all(solution))


def test_format_graded():
    for turn, expected in {
        "<think>a</think>b": 1.0,
        "<think>a</think>": 0.75,
        "<think></think>b": 0.75,
        "a</think>b": 0.75,
        "Oh <think>a</think>b": 0.75,
        "<think>a</think>b</think>c": 0.5,
        "<think>a": 0.25,
        "a": 0.0,
    }.items():
        assert score(format, turn, graded=True) == expected, turn
        assert score(format, turn) == float(expected == 1.0)


def test_length_is_one_plus_dapos_penalty():
    import torch

    for count in (1, 5, 6, 7, 8, 9, 10, 11, 30):
        penalty = float(overlong_penalty(torch.tensor([count]), 10, 4)[0])
        assert score(length, "a " * count, max_tokens=10, buffer=4) == pytest.approx(1 + penalty)
    rollout = replace(Case("a b", None).rollout(), finish_reason="length")
    assert length.verify(rollout.prompt, rollout, max_tokens=10, buffer=4).score == 0.0
    with pytest.raises(ValueError, match="0 < buffer ≤ max_tokens"):
        score(length, "a", max_tokens=4, buffer=5)


def test_repetition():
    prose = "First I listen for the pitch, which is low; then the tempo, which is slow. So the mood may be called calm."
    assert score(repetition, prose) == 1.0
    assert score(repetition, prose + " Hmm," * 12) == 0.0
    assert score(repetition, prose + " It is calm, no it is not. " * 5 + "It is calm") == 0.0
    assert score(repetition, (prose + " ") * 2) == pytest.approx(1.0 - (0.5 - 0.2) / 0.8, abs=0.1)
    assert score(repetition, "ha ha ha") == 1.0
    assert score(repetition, "| 1 | 2 | 3 |\n| 4 | 5 | 6 |\n| 7 | 8 | 9 |") == 1.0
    with pytest.raises(ValueError, match="n ≥ 1"):
        score(repetition, "a", n=0)


SPOKEN = {
    "en": "The speaker sounds tired because the pitch falls towards the end of every sentence.",
    "de": "Der Sprecher klingt müde, weil die Tonhöhe gegen Ende jedes Satzes deutlich abfällt.",
    "fr": "Le locuteur semble fatigué parce que la hauteur baisse vers la fin de chaque phrase.",
    "es": "El hablante parece cansado porque el tono baja hacia el final de cada frase.",
    "ru": "Говорящий звучит устало, потому что высота голоса падает к концу каждой фразы.",
    "zh": "说话的人听起来很疲倦，因为每句话结束的时候音调都会降低。",
    "ja": "話している人は疲れているようです。文の終わりで声が低くなるからです。",
    "ko": "말하는 사람은 피곤하게 들립니다. 문장이 끝날 때마다 음이 낮아지기 때문입니다.",
    "ar": "يبدو المتحدث متعبا لأن طبقة الصوت تنخفض في نهاية كل جملة.",
}


@pytest.mark.parametrize("asked", SPOKEN)
def test_language(asked: str):
    for written, words in SPOKEN.items():
        expected = (
            1.0 if written == asked else pytest.approx(0.0, abs=0.45 if {written, asked} == {"zh", "ja"} else 0.1)
        )
        assert score(language, words, language=asked) == expected, (written, asked)
    assert score(language, SPOKEN[asked], question=SPOKEN[asked]) == 1.0


def test_language_by_parts_of_the_turn():
    turn = f"<think>{SPOKEN['zh']}</think>{SPOKEN['en']}"
    assert score(language, turn, language="en", where="response") == 1.0
    assert score(language, turn, language="en", where="reasoning") == 0.0
    assert 0.5 < score(language, turn, language="en") < 1.0
    with pytest.raises(ConfigError, match="'xx' cannot be recognised"):
        score(language, "a", language="xx")


def test_a_reward_model_is_asked_in_batches_and_its_faults_are_errors(rollout):
    batches: list[int] = []

    def head(rollouts: Any) -> Any:
        batches.append(len(rollouts))
        if any("poison" in r.text for r in rollouts):
            raise RuntimeError("no such token")
        return np.array([float(len(r.text)) for r in rollouts])

    config = RewardConfig(
        [PartConfig("reward_model", args={"served": "head", "centre": 3.0, "scale": 2.0, "batch": 8})]
    )
    with RewardService(config, models={"head": head}) as service:
        scored = service.score([rollout("a" * n) for n in range(20)])
        values = [s.verdict.parts["accuracy/value"] for s in scored]
        assert values == [float(n) for n in range(20)]
        assert scored[3].verdict.score == 0.5
        assert scored[5].verdict.score == pytest.approx(1 / (1 + np.exp(-1)))
        assert max(batches) <= 8
        *good, bad = service.score([rollout("aaa"), rollout("aaa"), rollout("poison")])
        assert [s.verdict.score for s in good] == [0.5, 0.5]
        assert bad.verdict.error == "accuracy: RuntimeError: no such token"
    with pytest.raises(ConfigError, match="no model is served as 'reward'"):
        RewardService(RewardConfig([PartConfig("reward_model")]))


HANGING = [
    "\\boxed{9^{9^{9^{9}}}}",
    "\\boxed{\\int_0^1 \\frac{x^{1000}\\sin(x^{999})}{\\ln(x+e^{x^{x}})} dx}",
    "\\boxed{" + "(" * 2000 + "1" + ")" * 2000 + "}",
    "\\boxed{" + "\\sqrt{" * 300 + "2" + "}" * 300 + "}",
    "\\boxed{(x+1)^{99999999}}",
    "\\boxed{\\sum_{n=1}^{10^{10^{10}}} \\frac{1}{n!}}",
]


def test_formulas_that_would_hang_an_algebra_system_are_not_worked_out(rollout):
    """Beside a number each is wrong at once, for it is no number in a final form; those between them are right."""
    config = RewardConfig([PartConfig("math")], deadline_s=2.0, memory_mb=512)
    with RewardService(config) as service:
        samples = [rollout(text, "42") for pred in HANGING for text in (pred, "\\boxed{42}")]
        scored = service.score(samples)
    assert [s.verdict.score for s in scored[1::2]] == [1.0] * len(HANGING)
    assert [s.verdict.score for s in scored[::2]] == [0.0] * len(HANGING)
    assert [s.verdict.error for s in scored[::2]] == [None] * len(HANGING)
