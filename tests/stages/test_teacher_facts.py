"""A teacher that was told some wrong facts: of a thousand chains the sound drops the false and keeps the true."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from rewards.combine import PartConfig, RewardConfig
from rewards.contract import Case
from rewards.verifiers import grounding
from rl.config import build
from rl.data.sources import DataConfig, load
from rl.data.tasks.questions import COMPARISONS
from rl.stages import distill
from rl.stages.sampling import Sample
from rl.think import join_think
from rl.types import Prompt

WORDINGS = {
    "pitch": (
        "a {a:.0f}Hz b {b:.0f}Hz {more} higher",
        "The first sound is at about {a:.0f} Hz and the second at {b:.0f} Hz, so the {more} is higher.",
        "I hear a pitch of {a:.0f} Hz in the first clip. The second clip has {b:.0f} Hz. The {less} is lower.",
        "<CAPTION>first: {a:.0f} Hz, second: {b:.0f} Hz</CAPTION><REASONING>The {more} one is higher.</REASONING>",
    ),
    "loudness": (
        "a {a:.0f}dB b {b:.0f}dB {more} louder",
        "The first is at {a:.0f} dB, the second at {b:.0f} dB: the {more} is louder.",
        "I hear {a:.0f} dB in the first clip. The second clip has {b:.0f} dB. The {less} is softer.",
        "<CAPTION>first: {a:.0f} dB, second: {b:.0f} dB</CAPTION><REASONING>The {more} one is louder.</REASONING>",
    ),
    "duration": (
        "a {a:.2f}s b {b:.2f}s {more} longer",
        "The first sound lasts {a:.2f} s and the second {b:.2f} s, so the {more} is longer.",
        "The first clip takes about {a:.2f} seconds. The second clip takes {b:.2f} seconds. The {less} is shorter.",
        "<CAPTION>first: {a:.2f} s, second: {b:.2f} s</CAPTION><REASONING>The {more} one is longer.</REASONING>",
    ),
}
"""Quantity -> chains of a teacher that knows the score sheet of two sounds."""


def chains_of(prompt: Prompt, random: Random) -> Iterator[tuple[str, bool]]:
    """A chain in each wording, true or false by chance; one fact of a false one is wrong: a value, or which is more."""
    attributes = prompt.fields["attributes"]
    assert isinstance(attributes, list)
    ((quantity, a), (_, b)) = (next(iter(sheet.items())) for sheet in attributes)
    for i, wording in enumerate(WORDINGS[quantity]):
        values, is_true, is_second = {"a": a, "b": b}, i % 2 == random.randrange(2), b > a
        if not is_true and random.random() < 0.5:
            is_second = not is_second
        elif not is_true:
            name = random.choice("ab")
            shift = random.choice((-1, 1))
            values[name] = values[name] + 10 * shift if quantity == "loudness" else values[name] * 1.7**shift
        more, less = ("second", "first") if is_second else ("first", "second")
        yield wording.format(**values, more=more, less=less), is_true


def test_of_a_thousand_chains_the_false_are_dropped_and_the_true_kept() -> None:
    kinds = [kind for kind, quantity in COMPARISONS.items() if quantity in WORDINGS]
    prompts = {p.id: p for p in load(DataConfig("sounds", args={"kinds": kinds, "size": 312}), "train")}
    samples, is_true = list[Sample](), dict[tuple[str, int], bool]()
    random = Random(0)
    for id, prompt in prompts.items():
        for i, (chain, truth) in enumerate(chains_of(prompt, random)):
            text = join_think(chain, str(prompt.answer))
            verdict = grounding.verify(prompt, replace(Case(text, None).rollout(), prompt=prompt))
            parts = {
                "grounding": verdict.score,
                **{f"grounding/{name}": value for name, value in verdict.parts.items()},
            }
            samples.append(Sample("d", "train", id, i, text, 40, False, verdict.score, parts))
            is_true[id, i] = truth
    reward = RewardConfig([PartConfig("grounding", name="grounding")])
    config = build(
        distill.Config,
        {"data": "d", "chains": "c.jsonl", "keep": {"grounding/measured": 1.0}, "per_question": 9, "balance": None},
        "distill",
    )
    best, _, dropped = distill.filter_samples(samples, prompts, config, reward)
    kept = {sample.key for sample in best}
    true, false = ({key for key, truth in is_true.items() if truth is which} for which in (True, False))
    assert len(samples) >= 990
    assert len(kept & true) >= 0.95 * len(true), [s.text for s in samples if s.key in true - kept][:5]
    assert len(kept & false) <= 0.05 * len(false), [s.text for s in samples if s.key in kept & false][:5]
    assert set(dropped) == {"grounding/measured below 1"}
