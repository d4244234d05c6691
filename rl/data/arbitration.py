"""The form of a chain that arbitrates between two transcripts (Speech-Hands, arXiv 2601.09413): trust your own ear,
take the other's word, or write anew.

    <think>7 3 5<ask>7 3 9</ask></think><external>7 3 9

A chain begins with what the model itself has heard. `<ask>` asks for the candidate of an external recogniser, which the
prompt's field `external` holds, and an action says whose word is taken. The candidate between `<ask>` and `</ask>`, and the one
behind `<internal>` or `<external>`, are written by the environment `rollouts.environments.second_ear`, so that an action means
what it says; behind `<rewrite>` the model writes itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, cast

from rewards.answers.texts import normalise_text
from rl.messages import AUDIO_PATCH
from rl.think import THINK_CLOSE, THINK_OPEN
from rl.types import Demonstration, Prompt

Action = Literal["internal", "external", "rewrite"]
ACTIONS: tuple[Action, ...] = ("internal", "external", "rewrite")
FIELD = "external"
"""Field of a prompt that holds what the external recogniser heard: a text, or a list of several hypotheses."""
ASK, ASK_END = "<ask>", "</ask>"
SIGNS = (ASK, ASK_END, THINK_OPEN, THINK_CLOSE, AUDIO_PATCH, *(f"<{action}>" for action in ACTIONS))
"""Texts that mean something to this form, and which no transcript may hold."""


def sign_of(action: Action) -> str:
    """Return the text of an action: `<external>`."""
    return f"<{action}>"


def hypotheses_of(prompt: Prompt) -> list[str]:
    """Return what the external recogniser says, without signs of this form; an empty text where it heard nothing. Raises
    ValueError for a prompt without the field, or with something else in it."""
    value = prompt.fields.get(FIELD, [])
    texts = cast("Sequence[object]", value) if isinstance(value, list | tuple) else [value]
    if not texts or not all(text is None or isinstance(text, str) for text in texts):
        raise ValueError(
            f"prompt '{prompt.id}' has no transcript of an external recogniser; give its row a column of texts and map it, "
            f"`fields: {{{FIELD}: COLUMN}}`, or write a file by `rl data transcribe` and name it, `external: FILE`"
        )
    return [_without_signs(cast("str", text or "")) for text in texts]


def candidate_of(prompt: Prompt) -> str:
    """Return the external candidate: the commonest of the hypotheses."""
    return majority(hypotheses_of(prompt))


def majority(texts: Sequence[str]) -> str:
    """Return the commonest text, whatever its case and punctuation; of those that are equally common the earliest."""
    counts = Counter(map(normalise_text, texts))
    # `max` takes the first of equals, so a tie of 2, 2 and 1 goes to what was sampled first.
    return max(texts, key=lambda text: counts[normalise_text(text)])


def transcript_in(chain: str) -> str:
    """Return what the model itself has heard: its chain up to the first `<ask>`."""
    return chain.partition(ASK)[0].strip()


def split_action(response: str) -> tuple[Action | None, str]:
    """Return (the action that a response begins with, or None, and the answer behind it)."""
    for action in ACTIONS:
        if response.startswith(sign_of(action)):
            return action, response.removeprefix(sign_of(action)).strip()
    return None, response.strip()


def choose_by_error(own: float, external: float, fused: float | None = None) -> Action:
    """Return the action whose error rate is lowest: `fused` is that of a transcript that was written from both candidates, None
    where there is none. In a tie one's own ear goes first, then the external one."""
    others = [external] if fused is None else [external, fused]
    if own <= min(others):
        return "internal"
    return "external" if external <= min(others) else "rewrite"


def choose_by_answer(own_is_right: bool, external_is_right: bool) -> Action:
    """Return the action for a question with a right answer: to write anew where neither candidate has it."""
    if own_is_right:
        return "internal"
    return "external" if external_is_right else "rewrite"


def demonstrate(own: str, gold: str, action: Action | None, asks: bool) -> Demonstration:
    """Return what the policy is to write; None for the action fuses both candidates without one."""
    chain = f"{own}{ASK}" if asks else own
    if action is None:
        return Demonstration(chain, gold)
    # What stands behind the other two is copied there by the environment.
    return Demonstration(chain, sign_of(action) + (gold if action == "rewrite" else ""))


def _without_signs(text: str) -> str:
    for sign in SIGNS:
        text = text.replace(sign, " ")
    return " ".join(text.split())
