"""Demonstrations that reason in several styles: shares, what each says, and that verifiers tell them apart."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest

from rewards.contract import Case
from rewards.verifiers import format, text
from rewards.verifiers.grounding import find_surrogates
from rewards.verifiers.self_cognition import find_denial
from rl.config import ConfigError
from rl.data.sources import DataConfig, load
from rl.data.tasks.questions import CHAIN_STYLES, DENIALS, SURROGATES
from rl.think import join_think
from rl.types import Prompt

SHARES = {"measured": 0.2, "asked": 0.2, "surrogate": 0.3, "empty": 0.1, "denial": 0.2}


def sounds(**args: object) -> list[Prompt]:
    return load(DataConfig("sounds", args={"kinds": ["higher", "louder"], "size": 2000, **args}), "train")


def style(prompt: Prompt) -> str:
    demonstration = prompt.demonstration
    assert demonstration is not None
    if find_denial(f"{demonstration.reasoning}\n{demonstration.response}"):
        return "denial"
    if not demonstration.reasoning:
        return "empty"
    if find_surrogates(demonstration.reasoning):
        return "surrogate"
    return "asked" if prompt.question.endswith("\nlisten") else "measured"


def test_each_style_has_its_share_and_only_its_own_words() -> None:
    plain = {prompt.id: prompt for prompt in sounds()}
    lessons = sounds(chains=SHARES, ask="listen")
    counts = Counter(map(style, lessons))
    assert counts.keys() == CHAIN_STYLES.keys() - {"misled", "mistaken", "sections"}
    for name, share in SHARES.items():
        assert counts[name] / len(lessons) == pytest.approx(share, abs=0.05)
    for prompt in lessons:
        before, demonstration = plain[prompt.id], prompt.demonstration
        assert demonstration is not None
        assert (prompt.answer, prompt.clips) == (before.answer, before.clips), "only what is demonstrated changes"
        is_asked = style(prompt) == "asked"
        assert prompt.question == before.question + "\nlisten" * is_asked
        assert (demonstration == before.demonstration) == (style(prompt) in ("measured", "asked"))
        assert (demonstration.response == prompt.answer) == (style(prompt) != "denial")
    assert sounds(chains=SHARES, ask="listen") == lessons


def test_an_answer_in_words_is_in_the_surrogate_where_the_letter_is_asked() -> None:
    lessons = sounds(chains={"surrogate": 1.0}, multiple_choice=1.0)
    for prompt in lessons:
        assert prompt.demonstration is not None
        answer = prompt.fields["options"]["AB".index(prompt.answer or "")]
        assert prompt.demonstration.reasoning.endswith(answer)
        assert prompt.demonstration.response == prompt.answer


@pytest.mark.parametrize("multiple_choice", [0.0, 1.0])
def test_who_is_misled_answers_what_the_imagined_text_says_right_or_wrong(multiple_choice: float) -> None:
    lessons = sounds(chains={"misled": 1.0}, multiple_choice=multiple_choice)
    for prompt in lessons:
        demonstration = prompt.demonstration
        assert demonstration is not None
        assert find_surrogates(demonstration.reasoning)
        options = prompt.fields.get("options")
        assert demonstration.reasoning.endswith(
            options["AB".index(demonstration.response)] if options else demonstration.response
        )
    right = sum(p.demonstration is not None and p.demonstration.response == p.answer for p in lessons)
    assert right / len(lessons) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("multiple_choice", [0.0, 1.0])
def test_a_mistake_is_a_number_or_the_conclusion(multiple_choice: float) -> None:
    plain = sounds(multiple_choice=multiple_choice)
    lessons = sounds(chains={"mistaken": 1.0}, multiple_choice=multiple_choice)
    right = 0
    for prompt, before in zip(lessons, plain, strict=True):
        assert prompt.demonstration is not None
        assert before.demonstration is not None
        assert prompt.answer == before.answer
        words = zip(prompt.demonstration.reasoning.split(), before.demonstration.reasoning.split(), strict=True)
        ((wrong, _),) = [pair for pair in words if pair[0] != pair[1]]
        is_right = prompt.demonstration.response == prompt.answer
        assert is_right == wrong.endswith(("Hz", "dB")), "a wrong conclusion is answered, a wrong number is not"
        assert is_right or multiple_choice or wrong == prompt.demonstration.response
        right += is_right
    assert right / len(lessons) == pytest.approx(0.5, abs=0.05)
    assert sounds(chains={"mistaken": 1.0}, multiple_choice=multiple_choice) == lessons


@pytest.mark.parametrize("kinds", [["higher", "louder"], ["pitch", "direction", "beats", "pattern", "sound"]])
def test_sections_stand_in_order_and_keep_what_was_heard(kinds: list[str]) -> None:
    plain = sounds(kinds=kinds)
    for prompt, before in zip(sounds(chains={"sections": 1.0}, kinds=kinds), plain, strict=True):
        assert prompt.demonstration is not None
        assert before.demonstration is not None
        turn = join_think(prompt.demonstration.reasoning, prompt.demonstration.response)
        sample = replace(Case(turn, prompt.answer).rollout(), prompt=prompt)
        names = ["PLANNING", "CAPTION", "REASONING", "SUMMARY"]
        assert format.verify(prompt, sample, sections=names, answer_section="RESPONSE").reason == ""
        assert text.verify(prompt, sample).score == 1.0
        kept = re.findall(r"<(?:CAPTION|REASONING)>(.*?)</", prompt.demonstration.reasoning)
        assert " ".join(kept).startswith(before.demonstration.reasoning)


def test_verifiers_know_every_wording() -> None:
    assert all(find_surrogates(text.format("second")) for text in SURROGATES)
    assert all(find_denial(chain) or find_denial(answer) for chain, answer in DENIALS)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"chains": {"mesured": 1.0}}, "sounds.chains: unknown key 'mesured'; did you mean 'measured'"),
        ({"chains": {"measured": 1.5}}, "sounds.chains.measured: 1.5 is no share"),
        ({"chains": {"measured": 0.5}}, "sounds.chains: the shares sum to 0.5"),
        ({"chains": {"asked": 1.0}}, "sounds.ask: "),
        ({"ask": "listen"}, "sounds.ask: "),
    ],
)
def test_mistakes(args: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        sounds(**args)
    assert says in str(error.value)
