"""Closes a chain by force after so many of its steps: RL in which the reward is for what is said from an unfinished chain.

    environment: {step: rollouts.environments.short_chain:step, stop: [" then "], args: {by: " then "}}

A step ends where the policy pauses, behind one of the texts of `stop`. What closes the chain carries no loss, as all that an environment
puts in: the policy learns to think first what the answer needs first, and to answer from it. It is the counterpart of `sft: {prune: …}`
for a model that speaks while it thinks (Mind-Paced Speaking, arXiv 2510.09592), and of its first turn alone: in a rollout the answer is one
piece, while a paced one goes on as the chain does.

A policy may open another chain behind the forced end and think on. Pay its answer `only_if: format`, which allows one chain.
"""

from __future__ import annotations

from rl.messages import open_turn
from rl.think import THINK_CLOSE
from rl.types import Message, Prompt, Reply, Rollout


def step(prompt: Prompt, rollout: Rollout, by: str, steps: int = 1) -> Reply | None:
    """Return what closes the chain behind its last step that is allowed, and let it go on before that. `by` is the text of `stop`.
    A chain that ends by itself before is left as it is."""
    newest = rollout.text[len(open_turn(rollout.exchanges)) :]
    # In the answer the text means nothing, and without it the policy has ended its turn.
    if THINK_CLOSE in rollout.text or by not in newest or len(rollout.exchanges) + 1 < steps:
        return Reply()
    return Reply((Message("assistant", f"\n{THINK_CLOSE}\n"),), note="closed")
