"""Reads the turns of a conversation, as chat APIs write them: texts, parts, chains of thought, sound.

Everything that a turn says is read, or the row is refused in a line that names the key: a turn that lost its tool calls or
its picture would teach the model something else than the data shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from rl.data.rows import is_missing, text, type_name
from rl.think import THINK_CLOSE, THINK_OPEN, join_think, to_standard_tags
from rl.types import AUDIO_PATCH, Message

CHAIN_KEYS = ("reasoning_content", "reasoning", "thinking")
"""Keys of a turn, and columns of a row, that hold a chain of thought beside the answer."""
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""Role of a turn -> role in the prompt; `developer` is a newer name of `system`."""
SHAREGPT_ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant"}
"""Speaker of a ShareGPT turn, `{from, value}`, -> its role elsewhere; others have the same name."""
TEXT_PARTS = ("text", "input_text", "output_text")
CHAIN_PARTS = ("thinking", "reasoning")
AUDIO_PARTS = ("audio", "audio_url", "input_audio")


def read_turns(value: object, name: str, where: str, needs_user: bool = True) -> tuple[list[Message], list[object]]:
    """Return the turns of the column `name`, and the sound of their audio parts as `rl.data.clips` reads it, in order;
    each has its mark in the text. A chain stands before its answer in the standard form. Raises ValueError naming the
    row at `where`, the turn and the key, and where it `needs_user` and no turn of the user's has text. A text is one turn
    of the user's."""
    if isinstance(value, str) and not value.lstrip().startswith("[{"):  # which is turns as the text of JSON
        value = [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value:
        raise ValueError(
            f"{where}: column '{name}' is {type_name(value)}, not a list of {{role, content}}; correct the row"
        )
    sounds: list[object] = []
    turns = [
        _read_turn(turn, name, where, f"{where}: column '{name}', turn {number}", sounds)
        for number, turn in enumerate(cast("list[object]", value), 1)
    ]
    if needs_user and not any(turn.role == "user" and turn.content.strip() for turn in turns):
        raise ValueError(f"{where}: column '{name}': no user turn with text; write {{role: user, content: …}}")
    return turns, sounds


def _read_turn(value: object, name: str, where: str, place: str, sounds: list[object]) -> Message:
    """Return a turn; the sound of its parts is added to `sounds`."""
    value = _from_sharegpt(value)
    if not isinstance(value, dict) or not isinstance(value.get("role"), str):
        raise ValueError(f"{where}: column '{name}': a turn without a role; write {{role: user, content: …}}")
    turn = cast("dict[str, object]", value)
    role = text(turn["role"], f"{name}.role", where)
    if role not in ROLES:
        known = "system (or developer), user and assistant"
        raise ValueError(f"{place}: a prompt has no role '{role}', only {known}; rename it or remove the row")
    # Arrow gives every turn the keys of all: those that it does not have itself are null.
    for key in turn:
        if key not in ("role", "content", *CHAIN_KEYS) and not _is_empty(turn[key]):
            raise ValueError(f"{place}: key '{key}' would be lost; write what it says into the content, or remove it")
    content, chains = _read_content(turn.get("content"), name, where, place, sounds)
    chains += [text(turn[key], f"{name}.{key}", where) for key in CHAIN_KEYS if not _is_empty(turn.get(key))]
    chain = one_chain(chains, place)
    if chain and ROLES[role] != "assistant":
        raise ValueError(f"{place}: a chain of thought in a turn of the {role}; only the assistant's can have one")
    if chain and (THINK_OPEN in content or THINK_CLOSE in content):
        raise ValueError(f"{place}: a chain of thought beside the content, and {THINK_OPEN} in it; remove one")
    return Message(ROLES[role], join_think(chain, content) if chain else content)


def _from_sharegpt(value: object) -> object:
    """Return a turn of ShareGPT's, `{from: human, value: …}`, under the usual keys; any other as it is."""
    turn = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    if _is_empty(turn.get("role")) and isinstance(turn.get("from"), str) and "value" in turn:
        rest = {key: inner for key, inner in turn.items() if key not in ("from", "value")}
        speaker = str(turn["from"])
        return {**rest, "role": SHAREGPT_ROLES.get(speaker, speaker), "content": turn["value"]}
    return value


def one_chain(chains: Sequence[str], place: str) -> str:
    """Return the chain, without tags around it, that all texts which are not blank have in common; empty without one.
    Raises ValueError where they differ."""
    standard = [to_standard_tags(chain).strip() for chain in chains]
    bare = {chain.removeprefix(THINK_OPEN).removesuffix(THINK_CLOSE).strip(): None for chain in standard}
    bare.pop("", None)
    if len(bare) > 1:
        raise ValueError(f"{place}: {len(bare)} chains of thought that differ; remove all but one")
    return next(iter(bare), "")


def _read_content(value: object, name: str, where: str, place: str, sounds: list[object]) -> tuple[str, list[str]]:
    """Return the text of a turn's content, a mark for each sound in it, and the chains of thought among its parts."""
    if not isinstance(value, list):
        return text(value, f"{name}.content", where), []
    content, thoughts, follows_text = "", list[str](), False
    for part in cast("list[object]", value):
        kind, body = _read_part(part, name, where, place)
        if kind == "audio":
            sounds.append(body)
            content += AUDIO_PATCH
        elif kind == "chain":
            thoughts.append(text(body, f"{name}.content", where))
        else:
            # Two texts are two paragraphs: joined without a break, the last and the first word would be one.
            if follows_text:
                content += "\n"
            content += text(body, f"{name}.content", where)
        follows_text = kind == "text"
    return content, ["\n".join(thoughts)]


def _read_part(value: object, name: str, where: str, place: str) -> tuple[str, object]:
    """Return (`text`, `chain` or `audio`; what the part holds)."""
    if isinstance(value, str):
        return "text", value
    if not isinstance(value, dict):
        raise ValueError(f"{place}: a part of the content is {type_name(value)}, not a text or a mapping; correct it")
    part = {key: inner for key, inner in cast("dict[str, object]", value).items() if not _is_empty(inner)}
    # A part without a type is what its first key names: `{text: …}`, `{audio: …}`.
    kind = part.pop("type", None) or next(iter(part), "text")
    if kind in TEXT_PARTS and part.keys() <= {"text"}:
        return "text", part.get("text", "")
    # One of the two: of a part that holds both, one would be lost.
    if kind in CHAIN_PARTS and len(part) <= 1 and part.keys() <= {"text", kind}:
        return "chain", next(iter(part.values()), "")
    if kind in AUDIO_PARTS and len(part) == 1:
        return "audio", _sound(next(iter(part.values())))
    others = ", ".join(f"'{key}'" for key in part)
    raise ValueError(f"{place}: a part of type '{kind}' ({others}) is no text and no sound; remove it or the row")


def _sound(value: object) -> object:
    """Return an audio part's value as `rl.data.clips` reads it: a path, bytes, `data:…;base64,…`."""
    if isinstance(value, Mapping) and isinstance(value.get("data"), str):  # OpenAI's input_audio
        return f"data:audio/{value.get('format') or 'wav'};base64,{value['data']}"
    if isinstance(value, Mapping) and "url" in value:
        return value["url"]
    return value


def _is_empty(value: object) -> bool:
    """Return whether a key says nothing: null, false, an empty text, list or mapping."""
    return is_missing(value) or value is False or (isinstance(value, str | list | dict) and not value)
