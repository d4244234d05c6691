"""Runs tiny random models of public architectures through a real recipe: sft, then rlvr, with vLLM and DeepSpeed.

    python scripts/benchmarks/architectures.py [NAME …] [--out FOLDER]       (started by scripts/architectures)

For each it reports the largest of the steps' mean differences between the logprobs of engine and trainer. The second
step of rlvr is sampled with weights that the trainer has sent, so a parameter under a name that the engine does not
know would show. Prints the table of docs/architectures.md, but for what is particular to each.
If it is started again, it goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOLERANCES = {"float32": 1e-5, "bfloat16": 2e-2}
STEPS = 2
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 256,
}
"""Keys of every config.json; a family ignores those that it does not know."""
LOCAL_AND_GLOBAL = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
"""A layer that looks back 16 tokens, shorter than the sequences, and one that sees all."""


@dataclass(frozen=True)
class Architecture:
    """A family of models."""

    model_type: str
    """Value of `model_type` in config.json."""
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    """Keys of its config.json that differ from `SIZES`: what is particular to the family, switched on."""


ARCHITECTURES = {
    "Llama": Architecture("llama", {"tie_word_embeddings": True}),
    "Qwen2": Architecture("qwen2", {"tie_word_embeddings": False}),
    "Qwen3": Architecture("qwen3", {"tie_word_embeddings": True}),
    "Mistral": Architecture("mistral", {"sliding_window": 16}),
    "Gemma 2": Architecture("gemma2", {"query_pre_attn_scalar": 32, **LOCAL_AND_GLOBAL}),
    "Gemma 3": Architecture("gemma3_text", {"query_pre_attn_scalar": 32, **LOCAL_AND_GLOBAL}),
    "Phi-3": Architecture("phi3"),
    "SmolLM3": Architecture("smollm3", {"num_hidden_layers": 4, "no_rope_layer_interval": 4}),
    "OLMo 2": Architecture("olmo2"),
    "OLMo 3": Architecture("olmo3", LOCAL_AND_GLOBAL),
    "Granite": Architecture(
        "granite",
        {
            "embedding_multiplier": 3.0,
            "attention_multiplier": 0.1,
            "residual_multiplier": 0.5,
            "logits_scaling": 2.0,
        },
    ),
    "GLM-4": Architecture("glm4", {"partial_rotary_factor": 0.5}),
    "Cohere": Architecture("cohere", {"logit_scale": 0.25}),
    "Cohere 2": Architecture("cohere2", {"logit_scale": 0.25, **LOCAL_AND_GLOBAL}),
    "Qwen3-MoE": Architecture(
        "qwen3_moe", {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "decoder_sparse_step": 1}
    ),
    "Mixtral": Architecture("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "gpt-oss": Architecture("gpt_oss", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "Phi-2": Architecture("phi"),
}
"""Name in the table → the family."""


def write_model(architecture: Architecture, folder: Path) -> Path:
    """Write a random model of the family, with the byte tokenizer, and return its folder."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from models.tokenizer import END_OF_TURN, PAD, VOCABULARY, byte_tokenizer

    tokens = {
        "vocab_size": len(VOCABULARY),
        "bos_token_id": None,
        "eos_token_id": VOCABULARY[END_OF_TURN],
        "pad_token_id": VOCABULARY[PAD],
    }
    config = AutoConfig.for_model(architecture.model_type, **SIZES | tokens | architecture.settings)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    with torch.no_grad():
        for parameter in model.parameters():  # so that parameters that start at zero or one matter too
            parameter.add_(torch.randn_like(parameter) * 0.05)
    byte_tokenizer().save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def describe_recipe(model: Path, dtype: str) -> dict[str, Any]:
    """Return a recipe of a few steps for the model at a path."""
    words = {"source": "reasoning_gym", "args": {"dataset": "spell_backward", "size": 64}}
    shared = {"data": "words", "split": None, "max_sequence_tokens": 96, "optimizer": {"learning_rate": 1e-3}}
    rlvr = {
        "algorithm": "grpo",
        "steps": STEPS,
        "prompts_per_step": 4,
        "samples_per_prompt": 4,
        "max_logprob_gap": 10.0,
    }
    return {
        "name": model.name,
        "model": {"path": str(model), "dtype": dtype},
        "data": {"words": words},
        # A score in which samples of random models differ: without advantages no weight would change.
        "reward": {"parts": [{"verifier": f"{Path(__file__).with_name('letters.py')}:verify"}]},
        "engines": {"count": 1, "kv_cache_mb": 64},
        "trainer": {"ranks": 1},
        "stages": [
            {"sft": {**shared, "limit": 16, "epochs": 1, "sequences_per_step": 8}},
            {"rlvr": {**shared, **rlvr}},
        ],
    }


def measure_gap(name: str, dtype: str, folder: Path, overrides: Sequence[str] = ()) -> float | str:
    """Return the largest gap of the steps, or in one line why the library refuses the model before anything starts."""
    from rl.planning.plan import plan
    from rl.recipe import load
    from rl.run.tracker import read_metrics
    from rl.runner import run

    out = folder / f"run-{dtype}"
    if not (out / "model" / "config.json").exists():
        shutil.rmtree(out, ignore_errors=True)
        model = folder / "model"
        if not (model / "config.json").exists():
            write_model(ARCHITECTURES[name], model)
        recipe = load(describe_recipe(model, dtype), overrides)
        if problems := plan(recipe, out).problems:
            return problems[0].replace(f"{model}: ", "")
        run(recipe, out, say=lambda _: None)
    gaps = [float(row["logprob_gap/mean"]) for row in read_metrics(out) if "logprob_gap/mean" in row]
    assert len(gaps) == STEPS, gaps
    return max(gaps)


def describe_row(name: str, results: dict[str, float | str]) -> str:
    """Return the architecture's line of the table; the bound stands beside a gap that exceeds it."""
    cells: list[str] = []
    for dtype, result in results.items():
        if isinstance(result, str):
            return f"| {name} | `{ARCHITECTURES[name].model_type}` | refused: {result} | |"
        cells.append(f"{result:.1e}" + (f" > {TOLERANCES[dtype]:.0e}" if result > TOLERANCES[dtype] else ""))
    return f"| {name} | `{ARCHITECTURES[name].model_type}` | {' | '.join(cells)} |"


def main(names: list[str], out: Path) -> int:
    """Measure the architectures, one after the other, print the table, and return how many gaps exceed their bound."""
    from rl.workers.ray_start import start_local_ray, stop_ray

    print("| architecture | `model_type` | gap in float32 | gap in bfloat16 |\n|---|---|---|---|", flush=True)
    start_local_ray(4)  # a run that finds it leaves it running
    excesses = 0
    for name in names:
        folder = out / name.replace(" ", "-").lower()
        results = {dtype: measure_gap(name, dtype, folder) for dtype in TOLERANCES}
        excesses += sum(not isinstance(gap, str) and gap > TOLERANCES[dtype] for dtype, gap in results.items())
        print(describe_row(name, results), flush=True)
    stop_ray()
    return excesses


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=list(ARCHITECTURES), metavar="NAME", help=", ".join(ARCHITECTURES))
    parser.add_argument("--out", type=Path, default=Path("runs/architectures"), help="folder of models and runs")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - ARCHITECTURES.keys():
        parser.error(f"no such architecture: {', '.join(sorted(unknown))}; choose of {', '.join(ARCHITECTURES)}")
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    raise SystemExit(min(main(arguments.names, arguments.out.absolute()), 1))
