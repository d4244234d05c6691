"""Turns a row of a data file into a `Prompt`, as `fields` maps its columns. A mistake is one line that names the
row."""

from __future__ import annotations

import math
import string
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from rl.data.clips import place_marks, read_clips
from rl.data.messages import CHAIN_KEYS, one_chain, read_turns
from rl.data.rows import Row, column, is_missing, is_optional, render, text, type_name
from rl.data.turn_answers import read_answer, read_pair
from rl.think import THINK_CLOSE, THINK_OPEN, split_think, to_standard_tags
from rl.types import AUDIO_PATCH, Demonstration, Message, Prompt

PROMPT_KEYS = ("question", "answer", "id", "source", "reasoning", "response", "split", "options", "messages", "audio")
"""The keys of `fields` with a meaning; any other goes to `Prompt.fields`."""
IMPLIED_KEYS = ("answer", "id")
"""Keys that are read from a column of the same name, where there is one, even when `fields` does not name it."""


UNREAD = ("image", "images", "video", "videos", "tools")
"""Columns of other libraries that change what a prompt says and are not read."""
VERL_AUDIO = "<audio>"
"""Mark of a clip's place in verl's prompts."""
FLAGS = {"on", "off", "true", "false", "yes", "no", "none", "auto", "low", "medium", "high"}
"""Texts in a column of a chain's name that say whether a model thinks, and are no chain."""


class RowConfig(Protocol):
    """The part of `rl.data.sources.DataConfig`, where it is documented, that concerns a row."""

    fields: dict[str, str]
    template: str
    system: str | None
    final_mark: str | None

    @property
    def root(self) -> Path: ...


def to_prompt(row: Row, config: RowConfig, where: str, id: str) -> Prompt:
    """Return the prompt of the row at `where`, with this `id` where the row has none. Raises ValueError."""
    # By column names and by keys of `fields`, so that the template may use either.
    values = {**row, **{key: column(row, name, where) for key, name in config.fields.items()}}
    options = _options(values["options"], where) if "options" in config.fields else None
    if options is not None:  # one lettered line each, as the verifier `choice` reads them
        values["options"] = "\n".join(f"{string.ascii_uppercase[i]}. {option}" for i, option in enumerate(options))
    clips = ()
    if "audio" in config.fields:
        clips = read_clips(values["audio"], _name(config, "audio"), config.root, where)
        values["audio"] = AUDIO_PATCH * len(clips)
    messages, last, sounds = _messages(values, config, where)
    if sounds and clips:
        raise ValueError(f"{where}: sound in column '{_name(config, 'audio')}' and in the conversation; drop one")
    if sounds:
        clips = read_clips(sounds, config.fields["messages"], config.root, where)
    answer = _value(values, config, "answer", where)
    return Prompt(
        id=_value(values, config, "id", where) or id,
        messages=place_marks(_with_marks(messages, len(clips)), clips, where),
        clips=clips,
        answer=None if answer is None else _after_mark(answer, config.final_mark, "answer", where),
        source=_value(values, config, "source", where) or "",
        demonstration=_demonstration(row, values, config, last, where),
        fields=_further_columns(values, config, options, where),
    )


def _name(config: RowConfig, key: str) -> str:
    """Return the name of a key's column, for messages."""
    return config.fields.get(key, key).removesuffix("?")


def _further_columns(values: Row, config: RowConfig, options: list[str] | None, where: str) -> Row:
    """Return the columns that go on to verifiers; those that the row may lack and lacks are left out. Raises ValueError for a
    picture or a tool, which no prompt here can show."""
    columns: Row = {}
    for key, name in config.fields.items():
        # A list or a mapping, as verl's ground truths may be, is no `Prompt.answer`; verifiers get it as it is.
        is_unread = key in ("answer", "source") and is_optional(name) and not _is_plain(values[key])
        if (key in PROMPT_KEYS and not is_unread) or (is_optional(name) and values[key] is None):
            continue
        if key in UNREAD and name == f"{key}?" and values[key]:  # mapped by nobody: nobody knows that it is lost
            raise ValueError(
                f"{where}: column '{key}' would be lost, no prompt here shows it; remove it, or hand it to the verifiers "
                f"alone: fields: {{{key}: {key}}}"
            )
        columns[key] = values[key]
    return columns if options is None else {**columns, "options": options}


def _with_marks(messages: tuple[Message, ...], clips: int) -> tuple[Message, ...]:
    """Return the messages with verl's marks of clips as ours, where there is one for each clip and none of ours."""
    marks = sum(message.content.count(VERL_AUDIO) for message in messages)
    if not clips or marks != clips or any(AUDIO_PATCH in message.content for message in messages):
        return messages
    return tuple(Message(turn.role, turn.content.replace(VERL_AUDIO, AUDIO_PATCH)) for turn in messages)


def _value(values: Row, config: RowConfig, key: str, where: str) -> str | None:
    """Return the text of a key that `fields` maps, or of an implied column that is there; None when it is neither."""
    if key not in config.fields and key != "question" and (key not in IMPLIED_KEYS or is_missing(values.get(key))):
        return None
    name = _name(config, key)
    if is_optional(config.fields.get(key, "")) and not _is_plain(values[key]):
        return None  # null, or a list or mapping that only a verifier can read
    value = text(values[key], name, where, numbers=key != "question")
    if not value.strip():
        raise ValueError(f"{where}: column '{name}' is empty; give the {key} or remove the row")
    return value


def _is_plain(value: object) -> bool:
    """Return whether a value is a text that is not blank, or a number."""
    if isinstance(value, str):
        return bool(value.strip())
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value)


def _messages(values: Row, config: RowConfig, where: str) -> tuple[tuple[Message, ...], str | None, list[object]]:
    """Return the conversation up to the user's last turn, the text of the assistant's turn after it, if any, and the
    sound of its audio parts."""
    sounds: list[object] = []
    if "messages" in config.fields:
        turns, sounds = read_turns(values["messages"], config.fields["messages"], where)
    elif _is_implicit_pair(values, config):
        turns, values["chosen"], values["rejected"] = read_pair(values["chosen"], values["rejected"], where)
    else:
        if "question" in values and "{question}" in config.template:
            _value(values, config, "question", where)
        content = render(config.template, values, where)
        if not content.strip():
            raise ValueError(f"{where}: the question is empty; check the row and the template")
        turns = [Message("user", content)]
    for key in {"response", "chosen", "rejected"} & config.fields.keys():
        if isinstance(values[key], list):
            values[key] = read_answer(values[key], turns, _name(config, key), where)
    last = turns.pop().content if turns[-1].role == "assistant" else None
    if not turns or turns[-1].role == "assistant":
        raise ValueError(f"{where}: no user turn to answer; end with one, or with one and the assistant's answer")
    if config.system and turns[0].role != "system":
        turns.insert(0, Message("system", config.system))
    return tuple(turns), last, sounds


def _is_implicit_pair(values: Row, config: RowConfig) -> bool:
    """Return whether a row is two answers that hold the prompt themselves."""
    has_question = "question" in values or config.template != "{question}"
    return {"chosen", "rejected"} <= config.fields.keys() and not has_question


def _demonstration(row: Row, values: Row, config: RowConfig, last: str | None, where: str) -> Demonstration | None:
    """Return the demonstration of the mapped columns, or of the conversation's closing assistant turn. The chain stands in
    a column of its own, or in the response between tags."""
    response = _value(values, config, "response", where)
    if response is not None and last is not None:
        raise ValueError(f"{where}: the conversation and column '{config.fields['response']}' both answer; drop one")
    response = response or last
    if response is None:
        return None
    inner_chain, response = split_think(to_standard_tags(response))
    reasoning = one_chain([_chain_column(row, values, config, where), inner_chain], where)
    response = _after_mark(response, config.final_mark, "response", where)
    for part in (reasoning, response):
        if THINK_OPEN in part or THINK_CLOSE in part:  # the chain would be read back as another
            raise ValueError(f"{where}: the demonstration holds a second {THINK_OPEN} or {THINK_CLOSE}; remove the tag")
    return Demonstration(reasoning.strip(), response)


def _chain_column(row: Row, values: Row, config: RowConfig, where: str) -> str:
    """Return the chain that a column of its own holds: the one that `fields` maps to `reasoning`, or else one with a usual
    name that `fields` does not use otherwise. Empty without one."""
    chains: list[str] = []
    if "reasoning" in config.fields:
        candidates = {config.fields["reasoning"]: values["reasoning"]}
    else:
        candidates = {name: row.get(name) for name in CHAIN_KEYS if name not in config.fields.values()}
    for name, value in candidates.items():
        if is_missing(value):
            continue
        fix = f"if it is no chain of thought, name it otherwise: fields: {{flag: {name}}}"
        if not isinstance(value, str) or value.strip().casefold() in FLAGS:
            raise ValueError(f"{where}: column '{name}' is {type_name(value)} {value!r:.40}, which is no chain; {fix}")
        chain = text(value, name, where)
        if config.final_mark and config.final_mark in chain:
            chain = chain.rpartition(config.final_mark)[0]  # GSM8K: the answer follows the mark
        chains.append(chain)
    return one_chain(chains, where)


def _after_mark(value: str, mark: str | None, key: str, where: str) -> str:
    """Return the text after the last `mark`, all of it where there is none."""
    answer = (value.rpartition(mark)[2] if mark else value).strip()
    if not answer:
        raise ValueError(f"{where}: the {key} is empty; give one or remove the row")
    return answer


def _options(value: object, where: str) -> list[str]:
    if not isinstance(value, list) or not 2 <= len(value) <= len(string.ascii_uppercase):
        raise ValueError(f"{where}: options are {type_name(value)}, not a list of 2 to 26 texts; correct the row")
    return [text(option, "options", where, numbers=True) for option in value]
