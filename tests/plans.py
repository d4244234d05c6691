"""Plans of small recipes, and of large models that are only a config.json."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rich.console import Console

from rl.planning.plan import Plan, plan
from rl.planning.table import render_plan
from rl.recipe import load

GIB = 1 << 30
QWEN2_32B = {
    "model_type": "qwen2",
    "hidden_size": 5120,
    "num_hidden_layers": 64,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "intermediate_size": 27648,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
    "max_position_embeddings": 32768,
}


FIELDS = {"question": "question", "answer": "answer", "response": "answer"}


def planned(*overrides: str, stages: list[dict[str, Any]] | None = None, **header: Any) -> Plan:
    """The plan of a small recipe on 100 rows of a file."""
    Path("words.jsonl").write_text("".join(f'{{"question": "q{i}", "answer": "{i}"}}\n' for i in range(100)))
    recipe = {
        "name": "small",
        "model": {"build": {"hidden_size": 64, "heads": 2, "layers": 1}},
        "data": {"words": {"source": "jsonl", "path": "words.jsonl", "fields": FIELDS}},
        "reward": {"parts": [{"verifier": "text"}]},
        "stages": stages or [{"sft": {"data": "words"}}, {"rlvr": {"data": "words", "prompts_per_step": 16}}],
        **header,
    }
    return plan(load(recipe, overrides))


def big(*overrides: str, **config: Any) -> Plan:
    """The same for a model that is only a config.json, on a cluster elsewhere."""
    Path("big").mkdir()
    Path("big/config.json").write_text(json.dumps({**QWEN2_32B, **config}))
    return planned(*overrides, model={"path": "big", "dtype": "bfloat16"}, cluster={"address": "ray://head:10001"})


def whole(folder: Path, config: dict[str, Any]) -> Path:
    """The folder of a model that a plan takes for complete: weights of no parameters, a tokenizer of no words."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def rendered(made: Plan, brief: bool = False) -> str:
    console = Console(width=500, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(render_plan(made, brief))
    return console.export_text()
