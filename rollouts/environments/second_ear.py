"""An external recogniser whose candidate is given only where it is asked for, at a price (Speech-Hands as a decision of the
policy's). The form is that of `rl.data.arbitration`.

    environment:
      step: rollouts.environments.second_ear:step
      args: {cost: 0.1}
      stop: ["<ask>", "<internal>", "<external>"]
"""

from __future__ import annotations

from rl.data.arbitration import ASK, ASK_END, candidate_of, sign_of, transcript_in
from rl.messages import open_turn
from rl.think import THINK_CLOSE
from rl.types import Message, Prompt, Reply, Rollout


def step(prompt: Prompt, rollout: Rollout, cost: float = 0.0) -> Reply | None:
    """Return the candidate behind `<ask>`, and behind `<internal>` or `<external>` the text that the action takes. Each time
    that the external one is looked at costs `cost`; to take it unseen is to look at it."""
    newest = rollout.text[len(open_turn(rollout.exchanges)) :]
    asks = newest.endswith(ASK)
    takes_own, takes_external = newest.endswith(sign_of("internal")), newest.endswith(sign_of("external"))
    if not (asks or takes_own or takes_external):
        return None
    is_decided = THINK_CLOSE in rollout.text
    if asks and not is_decided:
        return _say(candidate_of(prompt) + ASK_END, "asked", -cost)
    if takes_own and is_decided and rollout.response == sign_of("internal"):
        return _say(transcript_in(rollout.reasoning), "internal")
    if takes_external and is_decided and rollout.response == sign_of("external"):
        price = 0.0 if ASK in rollout.reasoning else -cost
        return _say(candidate_of(prompt), "external", price or None)
    return Reply(note="misplaced")  # an action within the chain, or not at the beginning of the answer: nothing is told


def _say(text: str, note: str, reward: float | None = None) -> Reply:
    return Reply((Message("assistant", text),), reward=reward, note=note)
