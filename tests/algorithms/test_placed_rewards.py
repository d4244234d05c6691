"""Rewards at the tokens that earned them, by numbers worked by hand, and past what an environment inserted, beside verl."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rl.algorithms.advantages import estimate, token_rewards
from rl.algorithms.objective import Objective
from rl.config import ConfigError
from rl.data.collate import collate
from rl.data.placed_rewards import place_rewards
from rl.types import AUDIO_PATCH, Clip, Exchange, Message, Prompt, Reply, RewardSpan, Rollout, Scored, Verdict

PROMPT = Prompt("p", (Message("user", "?"),))


def decode(ids: object) -> str:
    """One letter a token; 46 (`.`) is the end of a turn."""
    return "".join(map(chr, ids)).rstrip(".")  # type: ignore[call-overload]


def rollout_of(*pieces: tuple[str, str | None], opened: str = "") -> Rollout:
    """A rollout from (what the policy wrote, what the environment then said or, in brackets, put into the turn)."""
    tokens, mask, exchanges, text = [*map(ord, "??")], [False] * 2, [], opened
    for written, said in pieces:
        tokens += map(ord, written)
        mask += [True] * len(written)
        newest, start = decode(map(ord, written)), len(tokens)
        text += newest
        if said is None:
            continue
        inside = said.startswith("[")
        tokens += map(ord, said)
        mask += [False] * len(said)
        shown = newest if exchanges or not opened else opened + newest
        exchanges.append(
            Exchange(shown, Reply((Message("assistant" if inside else "user", said),)), start, len(tokens))
        )
        text = text + said if inside else opened
    array = np.array(mask)
    logprobs = np.zeros(int(array.sum()), np.float32)
    return Rollout(PROMPT, 0, np.array(tokens), array, logprobs, "stop", 1, text, exchanges=tuple(exchanges))


def placed(rollout: Rollout, reward_at: str, *spans: RewardSpan, score: float = 1.0) -> list[float]:
    scored = [Scored(rollout, Verdict(score, spans=spans))]
    tensor = place_rewards(scored, reward_at, decode)  # type: ignore[arg-type]
    batch = collate(scored).add(placed=tensor)
    return token_rewards(batch, Objective(reward_at=reward_at)).tolist()  # type: ignore[arg-type]


def test_each_claim_is_paid_where_it_stands() -> None:
    one = rollout_of(("low.high.B.", None))
    claims = (RewardSpan(0, 3, 0.25), RewardSpan(4, 8, 0.5))
    assert placed(one, "end", *claims) == [0.0] * 10 + [1.0]
    assert placed(one, "spans", *claims) == [0, 0, 0.25, 0, 0, 0, 0, 0.5, 0, 0, 0.25]
    assert placed(one, "turns", *claims) == [0.0] * 10 + [1.0]


def test_spans_of_a_turn_with_sound_in_it() -> None:
    """The text has `[heard]` between the two pieces, which is nobody's action."""
    one = rollout_of(("ab", "[heard]"), ("cd.", None), opened="<think>")
    assert one.text == "<think>ab[heard]cd"
    span = RewardSpan(7, 9, 0.5)  # ab
    assert placed(one, "spans", span) == [0, 0.5, 0, 0, 0.5]
    assert placed(one, "spans", RewardSpan(7, 12, 0.5)) == [0, 0.5, 0, 0, 0.5]  # ends within what was heard
    assert placed(one, "spans", RewardSpan(16, 18, 0.5)) == [0, 0, 0, 0.5, 0.5]  # cd
    assert placed(one, "turns", span) == [0, 0.5, 0, 0, 0.5]


def test_spans_of_characters_are_the_last_turns() -> None:
    one = rollout_of(("call.", "user says"), ("xyz.", None))
    assert one.text == "xyz"
    assert placed(one, "spans", RewardSpan(0, 1, 0.25), score=0.0) == [0, 0, 0, 0, 0, 0.25, 0, 0, -0.25]


def test_the_rewards_of_replies() -> None:
    one = rollout_of(("call.", "user says"), ("xyz.", None))
    first = RewardSpan(0, one.exchanges[0].start, -0.5, "tokens")
    assert placed(one, "turns", first, score=0.5) == [0, 0, 0, 0, -0.5, 0, 0, 0, 1.0]
    assert placed(one, "end", first, score=0.5) == [0.0] * 8 + [0.5]


def test_advantages_by_hand() -> None:
    """γ = 1, λ = 1, a critic that says 0.5 everywhere: a claim pays what was written up to it, and nothing behind."""
    scored = [Scored(rollout_of(("ab.", None)), Verdict(1.0, spans=(RewardSpan(0, 1, 0.75),)))]
    batch = collate(scored).add(values=torch.full((3,), 0.5), placed=place_rewards(scored, "spans", decode))
    advantages = estimate(batch, Objective(reward_at="spans", whiten=False)).advantages_A
    assert advantages.tolist() == [0.5, -0.25, -0.25]


def test_a_group_that_is_compared_as_a_whole_has_no_places() -> None:
    with pytest.raises(ConfigError, match="compares whole samples"):
        Objective(advantage="grpo", reward_at="spans").validate("rlvr.objective")


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (1.0, 0.9), (0.9, 0.8)])
def test_gae_skips_what_was_inserted_as_verl_does(gamma: float, lam: float) -> None:
    from verl.trainer.ppo.core_algos import compute_gae_advantage_return

    one = rollout_of(("ab", "[heard]"), ("cde.", "said"), ("f.", None))
    scored = [Scored(one, Verdict(1.0, spans=(RewardSpan(0, 9, 0.25, "tokens"),)))]
    places = place_rewards(scored, "spans", decode)
    values = torch.linspace(-1, 1, 8)
    objective = Objective(gamma=gamma, lam=lam, reward_at="spans", whiten=False)
    ours = estimate(collate(scored).add(values=values, placed=places), objective)
    mask = torch.from_numpy(one.action_mask[2:])[None].float()
    columns = torch.zeros(2, mask.shape[1])  # rewards and values at their tokens, rubbish at what was inserted
    columns[1] = 7.0
    columns[:, mask[0].bool()] = torch.stack([ours.rewards_A, values])
    theirs, returns = compute_gae_advantage_return(columns[:1], columns[1:], mask, gamma, lam)
    actions = mask[0].bool()
    assert torch.allclose(returns[0][actions], ours.returns_A, atol=1e-6)
    white = ours.advantages_A
    white = (white - white.mean()) / (white.var() + 1e-8).sqrt()  # verl whitens them
    assert torch.allclose(theirs[0][actions], white, atol=1e-5)


def test_a_batch_hears_what_turns_have_added() -> None:
    clips = (Clip("first.wav"), Clip(data=b"second"))
    prompt = Prompt("p", (Message("user", AUDIO_PATCH),), clips=clips[:1])
    heard = Exchange("ab", Reply((Message("assistant", AUDIO_PATCH),), clips[1:]), 4, 5)
    tokens = np.arange(6)
    one = Rollout(prompt, 0, tokens, tokens == 5, np.zeros(1, np.float32), "stop", 1, "x", exchanges=(heard,))
    assert collate([Scored(one, Verdict())]).clips_N == (clips,)
