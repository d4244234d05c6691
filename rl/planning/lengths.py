"""Finds prompts that leave no room for an answer, before the models are there: by the tokens of the longest one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.folder import folder_of
from rl.data.inspection import DataFacts

if TYPE_CHECKING:
    from rl.recipe import Recipe
    from rl.types import Prompt

LONGEST = 3
"""Prompts, the longest in bytes, whose tokens are counted: with few bytes a token, another than the first may be longest."""
BYTES_PER_TOKEN = 4.0
"""Bytes of English that a token of today's models holds, for a tokenizer that is not here."""


def check(recipe: Recipe, facts: Mapping[tuple[str, str | None], DataFacts]) -> tuple[list[str], list[str]]:
    """Return (problems, notes) about `max_sequence_tokens` that the prompts read so far do not fit."""
    problems, notes = dict[str, None](), dict[str, None]()
    counter = _Counter(recipe)
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
        what = "with its demonstration" if with_answer else "and leaves no room for an answer"
        about = "at least" if counter.is_exact else "about"
        line = (
            f"{read.place}.max_sequence_tokens: {limit}, and prompt '{prompt.id}' of '{read.data}' has {about} {tokens} tokens "
            f"{what}; raise it or drop the row"
        )
        (problems if counter.is_exact else notes)[line] = None
    return list(problems), list(notes)


class _Counter:
    """Counts the tokens of texts, without those that a chat template adds: with the recipe's tokenizer, else by bytes."""

    def __init__(self, recipe: Recipe) -> None:
        model = recipe.header.model
        self._tokenizer, self.is_exact, self._bytes_per_token = None, model.build is not None, 1.0
        folder = None if model.build else folder_of(str(model.path))
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
        texts = [(_text(prompt, with_answer), prompt) for prompt in prompts]
        texts.sort(key=lambda entry: -len(entry[0].encode("utf-8", "replace")))
        counts = [(self._count(text), index) for index, (text, _) in enumerate(texts[:LONGEST])]
        tokens, index = max(counts, key=lambda entry: entry[0])
        return tokens, texts[index][1]

    def _count(self, text: str) -> int:
        if self._tokenizer is not None:
            return len(self._tokenizer.encode(text, add_special_tokens=False).ids)
        return int(len(text.encode("utf-8", "replace")) / self._bytes_per_token)


def _text(prompt: Prompt, with_answer: bool) -> str:
    texts = [message.content for message in prompt.messages]
    if with_answer and prompt.demonstration:
        texts += [prompt.demonstration.reasoning, prompt.demonstration.response]
    return "".join(texts)
