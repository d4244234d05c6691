"""What both libraries are given: a model, prompts, a reward, and lengths that are the same for both by construction.

How a sample ends is a property of the *model*, so that neither library needs a setting of its own for it: one entry of
the hidden state is the same for every token (a constant in the embedding that no layer writes to), and the end token's
row of the head reads that entry alone. Its probability is then the same at every position, whatever was said before.

- `fixed`: it never comes; every sample has exactly `max_new` tokens.
- `tail`: it comes with probability 1/64 at each token. Lengths are geometric, mean 64, cut at 384 = 6 × mean; the longest of a
  step's 128 is about 5 × the mean.

Imports nothing but the standard library at the top: both libraries' processes read it.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from pathlib import Path

PROMPTS_PER_STEP, SAMPLES, LEARNING_RATE = 8, 16, 1e-6


@dataclass(frozen=True)
class Load:
    name: str
    max_new: int
    end_probability: float


LOADS = {load.name: load for load in (Load("fixed", 64, 0.0), Load("tail", 384, 1 / 64))}
LONG = Load("long", 10_240, 0.0)


def questions(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """(question, answer): six letters to spell backward. All are of one length, so that `max_new` tokens are left to each."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(count)]
    return [(f"Spell backward: {word}", word[::-1]) for word in words]


def write_data(file: Path, count: int) -> None:
    """The questions as rows of a jsonl file."""
    rows = [{"id": str(i), "question": q, "answer": a} for i, (q, a) in enumerate(questions(count))]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_model(folder: Path, load: Load, layers: int = 4, hidden: int = 128) -> Path:
    """Builds the model (Hugging Face folder, byte tokenizer) whose samples end as `load` says."""
    import torch
    from transformers import AutoModelForCausalLM

    from models.load import BuildConfig, build

    if (folder / "ready").exists():
        return folder
    build(BuildConfig(hidden_size=hidden, layers=layers, tied=False), folder, seed=0)
    model = AutoModelForCausalLM.from_pretrained(folder)
    end, constant = model.config.eos_token_id, 1.0
    with torch.no_grad():
        model.get_input_embeddings().weight[:, 0] = constant
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0
            layer.mlp.down_proj.weight[0] = 0
        head = model.get_output_embeddings().weight
        head[:, 0] = 0
        head[end] = 0
        written = torch.randint(head.shape[0], (8, 64), generator=torch.Generator().manual_seed(0))
        others = [i for i in range(len(head)) if i != end]
        scale = model.model(written).last_hidden_state[..., 0].mean()
        mass = model(written).logits[..., others].logsumexp(-1).mean()  # log of all that is not the end
        odds = math.log(load.end_probability / (1 - load.end_probability)) if load.end_probability else -60.0
        head[end, 0] = (odds + mass) / scale
    model.save_pretrained(folder)
    (folder / "ready").touch()
    return folder
