"""States of sequences that share their prompt, beside those of each sequence alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.heads import LogprobModel, ValueModel
from models.shared_prompts import LONGEST_ANSWER, find_owners, plan_trunk

GROUP = st.tuples(st.integers(1, 40), st.lists(st.integers(1, 60), min_size=1, max_size=5))


def pack(groups: list[tuple[int, list[int]]], seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(tokens_T, lengths_N, action_mask_T, groups_N) of groups, given as (tokens of the prompt, tokens of each answer)."""
    random = torch.Generator().manual_seed(seed)
    tokens, masks, ids = [], [], []
    for group, (prompt, answers) in enumerate(groups):
        prompt_t = torch.randint(0, 256, (prompt,), generator=random)
        for answer in answers:
            tokens.append(torch.cat([prompt_t, torch.randint(0, 256, (answer,), generator=random)]))
            masks.append(torch.arange(prompt + answer) >= prompt)
            ids.append(group)
    lengths_N = torch.tensor([len(t) for t in tokens])
    return torch.cat(tokens), lengths_N, torch.cat(masks), torch.tensor(ids)


@pytest.fixture(scope="module", params=["tied", "untied", "sliding", "capped"])
def model(request: pytest.FixtureRequest, tied: Path, tmp_path_factory: pytest.TempPathFactory) -> LogprobModel:
    """Plain and grouped-query attention, a sliding window of 24 tokens, and one of 16 with capped scores (Gemma 2)."""
    if request.param == "capped":
        return LogprobModel(capped(tmp_path_factory.mktemp("capped")), "float32")
    if request.param != "sliding":
        return LogprobModel(request.getfixturevalue(request.param), "float32")
    model = LogprobModel(tied, "float32")
    for layer in model.lm.get_decoder().layers:
        layer.self_attn.sliding_window = 24
    return model


def capped(folder: Path) -> Path:
    """A tiny Gemma 2 with random weights."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = Gemma2Config(vocab_size=300, intermediate_size=64, head_dim=32, sliding_window=16, **sizes)
    Gemma2ForCausalLM(config).save_pretrained(folder)
    return folder


def test_padding_that_sees_nothing_makes_no_nan(tmp_path: Path) -> None:
    """The shorter answer's padding lies a sliding window and more after its last token."""
    model = LogprobModel(capped(tmp_path), "float32")
    tokens_T, lengths_N, action_mask_T, groups_N = pack([(40, [64, 64, 90])])
    logprobs_A, _ = model(tokens_T, lengths_N, action_mask_T, groups_N=groups_N)
    gradients = torch.autograd.grad(logprobs_A.sum(), list(model.parameters()))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


@settings(max_examples=15)
@given(groups=st.lists(GROUP, min_size=1, max_size=4), seed=st.integers(0, 99))
def test_logprobs_and_gradients_are_those_without_sharing(
    model: LogprobModel, groups: list[tuple[int, list[int]]], seed: int
) -> None:
    tokens_T, lengths_N, action_mask_T, groups_N = pack(groups, seed)
    order = torch.randperm(len(lengths_N), generator=torch.Generator().manual_seed(seed)).tolist()
    pieces = [
        (t, m) for t, m in zip(tokens_T.split(lengths_N.tolist()), action_mask_T.split(lengths_N.tolist()), strict=True)
    ]
    tokens_T, action_mask_T = (torch.cat([pieces[i][part] for i in order]) for part in (0, 1))
    lengths_N, groups_N = lengths_N[order], groups_N[order]

    def outcome(groups_N: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        logprobs_A, entropy_A = model(tokens_T, lengths_N, action_mask_T, 0.8, groups_N=groups_N)
        loss = (logprobs_A * torch.linspace(-1, 1, len(logprobs_A))).sum() + 0.1 * entropy_A.sum()
        return logprobs_A.detach(), list(torch.autograd.grad(loss, list(model.parameters())))

    (logprobs_A, gradients), (expected_A, expected) = outcome(groups_N), outcome(None)
    torch.testing.assert_close(logprobs_A, expected_A, atol=2e-5, rtol=0)
    for got, want in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got, want, atol=2e-4, rtol=1e-3)


def test_values_are_those_without_sharing(tied: Path) -> None:
    tokens_T, lengths_N, action_mask_T, groups_N = pack([(20, [3, 30, 8]), (5, [19, 2])])
    critic = ValueModel(tied, "float32")
    torch.nn.init.normal_(critic.head.weight)
    with torch.no_grad():
        shared_A, alone_A = (critic(tokens_T, lengths_N, action_mask_T, groups_N=groups) for groups in (groups_N, None))
    torch.testing.assert_close(shared_A, alone_A, atol=1e-4, rtol=0)


def test_a_prompt_goes_through_the_trunk_once() -> None:
    plan = plan_trunk(*pack([(40, [5, 6, 7, 8]), (30, [4])]))
    assert len(plan.tokens_U) == 40 + 5 + 6 + 7 + 8 + 34
    assert plan.segments.positions_T.tolist() == [
        *range(45),
        *range(40, 46),
        *range(40, 47),
        *range(40, 48),
        *range(34),
    ]


def test_sequences_share_only_what_is_the_same_and_worth_it() -> None:
    prompt, other = torch.arange(10), torch.arange(10) + 1
    assert find_owners([15, 15, 15], [prompt, prompt, prompt], [0, 0, 0]) == [0, 0, 0]
    assert find_owners([15, 15, 15], [prompt, prompt, prompt], [0, 1, 0]) == [0, 1, 0]  # the same text, other clips
    assert find_owners([15, 15], [prompt, other], [0, 0]) == [0, 1]  # a reward model's pair
    assert find_owners([15, 51], [prompt, prompt], [0, 0]) == [0, 1]  # the answer is over four times as long
    long = torch.arange(LONGEST_ANSWER)
    assert find_owners([2 * LONGEST_ANSWER + 1] * 2, [long, long], [0, 0]) == [0, 1]
