"""Fifty sessions of a harness at once on a real engine, asked with the `openai` client."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from models.tokenizer import byte_tokenizer
from rl.data.chat import Chat
from rl.types import Message, Prompt, Rollout, Verdict
from rollouts.harness.server import Endpoint
from rollouts.harness.session import Session
from rollouts.harness.sessions import Sessions
from rollouts.sampler import Sampler

CHAT = Chat(byte_tokenizer())
PROMPTS = [Prompt(f"p{i}", (Message("user", f"prompt {i}"),)) for i in range(25)]
LIMIT = 220


def respawn(i: int) -> Any:
    raise AssertionError("no engine died")


class Harness:
    """Three turns of each session, in threads of their own, `most` of them at once."""

    def __init__(self, most: int) -> None:
        self.slots = threading.Semaphore(most)
        self.http = openai.DefaultHttpxClient()
        self.failures: list[BaseException] = []
        self.sessions = Sessions(CHAT, self.begin)
        self.endpoint = Endpoint(self.sessions, "secret")

    def begin(self, session: Session) -> None:
        threading.Thread(target=self.play, args=(session.id, session.prompt), daemon=True).start()

    def play(self, id: str, prompt: Prompt) -> None:
        try:
            with self.slots:
                self.talk(id, prompt)
            self.sessions.end(id, Verdict(score=1.0))
        except BaseException as error:
            self.failures.append(error)
            self.sessions.end(id, None, f"harness: {error}")

    def talk(self, id: str, prompt: Prompt) -> None:
        client = openai.OpenAI(
            base_url=self.endpoint.base_url(id), api_key="secret", http_client=self.http, max_retries=0
        )
        messages: list[Any] = [{"role": "user", "content": prompt.question}]
        for turn in range(3):
            answer = client.chat.completions.create(
                model="policy", messages=messages, max_tokens=5 + turn, logprobs=True
            )
            (choice,) = answer.choices
            assert answer.usage is not None
            assert choice.logprobs is not None
            assert choice.logprobs.content is not None
            assert answer.usage.completion_tokens == len(choice.logprobs.content) <= 5 + turn
            messages += [{"role": "assistant", "content": choice.message.content}]
            messages += [{"role": "user", "content": f"turn {turn} of {prompt.id}"}]


def play(engine: Any, model: Path, prompts: Sequence[Prompt], most: int) -> dict[tuple[str, int], Rollout]:
    sampler = Sampler([engine], respawn, CHAT)
    sampler.load(model, version=3)
    harness = Harness(most)
    sampler.use(harness.sessions)
    stream = sampler.generate(prompts, samples=2, temperature=1.0, max_sequence_tokens=LIMIT, seed=7)
    rollouts = [rollout for batch in stream for rollout in batch]
    harness.sessions.close("over")
    harness.endpoint.close()
    assert harness.failures == []
    return {(r.prompt.id, r.sample): r for r in rollouts}


@pytest.fixture(scope="module")
def fifty(engine: Any, tied: Path) -> dict[tuple[str, int], Rollout]:
    return play(engine, tied, PROMPTS, 50)


def test_fifty_sessions_at_once_keep_their_own_tokens(fifty: dict[tuple[str, int], Rollout]) -> None:
    assert len(fifty) == 50
    for (id, _), rollout in fifty.items():
        assert rollout.error is None
        assert rollout.siblings == ()
        assert (rollout.version, len(rollout.exchanges)) == (3, 2)
        shown = CHAT.controls.tokenizer.decode(rollout.tokens.tolist())
        assert shown.count("prompt ") == 1
        assert f"prompt {id[1:]}<|EOT|>" in shown
        for turn, exchange in enumerate(rollout.exchanges):
            inserted = rollout.tokens[exchange.start : exchange.end].tolist()
            assert f"turn {turn} of {id}<|EOT|>" in CHAT.controls.tokenizer.decode(inserted)
            assert not rollout.action_mask[exchange.start : exchange.end].any()
        assert len(rollout.logprobs) == rollout.action_mask.sum() <= 5 + 6 + 7


def test_one_session_at_a_time_writes_the_same_tokens(
    engine: Any, tied: Path, fifty: dict[tuple[str, int], Rollout]
) -> None:
    alone = play(engine, tied, PROMPTS[:3], 1)
    for key, rollout in alone.items():
        assert np.array_equal(rollout.tokens, fifty[key].tokens)
        assert np.array_equal(rollout.logprobs, fifty[key].logprobs)
