"""Finds in a model's chat template how an assistant's turn is opened, where a chain of thought stands in it, and
which token ends it. All of it is seen by rendering, since templates are programs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rl.data.control_tokens import ControlTokens
from rl.think import THINK_CLOSE, THINK_OPEN
from rl.types import Message

SWITCHES = ("enable_thinking", "thinking")
"""Variables with which a template's caller says whether the model thinks: Qwen3's, GLM's, SmolLM3's; DeepSeek-V3.1's,
Granite's."""
# Ends of a prompt: with a chain opened for the model, and with one closed already, so that it answers at once.
OPENED = re.compile(rf"{THINK_OPEN}\s*\Z")
CLOSED = re.compile(rf"(?:{THINK_OPEN}\s*)?{THINK_CLOSE}\s*\Z")
SLOT = "\ue000{}\ue001"
"""Stands for a message's content while a template is looked at; private-use characters, which no template holds."""


class ChatTemplate:
    """The chat template of a tokenizer, which renders conversations for a model that thinks or does not."""

    def __init__(self, tokenizer: Any, think: bool | None) -> None:  # no common type for fast tokenizers of all models
        self.tokenizer = tokenizer
        self.think = think
        """Value given to the template's switches of thinking; None leaves each at the template's default."""

    def render(
        self,
        messages: Sequence[Message],
        open_turn: bool,
        template: str | None = None,
        switches: Mapping[str, bool] | None = None,
        tools: Sequence[Mapping[str, object]] = (),
    ) -> str:
        """Return the conversation's text, with `open_turn` up to where the assistant goes on; by default with the
        tokenizer's own template, and the switches for a model that thinks or does not. `tools` are JSON schemas of what the
        assistant may call. Raises ValueError when the template refuses the conversation."""
        from jinja2 import TemplateError

        turns = [{"role": message.role, "content": message.content} for message in messages]
        if switches is None:
            switches = {} if self.think is None else dict.fromkeys(SWITCHES, self.think)
        try:
            return self.tokenizer.apply_chat_template(
                turns,
                tools=[*tools] or None,
                chat_template=template,
                add_generation_prompt=open_turn,
                tokenize=False,
                **switches,
            )
        except (TemplateError, TypeError, ValueError, LookupError) as error:  # what a template's program may raise
            roles = ", ".join(message.role for message in messages)
            system = any(message.role == "system" for message in messages)
            fix = "say in the user's turn what the system turn says" if system else "use other roles"
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise ValueError(f"the chat template refuses the turns {roles}: {reason}; {fix}") from error

    def check_roles(self, roles: Sequence[str]) -> None:
        """Raise ValueError unless every turn of these roles stands in the text, those of user and assistant in their order
        and what the system says before the last user's."""
        slots = [SLOT.format(i) for i in range(len(roles))]
        messages = [Message(role, slot) for role, slot in zip(roles, slots, strict=True)]
        text = self.render(messages, open_turn=True)
        places = [text.find(slot) for slot in slots]
        # Some templates (Mistral's of 2024) put what the system says beside the last of the user's turns.
        dialogue = [place for place, role in zip(places, roles, strict=True) if role != "system"]
        last_user = max((place for place, role in zip(places, roles, strict=True) if role == "user"), default=len(text))
        system = [place for place, role in zip(places, roles, strict=True) if role == "system"]
        if min(places) < 0 or dialogue != sorted(dialogue) or max(system, default=-1) > last_user:
            raise ValueError(f"the chat template drops or reorders the turns {', '.join(roles)}; use other roles")


@dataclass(frozen=True, slots=True)
class TurnFormat:
    """The opening, the chain and the end of an assistant's turn."""

    dropped: str
    """End of the template's own opening that is left out: an empty chain before one that thinks, or `<think>` before an
    answer without a chain."""
    opening: str
    """The text that is added in its place: "" where the template opens the turn as the model goes on."""
    start: str
    """A whole prompt, of one user turn, up to where the model goes on."""
    chain_start: str
    """The end of a prompt from `<think>` on; "" without a chain."""
    closing: str
    """The text between chain and answer."""
    ending: str
    """The text after the answer, the end token included."""
    end: int
    """Id of the token that ends a turn."""


def template_thinks(tokenizer: Any) -> bool:
    """Return whether the model behind this chat template writes a chain of thought by default: the template opens one
    for it (DeepSeek-R1), or closes one only when it is told that the model shall not think (Qwen3)."""
    user = [Message("user", SLOT.format(0))]
    opened_prompt = ChatTemplate(tokenizer, think=None).render(user, open_turn=True)
    if OPENED.search(opened_prompt) or CLOSED.search(opened_prompt):
        return not CLOSED.search(opened_prompt)
    return bool(CLOSED.search(ChatTemplate(tokenizer, think=False).render(user, open_turn=True)))


def find_turn_format(template: ChatTemplate, controls: ControlTokens, end_ids: Collection[int] = ()) -> TurnFormat:
    """Return the format of an assistant's turn. `end_ids` are ends of turn that the model's files declare."""
    question, chain, answer, question_after = (SLOT.format(i) for i in range(4))
    user = Message("user", question)
    prompt = template.render([user], open_turn=True)
    tail = prompt.rpartition(question)[2]
    unwanted_opening = (CLOSED if template.think else OPENED).search(tail)
    dropped = unwanted_opening[0] if unwanted_opening else ""
    prompt = prompt.removesuffix(dropped)
    content = f"{THINK_OPEN}\n{chain}\n{THINK_CLOSE}\n{answer}" if template.think else answer
    turn = template.render([user, Message("assistant", content)], open_turn=False)
    opening, closing = "", f"\n{THINK_CLOSE}\n"
    if template.think:
        opening = "" if OPENED.search(tail) else f"{THINK_OPEN}\n"
        # As the template writes a chain, where it keeps one.
        before, chain_slot, after = turn.partition(chain)
        own_opening, own_closing = before.removeprefix(prompt), after.partition(answer)[0]
        follows = chain_slot and before.startswith(prompt) and own_opening.strip() == (THINK_OPEN if opening else "")
        if follows and own_closing.strip() == THINK_CLOSE:
            opening, closing = own_opening, own_closing
    start = prompt + opening
    rest = turn.rpartition(answer)[2]
    end = controls.first(rest)
    if end is None:  # GLM's turns end with the token of whoever speaks next
        turns = [user, Message("assistant", content), Message("user", question_after)]
        rest = template.render(turns, open_turn=False).rpartition(answer)[2].partition(question_after)[0]
        end = controls.first(rest)
        # Engines stop only where the model's files declare an end; the token of another speaker is none.
        if end and controls.ids[end[0]] not in end_ids:
            end = None
    return TurnFormat(
        dropped=dropped,
        opening=opening,
        start=start,
        chain_start=start[start.rindex(THINK_OPEN) :] if template.think else "",
        closing=closing,
        ending=rest[: end.end()] if end else str(template.tokenizer.eos_token),
        end=controls.ids[end[0]] if end else int(template.tokenizer.eos_token_id),
    )
