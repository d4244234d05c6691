"""Writes what both exports hold: prompts as rows, clips as files, the reward with the verifiers that it names."""

from __future__ import annotations

import hashlib
import os
import pprint
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

from models.folder import folder_of
from rl.audio import duration_s
from rl.config import ConfigError, Values
from rl.exchange.prompt_json import to_json
from rl.exchange.selection import Selection
from rl.redaction import keep_interpolations
from rl.submit.pack import pack_rewards
from rl.submit.parcel import Parcel
from rl.types import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

AUDIO = "audio"
"""Folder of the clips."""
SOUND_TOKENS_PER_S = 50
"""Upper bound on the tokens of a second of sound."""
ROUND_TO = 64
"""The longest prompt is rounded up to so many tokens."""


def check_empty(out: Path) -> None:
    """Raise ConfigError where the folder of an export holds something."""
    if os.path.exists(out) and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: holds something already; name an empty folder, or remove it")


def write_reward(selection: Selection, out: Path) -> tuple[str, list[str]]:
    """Copy the user's verifiers and what they read to `out`; return (the reward as Python, a line for each file that stays
    behind). Raises ConfigError."""
    # A copy, in which the parcel renames the verifiers to what they are called in `out`.
    values = cast("Values", asdict(selection.reward))
    parcel = Parcel(out)
    pack_rewards(selection.recipe, values, [], parcel)
    for name in ("reward.py", "train.py", "run.sh"):
        if (out / name).exists():
            raise ConfigError(
                f"reward: the export writes a {name} of its own, and yours would be lost; rename your file"
            )
    compact = _without_nothing(keep_interpolations(values))
    return pprint.pformat(compact, width=116, sort_dicts=False), parcel.notes


def _without_nothing(value: object) -> object:
    """Return a mapping without its keys that are None or empty, all the way down."""
    if isinstance(value, dict):
        # The arguments of a verifier stay as they are: null is not its default.
        items = {
            key: inner if key == "args" else _without_nothing(inner) for key, inner in cast("Values", value).items()
        }
        return {key: inner for key, inner in items.items() if inner is not None and inner not in ({}, [])}
    return [_without_nothing(inner) for inner in value] if isinstance(value, list | tuple) else value


def write_clips(prompts: Sequence[Prompt], out: Path) -> list[list[str]]:
    """Copy the clips of the prompts to `out/audio`, each once; return their paths in `out`, a list for each prompt."""
    paths: list[list[str]] = []
    for prompt in prompts:
        paths.append([])
        for clip in prompt.clips:
            data = clip.data if clip.data is not None else Path(str(clip.path)).read_bytes()
            ending = Path(str(clip.path)).suffix.lower() if clip.data is None else ".wav"
            name = f"{AUDIO}/{hashlib.sha256(data).hexdigest()[:16]}{ending}"
            (out / AUDIO).mkdir(parents=True, exist_ok=True)
            if not (out / name).exists():
                (out / name).write_bytes(data)
            paths[-1].append(name)
    return paths


def prompt_column(prompt: Prompt, clips: Sequence[str]) -> str:
    """Return the prompt as the column that the exported reward reads."""
    return to_json(prompt, clips)


def longest_prompt(selection: Selection, say: Callable[[str], None]) -> int:
    """Return the tokens that a prompt is allowed: the longest one's, rounded up, where the model's tokenizer is here; else a
    quarter of the sequence. Raises ValueError where none are left for an answer."""
    limit = selection.config.max_sequence_tokens
    folder = folder_of(selection.model)
    if folder is None:
        say(f"model {selection.model} is not here: a quarter of max_sequence_tokens is taken for prompts; check it")
        return max(1, limit // 4)
    from models.load import load_tokenizer

    tokenizer = load_tokenizer(folder)
    longest = max(_length(prompt, tokenizer) for prompt in [*selection.train, *selection.test])
    tokens = -(-longest // ROUND_TO) * ROUND_TO
    # Rounding up must not take the answer's last tokens.
    if tokens >= limit:
        tokens = longest
    if longest >= limit:
        raise ValueError(
            f"{selection.stage.place}.max_sequence_tokens: {limit}, and the longest prompt has {longest} tokens; raise it"
        )
    return tokens


def _length(prompt: Prompt, tokenizer: PreTrainedTokenizerBase) -> int:
    turns = [{"role": turn.role, "content": turn.content} for turn in prompt.messages]
    text = cast(str, tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    sound = sum(int(SOUND_TOKENS_PER_S * duration_s(clip)) + 1 for clip in prompt.clips)
    return len(tokenizer.encode(text, add_special_tokens=False)) + sound


def write_program(path: Path, text: str) -> None:
    """Write a script that can be executed."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
