"""Reads answers that stand beside a prompt as TRL has them: a text, or turns of which the assistant's is the answer.

A pair without a prompt has it in both answers: what they begin with alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rl.data.messages import read_turns
from rl.data.rows import text, type_name
from rl.types import Message

_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")  # Anthropic's hh-rlhf


def read_answer(value: object, prompt: Sequence[Message], name: str, where: str) -> str:
    """Return the text of an answer to `prompt` in the column `name`: a text, or turns, which may begin with the prompt's.
    Raises ValueError where they are no single turn of the assistant's."""
    if not isinstance(value, list):
        return text(value, name, where)
    turns, sounds = read_turns(value, name, where, needs_user=False)
    if sounds:
        raise ValueError(f"{where}: column '{name}': sound in an answer; a model here answers with text, remove it")
    if len(turns) > len(prompt) and turns[: len(prompt)] == [*prompt]:
        turns = turns[len(prompt) :]
    if len(turns) != 1 or turns[0].role != "assistant":
        roles = ", ".join(turn.role for turn in turns)
        raise ValueError(f"{where}: column '{name}' is no single turn of the assistant after the prompt, but {roles}")
    return turns[0].content


def read_pair(chosen: object, rejected: object, where: str) -> tuple[list[Message], str, str]:
    """Return (prompt, chosen answer, rejected answer) of a pair whose two sides hold the prompt too. Raises ValueError where
    they do not begin alike, or one ends there."""
    if isinstance(chosen, str) and isinstance(rejected, str):
        if chosen.lstrip().startswith("Human:") and rejected.lstrip().startswith("Human:"):
            return _split_turns(_spoken(chosen), _spoken(rejected), where)
        return _split_texts(chosen, rejected, where)
    sides: list[list[Message]] = []
    for name, value in (("chosen", chosen), ("rejected", rejected)):
        if not isinstance(value, list):
            raise ValueError(f"{where}: column '{name}' is {type_name(value)}, not a text or turns; correct the row")
        turns, sounds = read_turns(value, name, where)
        if sounds:
            raise ValueError(f"{where}: column '{name}': sound in a pair without `prompt`; give the prompt a column")
        sides.append(turns)
    return _split_turns(sides[0], sides[1], where)


def _spoken(value: str) -> list[Message]:
    pieces = _SPEAKER.split(value.strip())[1:]
    roles = ["user" if speaker == "Human" else "assistant" for speaker in pieces[::2]]
    return [Message(role, content.strip()) for role, content in zip(roles, pieces[1::2], strict=True)]


def _split_turns(chosen: list[Message], rejected: list[Message], where: str) -> tuple[list[Message], str, str]:
    prompt, answers = chosen[:-1], (chosen[-1], rejected[-1])
    if prompt != rejected[:-1] or not prompt or any(turn.role != "assistant" for turn in answers):
        raise ValueError(
            f"{where}: 'chosen' and 'rejected' are no two answers to one prompt: all turns but the last must be alike, "
            "and the last the assistant's; correct the row or give the prompt a column"
        )
    return prompt, answers[0].content, answers[1].content


def _split_texts(chosen: str, rejected: str, where: str) -> tuple[list[Message], str, str]:
    """Split two texts after the last white space before they differ, as TRL does."""
    count = next(
        (i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), min(len(chosen), len(rejected))
    )
    while count and not chosen[count - 1].isspace():
        count -= 1
    prompt = chosen[:count].strip()
    if not prompt or not chosen[count:].strip() or not rejected[count:].strip():
        raise ValueError(f"{where}: 'chosen' and 'rejected' do not begin with one prompt; give it a column `prompt`")
    return [Message("user", prompt)], chosen[count:].strip(), rejected[count:].strip()
