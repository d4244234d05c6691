"""Checks that every prompt leaves room for a response, before a run starts anything, while nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING

from rl.audio import duration_s
from rl.stages.sampling import with_instructions
from rl.stages.selection import select_prompts

if TYPE_CHECKING:
    from rl.data.chat import Chat
    from rl.recipe import Recipe
    from rl.recipe.stage_list import Stage
    from rl.types import Prompt

TEMPLATE_TOKENS = 256
"""Tokens that a chat template adds at most."""
SOUND_TOKENS_PER_S = 50
"""Tokens of a second of sound at most. A prompt that is short even by these bounds is neither encoded nor decoded."""


def check_prompt_lengths(
    recipe: Recipe, stages: Container[Stage], read_prompts: Callable[..., Sequence[Prompt]], chat: Chat
) -> None:
    """Raise ValueError naming stage and prompt when one that `stages` read from a data set is too long for them. Those that
    a difficulty file will leave out cannot be told yet: where there is one, nothing is said."""
    for read in recipe.loads():
        config = read.stage.config.eval if read.key == "eval" else read.stage.config
        longest = getattr(config, "max_sequence_tokens", None)
        if read.stage not in stages or longest is None or getattr(config, "difficulty", None):
            continue
        system, ask, rule = (getattr(config, key, None) for key in ("system", "ask", "select"))
        prompts = read_prompts(read.data, read.split, read.limit, place=read.place)
        imitated = read.stage.facts.reads == "demonstrations"
        for prompt in select_prompts({"": prompts}, rule)[""]:
            try:
                check(with_instructions(prompt, system, ask), chat, longest, imitated)
            except ValueError as error:
                raise ValueError(f"{read.place}: prompt '{prompt.id}': {error}") from error


def check(prompt: Prompt, chat: Chat, longest: int, imitated: bool = False) -> None:
    """Raise ValueError when the prompt leaves no token to a response or, when it is `imitated`, has no room for its
    demonstration, or when the model cannot hear its clips."""
    turn = prompt.demonstration if imitated else None
    texts = [message.content for message in prompt.messages] + ([turn.reasoning, turn.response] if turn else [])
    if prompt.clips:
        chat.prompt(prompt.messages, prompt.clips)
    sound = sum(SOUND_TOKENS_PER_S * duration_s(clip) + 1 for clip in prompt.clips)
    # No token of a text is shorter than a byte, so the bytes bound the tokens from above.
    if sum(len(text.encode()) for text in texts) + sound + TEMPLATE_TOKENS < longest:
        return
    length = len(chat.prompt(prompt.messages, prompt.clips, expand=True))
    needed = length + (len(chat.demonstration(turn)) if turn else 1)
    if needed > longest:
        why = f"{needed} tokens with its demonstration" if turn else f"{length} tokens leave no room for a response"
        raise ValueError(f"{why}; raise max_sequence_tokens ({longest}) or drop the row")
