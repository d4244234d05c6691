"""A model's folder after its export: other tools prompt the model and stop it as training did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chat_templates import MODELS, tokenizer_of

from models.load import load_tokenizer
from rl.data.chat import Chat
from rl.types import Message
from rl.workers.exported_chat import write_chat

PROMPT = [Message("user", " What is 2 + 2? ")]


def folder_of(name: str, folder: Path) -> Path:
    """Write the tokenizer and configs of a public model, as its authors would."""
    tokenizer = tokenizer_of(MODELS[name])
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "eos_token_id": tokenizer.eos_token_id}))
    generation = {"eos_token_id": tokenizer.eos_token_id, "temperature": 0.6, "do_sample": True}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


@pytest.mark.parametrize("think", [True, False, None])
@pytest.mark.parametrize("name", MODELS)
def test_an_exported_folder_is_prompted_and_stopped_as_in_training(
    name: str, think: bool | None, tmp_path: Path
) -> None:
    folder = folder_of(name, tmp_path / "model")
    chat = Chat(load_tokenizer(folder), think)
    write_chat(folder, think)
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    tokenizer = load_tokenizer(folder)
    rows = [{"role": message.role, "content": message.content} for message in PROMPT]
    assert tokenizer.apply_chat_template(rows, add_generation_prompt=True)["input_ids"] == chat.prompt(PROMPT)
    generation = json.loads(files["generation_config.json"])
    stops = generation["eos_token_id"]
    assert stops == (chat.ends if len(chat.ends) > 1 else chat.end)
    assert generation["temperature"] == 0.6
    write_chat(folder, think)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == files, "nothing is added twice"
