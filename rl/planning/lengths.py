"""Finds prompts that leave no room for an answer, before the models are there: by the tokens of the longest one, its sound
included."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.folder import folder_of
from rl.audio import duration_s
from rl.data.inspection import DataFacts

if TYPE_CHECKING:
    from rl.recipe import Recipe
    from rl.types import Prompt

LONGEST = 3
"""Prompts, the longest in bytes, whose tokens are counted: with few bytes a token, another than the first may be longest."""
BYTES_PER_TOKEN = 4.0
"""Bytes of English that a token of today's models holds, for a tokenizer that is not here."""


def check(
    recipe: Recipe, facts: Mapping[tuple[str, str | None], DataFacts], token_rate: float = 0.0
) -> tuple[list[str], list[str]]:
    """Return (problems, notes) about `max_sequence_tokens` that the prompts read so far do not fit. `token_rate`: tokens of
    a second of sound."""
    problems, notes = dict[str, None](), dict[str, None]()
    counter = TokenCounter(recipe, token_rate)
    for read in recipe.loads():
        config = read.stage.config.eval if read.key == "eval" else read.stage.config
        limit = getattr(config, "max_sequence_tokens", None)
        # Which prompts are left is known later: a difficulty file or a rule may leave out the long ones.
        if limit is None or getattr(config, "difficulty", None) or getattr(config, "select", None):
            continue
        prompts = facts[read.data, read.split].prompts[: read.limit]
        if not prompts:
            continue
        with_answer = read.stage.facts.reads == "demonstrations"
        tokens, prompt = counter.longest(prompts, with_answer)
        if tokens < limit:
            continue
        reason = "with its demonstration" if with_answer else "and leaves no room for an answer"
        about = "at least" if counter.is_exact else "about"
        line = (
            f"{read.place}.max_sequence_tokens: {limit}, and prompt '{prompt.id}' of '{read.data}' has {about} {tokens} tokens "
            f"{reason}; raise it or drop the row"
        )
        (problems if counter.is_exact else notes)[line] = None
    return list(problems), list(notes)


class TokenCounter:
    """Counts the tokens of prompts, without those that a chat template adds: with the recipe's tokenizer, else by bytes."""

    def __init__(self, recipe: Recipe, token_rate: float) -> None:
        model, self._token_rate = recipe.header.model, token_rate
        self._tokenizer, self.is_exact, self._bytes_per_token = None, model.build is not None, 1.0
        folder = None if model.build else folder_of(str(model.text_source))
        file = folder / "tokenizer.json" if folder else Path("tokenizer.json")
        if model.build is not None:
            return  # a byte tokenizer
        self._bytes_per_token = BYTES_PER_TOKEN
        if folder is None or not file.is_file():
            return
        from tokenizers import Tokenizer

        try:
            self._tokenizer, self.is_exact = Tokenizer.from_file(str(file)), True
        except Exception:  # isolation boundary: a damaged file, which other checks name
            return

    def longest(self, prompts: Sequence[Prompt], with_answer: bool) -> tuple[int, Prompt]:
        """Return (tokens, prompt) of the longest."""
        by_text = sorted(prompts, key=lambda prompt: -len(_text(prompt, with_answer).encode("utf-8", "replace")))
        by_sound = sorted(prompts, key=_sound_bytes, reverse=True) if self._token_rate else []
        # The longest text and the longest sound may belong to two prompts.
        candidates = [*by_text[:LONGEST], *by_sound[:LONGEST]]
        counts = [self._count(_text(prompt, with_answer)) + self._sound(prompt) for prompt in candidates]
        tokens = max(counts)
        return tokens, candidates[counts.index(tokens)]

    def _sound(self, prompt: Prompt) -> int:
        """Return the tokens of a prompt's clips, by their headers, rounded down."""
        try:
            return int(self._token_rate * sum(duration_s(clip) for clip in prompt.clips))
        except ValueError:  # isolation boundary: a file that is no sound, which is told when the clips are decoded
            return 0

    def _count(self, text: str) -> int:
        if self._tokenizer is not None:
            return len(self._tokenizer.encode(text, add_special_tokens=False).ids)
        return int(len(text.encode("utf-8", "replace")) / self._bytes_per_token)


def _sound_bytes(prompt: Prompt) -> int:
    """Return the bytes of a prompt's clips, as they are stored: the longest clips have the most."""
    sizes = [
        os.path.getsize(str(clip.path))
        if clip.data is None and os.path.isfile(str(clip.path))
        else len(clip.data or b"")
        for clip in prompt.clips
    ]
    return sum(sizes)


def _text(prompt: Prompt, with_answer: bool) -> str:
    texts = [message.content for message in prompt.messages]
    if with_answer and prompt.demonstration:
        texts += [prompt.demonstration.reasoning, prompt.demonstration.response]
    return "".join(texts)
