"""Builds the rollouts of a session that has ended.

A chain of answers, each continuing the one before, is one rollout. A harness that has begun several conversations, or
has continued the same answer twice, makes several rollouts, which share the session's verdict. Tokens that two of them
have in common count as actions in only one, so that none is learned from twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from rl.messages import Exchange, Reply
from rl.types import Prompt, Rollout, Spans
from rollouts.chat_format import ChatFormat
from rollouts.harness.conversation import Piece


def rollout_of(
    prompt: Prompt, sample: int, pieces: Sequence[Piece], notes: Mapping[str, int], chat: ChatFormat
) -> Rollout:
    """Return the rollout that ends with the session's last answer, with the other rollouts of the session in `siblings`. It asks
    what the harness has asked, under the prompt's id and with its gold answer. Without any answer it has no actions."""
    if not pieces:
        empty = np.zeros(0, dtype=np.int64)
        return Rollout(prompt, sample, empty, empty > 0, empty.astype(np.float32), "stop", 0, "")
    parents = {id(piece.opening.parent) for piece in pieces}
    # The last answer's rollout comes first: it takes all answers on its path as actions, the others what is left.
    leaves = sorted((piece for piece in pieces if id(piece) not in parents), key=lambda piece: -piece.number)
    learned_ids: set[int] = set()
    rollouts = [_rollout(prompt, sample, _path(leaf), learned_ids) for leaf in leaves]
    words = " ".join(word for word, count in sorted(notes.items()) for _ in range(count))
    main = _with_note(rollouts[0], words) if words else rollouts[0]
    return replace(main, siblings=tuple(reversed(rollouts[1:])))


def _path(leaf: Piece) -> list[Piece]:
    """Return the answers of a conversation, from its first one."""
    path = [leaf]
    while (parent := path[0].opening.parent) is not None:
        path.insert(0, parent)
    return path


def _rollout(prompt: Prompt, sample: int, path: Sequence[Piece], learned_ids: set[int]) -> Rollout:
    """Return the rollout of a conversation. Answers in `learned_ids` belong to another rollout and are no actions here;
    the others are added to it."""
    tokens = path[-1].completion.tokens
    action_mask = np.zeros(len(tokens), dtype=bool)
    new = [piece for piece in path if id(piece) not in learned_ids]
    learned_ids |= {id(piece) for piece in new}
    for piece in new:
        action_mask[piece.completion.prompt_length : len(piece.completion.tokens)] = True
    spans = _spans(new)
    exchanges = tuple(
        Exchange(
            before.text,
            Reply(after.opening.messages, after.opening.added_clips),
            len(before.completion.tokens),
            after.completion.prompt_length,
        )
        for before, after in pairwise(path)
    )
    first = path[0].opening
    return Rollout(
        prompt=replace(prompt, messages=first.messages, clips=first.clips),
        sample=sample,
        tokens=tokens,
        action_mask=action_mask,
        logprobs=np.concatenate([piece.completion.logprobs for piece in new]),
        finish_reason=path[-1].completion.finish_reason,
        version=spans[0][0],
        text=path[-1].text,
        spans=spans if len(spans) > 1 else (),
        exchanges=exchanges,
    )


def _spans(pieces: Sequence[Piece]) -> Spans:
    """Return how many tokens each version wrote."""
    spans: list[tuple[int, int]] = []
    for version, count in (span for piece in pieces for span in piece.completion.spans):
        before = spans.pop()[1] if spans and spans[-1][0] == version else 0
        spans.append((version, before + count))
    return tuple(spans)


def _with_note(rollout: Rollout, words: str) -> Rollout:
    """Return the rollout with words for the metrics."""
    end = len(rollout.tokens)
    last = Exchange(rollout.text, Reply(note=words, last=True), end, end)
    return replace(rollout, exchanges=(*rollout.exchanges, last))
