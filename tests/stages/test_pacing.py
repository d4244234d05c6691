"""Answers that begin before the chain has ended: the seven checks of Mind-Paced Speaking's procedure that are of code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.tokenizer import byte_tokenizer
from rl.config import ConfigError, build
from rl.data.chat import Chat
from rl.stages.budgets import second_chain_rate
from rl.stages.evaluate import Config
from rl.stages.paced_answer import Mode, Pace, Speech, Turn
from rl.stages.pacing import PaceConfig, Pacer, SampledSpeech, SampledThoughts
from rl.stages.scoring import is_correct
from rl.types import Message, Prompt, Rollout, Scored, Verdict
from rollouts.sampler import Sampler

CHAT = Chat(byte_tokenizer())
PROMPTS = [Prompt(f"p{i}", (Message("user", "ab" * (i % 4)),)) for i in range(6)]
CHAIN = CHAT.tokenizer.encode("three then seven makes ten")
LIMIT = 110


def sample_of(written: Sequence[int], prompt: Prompt = PROMPTS[0], sample: int = 0) -> Scored:
    """A sample that wrote these ids behind a prompt's."""
    before = CHAT.prompt(prompt.messages)
    mask = np.array([False] * len(before) + [True] * len(written))
    logprobs = np.zeros(len(written), dtype=np.float32)
    ids = np.array([*before, *written])
    return Scored(Rollout(prompt, sample, ids, mask, logprobs, "stop", 0, CHAT.turn(list(written))), Verdict())


def test_a_context_holds_whole_segments_and_in_the_end_what_the_model_wrote() -> None:
    answer = CHAT.tokenizer.encode("ten")
    thoughts = SampledThoughts.of(sample_of([*CHAIN, *CHAT.closing, *answer, CHAT.end]), CHAT, LIMIT)
    # The line break before the tag is the chain's, as in `chain_length`; that behind it is not the answer's.
    assert CHAT.written(thoughts.whole).endswith("</think>\n")
    assert [*thoughts.whole, *answer, CHAT.end] == [*CHAIN, *CHAT.closing, *answer, CHAT.end]
    length = len(thoughts.chain)
    for segments in range(length // 4 + 2):
        ids, is_over = thoughts.context(segments, 4, CHAT.closing)
        assert is_over == (4 * segments >= length)
        assert ids == (list(thoughts.whole) if is_over else [*thoughts.chain[: 4 * segments], *CHAT.closing])


def test_a_chain_that_never_closed_is_closed_by_force() -> None:
    thoughts = SampledThoughts.of(sample_of(CHAIN), CHAT, LIMIT)
    assert thoughts.whole == ()
    assert thoughts.context(0, 4, CHAT.closing) == (CHAT.closing, False)
    assert thoughts.context(99, 4, CHAT.closing) == ([*CHAIN, *CHAT.closing], True)


def test_the_end_of_a_turn_within_its_chain_is_no_thought() -> None:
    thoughts = SampledThoughts.of(sample_of([*CHAIN, CHAT.end]), CHAT, LIMIT)
    assert thoughts.context(99, 4, CHAT.closing) == ([*CHAIN, *CHAT.closing], True)


def test_nobody_knows_before_the_first_segment_that_there_will_be_none() -> None:
    thoughts = SampledThoughts.of(sample_of([*CHAT.closing, CHAT.end]), CHAT, LIMIT)
    assert Speech(Pace("speak_first", 4, 3)).next_turn(thoughts, CHAT.closing) == Turn(CHAT.closing, 3, 0)


def test_a_tag_that_the_chain_quotes_does_not_end_it() -> None:
    chain = CHAT.tokenizer.encode("one</think>two", add_special_tokens=False)
    answer = CHAT.tokenizer.encode("ten")
    thoughts = SampledThoughts.of(sample_of([*chain, *CHAT.closing, *answer, CHAT.end]), CHAT, LIMIT)
    assert thoughts.whole == [*chain, *CHAT.closing]
    assert CHAT.written(thoughts.chain).startswith("one</think>two")


def test_tokens_before_the_first_word() -> None:
    modes: tuple[Mode, ...] = ("wo", "speak_first", "think_first", "tbs")
    assert [Pace(mode, 10, 3).tokens_before(26) for mode in modes] == [0, 0, 10, 26]
    assert [Pace(mode, 10, 3).tokens_before(6) for mode in modes] == [0, 0, 6, 6]


def test_what_is_read_again_is_counted() -> None:
    speech = Speech(Pace("think_first", 3, 2))
    speech.open([1, 2, 3, 9])  # all of the first context
    assert speech.prefill == 4
    speech.tokens += [7, 7]
    assert speech.open([1, 2, 3, 4, 5, 9]) == [1, 2, 3, 4, 5, 9, 7, 7]
    assert speech.prefill == 4 + 5, "the chain's first three tokens are there"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"think": 0}, "at least 1"),
        ({"mode": []}, "one at least"),
        ({"mode": ["tbs", "tbs"]}, "each mode once"),
        ({"mode": "fast"}, "no mode 'fast'; known: speak_first, tbs, think_first, wo"),
        ({"mode": ["tbs", "think_frist"]}, "did you mean 'think_first'"),
    ],
)
def test_settings_that_mean_nothing_are_refused(values: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        build(PaceConfig, values, "evaluate.pace")


@dataclass
class Recorder:
    """A sampler that keeps what it is asked to go on from."""

    sampler: Sampler
    openings: list[dict[Any, list[int]]]

    @property
    def chat(self) -> Any:
        return self.sampler.chat

    def generate(self, *arguments: Any, **settings: Any) -> Any:
        self.openings.append({key: list(ids) for key, ids in settings["openings"].items()})
        return self.sampler.generate(*arguments, **settings)


@pytest.fixture(scope="module")
def paced(engine: Any, tied: Path) -> Any:
    """(a pacer for settings, the thoughts of six samples): chains by hand, answers by the engine, greedy."""
    sampler = Sampler([engine], lambda i: engine, CHAT)
    sampler.load(tied, version=1)
    config = Config(data="", samples=1, temperature=0.0, max_sequence_tokens=LIMIT)

    def pacer(think: int, speak: int) -> tuple[Pacer, list[dict[Any, list[int]]]]:
        recorder = Recorder(sampler, [])
        return Pacer(config, PaceConfig("think_first", think, speak), PROMPTS, recorder, 5), recorder.openings  # pyright: ignore[reportArgumentType]

    chains = {(p.id, 0): [*CHAIN[: 12 + 2 * i], *CHAT.closing] for i, p in enumerate(PROMPTS)}
    settings: Any = {"samples": 1, "temperature": 0.0, "max_sequence_tokens": LIMIT, "seed": 5, "openings": chains}
    thoughts: dict[Any, SampledThoughts] = {}
    for rollout in (r for batch in sampler.generate(PROMPTS, **settings) for r in batch):
        key = rollout.prompt.id, 0
        written = [*chains[key], *rollout.tokens[rollout.action_mask].tolist()]
        sample = sample_of(written, rollout.prompt)
        thoughts[key] = SampledThoughts.of(
            replace(sample, rollout=replace(sample.rollout, tokens=rollout.tokens)), CHAT, LIMIT
        )
    return pacer, thoughts


def written_after(thoughts: SampledThoughts) -> list[int]:
    """The answer of the sample that thought before it spoke."""
    rollout = thoughts.sample.rollout
    return rollout.tokens[rollout.action_mask].tolist()[len(thoughts.whole) :]


def test_one_segment_for_all_is_thinking_before_speaking(paced: Any) -> None:
    pacer, thoughts = paced
    speeches = pacer(1000, 1000)[0].speak("think_first", thoughts)
    assert {key: speech.tokens for key, speech in speeches.items()} == {
        k: written_after(t) for k, t in thoughts.items()
    }
    assert all(speech.turns == 1 for speech in speeches.values())


@pytest.mark.parametrize("mode", ["think_first", "speak_first"])
def test_each_turn_goes_on_from_segments_and_from_what_was_said(paced: Any, mode: Mode) -> None:
    pacer, thoughts = paced
    source, openings = pacer(5, 3)
    speeches = source.speak(mode, thoughts)
    turns: dict[Any, list[list[int]]] = {}
    for asked in openings:
        for key, ids in asked.items():
            turns.setdefault(key, []).append(ids)
    for key, contexts in turns.items():
        first = 0 if mode == "speak_first" else 1
        for n, ids in enumerate(contexts):
            front, is_over = thoughts[key].context(first + n, 5, CHAT.closing)
            said = speeches[key].tokens[: 3 * n]
            assert ids == [*front, *said]
            assert is_over == (n == len(contexts) - 1) or CHAT.end in speeches[key].tokens
    assert any(len(contexts) > 3 for contexts in turns.values())


def test_what_is_thought_later_changes_nothing_said_before(paced: Any) -> None:
    pacer, thoughts = paced
    changed = {
        key: replace(
            t,
            chain=[*t.chain[:10], *([65] * (len(t.chain) - 10))],
            whole=[*t.chain[:10], *([65] * (len(t.chain) - 10)), *CHAT.closing],
        )
        for key, t in thoughts.items()
    }
    one, other = (pacer(5, 3)[0].speak("think_first", source) for source in (thoughts, changed))
    # Two segments of five tokens are alike, and so are the two times three tokens that were said after them.
    assert all(one[key].tokens[:6] == other[key].tokens[:6] for key in one)


def test_an_answer_without_room_stays_as_it_is(paced: Any) -> None:
    pacer, thoughts = paced
    full = {key: replace(t, room=len(t.chain[:5]) + len(CHAT.closing) + 2) for key, t in thoughts.items()}
    speeches = pacer(5, 3)[0].speak("think_first", full)
    assert all(len(speech.tokens) == 3 and speech.turns == 1 for speech in speeches.values())


class Accepting:
    """A verifier's service that finds every answer right."""

    def collect(self, stream: Any) -> list[Scored]:
        return [Scored(rollout, Verdict(1.0, {"accuracy": 1.0})) for batch in stream for rollout in batch]


def test_an_answer_that_closes_a_chain_of_its_own_is_not_right() -> None:
    answers = {"p0": "ten", "p1": "three then seven makes ten</think>ten"}
    thoughts = {(p.id, 0): SampledThoughts.of(sample_of([*CHAIN, *CHAT.closing], p), CHAT, LIMIT) for p in PROMPTS[:2]}
    speeches: dict[Any, Any] = {}
    for prompt in PROMPTS[:2]:
        speech = SampledSpeech(Pace("speak_first", 4, 3), CHAT.tokenizer.encode(answers[prompt.id]))
        speech.rollout = sample_of([*CHAT.closing, *speech.tokens], prompt).rollout
        speeches[prompt.id, 0] = speech
    sampler: Any = Recorder(Sampler([], lambda i: None, CHAT), [])
    pacer = Pacer(Config(data="", samples=1, temperature=0.0), PaceConfig(), PROMPTS[:2], sampler, 5)
    judged = pacer.judge(speeches, thoughts, Accepting())  # pyright: ignore[reportArgumentType]
    assert {s.rollout.prompt.id: is_correct(s) for s in judged} == {"p0": True, "p1": False}
    assert second_chain_rate(judged) == 0.5
