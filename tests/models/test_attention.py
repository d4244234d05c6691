from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.attention import Segments
from models.heads import LogprobModel, ValueModel

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=6)


def pack(lengths: list[int], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Random tokens, their lengths, and as written everything but each sequence's first token."""
    tokens_T = torch.randint(0, 256, (sum(lengths),), generator=torch.Generator().manual_seed(seed))
    action_mask_T = torch.cat([torch.arange(n) > 0 for n in lengths])
    return tokens_T, torch.tensor(lengths), action_mask_T


def hidden(model: torch.nn.Module, tokens_T: Tensor, lengths_N: Tensor) -> Tensor:
    segments = Segments.from_lengths(lengths_N)
    with torch.no_grad():
        return model(
            input_ids=tokens_T[None], position_ids=segments.positions_T[None], use_cache=False, segments=segments
        ).last_hidden_state[0]


@pytest.fixture(scope="module", params=["tied", "untied"])
def models(request: pytest.FixtureRequest) -> tuple[torch.nn.Module, torch.nn.Module]:
    """(transformers' own eager decoder, ours) of one model: plain and grouped-query attention."""
    from transformers import AutoModelForCausalLM

    folder: Path = request.getfixturevalue(request.param)
    eager = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    return eager.get_decoder().eval(), LogprobModel(folder, "float32").lm.get_decoder().eval()


@settings(max_examples=15)
@given(lengths=LENGTHS)
def test_a_pack_is_each_sequence_alone(models: tuple[torch.nn.Module, torch.nn.Module], lengths: list[int]) -> None:
    eager, ours = models
    tokens_T, lengths_N, _ = pack(lengths)
    packed = hidden(ours, tokens_T, lengths_N).split(lengths)
    for alone_t, piece in zip(tokens_T.split(lengths), packed, strict=True):
        with torch.no_grad():
            expected = eager(input_ids=alone_t[None], use_cache=False).last_hidden_state[0]
        torch.testing.assert_close(piece, expected, atol=1e-5, rtol=0)


@settings(max_examples=10)
@given(lengths=st.lists(st.integers(1, 80), min_size=2, max_size=6), data=st.data())
def test_neighbours_never_see_each_other(
    models: tuple[torch.nn.Module, torch.nn.Module], lengths: list[int], data: st.DataObject
) -> None:
    tokens_T, lengths_N, _ = pack(lengths)
    changed = data.draw(st.integers(0, len(lengths) - 1))
    other_T = torch.cat([(t + 1) % 256 if i == changed else t for i, t in enumerate(tokens_T.split(lengths))])
    before, after = (hidden(models[1], t, lengths_N).split(lengths) for t in (tokens_T, other_T))
    for i, (b, a) in enumerate(zip(before, after, strict=True)):
        assert (i == changed) != torch.allclose(b, a, atol=1e-6, rtol=0)


def test_padding_has_no_gradient(tied: Path) -> None:
    """Every gradient of a pack is the sum of those of its sequences alone, with checkpointing too."""

    def gradients(model: LogprobModel, packs: list[tuple[Tensor, Tensor, Tensor]]) -> list[Tensor]:
        logprobs = torch.cat([model(*p)[0] for p in packs])
        return list(torch.autograd.grad(logprobs.sum(), list(model.parameters())))

    lengths = [2, 3, 5, 17, 40, 41, 64]
    tokens_T, lengths_N, action_mask_T = pack(lengths)
    alone = [(t, torch.tensor([len(t)]), torch.arange(len(t)) > 0) for t in tokens_T.split(lengths)]
    model = LogprobModel(tied, "float32")
    checkpointed = LogprobModel(tied, "float32", gradient_checkpointing=True).train()
    expected = gradients(model, alone)
    for got in (gradients(model, [(tokens_T, lengths_N, action_mask_T)]), gradients(checkpointed, alone)):
        torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-5)


def test_the_state_before_an_action_answers_for_it(untied: Path) -> None:
    tokens_T, lengths_N, _ = pack([5, 3, 7])
    action_mask_T = torch.tensor([0, 0, 1, 0, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1], dtype=torch.bool)
    model = LogprobModel(untied, "float32")
    with torch.no_grad():
        logprobs_A, entropy_A = model(tokens_T, lengths_N, action_mask_T, 0.5)
        states_TH = hidden(model.lm.get_decoder(), tokens_T, lengths_N)
        everything_TV = torch.log_softmax(model.lm.lm_head(states_TH) / 0.5, dim=-1)
    before = torch.tensor([1, 3, 5, 6, 13])
    expected = everything_TV[before, tokens_T[action_mask_T]]
    torch.testing.assert_close(logprobs_A, expected, atol=1e-5, rtol=0)
    entropy = -(everything_TV.exp() * everything_TV).sum(-1)[before]
    torch.testing.assert_close(entropy_A, entropy, atol=1e-5, rtol=0)
    critic = ValueModel(untied, "float32")
    with torch.no_grad():
        critic.head.weight.fill_(0.5), critic.head.bias.fill_(1.0)
        values_A = critic(tokens_T, lengths_N, action_mask_T)
        expected = hidden(critic.trunk, tokens_T, lengths_N)[before].sum(-1) / 2 + 1
    torch.testing.assert_close(values_A, expected, atol=1e-5, rtol=1e-5)
