from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.tokenizer import byte_tokenizer
from rl.data.chat import Chat
from rl.data.collate import collate, collate_demonstrations, minibatches, pack
from rl.types import Batch, Clip, Demonstration, Message, Prompt, Rollout, Scored, Verdict

CHAT = Chat(byte_tokenizer())


def scored(id: str, sample: int, tokens: list[int], written: list[int], score: float) -> Scored:
    prompt = Prompt(id, (Message("user", "?"),), clips=(Clip(id),))
    logprobs = -np.arange(1, sum(written) + 1, dtype=np.float32) - sample
    rollout = Rollout(
        prompt, sample, np.array(tokens), np.array(written, dtype=bool), logprobs, "stop", 3 + sample, "text"
    )
    return Scored(rollout, Verdict(score))


def test_collate_lays_samples_end_to_end() -> None:
    samples = [
        scored("b", 0, [5, 6, 7], [0, 1, 1], 1.0),
        scored("a", 0, [8, 9, 1, 2, 3], [0, 0, 1, 0, 1], 0.25),
        scored("b", 1, [5, 4], [0, 1], 0.0),
    ]
    batch = collate(samples)
    assert batch.tokens_T.tolist() == [5, 6, 7, 8, 9, 1, 2, 3, 5, 4]
    assert batch.lengths_N.tolist() == [3, 5, 2]
    assert batch.action_mask_T.int().tolist() == [0, 1, 1, 0, 0, 1, 0, 1, 0, 1]
    assert batch.actions_N.tolist() == [2, 2, 1]
    assert batch.rollout_logprobs_A.tolist() == [-1, -2, -1, -2, -2]
    assert batch.scores_N.tolist() == [1.0, 0.25, 0.0]
    assert batch.groups_N.tolist() == [0, 1, 0]
    assert batch.versions_A.tolist() == [3, 3, 3, 3, 4]
    assert [clips[0].path for clips in batch.clips_N] == ["b", "a", "b"]


def test_demonstrations_are_what_was_written() -> None:
    prompts = [
        Prompt("a", (Message("user", "2+2?"),), demonstration=Demonstration("two twos", "4")),
        Prompt("b", (Message("user", "?"),), demonstration=Demonstration("", "yes")),
    ]
    batch = collate_demonstrations(prompts, CHAT, 64)
    questions = [CHAT.prompt(p.messages) for p in prompts]
    turns = [CHAT.demonstration(p.demonstration) for p in prompts if p.demonstration]
    assert batch.tokens_T.tolist() == [*questions[0], *turns[0], *questions[1], *turns[1]]
    assert batch.lengths_N.tolist() == [len(q) + len(t) for q, t in zip(questions, turns, strict=True)]
    assert batch.actions_N.tolist() == [len(t) for t in turns]
    assert batch.tokens_T[batch.action_mask_T].tolist() == [*turns[0], *turns[1]]
    assert batch.rollout_logprobs_A.tolist() == [0.0] * sum(map(len, turns))


def test_the_tag_behind_a_cut_chain_is_not_learned() -> None:
    whole, cut, empty = Demonstration("two twos", "4"), Demonstration("two", "4", True), Demonstration("", "4", True)
    batch = collate_demonstrations(
        [Prompt(str(i), (Message("user", "?"),), demonstration=d) for i, d in enumerate([whole, cut, empty])], CHAT, 64
    )
    learned = batch.tokens_T[batch.action_mask_T].split(batch.actions_N.tolist())
    assert [CHAT.written(tokens.tolist()) for tokens in learned] == ["two twos\n</think>\n4", "two\n4", "\n4"]
    assert len(batch.tokens_T) == sum(batch.lengths_N), "it is read all the same"


def test_demonstrations_have_their_audio_expanded() -> None:
    chat = Chat(byte_tokenizer(), count_audio_tokens=lambda clip: 5)
    prompt = Prompt("a", (Message("user", "<audio_patch>?"),), clips=(Clip("x"),), demonstration=Demonstration("", "4"))
    batch = collate_demonstrations([prompt], chat, 64)
    question = chat.prompt(prompt.messages, prompt.clips, expand=True)
    assert batch.tokens_T.tolist() == [*question, *chat.demonstration(Demonstration("", "4"))]
    assert question.count(chat.clip_ids[1]) == 5
    assert batch.clips_N == ((Clip("x"),),)
    with pytest.raises(ValueError, match=r"^prompt 'a': it has audio, and the model reads text only"):
        collate_demonstrations([prompt], CHAT, 64)


def test_a_prompt_that_cannot_be_imitated_is_named() -> None:
    bare = Prompt("row/7", (Message("user", "?"),))
    with pytest.raises(ValueError, match=r"^prompt 'row/7' has no demonstration to imitate; map `response:`"):
        collate_demonstrations([bare], CHAT, 64)
    long = replace(bare, demonstration=Demonstration("", "x" * 60))
    with pytest.raises(ValueError, match=r"^prompt 'row/7': 72 tokens with its demonstration; raise max_sequence_tok"):
        collate_demonstrations([long], CHAT, 64)


LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=40)


@given(lengths=LENGTHS, budget=st.integers(1, 200), ranks=st.integers(1, 4))
def test_packing_keeps_every_sequence_once_within_the_budget(lengths: list[int], budget: int, ranks: int) -> None:
    plan = pack(lengths, budget, ranks)
    assert len(plan) == ranks
    assert len({len(mine) for mine in plan}) == 1, "ranks reduce together, so they take equally many"
    packed = [micro_batch for mine in plan for micro_batch in mine]
    assert sorted(i for micro_batch in packed for i in micro_batch) == list(range(len(lengths)))
    assert all(len(m) == 1 or sum(lengths[i] for i in m) <= budget for m in packed)
    assert len(plan[0]) <= len(pack(lengths, budget)[0]), "more ranks never take more rounds"
    assert any(len(mine[0]) for mine in plan)


@given(lengths=st.lists(st.integers(20, 60), min_size=64, max_size=128), ranks=st.integers(1, 4))
def test_ranks_get_about_equally_much(lengths: list[int], ranks: int) -> None:
    plan = pack(lengths, 500, ranks)
    load = [sum(lengths[i] for m in mine for i in m) for mine in plan]
    rounds = len(plan[0])
    assert max(load) - min(load) <= ranks * rounds * 60, "each micro-batch is within one sequence of the fullest"


def test_packing_by_hand() -> None:
    assert pack([3, 9, 4, 4], budget=10) == [[[1], [3, 0], [2]]]
    assert pack([3, 9, 4, 4], budget=100) == [[[1, 2, 3, 0]]]
    assert pack([3, 9, 4, 4], budget=100, ranks=2) == [[[2, 3, 0]], [[1]]], "no rank idles while there is work"
    assert pack([5], budget=2, ranks=2) == [[[0]], [[]]]
    assert pack([], budget=2, ranks=2) == [[], []]


def test_minibatches_are_passes_over_everything() -> None:
    def cut(count: int, epochs: int, parts: int, seed: int) -> list[list[int]]:
        return minibatches(torch.arange(count), epochs, parts, seed)

    assert cut(4, epochs=1, parts=1, seed=0) == [[0, 1, 2, 3]]
    few = cut(3, epochs=2, parts=5, seed=0)
    assert [len(part) for part in few] == [1, 1, 1, 0, 0] * 2, "each part keeps its place, and its learning rate"
    assert sorted(few[:3]) == sorted(few[5:8]) == [[0], [1], [2]]
    parts = cut(10, epochs=3, parts=4, seed=1)
    assert [len(p) for p in parts] == [3, 3, 2, 2] * 3
    for epoch in range(3):
        assert sorted(i for part in parts[4 * epoch : 4 * epoch + 4] for i in part) == list(range(10))
    assert parts[:4] != parts[4:8]
    assert parts == cut(10, epochs=3, parts=4, seed=1) != cut(10, epochs=3, parts=4, seed=2)


@given(groups=st.lists(st.integers(0, 5), min_size=1, max_size=40), parts=st.integers(2, 8), seed=st.integers(0, 99))
def test_minibatches_cut_few_prompts_apart(groups: list[int], parts: int, seed: int) -> None:
    """At most one at each border between two of them; all are as large as each other, to one sequence."""
    steps = minibatches(torch.tensor(groups), 1, parts, seed)
    assert sorted(row for step in steps for row in step) == list(range(len(groups)))
    assert {len(step) for step in steps} <= {len(groups) // len(steps), -(-len(groups) // len(steps))}
    prompts_of_steps = sum(len({groups[row] for row in step}) for step in steps)
    assert prompts_of_steps <= len({*groups}) + len(steps) - 1


@given(data=st.data(), lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_selecting_sequences_takes_every_column_along(data: st.DataObject, lengths: list[int]) -> None:
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=10))
    written = [[data.draw(st.booleans()) and t > 0 for t in range(n)] for n in lengths]
    samples = [
        scored(f"p{i}", i, list(range(n)), w, i / 7) for i, (n, w) in enumerate(zip(lengths, written, strict=True))
    ]
    whole = collate(samples)
    column = whole.rollout_logprobs_A
    chosen = whole.add(old=column - 1, values=column * 2).select(rows)
    expected = collate([samples[i] for i in rows])
    expected = expected.add(old=expected.rollout_logprobs_A - 1, values=expected.rollout_logprobs_A * 2)
    for field in fields(Batch):
        got, want = getattr(chosen, field.name), getattr(expected, field.name)
        if field.name == "groups_N":  # select keeps ids, collate numbers them anew
            want = torch.tensor(rows)
        assert torch.equal(got, want) if isinstance(want, torch.Tensor) else got == want
    assert chosen.actions_N.tolist() == [sum(written[i]) for i in rows]
