"""Offers the candidate of an external recogniser only if the policy asks for it, at a price (after Speech-Hands).

The form is that of `rl.data.arbitration`.

    environment:
      step: rollouts.environments.second_ear:step
      args: {cost: 0.1}
      stop: ["<ask>", "<internal>", "<external>"]
"""

from __future__ import annotations

from rewards.answers.transcripts import transcript_words
from rl.data.arbitration import ASK, ASK_END, candidate_of, sign_of, transcript_in
from rl.messages import open_turn
from rl.think import THINK_CLOSE
from rl.types import Message, Prompt, Reply, Rollout

_SIGNS = (ASK, sign_of("internal"), sign_of("external"))
"""Signs after which the policy pauses. Text may follow a sign, since the last token is written whole, such as
`>\\n`."""


def step(prompt: Prompt, rollout: Rollout, cost: float = 0.0) -> Reply | None:
    """Return the candidate behind `<ask>`, and behind `<internal>` or `<external>` the text that the action takes. Each time
    that the external one is looked at costs `cost`; to take it unseen is to look at it."""
    newest = rollout.text[len(open_turn(rollout.exchanges)) :]
    sign = max(_SIGNS, key=newest.rfind)
    if sign not in newest:
        return None
    is_decided = THINK_CLOSE in rollout.text
    if sign == ASK and not is_decided:
        return _say(candidate_of(prompt) + ASK_END, "asked", -cost)
    # What the last token adds must contain no word: after an action only the environment says what was heard.
    if sign != ASK and is_decided and transcript_words(rollout.response.removeprefix(sign)) == []:
        if sign == sign_of("internal"):
            return _say(transcript_in(rollout.reasoning), "internal")
        price = 0.0 if ASK in rollout.reasoning else -cost
        return _say(candidate_of(prompt), "external", price or None)
    return Reply(note="misplaced")  # an action within the chain, or not at the beginning of the answer: nothing is told


def _say(text: str, note: str, reward: float | None = None) -> Reply:
    return Reply((Message("assistant", text),), reward=reward, note=note)
