"""Rewards at the tokens that earned them, by numbers worked by hand, and past what an environment inserted, beside verl."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rl.algorithms.advantages import estimate, token_rewards
from rl.algorithms.objective import Objective
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


def credits(advantage: str, reward_at: str, *scored: Scored) -> list[list[float]]:
    """Advantages of the samples of one group, by sample."""
    batch = collate(scored).add(placed=place_rewards(scored, reward_at, decode))  # type: ignore[arg-type]
    settings = Objective(advantage=advantage, reward_at=reward_at, critic=False, whiten=False)  # type: ignore[arg-type]
    settings.validate("objective")
    found = estimate(batch, settings)
    assert found.returns_A.isfinite().all()
    return [part.tolist() for part in found.advantages_A.split(found.actions_N.tolist())]


CLAIMS = (
    Scored(rollout_of(("ab.", None)), Verdict(1.0, spans=(RewardSpan(0, 1, 0.5),))),
    Scored(rollout_of(("cd.", None)), Verdict(0.5)),
)
"""Two samples of a group. Once the first one's claim is paid, both have half a point to come."""


@pytest.mark.parametrize(
    ("advantage", "reward_at", "first"),
    [
        ("dr_grpo", "end", [0.25] * 3),
        ("dr_grpo", "spans", [0.25, 0, 0]),
        ("rloo", "spans", [0.5, 0, 0]),  # less the other's score
        ("grpo", "end", [0.5**0.5] * 3),  # 0.25 by the deviation of 1 and 0.5
        ("grpo", "spans", [0.5**0.5, 0, 0]),
        ("dr_grpo", "turns", [0.25] * 3),  # there is one turn
    ],
)
def test_what_was_paid_before_is_no_merit_of_what_follows(advantage: str, reward_at: str, first: list[float]) -> None:
    found = credits(advantage, reward_at, *CLAIMS)
    assert found[0] == pytest.approx(first, abs=1e-5)
    assert found[1] == pytest.approx([-x for x in first], abs=1e-5)


def test_turns_are_compared_with_turns_of_the_same_number() -> None:
    """Rewards of the first turns: 0.4, -0.2 and none. To come of the scores 1.4, 0.8, 0.3 then: 1.0, 1.0, 0.3."""
    first = Scored(rollout_of(("ab.", "said"), ("c.", None)), Verdict(1.4, spans=(RewardSpan(0, 5, 0.4, "tokens"),)))
    second = Scored(rollout_of(("d.", "[x]"), ("ef.", None)), Verdict(0.8, spans=(RewardSpan(0, 4, -0.2, "tokens"),)))
    third = Scored(rollout_of(("g.", None)), Verdict(0.3))
    found = credits("dr_grpo", "turns", first, second, third)
    before, after = 2.5 / 3, 2.3 / 3
    assert found[0] == pytest.approx([1.4 - before] * 3 + [1.0 - after] * 2, abs=1e-6)
    assert found[1] == pytest.approx([0.8 - before] * 2 + [1.0 - after] * 3, abs=1e-6)
    assert found[2] == pytest.approx([0.3 - before] * 2, abs=1e-6)
    alone = credits("grpo", "turns", first)
    assert alone == [[0.0] * 5], "a sample with nothing to be compared with"


def test_equal_scores_that_were_paid_in_other_places() -> None:
    """Their deviation is 0 where all is still to come, and is not divided by elsewhere."""
    early, late = (
        Scored(rollout_of(("abc.", None)), Verdict(1.0, spans=(RewardSpan(at, at + 1, 0.5),))) for at in (0, 2)
    )
    found = credits("grpo", "spans", early, late)
    assert found[0] == pytest.approx([0, -(0.5**0.5), -(0.5**0.5), 0], abs=1e-5)
    assert found[1] == pytest.approx([0, 0.5**0.5, 0.5**0.5, 0], abs=1e-5)


@pytest.mark.parametrize("advantage", ["grpo", "dr_grpo", "rloo", "reinforce++-baseline"])
def test_other_groups_change_nothing(advantage: str) -> None:
    scored = [
        Scored(replace(s.rollout, prompt=Prompt(name, ())), s.verdict) for s in CLAIMS for name in ("p", "q", "alone")
    ][:5]
    batch = collate(scored).add(placed=place_rewards(scored, "spans", decode))
    found = estimate(batch, Objective(advantage=advantage, reward_at="spans", critic=False, whiten=False)).advantages_A
    rows = found.reshape(5, 3)
    assert rows[0].tolist() == pytest.approx(rows[1].tolist())
    assert rows[3].tolist() == pytest.approx(rows[4].tolist())
    assert rows[2].tolist() == [0, 0, 0]
    assert rows[0, 0] > 0 > rows[3, 0]


def test_samples_of_one_length_beside_verl() -> None:
    """verl's token baseline with equal weights: its weights are sums of 1 - 2π + Σπ², here 1 for the first token and 0 after."""
    from verl.trainer.ppo.core_algos import compute_multi_turn_optimal_token_baseline_advantage

    random = np.random.default_rng(3)
    scored = [
        Scored(
            rollout_of(("abcdefg.", None)),
            Verdict(
                float(random.normal()),
                spans=tuple(RewardSpan(int(at), int(at) + 1, 0.3) for at in random.choice(7, i % 4, replace=False)),
            ),
        )
        for i in range(6)
    ]
    ours = credits("dr_grpo", "spans", *scored)
    batch = collate(scored).add(placed=place_rewards(scored, "spans", decode))
    rewards = token_rewards(batch, Objective(reward_at="spans")).reshape(6, 8)
    weights = torch.zeros(6, 8)
    weights[:, 1:] = -1.0  # Σπ² that makes the weight of all but the first token 0
    theirs, _ = compute_multi_turn_optimal_token_baseline_advantage(
        rewards, torch.ones(6, 8), np.array(["p"] * 6), torch.full((6, 8), -torch.inf), weights
    )
    assert torch.allclose(theirs, torch.tensor(ours), atol=1e-5)


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
