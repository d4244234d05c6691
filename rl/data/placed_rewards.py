"""Places rewards at the tokens that earned them.

A verdict's score is what a sample earns in all. Where its `spans` tell which piece earned which part, that part may be paid at
the piece's last token, or at the end of the turn in which it stands; what no span claims is paid at the end. So the sum is the
score in any case, and a return differs only in what comes before and after.

    score 1.0, spans: 0.25 for characters 0–10 ("a 220Hz b ") and 0.25 for the second claim
    reward_at: end    0    0    0    0    1.0
    reward_at: spans  0    0.25 0    0.25 0.5
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rl.messages import RewardAt, RewardSpan, open_turn
from rl.types import Rollout, Scored

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Decode = Callable[[Sequence[int]], str]
"""Ids of what a policy wrote to its text, the end token left out."""


def place_rewards(scored: Sequence[Scored], reward_at: RewardAt, decode: Decode) -> Tensor | None:
    """Return [A] the rewards that are paid before the end of their samples, for samples in the order of their batch; None
    where none is."""
    import numpy as np
    import torch

    if reward_at == "end" or not any(s.verdict.spans for s in scored):
        return None
    rewards = [_of_sample(s, reward_at, decode) for s in scored]
    return torch.from_numpy(np.concatenate(rewards))


def _of_sample(scored: Scored, reward_at: RewardAt, decode: Decode) -> np.ndarray:
    """Return [a] the rewards of one sample's actions."""
    import numpy as np

    rollout = scored.rollout
    rewards = np.zeros(len(rollout.logprobs), dtype=np.float32)
    places = np.flatnonzero(rollout.action_mask)  # the token of each action
    for span in scored.verdict.spans:
        token = _last_token(span, rollout, decode) if span.unit == "characters" else span.end - 1
        if reward_at == "turns":
            token = _end_of_turn(token, rollout)
        # The last action up to there: a span may end with what an environment added.
        action = int(np.searchsorted(places, token, side="right")) - 1
        # Tokens before the first action are the prompt's: what a span claims there is paid at that action.
        rewards[max(action, 0)] += span.score
    return rewards


def _end_of_turn(token: int, rollout: Rollout) -> int:
    """Return the last token before the next reply."""
    return next(
        (exchange.start - 1 for exchange in rollout.exchanges if exchange.start > token), len(rollout.tokens) - 1
    )


def _last_token(span: RewardSpan, rollout: Rollout, decode: Decode) -> int:
    """Return the token in which a span of the rollout's text ends."""
    pieces = _open_pieces(rollout)
    offset, text, start, end = next((piece for piece in reversed(pieces) if piece[0] < span.end), pieces[0])
    actions = [i for i in range(start, end) if rollout.action_mask[i]]
    ids: list[int] = rollout.tokens[actions].tolist()
    # A `<think>` that the prompt opened stands in the text and among no actions.
    opened = len(text) - len(decode(ids))
    wanted = span.end - offset - opened
    # Bisection, since decoding each prefix would be quadratic. Its first token already ends a span before it.
    count = bisect_left(range(1, len(ids) + 1), wanted, key=lambda n: len(decode(ids[:n]))) + 1
    return actions[min(count, len(ids)) - 1]


def _open_pieces(rollout: Rollout) -> list[tuple[int, str, int, int]]:
    """Return (offset in the rollout's text, text, first token, end) of each piece of the last turn that the policy wrote, which
    replies inside the turn cut."""
    pieces: list[tuple[int, str, int, int]] = []
    exchanges = [exchange for exchange in rollout.exchanges if not exchange.reply.last]
    start = 0
    for i, exchange in enumerate(exchanges):
        pieces.append((len(open_turn(exchanges[:i])), exchange.text, start, exchange.start))
        # The reply ended the turn: the rollout's text, whose characters spans count, is that of the last turn.
        if not exchange.is_inside:
            pieces.clear()
        start = exchange.end
    offset = len(open_turn(exchanges))
    return [*pieces, (offset, rollout.text[offset:], start, len(rollout.tokens))]
