"""Feeds sound to the policy while it thinks: it begins with what it has heard, and waits for more where it needs more.

    environment: {step: rollouts.environments.arriving:step, stop: ["<more>"]}

The pieces are the prompt's clips (heard in the question) and `Prompt.later`. Behind each `<more>` the next one is put into the
chain, as it would have arrived by then; so when the sound ends, only the thoughts on its last piece are still to come.
"""

from __future__ import annotations

from rl.messages import AUDIO_PATCH, MORE, open_turn
from rl.types import Message, Prompt, Reply, Rollout


def step(prompt: Prompt, rollout: Rollout) -> Reply | None:
    """Return the next piece of the sound behind `<more>`. A policy that ends its turn before the sound has ended is counted as
    `ended_early`, one that waits for more than there is as `nothing_more`."""
    pieces = sum(len(exchange.reply.clips) for exchange in rollout.exchanges)  # that have come so far
    newest = rollout.text[len(open_turn(rollout.exchanges)) :]
    if MORE not in newest:  # it paused for nothing, so it has ended its turn
        return None if pieces == len(prompt.later) else Reply(note="ended_early", last=True)
    if pieces == len(prompt.later):
        return Reply(note="nothing_more")
    return Reply((Message("assistant", AUDIO_PATCH),), (prompt.later[pieces],), note="heard")
