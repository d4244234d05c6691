"""Recognises data sets made for verl, TRL and ShareGPT by the names of their columns, so that they need no `fields`.

| columns | what they are |
|---|---|
| `messages`; `conversations` (ShareGPT) | a conversation, whose last assistant turn is the demonstration |
| `prompt` | the prompt, a text or turns |
| `prompt`, `completion` (or `response`) | a demonstration |
| `prompt`, `chosen`, `rejected`; `chosen`, `rejected` | a pair; without `prompt` it is what both begin with |
| source `verl`: `prompt`, `data_source`, `reward_model`, `extra_info`, `audios` | verl's |

Every other column goes on to the reward under its own name, as these libraries hand them on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from rl.config import ConfigError
from rl.data.files import ENDING_SOURCES, FILES, FileConfig, first_columns
from rl.data.messages import CHAIN_KEYS
from rl.data.paths import Paths, as_list
from rl.data.prompts import PROMPT_KEYS
from rl.data.rows import optional

VERL = "verl"
"""Source of files made for verl."""
VERL_FIELDS = {
    "messages": "prompt",
    "answer": "reward_model.ground_truth",
    "source": "data_source",
    "audio": "audios",
    "prompt": "prompt",
    "data_source": "data_source",
    "reward_model": "reward_model",
    "extra_info": "extra_info",
}
"""Key of `fields` -> verl's column."""
CONVERSATIONS = ("messages", "prompt", "conversations", "conversation")
"""Columns that hold the prompt, the likeliest first."""
DEMONSTRATIONS = ("completion", "response")
"""Columns that hold the answer to `prompt` that is imitated, the likeliest first."""


class _Config(FileConfig, Protocol):
    """The part of `rl.data.sources.DataConfig`, where it is documented, that concerns a file's form."""

    template: str
    split_column: str


Config = TypeVar("Config", bound=_Config)


def recognise(config: Config, opens_hub: bool = False) -> Config:
    """Return the config with the `fields` that the columns of its files imply; as it is where it maps its prompt itself, its
    rows have a column `question`, or its files cannot be read (whoever reads them says why). A data set of Hugging Face is
    opened only where it `opens_hub`."""
    is_verl = config.source == VERL
    if config.source not in FILES or config.source == "folder" or (config.source == "huggingface" and not opens_hub):
        return config
    has_prompt = bool({"question", "messages"} & config.fields.keys()) or config.template != "{question}"
    if has_prompt and not is_verl:
        return config
    stored = replace(config, source=verl_source(config.path)) if is_verl else config
    try:
        columns = first_columns(stored)
    except ValueError:
        columns = []
    fields = _verl_fields(columns) if is_verl else _usual_fields(columns)
    if fields is None:
        return stored
    # The user has mapped the prompt, or written a template: of verl's columns all others stay.
    if has_prompt:
        fields.pop("messages")
        if "prompt" not in columns:
            fields.pop("prompt", None)
    if is_verl and not columns:  # nothing is known yet: the names that it should have make the message
        fields = {"messages": VERL_FIELDS["messages"]}
    taken = {config.split_column, "id", *CHAIN_KEYS, *(name.removesuffix("?") for name in fields.values())}
    top_names = [name for name in columns if "." not in name]
    others = {name: optional(name) for name in top_names if name not in taken and name not in PROMPT_KEYS}
    implied = {name: optional(name) for name in ("answer", "source", "audio") if name in columns and not is_verl}
    return replace(stored, fields={**others, **implied, **fields, **config.fields})


def verl_source(path: Paths | None) -> str:
    """Return the source that reads a file of verl's, parquet or json. Raises ConfigError for files of both kinds."""
    sources = {ENDING_SOURCES.get(f".{name.rpartition('.')[2].lower()}", "parquet") for name in as_list(path)}
    if len(sources) > 1:
        raise ConfigError("data: source 'verl' takes files of one kind; make a data set of each")
    return next(iter(sources), "parquet")


def _verl_fields(columns: Sequence[str]) -> dict[str, str]:
    fields = {key: name if name == "prompt" else optional(name) for key, name in VERL_FIELDS.items()}
    return {key: name for key, name in fields.items() if name == "prompt" or name.removesuffix("?") in columns}


def _usual_fields(columns: Sequence[str]) -> dict[str, str] | None:
    """Return the mapping of the prompt, the demonstration and the pair; None where the columns have no usual names."""
    if "question" in columns:
        return None
    pair = {name: name for name in ("chosen", "rejected")} if {"chosen", "rejected"} <= {*columns} else {}
    prompt = next((name for name in CONVERSATIONS if name in columns), None)
    if prompt is None:
        return pair or None
    demonstration = next((name for name in DEMONSTRATIONS if name in columns), None)
    answered = {"response": demonstration} if prompt == "prompt" and demonstration and not pair else {}
    recorded = {"prompt": "prompt"} if prompt == "prompt" else {}  # a reward function may ask for it as it is
    return {"messages": prompt, **recorded, **answered, **pair}
