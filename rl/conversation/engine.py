"""One engine in this process: no Ray, nothing that stays behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from models.folder import check_whole, declared_ends, declared_sampling, on_disk
from models.settings import ModelConfig
from models.shape import read_shape
from rl.config import ConfigError
from rl.conversation.turns import Turns
from rl.recipe.single_stage import describe_model
from rl.types import Prompt
from rl.workers.machine import Machine
from rollouts.episodes import Environment, Episodes
from rollouts.requests import Completion, Request
from rollouts.sampler import seed_of
from rollouts.serving import ServingConfig
from rollouts.worker import EngineWorker

LONGEST_CONVERSATION = 8192
"""Tokens of a conversation with a model that takes more."""
UNKNOWN_CONVERSATION = 2048
"""Tokens of a conversation with a model whose limit is not known."""
LARGEST_CACHE_MB = 2048
"""MB of keys and values of several conversations on a CPU; what does not fit is computed again."""
TEMPERATURE = 0.7
"""Temperature of answers of a model that names none."""
KEY = (0, 0)
"""Key of the one sample that is written at a time."""


class LocalEngine:
    """An engine in this process, with its model's chat format. Raises ConfigError for a model that is not there."""

    def __init__(self, model: str, think: bool | None = None, conversations: int = 1) -> None:
        """Start the engine. On a CPU its cache has room for `conversations` of the full length; on a GPU vLLM sizes
        it."""
        values = describe_model(model)
        if os.path.isdir(model) and values["path"] == model and not os.path.isfile(Path(model) / "config.json"):
            raise ConfigError(f"{model}: holds no model (no config.json); name a model's folder or a finished run")
        folder = on_disk(values["path"], "MODEL")
        check_whole(folder)
        shape = read_shape(ModelConfig(path=str(folder)))
        positions = (shape and shape.positions) or UNKNOWN_CONVERSATION
        self.most_tokens = min(positions, LONGEST_CONVERSATION)
        declared = declared_sampling(folder)
        self.temperature = declared.pop("temperature", TEMPERATURE)
        self.listens = bool(shape and shape.token_rate)
        here, dtype = Machine.detect(), values["dtype"]
        cpus = min(here.cpus, len(os.sched_getaffinity(0)))  # threads that share a core wait for each other, spinning
        one_mb = int((shape.kv_per_token(dtype) if shape else 0) * self.most_tokens / 2**20) + 64
        cache_mb = max(one_mb, min(one_mb * conversations, LARGEST_CACHE_MB))
        config = ServingConfig(threads=cpus, kv_cache_mb=max(cache_mb, 128))
        os.environ |= config.environment(here.gpus > 0)  # before vLLM is imported
        from models.hearing import clip_counter
        from models.load import load_tokenizer
        from rl.data.chat import Chat

        self.chat = Chat(load_tokenizer(folder), think, clip_counter(folder), declared_ends(folder))
        with _without_stderr():
            self.worker = EngineWorker(str(folder), dtype, self.most_tokens, config)
        self.worker.stream_sampling = declared


class ChatEngine(LocalEngine):
    """An engine for one conversation, and the environment that answers the model."""

    def __init__(self, model: str, think: bool | None = None, environment: Environment | None = None) -> None:
        super().__init__(model, think)
        self.environment = environment

    def answer(self, turns: Turns, temperature: float, max_tokens: int, seed: int) -> Iterator[tuple[int, str]]:
        """Yield (number, text) of each turn that answers the last one, as it grows: the model's, and what the environment says in
        turns of its own. Raises ValueError where the conversation leaves no room, for what the model's chat template does not
        hold, and where the environment fails."""
        episodes = Episodes(self.chat, self.environment)
        sent = self.chat.prompt(turns.messages, turns.clips, tools=episodes.tools)
        # A clip is one token in what is sent, and many in what the model hears: they take the room.
        ids = self.chat.prompt(turns.messages, turns.clips, expand=True, tools=episodes.tools) if turns.clips else sent
        room = self.most_tokens - len(ids)
        if room < 1:
            raise ValueError(
                f"the conversation has {len(ids)} tokens, and the model takes {self.most_tokens}; /reset begins anew"
            )
        seed, most = seed_of(seed, len(turns.messages)), min(room, max_tokens)
        prompt = Prompt("chat", tuple(turns.messages), clips=tuple(turns.clips))
        request = Request(KEY, tuple(sent), seed, most, temperature, prompt.clips, tuple(self.chat.ends))
        request, turn = episodes.begin(prompt, request, seed, len(ids) + most), 0
        while True:
            episode, written = episodes.open[KEY], list[int]()
            goes_on = bool(episode.exchanges) and episode.exchanges[-1].is_inside
            for written in self._write(request):
                yield turn, episode.head + (self.chat.written(written) if goes_on else self.chat.turn(written))
            following = _ask_environment(episodes, ids, written, request.max_tokens)
            if following is None:
                return
            request, exchange = following, episode.exchanges[-1]
            reply = exchange.reply
            ids = [*ids, *written, *self.chat.reply(reply.messages, written[-1], reply.clips, expand=True)]
            if not exchange.is_inside:
                yield turn + 1, "\n".join(f"[{message.role}] {message.content}" for message in reply.messages)
                turn += 2

    def _write(self, request: Request) -> Iterator[list[int]]:
        """Yield all that the model has written so far, up to the end of its turn or a text behind which it pauses."""
        written: list[int] = []
        with closing(self.worker.stream(request)) as stream:  # one that is left is dropped by the engine
            for tokens in stream:
                written += tokens
                yield written
                if any(text in self.chat.written(written) for text in request.stop):
                    return


def _ask_environment(episodes: Episodes, ids: list[int], written: list[int], max_tokens: int) -> Request | None:
    """Return the request that goes on behind what was written after `ids`; None where the answer is over. Raises ValueError
    where the environment fails."""
    reason, logprobs = "length" if len(written) == max_tokens else "stop", np.zeros(len(written), np.float32)
    completion = Completion(KEY, np.array([*ids, *written]), len(ids), logprobs, reason, ((0, len(written)),))
    rollout, requests = episodes.add(completion), list[Request]()
    # Ends by the environment's own deadlines.
    while rollout is None and not requests:
        requests, finished = episodes.advance(1.0)
        rollout = finished.get(KEY)
    if rollout is not None and rollout.error is not None:
        raise ValueError(rollout.error)
    return requests[0] if requests else None


@contextmanager
def _without_stderr() -> Generator[None]:
    """Drop what libraries write on stderr while an engine starts: progress bars, warnings of C++. What fails raises."""
    sys.stderr.flush()
    original, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(original, 2)
        os.close(original)
        os.close(nothing)
