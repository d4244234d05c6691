"""One engine in this process, for one conversation: no Ray, nothing that stays behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from models.folder import check_whole, declared_ends, on_disk
from models.settings import ModelConfig
from models.shape import read_shape
from rl.config import ConfigError
from rl.conversation.turns import Turns
from rl.recipe.single_stage import describe_model
from rl.workers.machine import Machine
from rollouts.requests import Request
from rollouts.sampler import seed_of
from rollouts.serving import ServingConfig
from rollouts.worker import EngineWorker

LONGEST_CONVERSATION = 8192
"""Tokens of a conversation with a model that takes more."""
UNKNOWN_CONVERSATION = 2048
"""Tokens of a conversation with a model whose limit is not known."""


class ChatEngine:
    """An engine with a model's chat format. Raises ConfigError for a model that is not there."""

    def __init__(self, model: str, think: bool | None = None) -> None:
        values = describe_model(model)
        if os.path.isdir(model) and values["path"] == model and not os.path.isfile(Path(model) / "config.json"):
            raise ConfigError(f"{model}: holds no model (no config.json); name a model's folder or a finished run")
        folder = on_disk(values["path"], "MODEL")
        check_whole(folder)
        shape = read_shape(ModelConfig(path=str(folder)))
        positions = (shape and shape.positions) or UNKNOWN_CONVERSATION
        self.most_tokens = min(positions, LONGEST_CONVERSATION)
        self.listens = bool(shape and shape.token_rate)
        here, dtype = Machine.detect(), values["dtype"]
        cache_mb = int((shape.kv_per_token(dtype) if shape else 0) * self.most_tokens / 2**20) + 64
        config = ServingConfig(threads=here.cpus, kv_cache_mb=max(cache_mb, 128))
        os.environ |= config.environment(here.gpus > 0)  # before vLLM is imported
        from models.hearing import clip_counter
        from models.load import load_tokenizer
        from rl.data.chat import Chat

        self.chat = Chat(load_tokenizer(folder), think, clip_counter(folder), declared_ends(folder))
        with _without_stderr():
            self.worker = EngineWorker(str(folder), dtype, self.most_tokens, config)

    def answer(self, turns: Turns, temperature: float, max_tokens: int, seed: int) -> Iterator[str]:
        """Yield the text of the answer to the last turn as it grows. Raises ValueError where the conversation leaves no room,
        and for what the model's chat template does not hold."""
        ids = self.chat.prompt(turns.messages, turns.clips)
        length = len(self.chat.prompt(turns.messages, turns.clips, expand=True)) if turns.clips else len(ids)
        room = self.most_tokens - length
        if room < 1:
            raise ValueError(
                f"the conversation has {length} tokens, and the model takes {self.most_tokens}; /reset begins anew"
            )
        sample_seed = seed_of(seed, len(turns.messages))
        request = Request(
            (0, 0),
            tuple(ids),
            sample_seed,
            min(room, max_tokens),
            temperature,
            tuple(turns.clips),
            tuple(self.chat.ends),
        )
        written: list[int] = []
        for tokens in self.worker.stream(request):
            written += tokens
            yield self.chat.turn(written)


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
