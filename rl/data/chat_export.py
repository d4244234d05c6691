"""The chat template of a trained model: it renders by default the prompts that the model was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rl.data.chat_template import SLOT, SWITCHES, ChatTemplate
from rl.think import THINK_CLOSE, THINK_OPEN
from rl.types import Message

if TYPE_CHECKING:
    from rl.data.chat import Chat


def exported_template(chat: Chat) -> str:
    """Return the template with which a model trained on `chat`'s prompts is to be exported; the tokenizer's own where
    that renders them already. A caller may still switch thinking on or off where the template knows a switch. Raises
    ValueError where the prompts cannot be rendered."""
    source: str = chat.tokenizer.get_chat_template()
    form, conversations = chat.turn_format, _conversations(chat)
    # Their defaults are those of training from now on.
    deviating = [name for name in SWITCHES if _differs(chat, conversations, {}, {name: chat.think})]
    # Where the template itself knows none, what is added to it obeys the first name.
    switch = next((n for n in SWITCHES if _differs(chat, conversations, {n: True}, {n: False})), SWITCHES[0])
    template = source
    if form.dropped or form.opening:
        condition = switch if chat.think else f"not {switch}"
        condition = f"add_generation_prompt and ({switch} is not defined or {condition})"
        # Jinja drops the last line break of a template, and `{%+` keeps the spaces before a block.
        template = source.removesuffix("\n")
        if form.dropped:
            template = (
                f"{{% set rendered %}}\n{template}{{%+ endset %}}"
                f"{{% if {condition} and rendered.endswith({_literal(form.dropped)}) %}}"
                f"{{{{ rendered[:-{len(form.dropped)}] }}}}{{% else %}}{{{{ rendered }}}}{{% endif %}}"
            )
        if form.opening:
            template += f"{{%+ if {condition} %}}{{{{ {_literal(form.opening)} }}}}{{% endif %}}"
    for name in deviating:
        value = str(chat.think).lower()
        template = f"{{% if {name} is not defined %}}{{% set {name} = {value} %}}{{% endif %}}\n{template}"
    bare = ChatTemplate(chat.tokenizer, think=None)
    for messages in conversations:
        if bare.render(messages, open_turn=True, template=template) != chat.prompt_text(messages):
            raise ValueError(
                "the chat template cannot be written so that it renders the prompts of training by default; "
                f"set model.think: {str(not chat.think).lower()} or simplify the template"
            )
    return template


def _conversations(chat: Chat) -> list[list[Message]]:
    """Return conversations of all forms that the template accepts."""
    question, answer, system = (SLOT.format(i) for i in range(3))
    user = Message("user", question)
    chain = Message("assistant", f"{THINK_OPEN}\n{question}\n{THINK_CLOSE}\n\n{answer}")
    forms: list[list[Message]] = [[user], [user, Message("assistant", answer), user], [user, chain, user]]
    forms += [[Message("system", system), *messages] for messages in forms]
    accepted_list: list[list[Message]] = []
    for messages in forms:
        try:
            chat.prompt_text(messages)
        except ValueError:  # a template without a system turn, or without several
            continue
        accepted_list.append(messages)
    return accepted_list


def _differs(
    chat: Chat,
    conversations: Sequence[Sequence[Message]],
    one: Mapping[str, bool],
    other: Mapping[str, bool],
) -> bool:
    """Return whether the template renders any of the conversations differently with other switches."""
    bare = ChatTemplate(chat.tokenizer, think=None)
    return any(
        bare.render(messages, open_turn=True, switches=one) != bare.render(messages, open_turn=True, switches=other)
        for messages in conversations
    )


def _literal(text: str) -> str:
    """Return the text as a Jinja literal."""
    escaped_text = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped_text}'"
