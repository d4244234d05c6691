"""Defines the work that both libraries do: a model, prompts, a reward, and lengths that are the same by construction.

How a sample ends is a property of the *model*, so that neither library needs a setting of its own for it: one entry of
the hidden state is the same for every token (a constant in the embedding that no layer writes to), and the end token's
row of the head reads that entry alone. Its probability is then the same at every position, whatever the text before it.

- `fixed`: the end token is never sampled; every sample has exactly `max_new` tokens.
- `tail`: the end token is sampled with probability 1/64 at each position. Lengths are geometric, mean 64, cut at 384 = 6 × mean; the longest of a
  step's 128 is about 5 × the mean.

The module imports the standard library alone at its top, because the processes of both libraries import it.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LENGTHS_FILE = "lengths.json"
PROMPTS_PER_STEP, SAMPLES, LEARNING_RATE = 8, 16, 1e-6


@dataclass(frozen=True)
class Load:
    """A distribution of response lengths (tokens)."""

    name: str
    max_new: int
    end_probability: float


LOADS = {load.name: load for load in (Load("fixed", 64, 0.0), Load("tail", 384, 1 / 64))}
LONG = Load("long", 10_240, 0.0)


def questions(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Return (question, answer) pairs: six letters to spell backward. All questions have the same length, so that each
    leaves `max_new` tokens."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(count)]
    return [(f"Spell backward: {word}", word[::-1]) for word in words]


def write_data(file: Path, count: int) -> None:
    """Write the questions as rows of a jsonl file."""
    rows = [{"id": str(i), "question": q, "answer": a} for i, (q, a) in enumerate(questions(count))]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def prompt_tokens(model: Path) -> int:
    """Return the tokens of a question, which all have as many."""
    from models.load import load_tokenizer
    from rl.data.chat import Chat
    from rl.types import Message

    return len(Chat(load_tokenizer(model)).prompt([Message("user", questions(1)[0][0])]))


def write_lengths(folder: Path, lengths: Sequence[int]) -> None:
    """Tell engines by themselves how many tokens to write for each sample of their next step."""
    (folder / LENGTHS_FILE).write_text(json.dumps(list(lengths)))


def read_lengths(folder: Path, engine: int, engines: int) -> list[int]:
    """Return the lengths of an engine's share of the step: as our sampler deals them, in pieces of one size."""
    lengths: list[int] = json.loads((folder / LENGTHS_FILE).read_text())
    return lengths[len(lengths) * engine // engines : len(lengths) * (engine + 1) // engines]


def write_model(folder: Path, load: Load, layers: int = 4, hidden: int = 128) -> Path:
    """Build a model (Hugging Face folder, byte tokenizer) whose samples have the lengths of `load`; return its folder."""
    import torch
    from transformers import AutoModelForCausalLM

    from models.load import build
    from models.settings import BuildConfig

    if (folder / "ready").exists():
        return folder
    build(BuildConfig(hidden_size=hidden, layers=layers, tied=False), folder, seed=0)
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False)
    end, constant = model.config.eos_token_id, 1.0
    with torch.no_grad():
        model.get_input_embeddings().weight[:, 0] = constant
        for layer in model.model.layers:  # no layer writes to entry 0 of the residual stream
            layer.self_attn.o_proj.weight[0] = 0
            layer.mlp.down_proj.weight[0] = 0
        head = model.get_output_embeddings().weight
        head[:, 0] = 0
        head[end] = 0
        tokens = torch.randint(head.shape[0], (8, 64), generator=torch.Generator().manual_seed(0))
        other_tokens = [i for i in range(len(head)) if i != end]
        scale = model.model(tokens).last_hidden_state[..., 0].mean()
        other_mass = (
            model(tokens).logits[..., other_tokens].logsumexp(-1).mean()
        )  # log of the unnormalised probability of all other tokens
        log_odds = math.log(load.end_probability / (1 - load.end_probability)) if load.end_probability else -60.0
        head[end, 0] = (log_odds + other_mass) / scale
    model.save_pretrained(folder)
    (folder / "ready").touch()
    return folder
