"""Right or wrong, faithful or not: what planted faults in chains move."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from rewards.contract import Case
from rewards.grounding.tones import tone
from rewards.verifiers import coherence, grounding
from rl.report.faithful_table import render_faithful
from rl.report.run_data import Stage
from rl.stages.faithfulness import CELLS, HALVES, faithfulness_metrics
from rl.types import Scored, Verdict

FREQUENCIES = (220, 262, 330, 392, 440)
CLIPS = {hertz: tone(hertz, 0.3, -20) for hertz in FREQUENCIES}


def judged(
    number: int, chain: str, answer: str, gold: str, frequencies: tuple[int, int], grounded: bool = True
) -> Scored:
    """One answer with the verdict of both verifiers, combined as a reward does."""
    clips = tuple(CLIPS[hertz] for hertz in frequencies)
    question = "Which is higher?\nA. the first\nB. the second"
    case = Case(
        f"<think>{chain}</think>{answer}", gold, question=question, fields={"options": ["the first", "the second"]}
    )
    rollout = case.rollout()
    rollout = replace(rollout, prompt=replace(rollout.prompt, id=f"p{number}", clips=clips))
    parts = {"accuracy": float(answer == gold)}
    for name, verifier in (("grounding", grounding.verify), ("coherence", coherence.verify)):
        if name == "grounding" and not grounded:
            continue
        verdict = verifier(rollout.prompt, rollout)
        parts |= {name: verdict.score, **{f"{name}/{inner}": value for inner, value in verdict.parts.items()}}
    return Scored(rollout, Verdict(parts["accuracy"], parts))


def chain_of(pair: tuple[int, int], claimed: tuple[float, float] | None = None, concluded: str | None = None) -> str:
    low, high = claimed or pair
    better = "B" if pair[1] > pair[0] else "A"
    return f"The first tone is about {low:.0f} Hz. The second is about {high:.0f} Hz. So the answer is {concluded or better}."


def pairs(count: int) -> list[tuple[int, int]]:
    rng = random.Random(7)
    return [tuple(rng.sample(FREQUENCIES, 2)) for _ in range(count)]  # type: ignore[misc]


def higher(pair: tuple[int, int]) -> str:
    return "B" if pair[1] > pair[0] else "A"


def other(letter: str) -> str:
    return "A" if letter == "B" else "B"


def figures(samples: list[Scored]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in faithfulness_metrics(samples).items() if "/" not in name}


SOUND = [judged(i, chain_of(p), higher(p), higher(p), p) for i, p in enumerate(pairs(200))]


def test_chains_without_a_fault() -> None:
    expected = dict.fromkeys(CELLS, 0.0) | {"right_and_faithful": 1.0, "facts_hold": 1.0, "steps_hold": 1.0}
    assert figures(SOUND) == expected


def test_planted_faults_move_only_their_own_half() -> None:
    """Of 200 chains 60 get a false claim, 40 others a false step; answers stay right."""
    samples = list(SOUND)
    for i in range(60):  # both frequencies off by the same factor: their order, and the conclusion, stay
        pair = pairs(200)[i]
        samples[i] = judged(i, chain_of(pair, (pair[0] * 1.5, pair[1] * 1.5)), higher(pair), higher(pair), pair)
    only_claims = figures(samples)
    assert (only_claims["facts_hold"], only_claims["steps_hold"]) == (0.7, 1.0)
    for i in range(60, 100):  # the chain concludes the other option than is answered
        pair = pairs(200)[i]
        chain = chain_of(pair, concluded=other(higher(pair)))
        samples[i] = judged(i, chain, higher(pair), higher(pair), pair)
    both = figures(samples)
    assert (both["facts_hold"], both["steps_hold"]) == (0.7, 0.8)
    assert both["right_and_faithful"] == 0.5
    assert both["right_but_unfaithful"] == 0.5


@pytest.mark.parametrize(
    ("chain", "answer", "cell"),
    [
        ("The first tone is about 220 Hz. The second is about 440 Hz. So the answer is B.", "B", "right_and_faithful"),
        ("The lyrics mention a high note in the second. The second is about 440 Hz. The answer is B.", "B", "right_but_unfaithful"),
        ("The transcript says so.", "B", "right_but_unfaithful"),
        ("It must be B.", "B", "right_but_unfaithful"),
        ("", "B", "right_but_unfaithful"),
        ("The first tone is about 220 Hz. The second is about 440 Hz. So the answer is A.", "A", "wrong_but_faithful"),
        ("The first tone is about 440 Hz. The second is about 220 Hz. So the answer is A.", "A", "wrong_and_unfaithful"),
        ("", "A", "wrong_and_unfaithful"),
    ],
)  # fmt: skip
def test_where_an_answer_lands(chain: str, answer: str, cell: str) -> None:
    metrics = figures([judged(0, chain, answer, "B", (220, 440))])
    assert [name for name in CELLS if metrics[name] == 1.0] == [cell]


def test_the_cells_sum_to_one_and_errors_are_left_out() -> None:
    broken = Scored(SOUND[0].rollout, Verdict(error="crashed"))
    wrong = judged(999, chain_of((220, 440)), "A", "B", (220, 440))
    metrics = figures([*SOUND[:9], broken, wrong])
    assert sum(metrics[name] for name in CELLS) == pytest.approx(1.0)
    assert metrics["right_and_faithful"] == 0.9


def test_without_one_of_the_two_verifiers_there_is_no_figure() -> None:
    assert faithfulness_metrics([judged(0, "It rises.", "B", "B", (220, 440), grounded=False)]) == {}


def test_the_report_has_the_four_cells() -> None:
    metrics = faithfulness_metrics(SOUND[:3])
    html = render_faithful([Stage("<final>", "evaluate", True, 1.0, metrics, (), None)])
    assert "right and faithful" in html
    assert "100.0 %" in html
    assert "&lt;final&gt;" in html
    assert render_faithful([Stage("e", "evaluate", True, 1.0, {"accuracy": 1.0}, (), None)]) == ""
    assert {*HALVES} <= metrics.keys()
