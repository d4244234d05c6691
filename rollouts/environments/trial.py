"""Tries an environment on turns that a person types in a model's place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from rl.messages import Exchange, open_turn
from rl.types import Prompt, Rollout
from rollouts.environments.config import EnvironmentConfig
from rollouts.environments.service import EnvironmentService
from rollouts.episodes import Answer


class Line(TypedDict):
    """A turn and its reply, for JSON."""

    text: str
    messages: list[tuple[str, str]]
    clips: int
    reward: float | None
    note: str
    error: str | None
    over: bool


def play(config: EnvironmentConfig, prompt: Prompt, texts: Sequence[str], folder: Path) -> list[Line]:
    """Return what the environment replies to each turn, until it is over. Raises ValueError where it cannot be loaded."""
    import numpy as np

    lines: list[Line] = []
    exchanges: list[Exchange] = []
    state: bytes | None = None
    with EnvironmentService(config, folder) as service:
        service.start()
        for turn, text in enumerate(texts):
            # One token a turn and one a reply: a trial has no tokenizer.
            tokens = np.arange(2 * turn + 2)
            mask = tokens % 2 == 1
            whole = open_turn(exchanges) + text
            logprobs = np.zeros(turn + 1, np.float32)
            rollout = Rollout(prompt, 0, tokens, mask, logprobs, "stop", 0, whole, exchanges=tuple(exchanges))
            answer = _ask(service, rollout, state)
            reply, state = answer.reply, answer.state
            lines.append(
                Line(
                    text=text,
                    messages=[(m.role, m.content) for m in reply.messages] if reply else [],
                    clips=len(reply.clips) if reply else 0,
                    reward=reply.reward if reply else None,
                    note=reply.note if reply else "",
                    error=answer.error,
                    over=answer.error is None and (reply is None or reply.last),
                )
            )
            if reply is None or reply.last:
                break
            exchanges.append(Exchange(text, reply, 2 * turn + 2, 2 * turn + 3))
    return lines


def _ask(service: EnvironmentService, rollout: Rollout, state: bytes | None) -> Answer:
    service.submit((0, 0), rollout, state)
    while not (answers := service.take_answers(1.0)):
        pass
    return answers[0][1]
