"""Measures the speed of sampling and updating a pretrained model, beside the arithmetic that the machine can do.

scripts/bench model FOLDER [--json FILE] [--threads N]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from rollouts.serving import ENVIRONMENT, ServingConfig

# Before torch and vLLM are imported: the engine lives in this process.
os.environ |= {**ENVIRONMENT, "OMP_WAIT_POLICY": "PASSIVE", "VLLM_LOGGING_LEVEL": "ERROR"}

import torch
from rich.console import Console
from rich.table import Table
from tables import show

from models.folder import count_parameters, read_config
from models.heads import LogprobModel
from models.settings import Dtype
from rollouts.requests import Request
from rollouts.worker import EngineWorker

PROMPTS, SAMPLES, PROMPT_TOKENS, ANSWER_TOKENS = 8, 8, 45, 16
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16")


def seconds_of(work: Callable[[], object], repeats: int = 5) -> float:
    """Return the median time of `work`, after one call that warms up."""
    work()
    times: list[float] = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return median(times)


def arithmetic_limit(model: Path, dtype: str) -> float:
    """Return FLOP/s of a product of the model's shape: 2,048 tokens times the widest matrix of a layer."""
    config = read_config(model)
    shape = int(str(config["hidden_size"])), int(str(config["intermediate_size"]))
    left, right = torch.randn(2048, shape[0]), torch.randn(*shape)
    left, right = left.to(getattr(torch, dtype)), right.to(getattr(torch, dtype))
    return 2 * 2048 * shape[0] * shape[1] / seconds_of(lambda: left @ right, 30)


def measure_engine(model: Path, dtype: str, threads: int) -> dict[str, float]:
    """Return tokens a second of 64 samples: of prefill, where a prompt's samples share it, and of a step that decodes."""
    engine = EngineWorker(str(model), dtype, 128, ServingConfig(threads=threads, kv_cache_mb=256))
    engine.version, vocabulary = 0, int(str(read_config(model)["vocab_size"]))
    times: list[list[float]] = []
    for round_ in range(4):  # the first warms up
        requests = [
            Request((i, j), tuple((50 * i + 1000 * round_ + n) % vocabulary for n in range(PROMPT_TOKENS)),
                    1000 * i + j, ANSWER_TOKENS, 1.0)
            for i in range(PROMPTS) for j in range(SAMPLES)
        ]  # fmt: skip
        steps: list[float] = []
        waiting = requests
        while waiting or engine.engine.has_unfinished_requests():
            began = time.perf_counter()
            engine.advance(0, waiting, 0.0)  # one step of the engine
            waiting = []
            steps.append(time.perf_counter() - began)
        times.append(steps)
    decoding = median(step for steps in times[1:] for step in steps[1:-2])
    prefill = median(steps[0] for steps in times[1:])
    count = PROMPTS * SAMPLES
    return {"prefill": count * PROMPT_TOKENS / prefill, "decode": count / decoding}


def measure_update(model: Path, dtype: Dtype, threads: int, shared: bool) -> dict[str, float]:
    """Return tokens a second of a forward and backward pass over 8 prompts × 8 samples, and of a forward pass alone, and how
    many of the tokens go through the trunk."""
    torch.set_num_threads(threads)
    policy = LogprobModel(model, dtype)
    groups_N = torch.arange(PROMPTS).repeat_interleave(SAMPLES)
    length, vocabulary = PROMPT_TOKENS + ANSWER_TOKENS, int(str(read_config(model)["vocab_size"]))
    prompts = torch.randint(vocabulary, (PROMPTS, PROMPT_TOKENS))[groups_N]
    tokens_T = torch.cat([prompts, torch.randint(vocabulary, (len(groups_N), ANSWER_TOKENS))], dim=1).flatten()
    action_mask_T = (torch.arange(length) >= PROMPT_TOKENS).repeat(len(groups_N))
    lengths_N = torch.full((len(groups_N),), length)

    def forward() -> torch.Tensor:
        logprobs_A, _ = policy(tokens_T, lengths_N, action_mask_T, 1.0, groups_N=groups_N if shared else None)
        return logprobs_A

    def step() -> None:
        policy.zero_grad()
        forward().sum().backward()

    with torch.no_grad():
        forward_s = seconds_of(forward, 3)
    through = PROMPTS * PROMPT_TOKENS + len(groups_N) * ANSWER_TOKENS if shared else len(tokens_T)
    count = len(tokens_T)
    return {"tokens": count / seconds_of(step, 3), "forward": count / forward_s, "through": through / count}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    parameters, results = count_parameters(options.model), dict[str, Any]()
    for dtype in DTYPES:
        torch.set_num_threads(options.threads)
        results[dtype] = {
            "limit": arithmetic_limit(options.model, dtype),
            "update": measure_update(options.model, dtype, options.threads, shared=False),
            "update_shared": measure_update(options.model, dtype, options.threads, shared=True),
            "engine": measure_engine(options.model, dtype, options.threads),
        }
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))
    show(Console(), render_table(results, parameters))


def render_table(results: dict[str, Any], parameters: int) -> Table:
    """Return the table; the share of the limit counts 2 FLOP for each parameter and token forward, and 4 backward."""
    table = Table("tokens/s (share of the arithmetic limit)", *results)

    def add(name: str, values: list[tuple[float, float]]) -> None:
        limits = [result["limit"] for result in results.values()]
        cells = [f"{rate:,.0f} ({flop * rate / limit:.0%})" for (rate, flop), limit in zip(values, limits, strict=True)]
        table.add_row(name, *cells)

    table.add_row("the machine's product, GFLOP/s", *(f"{result['limit'] / 1e9:,.0f}" for result in results.values()))
    for name, key in (("update, each sample with its prompt", "update"), ("update, prompts shared", "update_shared")):
        rates = [result[key] for result in results.values()]
        add(name, [(rate["tokens"], 6 * parameters * rate["through"]) for rate in rates])
        add("… its forward pass alone", [(rate["forward"], 2 * parameters * rate["through"]) for rate in rates])
    add("sampling: prefill of 64 samples of 8 prompts",
        [(result["engine"]["prefill"], 2 * parameters / SAMPLES) for result in results.values()])  # fmt: skip
    add("sampling: a step of 64 samples",
        [(result["engine"]["decode"], 2 * parameters) for result in results.values()])  # fmt: skip
    return table


if __name__ == "__main__":
    main()
