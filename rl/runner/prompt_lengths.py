"""Checks that every prompt leaves room for a response, before a run starts an engine or a trainer."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING

from rl.audio import duration_s
from rl.data.teacher_prompts import teacher_prompt
from rl.recipe.stage_list import stage_environment
from rl.stages.sampling import with_instructions
from rl.stages.selection import select_prompts

if TYPE_CHECKING:
    from rl.data.chat import Chat
    from rl.recipe import Recipe
    from rl.recipe.stage_list import Stage
    from rl.types import Prompt

TEMPLATE_TOKENS = 256
"""Upper bound on the tokens that a chat template adds to those of a prompt without a word."""
SOUND_TOKENS_PER_S = 50
"""Upper bound on the tokens of a second of sound. A prompt that is short even by these bounds need not be encoded, nor its
clips decoded."""


def check_prompt_lengths(
    recipe: Recipe, stages: Container[Stage], read_prompts: Callable[..., Sequence[Prompt]], chat: Chat
) -> None:
    """Raise ValueError, naming stage and prompt, where a prompt that one of `stages` reads from a data set is too long."""
    for read in recipe.loads():
        config = read.stage.config.eval if read.key == "eval" else read.stage.config
        max_tokens = getattr(config, "max_sequence_tokens", None)
        # A difficulty file may leave out the long prompts, and an earlier stage may have yet to write it.
        if read.stage not in stages or max_tokens is None or getattr(config, "difficulty", None):
            continue
        environment, _ = stage_environment(read.stage, recipe.header.environment)
        if environment and environment.harness:  # it asks as it likes, and is told where that is too long
            continue
        system, ask, rule = (getattr(config, key, None) for key in ("system", "ask", "select"))
        template = getattr(config, "teacher_template", None)
        prompts = read_prompts(read.data, read.split, read.limit, place=read.place)
        with_demonstration = read.stage.facts.reads == "demonstrations"
        for prompt in select_prompts({"": prompts}, rule)[""]:
            try:
                check(with_instructions(prompt, system, ask), chat, max_tokens, with_demonstration)
                if template is not None:
                    check(teacher_prompt(prompt, template), chat, max_tokens)
            except ValueError as error:
                raise ValueError(f"{read.place}: prompt '{prompt.id}': {error}") from error


def check(prompt: Prompt, chat: Chat, max_tokens: int, with_demonstration: bool = False) -> None:
    """Raise ValueError where the prompt leaves no token for a response, or `with_demonstration` no room for that, or where
    the model cannot hear its clips."""
    turn = prompt.demonstration if with_demonstration else None
    texts = [message.content for message in prompt.messages]
    if turn:
        texts += [turn.reasoning, turn.response]
    if prompt.clips:
        chat.prompt(prompt.messages, prompt.clips)  # raises for clips that the model cannot hear
    sound = sum(SOUND_TOKENS_PER_S * duration_s(clip) + 1 for clip in prompt.clips)
    # No token of a text is shorter than a byte, so the bytes bound the tokens from above.
    if sum(len(text.encode()) for text in texts) + sound + TEMPLATE_TOKENS + chat.template_length < max_tokens:
        return
    length = len(chat.prompt(prompt.messages, prompt.clips, expand=True))
    if turn:
        total = length + len(chat.demonstration(turn))
        problem = f"{total} tokens with its demonstration"
    else:
        total = length + 1  # a response has at least one token
        problem = f"{length} tokens leave no room for a response"
    if total > max_tokens:
        raise ValueError(f"{problem}; raise max_sequence_tokens ({max_tokens}) or drop the row")
