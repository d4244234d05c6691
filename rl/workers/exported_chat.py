"""Completes an exported model's folder, so that engines prompt and stop the model as training did."""

from __future__ import annotations

from pathlib import Path

from models.folder import declared_ends, write_chat_template, write_ends
from models.load import load_tokenizer
from rl.data.chat import Chat
from rl.data.chat_export import exported_template


def write_chat(folder: Path, think: bool | None) -> None:
    """Let the model's own template open `<think>` as training did, and engines stop at the token that ends a turn.
    `think` is the recipe's `model.think`. A folder that this function has written stays as it is."""
    chat = Chat(load_tokenizer(folder), think, end_ids=declared_ends(folder))
    write_chat_template(folder, exported_template(chat))
    write_ends(folder, chat.ends)
