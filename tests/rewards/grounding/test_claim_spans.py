"""Each true claim is paid where it stands, and the sum is the score's part of what was measured."""

from __future__ import annotations

import pytest

from rewards.contract import Case
from rewards.grounding.parser import read_claims
from rewards.grounding.tones import tone
from rewards.verifiers.grounding import GOLD, verify

PAIR = (tone(220, 0.4, -30), tone(440, 0.9, -18))


def judged(chain: str, text: str | None = None, **args: object):
    rollout = Case(text or f"<think>\n{chain}\n</think>\nA", None, clips=PAIR).rollout()
    verdict = verify(rollout.prompt, rollout, **args)  # type: ignore[arg-type]
    return verdict, [(rollout.text[span.start : span.end], span.score) for span in verdict.spans]


def test_the_place_of_each_claim() -> None:
    verdict, spans = judged("a 220Hz b 440Hz second higher")
    assert verdict.score == pytest.approx(1.0)
    assert [text.strip() for text, _ in spans] == ["a 220hz".replace("hz", "Hz"), "b 440Hz", "second higher"]
    assert [score for _, score in spans] == [pytest.approx(0.7 / 3)] * 3


def test_a_false_claim_and_a_repeated_one_earn_nothing() -> None:
    chain = (
        "The first is low, about 220 Hz.\nThe second is 900 Hz. So the second is higher than the first, it is higher."
    )
    verdict, spans = judged(chain)
    assert verdict.parts["true"] == len(spans) < verdict.parts["claimed"]
    assert sum(score for _, score in spans) == pytest.approx(0.7 * verdict.parts["true"] / verdict.parts["checked"])
    assert spans[-1][0].endswith("higher")
    assert spans[-1][0].count("higher") == 1, "the first time it is said"
    assert not any(text.rstrip().endswith("900 Hz") for text, _ in spans)


@pytest.mark.parametrize("i", range(len(GOLD)))
def test_spans_sum_to_what_was_measured(i: int) -> None:
    rollout = GOLD[i].rollout()
    verdict = verify(rollout.prompt, rollout, **GOLD[i].args)  # type: ignore[arg-type]
    total = sum(span.score for span in verdict.spans)
    assert total == pytest.approx(0.7 * verdict.parts["measured"] * verdict.parts["clean"])
    assert all(0 <= span.start < span.end <= len(rollout.text) for span in verdict.spans)


def test_places_behind_quotations_and_continued_sentences() -> None:
    chain = 'The question says "is it high". The first is 220 Hz. Then the second is 440 Hz.'
    assert [chain[: claim.end].rpartition(" ")[2] for claim in read_claims(chain)] == ["Hz", "Hz"]
    assert [chain[: claim.end][-6:] for claim in read_claims(chain)] == ["220 Hz", "440 Hz"]


def test_places_behind_a_letter_that_is_longer_in_lower_case() -> None:
    chain = "İİİ. The first is 220 Hz."
    assert [chain[: claim.end][-6:] for claim in read_claims(chain)] == ["220 Hz"]
