"""Answers calls of a recipe's tools: finds a call in what the policy wrote, makes it, and replies with the answer.

With tags the answer follows the call in the policy's own turn: text as `<result>…</result>`, sound as sound. With the
chat template it is a turn of the tool. A call that cannot be read or made is counted under a word of its own
(`malformed`, `reversed`, `error`), and if the tool answers in words the model is told why.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from rl.messages import AUDIO_PATCH, Clip, Message, Reply, open_turn
from rl.think import THINK_OPEN, split_think
from rl.types import Prompt, Rollout
from rollouts.environments.calls import ToolCall, find_calls, find_tagged
from rollouts.environments.config import EnvironmentConfig
from rollouts.environments.contract import MOST_SOUND_BYTES, Pause
from rollouts.environments.tool import BadCallError, Tool, load_tool, tag_of

TOOLBOX = "tools"
"""Name of this environment in a pool."""
RESULT = "<result>{}</result>"
"""Form of a tool's text after a tag."""
MOST_ERROR_CHARACTERS = 1000
"""Characters of the reason that the model is told why a call cannot be made."""
Form = Literal["tags", "template"]


def toolbox_args(config: EnvironmentConfig) -> dict[str, object]:
    """Return the settings of a recipe's tools, as `Toolbox.load` takes them."""
    return {"tools": [asdict(tool) for tool in config.tool_configs], "calls": config.calls}


def stop_texts(config: EnvironmentConfig) -> list[str]:
    """Return the texts behind which the policy pauses for the recipe's tools."""
    if config.calls == "template":
        return []
    return [f"</{tag_of(tool.tool, tool.tag)}>" for tool in config.tool_configs]


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The tools of a recipe."""

    tools: Mapping[str, Tool]
    """Tools by the names under which they are called: tags or function names."""
    calls: Form

    @classmethod
    def load(cls, args: Mapping[str, Any], folder: Path | None) -> Toolbox:
        """Return the tools of the settings of `toolbox_args`, imported."""
        tools = [load_tool(tool["tool"], tool["args"], tool["tag"], folder) for tool in args["tools"]]
        form = cast("Form", args["calls"])
        return cls({tool.tag if form == "tags" else tool.name: tool for tool in tools}, form)

    @property
    def schemas(self) -> list[dict[str, object]]:
        """The tools as a chat template takes them; none where they are called by tags."""
        return [tool.schema for tool in self.tools.values()] if self.calls == "template" else []

    def reply(self, pause: Pause, args: Mapping[str, object]) -> tuple[Reply | None, None]:
        """Return the reply to the newest call, or None where there is none: the rollout is over."""
        rollout = pause.rollout
        newest = rollout.text[len(open_turn(rollout.exchanges)) :]
        if self.calls == "tags":
            return self._reply_inside(newest, rollout.prompt), None
        return self._reply_in_turns(rollout), None

    def _reply_inside(self, newest: str, prompt: Prompt) -> Reply | None:
        tagged = find_tagged(newest, [*self.tools])
        if tagged is None:
            return None
        tag, content = tagged
        tool = self.tools[tag]
        try:
            if content is None:
                raise BadCallError("malformed", f"</{tag}> without <{tag}>")
            answer = tool.call(tool.read_content(content), prompt)
        except ValueError as error:  # the policy has asked for what cannot be done
            told = () if _answers_in_sound(tool) else (Message("assistant", RESULT.format(_explain(error))),)
            return Reply(told, note=_reason(error))
        if isinstance(answer, Reply):
            return answer
        if isinstance(answer, Clip):
            return Reply((Message("assistant", AUDIO_PATCH),), (answer,), note=tool.name)
        return Reply((Message("assistant", RESULT.format(_without_marks(answer))),), note=tool.name)

    def _reply_in_turns(self, rollout: Rollout) -> Reply | None:
        # A call that is only drafted in a chain of thought, closed or not, is not made.
        calls = find_calls(split_think(rollout.text)[1].partition(THINK_OPEN)[0])
        messages: list[Message] = []
        clips: list[Clip] = []
        notes: list[str] = []
        for call in calls:
            room = MOST_SOUND_BYTES - sum(len(clip.data or b"") for clip in clips)
            answer, note = self._answer(call, rollout.prompt, room)
            notes.append(note)
            if isinstance(answer, Reply):
                return answer
            if isinstance(answer, Clip):
                clips.append(answer)
            messages.append(Message("tool", AUDIO_PATCH if isinstance(answer, Clip) else _without_marks(answer)))
        return Reply(tuple(messages), tuple(clips), note=" ".join(notes)) if calls else None

    def _answer(self, call: ToolCall, prompt: Prompt, room: int) -> tuple[str | Clip | Reply, str]:
        """Return (the answer to a call, the word under which it is counted); `room` is left for sound in the turn, in bytes."""
        try:
            if call.problem:
                raise BadCallError("malformed", call.problem)
            if call.name not in self.tools:
                raise BadCallError("unknown_tool", f"no tool '{call.name[:40]}'; there is {', '.join(self.tools)}")
            answer = self.tools[call.name].call(call.arguments, prompt)
            if isinstance(answer, Clip) and len(answer.data or b"") > room:
                raise BadCallError("too_long", "too long to be heard in one turn")
            return answer, call.name
        except ValueError as error:
            return _explain(error), _reason(error)


def _answers_in_sound(tool: Tool) -> bool:
    """Return whether a tool's answer is a sound. Such a tool's errors are not told, since words would stand where sound
    does."""
    return tool.hints.get("return") is Clip


def _explain(error: ValueError) -> str:
    """Return what the model is told of a call that cannot be made. It may quote what the model wrote, at any length."""
    text = str(error)
    return _without_marks(
        f"error: {text if len(text) <= MOST_ERROR_CHARACTERS else f'{text[:MOST_ERROR_CHARACTERS]} …'}"
    )


def _reason(error: ValueError) -> str:
    """Return the word under which a call that cannot be made is counted."""
    reason = getattr(error, "reason", "")
    # Other exceptions have a `reason` too: that of UnicodeDecodeError is a whole phrase.
    return reason if isinstance(reason, str) and re.fullmatch(r"\w{1,40}", reason) else "error"


def _without_marks(text: str) -> str:
    """Return a tool's words without the mark of a clip, which would stand for a sound."""
    # Replaced by a space, which no mark contains: otherwise the text on both sides could join into a new mark.
    return text.replace(AUDIO_PATCH, " ")
